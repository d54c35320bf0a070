"""Lazy capacity provisioning: a forecast that has been wrong is not followed beyond what the past proves."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.plan.scaling.lazy import EVERY_S, TELLING, Lazy, clamped, watch
from spillway.plan.scaling.marginal import Terms, entry_prices, realized_gains

MINUTE = 60.0
START_UP = 3  # minutes
TERMS = Terms(kappa=3.0, start_up_s=START_UP * MINUTE, entry_s=START_UP * MINUTE, exit_s=0.0, batch=64, slots=96, most=8)


def watched(loads: Sequence[float], told: Callable[[int], float], *, terms: Terms = TERMS, every_s: float = MINUTE) -> Lazy:
    """Return the state after readings of these loads; `told` gives the forecast made with each."""
    lazy = None
    for index, load in enumerate(loads):
        lazy = watch(
            lazy,
            demand=load,
            forecast=told(index),
            horizon_s=terms.start_up_s,
            now_s=index * every_s,
            terms=terms,
            longest_s=2 * MINUTE,
        )
    assert lazy is not None
    return lazy


def square(minutes: int, half: int = 2 * START_UP) -> list[float]:
    return [4.0 if minute // half % 2 else 0.0 for minute in range(minutes)]


def walk(minutes: int) -> list[float]:
    steps = np.random.default_rng(3).normal(0, 0.15, minutes)
    found = [2.0]
    for step in steps[1:]:
        found.append(min(4.0, max(0.0, found[-1] + step)))
    return found


def sine(minutes: int) -> list[float]:
    return [2 + 2 * math.sin(2 * math.pi * minute / minutes) for minute in range(minutes)]


# When it acts


def test_it_leaves_alone_a_forecast_that_comes_true() -> None:
    loads = square(600)
    lazy = watched(loads, lambda minute: loads[min(599, minute + START_UP)])
    assert not lazy.distrusts
    assert [clamped(lazy, wanted, TERMS) for wanted in (0, 3, 8)] == [0, 3, 8]


def test_it_leaves_alone_a_forecast_that_is_as_good_as_none() -> None:
    loads = walk(600)
    assert not watched(loads, lambda minute: loads[minute]).distrusts


def test_it_holds_a_forecast_that_was_wrong_to_what_the_past_proves() -> None:
    lazy = watched([2.0] * 200, lambda _: 7.0)
    assert lazy.distrusts
    assert [clamped(lazy, wanted, TERMS) for wanted in (0, 2, 7)] == [2, 2, 2]


def test_after_a_clock_that_was_hours_ahead_forecasts_are_judged_at_once() -> None:
    ahead = watched([2.0] * 40, lambda _: 2.0)
    lazy = replace(ahead, at_s=ahead.at_s + 6 * 3600, said=tuple(replace(each, due_s=each.due_s + 6 * 3600) for each in ahead.said))
    for minute in range(80):
        lazy = watch(lazy, demand=2.0, forecast=7.0, horizon_s=180.0, now_s=minute * MINUTE, terms=TERMS, longest_s=2 * MINUTE)
    assert lazy.distrusts


def test_it_waits_until_enough_forecasts_came_due() -> None:
    few = math.floor(TELLING) - 1
    assert not watched([2.0] * few, lambda _: 7.0).distrusts


def test_it_trusts_again_once_forecasts_come_true() -> None:
    loads = square(1200)
    lazy = watched(loads, lambda minute: 4 - loads[min(1199, minute + START_UP)] if minute < 300 else loads[min(1199, minute + START_UP)])
    assert watched(loads[:300], lambda minute: 4 - loads[minute + START_UP]).distrusts
    assert not lazy.distrusts


def test_between_proven_and_disproven_the_forecast_has_its_way() -> None:
    lazy = replace(watched([2.0] * 200, lambda _: 7.0), balances=np.array([180.0, 180.0, 90.0, 10.0, 0.0, 0.0, 0.0, 0.0]))
    assert [clamped(lazy, wanted, TERMS) for wanted in range(7)] == [2, 2, 2, 3, 4, 4, 4]


# Its balances


@given(loads=st.lists(st.floats(min_value=0, max_value=9), min_size=1, max_size=60), every_s=st.floats(min_value=1, max_value=500))
def test_balances_stay_between_nothing_and_the_price_of_a_start(loads: list[float], every_s: float) -> None:
    lazy = watched(loads, lambda _: 1.0, every_s=every_s)
    assert (lazy.balances >= 0).all()
    assert (lazy.balances <= entry_prices(TERMS)).all()
    assert (np.diff(lazy.balances) <= 1e-6).all()


def test_a_balance_gathers_what_a_replica_would_have_saved() -> None:
    lazy = watched([0.0, 0.7], lambda _: 0.7)
    assert lazy.balances[0] == pytest.approx(60 * realized_gains(0.7, TERMS)[0])
    assert lazy.balances[1:].max() == 0


def test_a_reading_stands_for_no_longer_than_it_can() -> None:
    lazy = watched([0.0, 0.4], lambda _: 0.4, every_s=86_400.0)
    assert lazy.balances[0] == pytest.approx(min(180.0, 120 * realized_gains(0.4, TERMS)[0]))


def test_balances_follow_a_count_of_levels_that_changes() -> None:
    lazy = watched([2.0] * 20, lambda _: 2.0)
    for most in (3, 16):
        terms = replace(TERMS, most=most)
        after = watch(lazy, demand=2.0, forecast=2.0, horizon_s=180.0, now_s=21 * MINUTE, terms=terms, longest_s=120.0)
        assert len(after.balances) == most
        assert after.balances[:2] == pytest.approx([180.0, 180.0])


@pytest.mark.parametrize("every_s", [1.0, 15.0, 59.0, 100.0])
def test_no_more_forecasts_wait_than_one_a_minute(every_s: float) -> None:
    lazy = watched([1.0] * 200, lambda _: 1.0, every_s=every_s)
    assert len(lazy.said) <= TERMS.start_up_s / EVERY_S + 2
    assert all(later.due_s - each.due_s >= EVERY_S - 1e-6 for each, later in pairwise(lazy.said))


# What it is for: with forecasts that are upside down the cost stays within a constant of the clairvoyant's


def least_cost(loads: Sequence[float], terms: Terms) -> float:
    """Return the clairvoyant's cost, in replica-seconds: it has each replica ready when it wants it, and pays for its start."""
    gains = np.array([realized_gains(load, terms) for load in loads]) * MINUTE
    owned, not_owned = -entry_prices(terms), np.zeros(terms.most)
    for gain in gains:
        owned, not_owned = np.maximum(owned, not_owned - entry_prices(terms)) + gain, np.maximum(owned, not_owned)
    return all_hosted(loads, terms) - float(np.maximum(owned, not_owned).sum())


def all_hosted(loads: Sequence[float], terms: Terms) -> float:
    return sum(loads) * MINUTE * terms.kappa


def cost(loads: Sequence[float], told: Callable[[int], float], *, held: bool, terms: Terms) -> float:
    """Return the cost of owning what the forecast makes worth it, a start before it comes. `held`: clamped by what the past proves."""
    lazy: Lazy | None = None
    serve_from: list[int] = []  # of each replica, in the order of asking
    saved, starts = 0.0, 0
    for minute, load in enumerate(loads):
        now = minute * MINUTE
        lazy = watch(lazy, demand=load, forecast=told(minute), horizon_s=terms.start_up_s, now_s=now, terms=terms, longest_s=120.0)
        wanted = int(np.logical_and.accumulate(realized_gains(told(minute), terms) > 0).sum())
        wanted = clamped(lazy, wanted, terms) if held else wanted
        starts += max(0, wanted - len(serve_from))
        serve_from = serve_from[:wanted] + [minute + START_UP] * (wanted - len(serve_from))
        serving = sum(1 for each in serve_from if each <= minute)
        saved += float(realized_gains(load, terms)[:serving].sum()) * MINUTE
    return all_hosted(loads, terms) + starts * terms.entry_s - saved


ADVERSE = [
    pytest.param(square(480), replace(TERMS, kappa=2.5), id="a square wave, each half twice the start-up"),
    pytest.param(walk(480), TERMS, id="a random walk"),
    pytest.param(sine(480), TERMS, id="a day"),
]


@pytest.mark.parametrize(("loads", "terms"), ADVERSE)
def test_a_forecast_upside_down_costs_no_more_than_twice_the_least(loads: list[float], terms: Terms) -> None:
    def upside_down(minute: int) -> float:
        return 4 - loads[min(len(loads) - 1, minute + START_UP)]

    bound = 2 * least_cost(loads, terms)
    assert cost(loads, upside_down, held=True, terms=terms) <= bound < cost(loads, upside_down, held=False, terms=terms)


@pytest.mark.parametrize(("loads", "terms"), ADVERSE)
def test_a_forecast_that_comes_true_costs_the_same_with_it(loads: list[float], terms: Terms) -> None:
    def true(minute: int) -> float:
        return loads[min(len(loads) - 1, minute + START_UP)]

    assert cost(loads, true, held=True, terms=terms) == cost(loads, true, held=False, terms=terms)
