"""Loads by the minute, and models that were taught them."""

import math
from collections.abc import Sequence
from functools import cache

from spillway.plan.scaling.forecast import BIN_S, DemandModel, learn, new_model

DAY = 24 * 60  # minutes


def taught(demands: Sequence[float | None], *, first: int = 0, model: DemandModel | None = None) -> DemandModel:
    """Return a model after a minute of each demand, in replicas; None where nothing was read."""
    model = model or new_model(first)
    for minute, demand in enumerate(demands, start=first):
        if demand is not None:
            model = learn(model, demand, (minute + 0.5) * BIN_S)
    return model


@cache
def two_days() -> DemandModel:
    """Return a model that has seen the same day twice, and no minute more."""
    return taught([day(minute) for minute in range(2 * DAY)])


def day(minute: float, *, mean: float = 3.0, swing: float = 2.0) -> float:
    """Return the demand of a quiet night and a busy day."""
    return mean + swing * math.sin(2 * math.pi * minute / DAY)
