"""What the past proves of each replica, and how good forecasts were, as JSON; forecasts that have not come due are left out."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from spillway.plan.readings import written_number
from spillway.plan.scaling.demand_state import short
from spillway.plan.scaling.lazy import Lazy


def dump(lazy: Lazy) -> dict[str, Any]:
    """Return what is worth keeping, as JSON."""
    return {
        "balances": [short(float(each)) for each in np.trim_zeros(lazy.balances, "b")],  # of hundreds of levels, most have none
        "at": round(lazy.at_s),
        "error": short(lazy.error),
        "errorOfPersistence": short(lazy.error_of_persistence),
        "due": short(lazy.due),
    }


def load(said: Any) -> Lazy | None:
    """Return what was written down; None where there is none, or it is no such thing."""
    if not isinstance(said, Mapping):
        return None
    try:
        balances = np.array(said["balances"], dtype=np.float64)
        at_s, *sums = (written_number(said[name]) for name in ("at", "error", "errorOfPersistence", "due"))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    if balances.ndim != 1 or not np.isfinite(balances).all() or min(*sums, *balances) < 0:
        return None
    error, persistence, due = sums
    return Lazy(balances=balances, at_s=at_s, error=error, error_of_persistence=persistence, due=due)
