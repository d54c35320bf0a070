"""The demand model as JSON, to be written down: what was learned survives a restart, what was only waited for does not."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spillway.plan.scaling.forecast import (
    DAY_BINS,
    ERRORS,
    EXPERTS,
    HORIZONS,
    LEVEL_WEIGHTS,
    QUANTILES,
    TREND_WEIGHTS,
    WEEK_BINS,
    DemandModel,
    new_model,
)

Floats = NDArray[np.float64]

VERSION = 1
DIGITS = 4


def dump(model: DemandModel) -> dict[str, Any]:
    """Return what is worth keeping, as JSON. Errors are kept as their quantiles; forecasts that have not come due are left out."""
    return {
        "version": VERSION,
        "minute": model.opened,
        "seen": model.seen,
        "levels": _listed(model.levels),
        "trends": _listed(model.trends),
        "day": _listed(model.shapes[0]),
        "week": _listed(model.shapes[1]),
        "shapeLevels": _listed(model.shape_levels),
        "losses": _listed(model.losses),
        "scored": _listed(model.scored),
        "errors": _listed(model.spread),
        "errorsSeen": int(np.isfinite(model.errors).sum(axis=1).max()),
    }


def load(said: Any) -> DemandModel | None:
    """Return the model that was written down; None where there is none, or it was written by something else."""
    if not isinstance(said, Mapping) or said.get("version") != VERSION:
        return None
    try:
        model = new_model(int(said["minute"]))
        experts = (len(HORIZONS), EXPERTS)
        spread = _array(said["errors"], (len(HORIZONS), len(QUANTILES)))
        found = DemandModel(
            opened=model.opened,
            seen=int(said["seen"]),
            levels=_array(said["levels"], (len(LEVEL_WEIGHTS),)),
            trends=_array(said["trends"], (2, len(TREND_WEIGHTS))),
            shapes=(_array(said["day"], (DAY_BINS,)), _array(said["week"], (WEEK_BINS,))),
            shape_levels=_array(said["shapeLevels"], (2,)),
            made=model.made,
            losses=_array(said["losses"], experts),
            scored=_array(said["scored"], experts),
            errors=_errors(spread, int(said["errorsSeen"])),
            shares=model.shares,
            spread=spread,
        )
        return found.reshared() if _sound(found) else None
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _sound(model: DemandModel) -> bool:
    """Whether these are numbers that learning gives: one that is none would spoil every forecast from then on."""
    always = (model.shape_levels, model.losses, model.scored, model.spread)
    numbers = (*always, model.levels, model.trends) if model.seen else always
    shapes_told = all((np.isfinite(shape) | np.isnan(shape)).all() for shape in model.shapes)
    return shapes_told and all(np.isfinite(each).all() for each in numbers)


def _errors(spread: Floats, seen: int) -> Floats:
    """Return errors that have these quantiles, as many as there were."""
    errors = np.full((len(spread), ERRORS), np.nan)
    count = max(0, min(seen, ERRORS))
    if count:
        places = (np.arange(count) * len(QUANTILES)) // count
        errors[:, :count] = spread[:, places]
    return errors


def _listed(numbers: Floats) -> list[Any]:
    """Return nested lists; what was never seen is null, for JSON has no NaN."""
    if numbers.ndim > 1:
        return [_listed(row) for row in numbers]
    return [None if not math.isfinite(each) else short(each) for each in numbers]


def short(number: float) -> float:
    """Return a number with as many digits as are kept."""
    return float(f"{number:.{DIGITS}g}")


def _array(said: Any, shape: tuple[int, ...]) -> Floats:
    found = np.array(said, dtype=np.float64)
    if found.shape != shape:
        raise ValueError(f"{found.shape} instead of {shape}")
    return found
