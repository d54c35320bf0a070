"""What is seen of the traffic: a mean and a peak that follow it, and forget."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.plan.place.placed import ObservedLoad
from spillway.plan.traffic.lengths import declared_lengths
from spillway.plan.traffic.load import declared_load
from spillway.plan.traffic.observed_load import as_declared, observe_load
from tests.unit.plan.situations import MISSING, NOW, signals, spec

DAY, TICK, GAP = timedelta(hours=24), timedelta(seconds=15), timedelta(seconds=60)
RATES = st.floats(0.0, 1e4)


def watched(rates: Sequence[Any], *, every: timedelta = TICK, over: timedelta = DAY, **read: Any) -> ObservedLoad:
    load, now = None, NOW
    for rate in rates:
        load = observe_load(load, signals(arrivals_per_s=rate, **read), now, over=over, gap=GAP)
        now += every
    assert load is not None
    return load


def test_until_the_time_is_full_the_mean_is_that_of_all_readings_but_the_first() -> None:
    assert watched([9.0, 1.0, 2.0, 3.0]).mean_per_s == pytest.approx(2.0)


def test_afterwards_what_is_long_ago_fades() -> None:
    recent = watched([10.0] * 5 + [1.0] * 400, over=timedelta(minutes=10))
    assert recent.mean_per_s == pytest.approx(1.0, abs=0.01)
    assert recent.peak_per_s == pytest.approx(1.0, abs=0.01)
    assert recent.watched_s == 600


def test_a_peak_is_remembered_for_a_while() -> None:
    assert watched([1.0, 50.0, *[1.0] * 40]).peak_per_s > 45


def test_a_missing_rate_changes_nothing() -> None:
    load = watched([1.0, 2.0])
    assert observe_load(load, signals(arrivals_per_s=MISSING), NOW + DAY, over=DAY, gap=GAP) == load
    assert observe_load(None, signals(arrivals_per_s=MISSING), NOW, over=DAY, gap=GAP) is None


def test_lengths_follow_the_requests_that_had_them_once_there_are_any() -> None:
    load: ObservedLoad | None = watched([0.0])
    now = NOW
    lengths = []
    for tokens in (1000.0, 2000.0, MISSING):
        now += TICK
        load = observe_load(load, signals(arrivals_per_s=1.0, input_tokens_mean=tokens, output_tokens_mean=tokens), now, over=DAY, gap=GAP)
        assert load is not None
        lengths.append((load.input_tokens, load.output_tokens))
    assert lengths == [(1000.0, 1000.0), (1500.0, 1500.0), (1500.0, 1500.0)]


def test_time_that_nobody_watched_counts_for_no_more_than_a_gap() -> None:
    assert watched([1.0, 1.0], every=timedelta(hours=5)).watched_s == GAP.total_seconds()


def test_a_clock_that_was_ahead_does_not_stop_the_watch() -> None:
    load = watched([1.0, 1.0])
    back = observe_load(load, signals(arrivals_per_s=9.0), NOW - DAY, over=DAY, gap=GAP)
    again = observe_load(back, signals(arrivals_per_s=9.0), NOW - DAY + TICK, over=DAY, gap=GAP)
    assert again is not None
    assert (again.watched_s, again.mean_per_s) == (2 * TICK.total_seconds(), 5.0)


def test_lengths_are_weighed_by_requests_and_kept_while_there_are_none() -> None:
    load = watched([5.0] * 10, input_tokens_mean=800.0, output_tokens_mean=100.0)
    quiet = observe_load(load, signals(arrivals_per_s=0.0), load.at + TICK, over=DAY, gap=GAP)
    assert quiet is not None
    assert quiet.input_tokens == pytest.approx(800.0)
    assert quiet.output_tokens == pytest.approx(100.0)


@given(rates=st.lists(RATES, min_size=1, max_size=50))
def test_the_mean_lies_between_the_readings_and_the_peak_not_below_the_mean(rates: list[float]) -> None:
    load = watched(rates)
    assert min(rates) - 1e-6 <= load.mean_per_s <= max(rates) + 1e-6
    assert load.mean_per_s <= load.peak_per_s <= max(rates) + 1e-6


# The spec that would have declared it


TRAFFIC = {
    "requestsPerSecond": {"mean": "2", "peak": "6"},
    "inputTokens": {"mean": 1000, "p95": 3000},
    "outputTokens": {"mean": 200},
    "pattern": "Bursty",
}


def declared(**seen: Any) -> Any:
    plain: dict[str, Any] = {"mean_per_s": 1.0, "peak_per_s": 1.0, "input_tokens": 500.0, "output_tokens": 50.0, "at": NOW}
    return as_declared(spec(traffic=TRAFFIC), ObservedLoad(**(plain | seen)))


def test_the_declared_peak_stays_as_so_many_times_the_mean() -> None:
    load = declared_load(declared())
    assert load is not None
    assert (load.mean_per_s, load.peak_per_s, load.pattern) == (1.0, 3.0, "Bursty")


def test_a_higher_peak_that_was_seen_counts() -> None:
    load = declared_load(declared(peak_per_s=9.5))
    assert load is not None
    assert load.peak_per_s == 9.5


def test_a_wide_spread_declared_of_short_prompts_does_not_stop_the_plan_once_they_are_long() -> None:
    traffic = TRAFFIC | {"inputTokens": {"mean": 10, "p95": 10_000}}
    found = as_declared(spec(traffic=traffic), ObservedLoad(mean_per_s=1.0, peak_per_s=1.0, input_tokens=30_000.0, at=NOW))
    assert declared_lengths(found).input_mean == 30_000
    assert declared_lengths(found).input_p95 == 10**7


def test_lengths_keep_their_declared_spread() -> None:
    lengths = declared_lengths(declared())
    assert (lengths.input_mean, lengths.input_p95, lengths.output_mean) == (500, 1500, 50)


def test_where_no_lengths_were_seen_the_declared_ones_count() -> None:
    lengths = declared_lengths(declared(input_tokens=None, output_tokens=None))
    assert (lengths.input_mean, lengths.output_mean) == (1000, 200)


def test_no_traffic_at_all_is_traffic_that_was_seen() -> None:
    load = declared_load(declared(mean_per_s=0.0, peak_per_s=0.0))
    assert load is not None
    assert (load.mean_per_s, load.peak_per_s) == (0.0, 0.0)
