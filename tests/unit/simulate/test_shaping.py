"""Shorter, heavier and lighter traces."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.simulate.arrivals import poisson
from spillway.simulate.shaping import first_days, scaled, that_fit
from spillway.simulate.trace import Trace

TRACE = poisson([(86_400.0, 0.02), (86_400.0, 0.005)], input_tokens=100, output_tokens=50, seed=3)


def test_the_first_day_has_its_requests_and_its_duration() -> None:
    day = first_days(TRACE, 1)
    assert day.duration_s == 86_400
    assert day.requests == int((TRACE.arrival_s < 86_400).sum())
    assert day.arrival_s.tolist() == TRACE.arrival_s[: day.requests].tolist()


def test_more_days_than_there_are_change_nothing() -> None:
    assert first_days(TRACE, 9) is TRACE


@given(factor=st.floats(0.05, 6), seed=st.integers(0, 5))
def test_a_scaled_trace_is_in_order_and_has_the_requests_the_lengths_and_the_days_of_the_first(factor: float, seed: int) -> None:
    found = scaled(TRACE, factor, seed=seed)
    assert found.duration_s == TRACE.duration_s
    assert np.all(np.diff(found.arrival_s) >= 0)
    assert 0 <= found.arrival_s[0] <= found.arrival_s[-1] <= TRACE.duration_s
    wanted = TRACE.requests * factor
    assert found.requests == pytest.approx(wanted, abs=6 * np.sqrt(wanted) + 1)
    assert set(found.output_tokens) <= set(TRACE.output_tokens)
    first = (found.arrival_s < 86_400).sum() / found.requests
    assert first == pytest.approx((TRACE.arrival_s < 86_400).sum() / TRACE.requests, abs=0.15)


def test_scaling_by_one_changes_nothing_and_the_same_seed_scales_alike() -> None:
    assert scaled(TRACE, 1.0, seed=1).arrival_s.tolist() == TRACE.arrival_s.tolist()
    assert scaled(TRACE, 2.5, seed=1).arrival_s.tolist() == scaled(TRACE, 2.5, seed=1).arrival_s.tolist()
    assert scaled(TRACE, 2.5, seed=1).arrival_s.tolist() != scaled(TRACE, 2.5, seed=2).arrival_s.tolist()


def test_requests_longer_than_the_context_are_left_out_and_counted() -> None:
    trace = Trace(
        name="t",
        arrival_s=np.array([0.0, 1.0, 2.0]),
        input_tokens=np.array([10, 90, 50]),
        output_tokens=np.array([10, 11, 50]),
        duration_s=5.0,
    )
    found, longer = that_fit(trace, 100)
    assert (found.arrival_s.tolist(), longer, found.duration_s) == ([0.0, 2.0], 1, 5.0)
    assert that_fit(trace, 101) == (trace, 0)
