"""Predicted against measured, as a small SVG: one panel per figure, both axes logarithmic, the diagonal and the bar beside it."""

import math
from collections.abc import Callable, Sequence

from benchmarks.capacity.errors import Compared

PANEL, MARGIN, GAP, TOP = 210, 46, 36, 44
COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#e45756", "#72b7b2")
BAR = 1.15


def scatter(title: str, compared: Sequence[Compared], panels: Sequence[tuple[str, str]], group: Callable[[Compared], str]) -> str:
    """Return the SVG of one comparison; `panels` are (figure, heading)."""
    groups = sorted({group(each) for each in compared})
    width = MARGIN + len(panels) * (PANEL + GAP)
    height = TOP + PANEL + 64
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{MARGIN}" y="16" font-size="13" font-weight="bold">{title}</text>',
    ]
    for index, (name, heading) in enumerate(panels):
        points = [(each.seen[name], each.told[name], groups.index(group(each))) for each in compared if each.seen.get(name)]
        parts += _panel(MARGIN + index * (PANEL + GAP), heading, points)
    for index, label in enumerate(groups):
        x = MARGIN + index * 150
        parts.append(f'<circle cx="{x}" cy="{height - 14}" r="4" fill="{COLOURS[index % len(COLOURS)]}"/>')
        parts.append(f'<text x="{x + 8}" y="{height - 10}">{label}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(left: float, heading: str, points: list[tuple[float, float, int]]) -> list[str]:
    values = [value for point in points for value in point[:2] if value > 0]
    low, high = math.log10(min(values)) - 0.08, math.log10(max(values)) + 0.08

    def place(value: float) -> float:
        return (math.log10(value) - low) / (high - low) * PANEL

    def line(factor: float, style: str) -> str:
        start, end = max(low, low - math.log10(factor)), min(high, high - math.log10(factor))
        x1, x2 = ((each - low) / (high - low) * PANEL for each in (start, end))
        y1, y2 = ((each + math.log10(factor) - low) / (high - low) * PANEL for each in (start, end))
        return f'<line x1="{left + x1:.1f}" y1="{TOP + PANEL - y1:.1f}" x2="{left + x2:.1f}" y2="{TOP + PANEL - y2:.1f}" {style}/>'

    parts = [
        f'<text x="{left}" y="{TOP - 8}">{heading}</text>',
        f'<rect x="{left}" y="{TOP}" width="{PANEL}" height="{PANEL}" fill="none" stroke="#999"/>',
        line(1.0, 'stroke="#666"'),
        line(BAR, 'stroke="#bbb" stroke-dasharray="4 3"'),
        line(1 / BAR, 'stroke="#bbb" stroke-dasharray="4 3"'),
    ]
    for tick in _ticks(low, high):
        x, y = left + place(tick), TOP + PANEL - place(tick)
        parts.append(f'<text x="{x:.1f}" y="{TOP + PANEL + 14}" text-anchor="middle" fill="#555">{tick:g}</text>')
        parts.append(f'<text x="{left - 4}" y="{y + 4:.1f}" text-anchor="end" fill="#555">{tick:g}</text>')
    for seen, told, colour in points:
        if told > 0:
            x, y = left + place(seen), TOP + PANEL - place(told)
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{COLOURS[colour % len(COLOURS)]}" fill-opacity="0.8"/>')
    parts.append(f'<text x="{left + PANEL / 2}" y="{TOP + PANEL + 28}" text-anchor="middle">measured (across), predicted (up)</text>')
    return parts


def _ticks(low: float, high: float) -> list[float]:
    every = [mantissa * 10.0**power for power in range(-3, 6) for mantissa in (1, 2, 5)]
    inside = [tick for tick in every if low <= math.log10(tick) <= high]
    return inside if len(inside) <= 5 else inside[:: math.ceil(len(inside) / 5)]
