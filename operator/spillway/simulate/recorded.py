"""A trace from what Prometheus has of a workload: requests per minute and mean lengths, turned into single requests again by chance.

Within a minute arrivals are those of a Poisson process of which only the count is known: spread evenly at random. Lengths are lognormal
around the minute's means. What that loses is told in LOST.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spillway.plan.traffic.lengths import Lengths, length_spread
from spillway.simulate.reading import Reading, TraceError
from spillway.simulate.trace import MINUTE_S, Floats, Trace, Whole

Flags = NDArray[np.bool_]
LOST = (
    "Prometheus has counts, not requests: bursts within a minute, the true spread of lengths, which long prompt had which answer, and "
    "sessions are lost. Arrivals are spread at random within the minute in which they ended, lengths are drawn around the minute's means."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A workload's traffic by minute. All arrays have one entry per minute; NaN where nothing was recorded."""

    requests: Floats  # that arrived; 0 where there were none
    input_tokens_mean: Floats  # NaN also where no request was metered
    output_tokens_mean: Floats


def recorded_trace(history: History, *, name: str, spread: Lengths, seed: int) -> Reading:
    """Return a trace like the recorded traffic; the same seed gives the same. `spread` says how unlike lengths are, by p95 over mean.

    Minutes without a recording stay empty and are told. Raises TraceError where there is no request in it.
    """
    chance = np.random.default_rng(seed)
    known = np.isfinite(history.requests)
    counts = np.floor(np.where(known, history.requests, 0.0) + chance.random(len(history.requests))).astype(np.int64)
    if not counts.sum():
        raise TraceError(f"no request of {name} was recorded in that time; give an earlier --since, or another workload")
    minutes = np.repeat(np.arange(len(counts)), counts)
    arrival = np.sort((minutes + chance.random(len(minutes))) * MINUTE_S)
    inputs, in_filled = _filled(history.input_tokens_mean, counts, name)
    outputs, out_filled = _filled(history.output_tokens_mean, counts, name)
    output_p95 = spread.output_p95 or spread.output_mean * spread.input_p95 / spread.input_mean
    return Reading(
        trace=Trace(
            name=name,
            arrival_s=arrival,
            input_tokens=_lengths(inputs[minutes], length_spread(spread.input_mean, spread.input_p95), chance),
            output_tokens=_lengths(outputs[minutes], length_spread(spread.output_mean, output_p95), chance),
            duration_s=len(counts) * MINUTE_S,
        ),
        remarks=(LOST, *_gaps(known), *_estimated(in_filled | out_filled)),
    )


def _lengths(means: Floats, sigma: float, chance: np.random.Generator) -> Whole:
    """Draw whole lengths of at least 1 from lognormals with these means."""
    drawn = means * np.exp(sigma * chance.standard_normal(len(means)) - sigma * sigma / 2)
    return np.maximum(1, np.rint(drawn)).astype(np.int64)


def _filled(means: Floats, counts: Whole, name: str) -> tuple[Floats, Flags]:
    """Return means with the whole time's where a minute has requests and none, and which minutes those are."""
    known = np.isfinite(means) & (means > 0)
    if not known.any():
        raise TraceError(f"no tokens of {name} were metered in that time, so lengths are not known; give an earlier --since")
    weights = np.maximum(counts[known], 1)
    overall = float(np.average(means[known], weights=weights))
    return np.where(known, means, overall), ~known & (counts > 0)


def _gaps(known: Flags) -> tuple[str, ...]:
    missing = int((~known).sum())
    if not missing:
        return ()
    edges = np.diff(np.concatenate([[0], (~known).astype(np.int64), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    longest = int((ends - starts).max())
    gaps = "1 gap" if len(starts) == 1 else f"{len(starts)} gaps"
    told = (
        f"{_minutes(missing)} of {_minutes(len(known))} have no recording, in {gaps} (the longest {_minutes(longest)}): they are left "
        "empty, so traffic and cost are lower than they were."
    )
    return (told,)


def _estimated(filled: Flags) -> tuple[str, ...]:
    count = int(filled.sum())
    return (f"{_minutes(count)} had requests and no metered tokens: lengths there are those of the whole time.",) if count else ()


def _minutes(count: int) -> str:
    return "1 minute" if count == 1 else f"{count:,} minutes" if count < 120 else f"{math.floor(count / 6) / 10:,.1f} hours"  # noqa: PLR2004
