"""Small plots by hand: a line or an area per series over time, two marks per axis, as SVG in a page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from spillway.plan.rounding import figure
from spillway.report.page import add

WIDTH, HEIGHT = 340.0, 120.0
LEFT, RIGHT, TOP, BOTTOM = 38.0, 4.0, 6.0, 16.0  # margins: marks of the axes stand in them
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)  # of a power of ten: where an axis may end
MOST_DAY_MARKS = 8

Values = Sequence[float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line or area; None breaks it."""

    name: str
    kind: str  # class in the style sheet
    values: Values
    area: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """What a plot's height shows."""

    low: float
    high: float
    unit: str = ""
    before: str = ""

    def label(self, value: float) -> str:
        """Return a mark's text."""
        return f"{self.before}{figure(value)}{self.unit}"


def axis_for(*rows: Values, unit: str = "", before: str = "", ends: float | None = None) -> Axis:
    """Return an axis from zero to a round number above all values, or to `ends`."""
    most = max((value for row in rows for value in row if value is not None), default=0.0)
    return Axis(low=0.0, high=ends if ends is not None else _round_up(most), unit=unit, before=before)


def plot(parent: ET.Element, title: str, series: Sequence[Series], *, axis: Axis, hours: float) -> None:
    """Add a plot. All series have one value per interval of the same time, which lasts `hours` in all."""
    picture = add(
        parent, "svg", {"viewBox": f"0 0 {WIDTH:.0f} {HEIGHT:.0f}", "width": "100%", "role": "img", "aria-label": title, "class": "plot"}
    )
    _marks(picture, axis, hours)
    for each in series:
        for part in _runs(each.values):
            _draw(picture, each, part, axis=axis, count=len(each.values))


def _draw(picture: ET.Element, series: Series, part: Sequence[tuple[int, float]], *, axis: Axis, count: int) -> None:
    span = WIDTH - LEFT - RIGHT

    def x(place: float) -> float:
        return LEFT + span * place / max(1, count)

    points = [f"{x(index + 0.5):.1f},{_y(value, axis):.1f}" for index, value in part]
    first, last = x(part[0][0]), x(part[-1][0] + 1)
    if series.area:
        ground = _y(axis.low, axis)
        points = [f"{first:.1f},{ground:.1f}", *points, f"{last:.1f},{ground:.1f}"]
        shape = add(picture, "polygon", {"points": " ".join(points), "class": f"area {series.kind}"})
    else:
        ends = [f"{first:.1f},{_y(part[0][1], axis):.1f}", *points, f"{last:.1f},{_y(part[-1][1], axis):.1f}"]
        shape = add(picture, "polyline", {"points": " ".join(ends), "class": f"line {series.kind}"})
    add(shape, "title", series.name)


def _y(value: float, axis: Axis) -> float:
    share = (value - axis.low) / (axis.high - axis.low) if axis.high > axis.low else 0.0
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(1.0, max(0.0, share))


def _runs(values: Values) -> list[list[tuple[int, float]]]:
    """Return the parts of a series between its gaps, as index and value."""
    runs: list[list[tuple[int, float]]] = []
    broken = True
    for index, value in enumerate(values):
        if value is None:
            broken = True
            continue
        if broken:
            runs.append([])
        broken = False
        runs[-1].append((index, value))
    return runs


def _marks(picture: ET.Element, axis: Axis, hours: float) -> None:
    for value in (axis.low, (axis.low + axis.high) / 2, axis.high):
        y = f"{_y(value, axis):.1f}"
        add(picture, "line", {"x1": f"{LEFT:.0f}", "x2": f"{WIDTH - RIGHT:.0f}", "y1": y, "y2": y, "class": "grid"})
        add(picture, "text", axis.label(value), x=f"{LEFT - 4:.0f}", y=f"{float(y) + 3:.1f}", kind="mark end")
    for at, told in _times(hours):
        x = LEFT + (WIDTH - LEFT - RIGHT) * at / hours
        add(picture, "text", told, x=f"{x:.1f}", y=f"{HEIGHT - 4:.0f}", kind="mark")


def _times(hours: float) -> list[tuple[float, str]]:
    """Return where the time axis has marks, hours from the start, and what they say."""
    if hours <= 0:
        return []
    unit, name = (24.0, "d") if hours >= 96 else (1.0, "h") if hours >= 2 else (1 / 60, "min")  # noqa: PLR2004
    step = max(1.0, _round_up(hours / unit / MOST_DAY_MARKS))
    return [(index * step * unit, f"{index * step:g} {name}") for index in range(int(hours / unit / step * 0.97) + 1)]


def _round_up(value: float) -> float:
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return float(next(step * power for step in STEPS if step * power >= value * (1 - 1e-9)))
