"""What the past proves of each replica, and how good forecasts were, as JSON; forecasts that have not come due are left out."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from spillway.plan.scaling.lazy import Lazy

DIGITS = 4


def dump(lazy: Lazy) -> dict[str, Any]:
    """Return what is worth keeping, as JSON."""
    return {
        "balances": [_short(float(each)) for each in np.trim_zeros(lazy.balances, "b")],  # of hundreds of levels, most have none
        "at": round(lazy.at_s),
        "error": _short(lazy.error),
        "errorOfPersistence": _short(lazy.error_of_persistence),
        "due": _short(lazy.due),
    }


def load(said: Any) -> Lazy | None:
    """Return what was written down; None where there is none, or it is no such thing."""
    if not isinstance(said, Mapping):
        return None
    try:
        balances = np.array(said["balances"], dtype=np.float64)
        at_s, *sums = (float(said[name]) for name in ("at", "error", "errorOfPersistence", "due"))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    counts = (*sums, *balances.ravel())
    if balances.ndim != 1 or not math.isfinite(at_s) or not all(math.isfinite(each) and each >= 0 for each in counts):
        return None
    error, persistence, due = sums
    return Lazy(balances=balances, at_s=at_s, error=error, error_of_persistence=persistence, due=due)


def _short(number: float) -> float:
    return float(f"{number:.{DIGITS}g}")
