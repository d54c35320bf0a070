"""A recorded traffic: when requests came, how long their prompts and answers were."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
MINUTE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Requests in order of arrival. All three arrays have one entry per request."""

    name: str
    arrival_s: Floats  # from the start, ascending
    input_tokens: Whole
    output_tokens: Whole  # at least 1
    duration_s: float  # up to which traffic was recorded; at least the last arrival

    @property
    def requests(self) -> int:
        """Return how many there are."""
        return len(self.arrival_s)


def busiest_minute(trace: Trace, weights: Floats | None = None) -> float:
    """Return what the busiest minute of a trace with requests brings a second: requests, or the sum of what each of them weighs."""
    whole = np.bincount((trace.arrival_s // MINUTE_S).astype(np.int64), weights=weights)
    return float(whole.max()) / min(MINUTE_S, max(trace.duration_s, 1.0))  # the last minute may be a part of one
