"""The figures of a grid, judged: ratios to the clairvoyant plan in the same simulator, bootstrap intervals, and where a bar is missed."""

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.autoscaling.cells import SOURCES
from benchmarks.autoscaling.unit import Row

OURS, REPLAY, BOUND, STATIC_PEAK = "spillway", "oracle-replay", "oracle-bound", "all-owned"
RESAMPLES = 2000
FARTHEST, LEAST_PERCENT = 1.25, 98.5  # of the small grid: beyond these something is broken

Cell = tuple[str, float, float]  # trace, kappa, start-up in seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A geometric mean over cells, with the middle 95 % of its bootstrap over seeds and cells."""

    mean: float
    low: float
    high: float
    cells: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}] ({self.cells})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All rows, by cell and seed."""

    rows: Mapping[tuple[Cell, int], Sequence[Row]]

    @classmethod
    def of(cls, rows: Iterable[Row]) -> "Figures":
        """Sort rows into their cells."""
        found: defaultdict[tuple[Cell, int], list[Row]] = defaultdict(list)
        for row in rows:
            found[(row.trace, row.kappa, row.start_up_s), row.seed].append(row)
        return cls(rows={key: found[key] for key in sorted(found)})  # the bootstrap draws in this order, whatever that of the files is

    def one(self, key: tuple[Cell, int], policy: str) -> Row | None:
        """Return the row of a policy that is there once."""
        return next((row for row in self.rows[key] if row.policy == policy), None)

    def ratios(self, against: Callable[[tuple[Cell, int]], float | None], wanted: Callable[[Cell], bool]) -> dict[Cell, list[float]]:
        """Return what ours costs over what it is held against, per cell, one ratio for each seed."""
        found: defaultdict[Cell, list[float]] = defaultdict(list)
        for key in self.rows:
            ours, other = self.one(key, OURS), against(key)
            if wanted(key[0]) and ours is not None and other:
                found[key[0]].append(ours.cost_usd / other)
        return dict(found)

    def cost_of(self, policy: str) -> Callable[[tuple[Cell, int]], float | None]:
        """Return what a policy costs in a cell."""

        def cost(key: tuple[Cell, int]) -> float | None:
            row = self.one(key, policy)
            return None if row is None else row.cost_usd

        return cost

    def best(self, *, spills: bool, at_least_percent: float = 0.0, only: str | None = None) -> Callable[[tuple[Cell, int]], float | None]:
        """Return the cost of the cheapest baseline that attains so much. Who tunes with hindsight keeps defaults that cost less."""

        def cost(key: tuple[Cell, int]) -> float | None:
            costs = [
                row.cost_usd
                for row in self.rows[key]
                if row.policy not in {OURS, REPLAY, BOUND}
                and row.spills is spills
                and (row.attainment_percent or 0.0) >= at_least_percent
                and (only is None or row.policy == only)
            ]
            return min(costs, default=None)

        return cost


def told(rows: Sequence[Row]) -> str:
    """Return the tables as Markdown."""
    figures = Figures.of(rows)
    held_out = {each.name for each in SOURCES if not each.chosen_on}
    parts = [_bars(figures, "all traces", lambda _: True), _bars(figures, "held-out traces", lambda cell: cell[0] in held_out)]
    return "\n".join([*parts, _cells(figures), _baselines(figures)])


def lapses(rows: Sequence[Row]) -> list[str]:
    """Return where ours is so far from the replay, or from the promise, that something is broken."""
    figures, found = Figures.of(rows), []
    for key in figures.rows:
        ours, replay = figures.one(key, OURS), figures.one(key, REPLAY)
        if ours is None or replay is None:
            found.append(f"{_name(key[0])}: not run")
            continue
        if ours.cost_usd > FARTHEST * replay.cost_usd:
            found.append(f"{_name(key[0])}: costs {ours.cost_usd / replay.cost_usd:.2f} times the replay; at most {FARTHEST}")
        if (ours.attainment_percent or 0.0) < LEAST_PERCENT:
            found.append(f"{_name(key[0])}: {ours.attainment_percent} % keep the SLO; at least {LEAST_PERCENT}")
    return found


def _bars(figures: Figures, name: str, of: Callable[[Cell], bool]) -> str:
    replay, bound = figures.cost_of(REPLAY), figures.cost_of(BOUND)

    def ordinary(cell: Cell) -> bool:
        return of(cell) and 1.25 <= cell[1] <= 2.5 and 60 <= cell[2] <= 180

    def hard(cell: Cell) -> bool:
        return of(cell) and cell[1] > 1 and (cell[1] >= 5 or cell[2] >= 420)

    def standard(cell: Cell) -> bool:
        return of(cell) and cell[1:] == (2.5, 180.0)

    def owning(cell: Cell) -> bool:
        return of(cell) and cell[1] > 1

    def renting(cell: Cell) -> bool:
        return of(cell) and cell[1] < 1

    peak = figures.ratios(figures.cost_of(STATIC_PEAK), standard)
    lines = [f"### {name}", "", "| figure | bar | measured |", "|---|---|---|"]
    lines += [
        _line("cost / oracle replay, kappa 1.25-2.5, start-up 60-180 s", "<= 1.06", figures.ratios(replay, ordinary)),
        _line("... / lower bound", "", figures.ratios(bound, ordinary)),
        _line("cost / oracle replay, kappa 5-10 or start-up 420 s", "<= 1.10", figures.ratios(replay, hard)),
        _line("... / lower bound", "", figures.ratios(bound, hard)),
        _line("cost / static peak without spill, kappa 2.5, start-up 180 s", "<= 0.50", peak),
        _dearest("... on the trace where it is most", "<= 0.70", peak),
        _line(
            "... / best static count without spill at >= 99 %",
            "",
            figures.ratios(figures.best(spills=False, at_least_percent=99.0, only="static"), standard),
        ),
        _line(
            "cost / best hindsight-tuned baseline without spill at >= 99 %, kappa 2.5, start-up 180 s",
            "<= 0.75",
            figures.ratios(figures.best(spills=False, at_least_percent=99.0), standard),
        ),
        _line("cost / best hindsight-tuned baseline with our spill", "", figures.ratios(figures.best(spills=True), owning)),
        # The replay owns nothing there, or what is cheaper than renting it: all hosted costs as much or more.
        _line("kappa 0.8: cost / oracle replay, all hosted or cheaper", "<= 1.02", figures.ratios(replay, renting)),
    ]
    return "\n".join([*lines, *_worst(figures, owning), ""])


def _line(what: str, bar: str, ratios: Mapping[Cell, Sequence[float]]) -> str:
    return f"| {what} | {bar} | {interval(ratios) if ratios else 'not run'} |"


def _dearest(what: str, bar: str, ratios: Mapping[Cell, Sequence[float]]) -> str:
    """Return the line of the cell in which a ratio is highest, by its mean over seeds."""
    if not ratios:
        return f"| {what} | {bar} | not run |"
    cell = max(ratios, key=lambda each: _mean(ratios[each]))
    return f"| {what} | {bar} | {_mean(ratios[cell]):.3f} in {_name(cell)} |"


def _worst(figures: Figures, of: Callable[[Cell], bool]) -> list[str]:
    replays = figures.ratios(figures.cost_of(REPLAY), of)
    tuned = figures.ratios(figures.best(spills=True), of)
    lines = []
    if replays:
        lines.append(_dearest("worst cell / oracle replay", "<= 1.20", replays))
    if tuned:
        means = {cell: _mean(found) for cell, found in tuned.items()}
        better = sum(mean <= 1 for mean in means.values()) / len(means)
        cell = max(means, key=lambda each: means[each])
        lines.append(
            f"| cells in which no hindsight-tuned baseline with our spill is cheaper | >= 95 %, worst 1.02 | {better:.0%} of {len(means)}; "
            f"worst {means[cell]:.3f} in {_name(cell)} |"
        )
    attained = [(key, figures.one(key, OURS), figures.one(key, REPLAY)) for key in figures.rows if of(key[0])]
    pairs = [(key, ours, replay) for key, ours, replay in attained if ours is not None and replay is not None]
    if pairs:
        shares = [(ours.attainment_percent or 0.0, ours.worst_5_min_percent, key[0]) for key, ours, _ in pairs]
        behind = [((replay.attainment_percent or 0.0) - (ours.attainment_percent or 0.0), key[0]) for key, ours, replay in pairs]
        least, most_behind = min(shares, key=lambda each: each[0]), max(behind)
        worst_minutes = min(((each[1], each[2]) for each in shares if each[1] is not None), default=None)
        lines += [
            f"| attainment, least of all cells | >= 99.5 % | {least[0]:.2f} % in {_name(least[2])} |",
            f"| attainment behind oracle replay, most | <= 0.5 points | {most_behind[0]:.2f} in {_name(most_behind[1])} |",
        ]
        if worst_minutes is not None:
            lines.append(f"| worst five minutes | >= 97 % | {worst_minutes[0]:.1f} % in {_name(worst_minutes[1])} |")
    return lines


def _cells(figures: Figures) -> str:
    lines = [
        "### every cell: ours, and the replay's figure behind it",
        "",
        "| trace | kappa | start-up s | seeds | / replay | / bound | SLO % | worst 5 min % | spilled % | starts | replica-hours |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    cells = sorted({key[0] for key in figures.rows})
    for cell in cells:
        keys = [key for key in figures.rows if key[0] == cell]
        ours = [row for key in keys if (row := figures.one(key, OURS)) is not None]
        replay = [row for key in keys if (row := figures.one(key, REPLAY)) is not None]
        bound = [row for key in keys if (row := figures.one(key, BOUND)) is not None]
        if not ours or not replay or not bound:
            continue
        lines.append(
            f"| {cell[0]} | {cell[1]:g} | {cell[2]:g} | {len(keys)} | {_over(ours, replay)} | {_over(ours, bound)} "
            f"| {_both(ours, replay, lambda row: row.attainment_percent, 2)} | {min(row.worst_5_min_percent or 100.0 for row in ours):.1f} "
            f"| {_both(ours, replay, lambda row: row.spilled_percent, 1)} | {_both(ours, replay, lambda row: row.starts, 0)} "
            f"| {_both(ours, replay, lambda row: row.replica_hours, 1)} |"
        )
    return "\n".join([*lines, ""])


def _over(ours: Sequence[Row], other: Sequence[Row]) -> str:
    return f"{_mean([one.cost_usd / two.cost_usd for one, two in zip(ours, other, strict=True)]):.3f}"


def _both(ours: Sequence[Row], replay: Sequence[Row], pick: Callable[[Row], float | None], digits: int) -> str:
    return ", ".join(f"{statistics.fmean(pick(row) or 0.0 for row in rows):.{digits}f}" for rows in (ours, replay))


def _baselines(figures: Figures) -> str:
    """Return each baseline over ours, with and without spill, over all cells in which owning pays."""
    names = sorted({row.policy for rows in figures.rows.values() for row in rows} - {OURS, REPLAY, BOUND})
    lines = [
        "### cost of each baseline over ours, geometric mean over cells with kappa > 1; in brackets its mean attainment",
        "",
        "| policy | default, our spill | hindsight, our spill | default, no spill | hindsight, no spill |",
        "|---|---|---|---|---|",
    ]
    for name in names:
        cells = [_column(figures, name, tuned=tuned, spills=spills) for spills in (True, False) for tuned in ("default", "hindsight")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _column(figures: Figures, name: str, *, tuned: str, spills: bool) -> str:
    ratios, attained = [], []
    for key, rows in figures.rows.items():
        ours = figures.one(key, OURS)
        found = [row for row in rows if row.policy == name and row.spills is spills and row.tuned in (tuned, "")]
        if ours is None or key[0][1] < 1 or not found or (tuned == "hindsight" and found[0].tuned == ""):
            continue
        ratios.append(found[0].cost_usd / ours.cost_usd)
        attained.append(found[0].attainment_percent or 0.0)
    return f"{_mean(ratios):.3f} ({statistics.fmean(attained):.1f} %)" if ratios else ""


def interval(ratios: Mapping[Cell, Sequence[float]]) -> Interval:
    """Return the geometric mean over cells of the geometric mean over seeds. Bootstrap: cells, and seeds within each."""
    logs = [np.log(np.asarray(found)) for found in ratios.values()]
    chance = np.random.default_rng(0)
    means = []
    for _ in range(RESAMPLES):
        drawn = chance.integers(len(logs), size=len(logs))
        means.append(float(np.mean([chance.choice(logs[index], size=len(logs[index])).mean() for index in drawn])))
    low, high = np.quantile(means, [0.025, 0.975])
    middle = float(np.mean([each.mean() for each in logs]))
    return Interval(mean=math.exp(middle), low=math.exp(low), high=math.exp(high), cells=len(logs))


def _mean(ratios: Sequence[float]) -> float:
    return math.exp(statistics.fmean(math.log(each) for each in ratios))


def _name(cell: Cell) -> str:
    return f"{cell[0]}, kappa {cell[1]:g}, {cell[2]:g} s"
