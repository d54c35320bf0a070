"""Cutting a trace short, and making it heavier or lighter without changing the shape of its days."""

import math

import numpy as np

from spillway.simulate.arrivals import superposed
from spillway.simulate.trace import Trace


def first_days(trace: Trace, days: float) -> Trace:
    """Return the part of a trace up to `days` from its start; the trace itself where it is no longer."""
    end_s = days * 86_400
    if trace.duration_s <= end_s:
        return trace
    kept = int(np.searchsorted(trace.arrival_s, end_s, side="left"))
    return Trace(
        name=trace.name,
        arrival_s=trace.arrival_s[:kept],
        input_tokens=trace.input_tokens[:kept],
        output_tokens=trace.output_tokens[:kept],
        duration_s=end_s,
    )


def scaled(trace: Trace, factor: float, *, seed: int) -> Trace:
    """Return a trace with `factor` times the requests: copies superposed, of which chance keeps the share that makes it exact."""
    count = max(1, math.ceil(factor - 1e-9))
    whole = superposed(trace, copies=count, seed=seed) if count > 1 else trace
    share = factor / count
    if share >= 1:
        return whole
    kept = np.random.default_rng(seed).random(whole.requests) < share
    return Trace(
        name=trace.name,
        arrival_s=whole.arrival_s[kept],
        input_tokens=whole.input_tokens[kept],
        output_tokens=whole.output_tokens[kept],
        duration_s=trace.duration_s,
    )


def that_fit(trace: Trace, most_tokens: int) -> tuple[Trace, int]:
    """Return the requests whose prompt and answer together are no longer than that, and how many are longer."""
    fits = trace.input_tokens + trace.output_tokens <= most_tokens
    longer = int((~fits).sum())
    if not longer:
        return trace, 0
    return (
        Trace(
            name=trace.name,
            arrival_s=trace.arrival_s[fits],
            input_tokens=trace.input_tokens[fits],
            output_tokens=trace.output_tokens[fits],
            duration_s=trace.duration_s,
        ),
        longer,
    )
