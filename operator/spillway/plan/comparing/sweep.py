"""The cheapest way of each kind over a range of volumes."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from spillway.plan.comparing.choice import all_options
from spillway.plan.comparing.options import Option, Question, ServedBy
from spillway.plan.decision import Problem
from spillway.plan.replica.sizing import ReplicaSize
from spillway.plan.traffic.load import Load


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The cheapest option of each mode at one volume, whatever the budget; a mode that is not possible is left out."""

    requests_per_month: float
    by_mode: dict[ServedBy, Option]

    @property
    def cheapest(self) -> Option | None:
        """The cheapest of them."""
        return min(self.by_mode.values(), key=lambda option: option.usd or 0.0, default=None)


def volumes(low: float, high: float, count: int) -> tuple[float, ...]:
    """Return so many volumes from low to high, each the same step above the one before."""
    if count == 1:
        return (low,)
    return tuple(low + (high - low) * index / (count - 1) for index in range(count))


def sweep(question: Question, sized: tuple[ReplicaSize, ...] | Problem, load: Load, at: Iterable[float]) -> Iterator[Point]:
    """Return a point for each volume, one after the other, for a load of the same shape. The budget is left out: a curve has no end."""
    for volume in at:
        by_mode: dict[ServedBy, Option] = {}
        cheapest: dict[ServedBy, float] = {}
        for option in all_options(question, sized, load.at(volume)):
            if option.affordable_aside and option.usd is not None and option.usd < cheapest.get(option.mode, math.inf):
                cheapest[option.mode] = option.usd
                by_mode[option.mode] = option
        yield Point(requests_per_month=volume, by_mode=by_mode)
