"""How many replicas are worth owning now: the forecast, the prices and the replicas on their way, weighed level by level."""

import math
from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from spillway.plan.decision import ScaleFigures
from spillway.plan.scaling.forecast import DemandModel, Forecast, forecast
from spillway.plan.scaling.lazy import Lazy, clamped, watch
from spillway.plan.scaling.marginal import Terms, Values, prices, realized_gains, values

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

LEAST_SLOT_S = 120.0  # finer ones cost more and change nothing: benchmarks/autoscaling
SLOTS_PER_START = 3
LEAST_HORIZON_S = 7200.0
STARTS_AHEAD = 10  # the horizon in start-ups: what a replica saves until then must pay for it
LEVELS_AT_ONCE = 8  # the levels looked at grow in such steps, for tables are kept by their number
SPARE_LEVELS = 2
LOW, MIDDLE, HIGH = 0.1, 0.5, 0.9
DUST = 1e-6  # seconds of a replica's price: what sums of floating-point numbers may be off by


@dataclass(frozen=True, slots=True, kw_only=True)
class Stakes:
    """What a replica is weighed by. Owning has a price; renting may have none."""

    usd_per_replica_hour: float
    hosted_usd_per_replica_hour: float  # what the work of a replica's hour costs hosted
    start_up_s: float  # from asking for a replica until it serves
    entry_s: float  # of those billed
    exit_s: float  # billed after it is let go
    batch: int  # requests that a replica works on at a time
    slots: int  # and those that may be there
    committed: int  # replicas that cost nothing more

    @property
    def kappa(self) -> float:
        """Hosted price over own cost of the same work at full use."""
        return self.hosted_usd_per_replica_hour / self.usd_per_replica_hour


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The replicas that count: those that serve, and what is left of the others' starts."""

    ready: int
    starting_s: tuple[float, ...] = ()  # in ascending order

    @property
    def count(self) -> int:
        """Return how many there are, or will be."""
        return self.ready + len(self.starting_s)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weighed:
    """The count that is worth owning, why, and what to remember."""

    wanted: int
    figures: ScaleFigures  # of that count
    lazy: Lazy
    saved: Floats | None  # USD an hour, by level; None where something else decided
    there: int  # replicas there are, or will be

    def figures_of(self, count: int) -> ScaleFigures:
        """Return the figures of a count that was decided, which bounds and windows may keep from the one wanted."""
        return self.figures if self.saved is None else replace(self.figures, **_edges(self.saved, count=count, there=self.there))


def worth_at(demand: float, stakes: Stakes, *, most: int) -> int:
    """Return how many replicas are worth owning at a demand that stays as it is."""
    gains = realized_gains(demand, _terms(stakes, most))
    return _first_not(gains > 0)


def weigh(
    model: DemandModel,
    *,
    demand: float,
    stakes: Stakes,
    fleet: Fleet,
    lazy: Lazy | None,
    most: int,
    now_s: float,
) -> Weighed:
    """Return how many of at most `most` replicas are worth owning. `demand` is the present one, in replicas."""
    slot_s = max(LEAST_SLOT_S, stakes.start_up_s / SLOTS_PER_START)
    slots = math.ceil(max(LEAST_HORIZON_S, STARTS_AHEAD * stakes.start_up_s) / slot_s)
    ahead = forecast(model, now_s=now_s, slots=slots, slot_s=slot_s)
    terms = _terms(stakes, _levels(ahead, fleet, most))
    worth = values(ahead.samples, slot_s, terms)
    count = min(most, _first_not(_worthwhile(worth, fleet, terms, slot_s)))
    middle = float(ahead.samples[min(slots - 1, int(stakes.start_up_s / slot_s))].mean())
    lazy = watch(lazy, demand=demand, forecast=middle, horizon_s=stakes.start_up_s, now_s=now_s, terms=terms, longest_s=LEAST_SLOT_S)
    count = min(most, clamped(lazy, count, terms))
    saved = worth.gain * stakes.usd_per_replica_hour
    figures = _figures(ahead, saved, stakes, count=count, there=fleet.count)
    return Weighed(wanted=count, figures=figures, lazy=lazy, saved=saved, there=fleet.count)


def forecast_within(within_s: float, model: DemandModel, *, now_s: float) -> Forecast:
    """Return the forecast of that time."""
    return forecast(model, now_s=now_s, slots=math.ceil(within_s / LEAST_SLOT_S) + 1, slot_s=LEAST_SLOT_S)


def peak_demand(ahead: Forecast, *, share: float) -> float:
    """Return the demand in replicas that is not exceeded with this probability, at the worst moment of the forecast."""
    return float(np.quantile(ahead.samples, share, axis=1).max())


def outlook(ahead: Forecast, *, start_up_s: float) -> ScaleFigures:
    """Return the figures of a count that no money decides: what is forecast for when a replica requested now would serve."""
    return ScaleFigures(
        forecast_p10=ahead.quantile(LOW, start_up_s),
        forecast_p50=ahead.quantile(MIDDLE, start_up_s),
        forecast_p90=ahead.quantile(HIGH, start_up_s),
        horizon_s=start_up_s,
        kappa=None,
        marginal_saving_usd_per_hour=None,
        rejected=None,
        start_up_s=start_up_s,
    )


def _terms(stakes: Stakes, most: int) -> Terms:
    return Terms(
        kappa=stakes.kappa,
        start_up_s=stakes.start_up_s,
        entry_s=stakes.entry_s,
        exit_s=stakes.exit_s,
        batch=stakes.batch,
        slots=stakes.slots,
        most=most,
        free=stakes.committed,
    )


def _levels(ahead: Forecast, fleet: Fleet, most: int) -> int:
    reached = max(fleet.count, math.ceil(float(ahead.samples.max()))) + SPARE_LEVELS
    return max(1, min(most, math.ceil(reached / LEVELS_AT_ONCE) * LEVELS_AT_ONCE))


def _worthwhile(worth: Values, fleet: Fleet, terms: Terms, slot_s: float) -> Flags:
    """Return for each level whether it is to be kept, waited for or started."""
    yes = worth.start > 0
    ready, count = min(fleet.ready, terms.most), min(fleet.count, terms.most)
    yes[:ready] = worth.keep[:ready] >= 0
    for level in range(ready, count):
        yes[level] = _awaited(worth, level, fleet.starting_s[level - ready], terms, slot_s)
    return yes


def _awaited(worth: Values, level: int, left_s: float, terms: Terms, slot_s: float) -> bool:
    """Whether a replica on its way is waited for: one that was just asked for must come out as if it were asked for now."""
    place = min(left_s / slot_s, len(worth.pending) - 1.0)
    low = min(int(place), len(worth.pending) - 2)
    share = place - low
    served = (1 - share) * worth.pending[low][level] + share * worth.pending[low + 1][level]
    return bool(served - prices(terms)[level] * min(left_s, terms.entry_s) >= -DUST)


def _first_not(yes: Flags) -> int:
    """Return how many of them hold before the first that does not: levels nest."""
    failed = np.flatnonzero(~yes)
    return int(failed[0]) if len(failed) else len(yes)


def _figures(ahead: Forecast, saved: Floats, stakes: Stakes, *, count: int, there: int) -> ScaleFigures:
    foreseen = outlook(ahead, start_up_s=stakes.start_up_s)
    return replace(foreseen, kappa=stakes.kappa, **_edges(saved, count=count, there=there))


class _Edges(TypedDict):
    marginal_saving_usd_per_hour: float | None
    rejected: str | None
    rejected_saving_usd_per_hour: float | None


def _edges(saved: Floats, *, count: int, there: int) -> _Edges:
    """Return what the decision was weighed by. The alternative is one more where not fewer were taken, else one fewer."""
    decided = max(1, count if count >= there else count + 1)  # the last replica that was taken, or let go
    other = count + 1 if count >= there else count
    return {
        "marginal_saving_usd_per_hour": float(saved[decided - 1]) if decided <= len(saved) else None,
        "rejected": _alternative(other, saved),
        "rejected_saving_usd_per_hour": float(saved[other - 1]) if 1 <= other <= len(saved) else None,
    }


def _alternative(level: int, saved: Floats) -> str | None:
    """Return what the replica at the edge of the alternative would save or cost."""
    if not 1 <= level <= len(saved):
        return None
    return f"replica {level}: net {'saving' if saved[level - 1] > 0 else 'cost'} {abs(float(saved[level - 1])):.2f} USD/h"
