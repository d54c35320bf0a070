"""Answers remembered for the very same objects: a spec, a class or a catalogue stays one object until the cluster shows another.

A pass over a workload to which nothing happened asks what the last one asked. To compare specs by their values would cost more than most
of the answers, so they are told apart by what they are. That cannot go stale: none of them is ever changed in place, and an object that is
remembered lives as long as its answer does, so no other one can take its place.
"""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

from spillway.plan.place.placed import Placed
from spillway.plan.traffic.lengths import Lengths

P = ParamSpec("P")
R = TypeVar("R")

# Of each function: two for each of a thousand workloads, which is some 3 KB for an answer and what it was asked of. Beyond that, those not
# asked for longest are worked out anew.
ANSWERS = 2048

# Ours among them are small and made anew in each pass.
_BY_VALUE = (str, int, float, tuple, type(None), Lengths, Placed)


class _Very:
    """An object that equals nothing but itself."""

    __slots__ = ("it",)

    def __init__(self, it: object) -> None:
        self.it = it

    def __hash__(self) -> int:
        return id(self.it)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Very) and self.it is other.it


def of_the_same(function: Callable[P, R]) -> Callable[P, R]:
    """Have a function of values remember its answers: for the same small values, and for the very same objects."""

    @lru_cache(maxsize=ANSWERS)
    def remembered(*given: object, **named: object) -> R:
        return function(*map(_itself, given), **{name: _itself(each) for name, each in named.items()})  # type: ignore[arg-type]

    @wraps(function)
    def ask(*given: P.args, **named: P.kwargs) -> R:
        return remembered(*map(_told_apart, given), **{name: _told_apart(each) for name, each in named.items()})

    return ask


def _told_apart(each: object) -> object:
    return each if isinstance(each, _BY_VALUE) else _Very(each)


def _itself(each: object) -> object:
    return each.it if isinstance(each, _Very) else each
