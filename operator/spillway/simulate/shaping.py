"""Cutting a trace short, and making it heavier or lighter without changing the shape of its days."""

import math

import numpy as np

from spillway.simulate.trace import Trace

SHIFT_S = 61.0  # between superposed copies: long enough that no burst lands on itself, short enough that noon stays noon


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


def copies(trace: Trace, count: int) -> Trace:
    """Return `count` copies of a trace on top of each other, each SHIFT_S later than the one before; what leaves at the end enters at the start.

    Bursts within a minute are spread by it: many users are smoother than few.
    """
    if count == 1 or not trace.requests:
        return trace
    span_s = max(trace.duration_s, np.nextafter(trace.arrival_s[-1], np.inf))
    arrival = np.concatenate([(trace.arrival_s + index * SHIFT_S) % span_s for index in range(count)])
    order = np.argsort(arrival, kind="stable")
    return Trace(
        name=trace.name,
        arrival_s=arrival[order],
        input_tokens=np.tile(trace.input_tokens, count)[order],
        output_tokens=np.tile(trace.output_tokens, count)[order],
        duration_s=trace.duration_s,
    )


def scaled(trace: Trace, factor: float, *, seed: int) -> Trace:
    """Return a trace with `factor` times the requests: copies, of which chance keeps the share that makes it exact."""
    count = max(1, math.ceil(factor - 1e-9))
    whole = copies(trace, count)
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
