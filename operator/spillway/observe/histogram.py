"""Shares and quantiles of cumulative buckets, as Prometheus has them: upper edge → events at or below it."""

import math
from collections.abc import Mapping

Buckets = Mapping[float, float]

DUST = 1e-9  # share by which rates of cumulative counts may fall from one edge to the next


def total(buckets: Buckets) -> float:
    """Return the number of events."""
    return buckets.get(math.inf, 0.0)


def share_within(buckets: Buckets, limit: float, *, exact: bool) -> float | None:
    """Return the share of events at or below `limit`; between two edges the straight line, or None where that is not wanted.

    None too while only a part of the events was counted by an edge there: those of gateways from before the target was what it is.
    """
    events = total(buckets)
    if events <= 0:
        return None
    if limit in buckets:
        partly = any(edge < limit and here > buckets[limit] * (1 + DUST) for edge, here in buckets.items())
        return None if partly else min(1.0, buckets[limit] / events)
    if exact:
        return None
    edges = sorted(edge for edge in buckets if math.isfinite(edge))
    below = max((edge for edge in edges if edge < limit), default=None)
    above = min((edge for edge in edges if edge > limit), default=None)
    counted = buckets[below] if below is not None else 0.0
    if above is not None:
        start = below or 0.0
        counted += (buckets[above] - counted) * (limit - start) / (above - start)
    return min(1.0, counted / events)


def quantile(buckets: Buckets, q: float) -> float | None:
    """Return the q-quantile, straight lines between edges; the highest finite edge when it lies beyond."""
    events = total(buckets)
    if events <= 0:
        return None
    rank, lower, counted = q * events, 0.0, 0.0
    for edge in sorted(buckets):
        here = buckets[edge]
        if here >= rank:
            if not math.isfinite(edge):
                return lower
            inside = here - counted
            return edge if inside <= 0 else lower + (edge - lower) * (rank - counted) / inside
        lower, counted = edge, here
    return None


def added(parts: list[Buckets]) -> dict[float, float]:
    """Return the sum of several histograms with the same edges."""
    edges = {edge for part in parts for edge in part}
    return {edge: sum(part.get(edge, 0.0) for part in parts) for edge in edges}
