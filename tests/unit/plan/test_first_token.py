"""The wait for the first token: prompts for prompts, requests for a place and for room in the cache."""

import math
import random
import statistics
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.plan.replica.first_token import Delay, FirstToken, Prompts, erlang_c, first_token
from spillway.plan.traffic.lengths import Lengths, length_slices

STEP_MS = 20.0
MIXED = ((0.7, 10.0), (0.25, 60.0), (0.05, 400.0))  # mean 42 ms


def prompts(rate: float = 0.01, works: tuple[tuple[float, float], ...] = MIXED) -> Prompts:
    return Prompts.of(works, step_ms=STEP_MS, requests_per_ms=rate)


def at_load(load: Prompts, **changes: Any) -> FirstToken:
    asked = {
        "least_ms": 35.0,
        "running": 40.0,
        "places": 100,
        "cache_places": math.inf,
        "context_variety": 0.5,
        "elasticity": 0.5,
        "most_per_ms": 0.02,
    }
    found = first_token(load, **(asked | changes))
    assert found is not None
    return found


def gated(rate: float, *, requests: int, seed: int = 1) -> list[float]:
    """Return the waits of an engine that reads in each step all that came in the one before it, their own prompts left out."""
    chance = random.Random(seed)
    shares, works = zip(*MIXED, strict=True)
    waits: list[float] = []
    begin, arrival = 0.0, chance.expovariate(rate)
    came: list[tuple[float, float]] = []
    while len(waits) < requests:
        end = begin + STEP_MS + sum(work for _, work in came)
        waits += [end - at - STEP_MS - work for at, work in came]
        came = []
        while arrival < end:
            came.append((arrival, chance.choices(works, shares)[0]))
            arrival += chance.expovariate(rate)
        begin = end
    return waits


@pytest.mark.parametrize(("rate", "requests"), [(0.002, 10_000), (0.01, 60_000), (0.018, 100_000)])
def test_the_wait_for_prompts_is_that_of_an_engine_that_reads_what_came_during_the_last_step(rate: float, requests: int) -> None:
    seen = gated(rate, requests=requests)
    mean, square = prompts(rate).wait(running=100.0)
    assert mean == pytest.approx(statistics.fmean(seen), rel=0.05)
    assert square == pytest.approx(statistics.fmean(each * each for each in seen), rel=0.15)


def test_without_other_prompts_a_first_token_waits_for_half_a_step_and_in_an_idle_replica_for_nothing() -> None:
    busy, idle = (prompts(1e-9).wait(running)[0] for running in (100.0, 0.0))
    assert busy == pytest.approx(STEP_MS / 2, rel=1e-3)
    assert idle == 0


def test_one_long_prompt_in_twenty_delays_who_is_late_more_than_its_share_of_the_mean() -> None:
    alike = prompts(works=((1.0, 42.0),))
    assert at_load(prompts()).at(0.01) > 2 * at_load(alike).at(0.01)
    assert prompts().utilisation == pytest.approx(alike.utilisation)


def test_nobody_has_a_first_token_sooner_than_a_step_and_the_percentiles_are_in_order() -> None:
    found = at_load(prompts())
    assert found.late_share(35.0) == 1
    assert all(sooner <= later for sooner, later in pairwise(found.at(share) for share in (0.5, 0.1, 0.01, 0.001)))


@pytest.mark.parametrize("share", [0.5, 0.05, 0.01, 0.001])
def test_that_share_is_later_than_the_time_that_is_told(share: float) -> None:
    found = at_load(prompts())
    assert found.late_share(found.at(share)) == pytest.approx(share, rel=0.03)


def test_waits_have_no_end_where_batch_cache_prompts_or_pace_are_full() -> None:
    full: list[dict[str, Any]] = [{"running": 100.0}, {"cache_places": 40.0}, {"most_per_ms": 0.01}]
    for each in full:
        asked = {"places": 100, "cache_places": math.inf, "running": 40.0, "most_per_ms": 0.02} | each
        assert first_token(prompts(), least_ms=35.0, context_variety=0.5, elasticity=0.5, **asked) is None
    overrun = prompts(1 / 42)
    assert overrun.utilisation >= 1
    rest: dict[str, Any] = {"running": 1.0, "places": 9, "cache_places": 9.0, "context_variety": 0.0, "elasticity": 1.0, "most_per_ms": 1.0}
    assert first_token(overrun, least_ms=35.0, **rest) is None


def test_a_cache_that_fills_keeps_requests_waiting_and_the_more_they_differ_the_more() -> None:
    roomy, tight, varied = (
        at_load(prompts(), cache_places=room, context_variety=variety) for room, variety in ((math.inf, 0.5), (60.0, 0.5), (60.0, 4.0))
    )
    assert roomy.at(0.01) < tight.at(0.01) < varied.at(0.01)


def test_prompts_make_the_batch_swing_more_than_arrivals_alone() -> None:
    assert prompts(1e-9).swing == pytest.approx(1.0)
    assert 1.5 < prompts(0.4 / 42, works=((1.0, 42.0),)).swing < prompts(0.4 / 42).swing


@given(places=st.floats(0.1, 300), used=st.floats(0, 0.999))
def test_the_share_that_waits_is_that_of_the_recursion_place_by_place(places: float, used: float) -> None:
    load, whole = places * used, int(places)
    blocked = (load / (1 + load)) ** (places - whole)
    for place in range(1, whole + 1):
        blocked = load * blocked / (places - whole + place + load * blocked)
    assert erlang_c(places, load) == pytest.approx(blocked / (1 - used * (1 - blocked)), rel=1e-9, abs=1e-200)


def test_places_that_are_no_whole_number_lie_between_those_that_are() -> None:
    shares = [erlang_c(places / 10, 2.5) for places in range(30, 61)]
    assert all(later < sooner for sooner, later in pairwise(shares))


def test_a_delay_that_never_varies_is_over_when_it_is_over() -> None:
    exact, none = Delay(mean=10.0, square=100.0), Delay(mean=0.0, square=0.0)
    works = ((0.75, 0.0), (0.25, 5.0))
    assert [exact.late_share(within, works) for within in (9.9, 10.1, 15.1)] == [1, 0.25, 0]
    assert none.late_share(1e-9, ((1.0, 0.0),)) == 0


def test_slices_of_lengths_stand_for_all_of_them() -> None:
    lengths = Lengths(input_mean=1000, input_p95=3000, output_mean=1)
    slices = length_slices(mean=1000, p95=3000, longest=None)
    assert sum(share for share, _ in slices) == pytest.approx(1)
    assert sum(share * tokens for share, tokens in slices) == pytest.approx(lengths.input_mean, rel=0.02)
    assert max(tokens for _, tokens in length_slices(mean=1000, p95=3000, longest=4096)) == 4096
    assert length_slices(mean=1000, p95=1000, longest=None) == ((1.0, 1000),)


def test_long_answers_count_for_the_time_they_stay() -> None:
    alike = Lengths(input_mean=200, input_p95=400, output_mean=400)
    assert alike.context_mean == 400
    assert replace(alike, output_p95=400.0).context_mean == 400
    assert replace(alike, output_p95=1200.0).context_mean == pytest.approx(200 + 200 * 2.38, rel=0.01)


@given(
    rate=st.floats(min_value=1e-5, max_value=0.02),
    less=st.floats(min_value=0.05, max_value=1.0),
    running=st.floats(min_value=0.01, max_value=90.0),
    within=st.floats(min_value=36.0, max_value=20_000.0),
)
def test_less_load_makes_no_first_token_later(rate: float, less: float, running: float, within: float) -> None:
    heavy, light = (at_load(prompts(rate * share), running=running * share, most_per_ms=0.03) for share in (1.0, less))
    assert light.late_share(within) <= heavy.late_share(within) + 0.01
