"""Made-up traffic. The same seed gives the same traffic."""

from collections.abc import Sequence

import numpy as np

from spillway.simulate.trace import Trace


def poisson(phases: Sequence[tuple[float, float]], *, input_tokens: int, output_tokens: int, seed: int) -> Trace:
    """Return Poisson arrivals over phases of (seconds, requests per second), with exponentially spread answer lengths."""
    chance = np.random.default_rng(seed)
    arrivals, begin = [np.empty(0)], 0.0
    for seconds, rate in phases:
        count = chance.poisson(rate * seconds)
        arrivals.append(begin + np.sort(chance.uniform(0.0, seconds, count)))
        begin += seconds
    arrival_s = np.concatenate(arrivals)
    lengths = np.maximum(1, np.rint(chance.exponential(output_tokens, len(arrival_s)))).astype(np.int64)
    return Trace(
        name="poisson",
        arrival_s=arrival_s,
        input_tokens=np.full(len(arrival_s), input_tokens, dtype=np.int64),
        output_tokens=lengths,
        duration_s=begin,
    )


def superposed(trace: Trace, *, copies: int, seed: int) -> Trace:
    """Return the traffic of several like it at once: the same requests, each copy's arrivals moved by up to two minutes.

    Moves are per request, so that level, day and week stay and only the seconds are drawn anew; what leaves an end enters at the other.
    """
    chance = np.random.default_rng(seed)
    moved = [trace.arrival_s, *(trace.arrival_s + chance.uniform(-120.0, 120.0, trace.requests) for _ in range(copies - 1))]
    arrival_s = np.concatenate(moved) % trace.duration_s
    order = np.argsort(arrival_s, kind="stable")
    return Trace(
        name=f"{trace.name} x{copies}",
        arrival_s=arrival_s[order],
        input_tokens=np.tile(trace.input_tokens, copies)[order],
        output_tokens=np.tile(trace.output_tokens, copies)[order],
        duration_s=trace.duration_s,
    )
