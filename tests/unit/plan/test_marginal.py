"""What each replica is worth: what it carries, and when it is kept, waited for and started."""

import math
import tracemalloc
from dataclasses import replace
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.plan.scaling.marginal import STEPS_PER_REPLICA, Terms, Values, carried, entry_prices, realized_gains, values

SLOT_S = 120.0
TERMS = Terms(kappa=2.5, start_up_s=240.0, entry_s=240.0, exit_s=60.0, batch=64, slots=96, most=8)
NESTING = 0.02  # by which chance makes what replicas carry not concave: few places, many of them to wait in, far more work than replicas

demands = st.integers(min_value=0, max_value=5 * STEPS_PER_REPLICA).map(lambda steps: steps / STEPS_PER_REPLICA)
kappas = st.floats(min_value=0.3, max_value=10)
costs_s = st.floats(min_value=0, max_value=900)


def certain(*loads: float) -> Any:
    """Return a forecast that is sure of these demands, slot by slot."""
    return np.array(loads, dtype=float)[:, None]


def started(found: Values) -> int:
    """Return how many levels are to be started, those that do not serve yet."""
    return int(np.logical_and.accumulate(found.start > 0).sum())


def kept(found: Values) -> int:
    """Return how many levels are to be kept, those that serve."""
    return int(np.logical_and.accumulate(found.keep >= -1e-9).sum())


# What is carried


def turned_away(*, work: float, servers: int, places: int) -> float:
    """Return the share that finds all places taken, from the balance of the states of M/M/c/K."""
    states = [1.0]
    for there in range(1, places + 1):
        states.append(states[-1] * work / min(there, servers))
    return states[-1] / sum(states)


@pytest.mark.parametrize(("batch", "slots"), [(1, 1), (1, 3), (4, 4), (8, 12), (16, 48)])
def test_what_is_carried_is_what_a_queue_with_these_places_does_not_turn_away(batch: int, slots: int) -> None:
    table = carried(batch=batch, slots=slots, most=4)
    for demand, count in product((0.05, 0.5, 1.0, 1.5, 2.0, 3.5, 6.0), (1, 2, 3, 4)):
        lost = turned_away(work=demand * batch, servers=count * batch, places=count * slots)
        assert table[round(demand * STEPS_PER_REPLICA), count] == pytest.approx(min(count, demand * (1 - lost)), abs=1e-9)


@given(
    batch=st.integers(min_value=1, max_value=300), waiting=st.floats(min_value=0, max_value=2), most=st.integers(min_value=1, max_value=9)
)
def test_more_replicas_carry_more_each_less_than_the_one_before(batch: int, waiting: float, most: int) -> None:
    table = carried(batch=batch, slots=batch + int(waiting * batch), most=most)
    offered = np.arange(len(table)) / STEPS_PER_REPLICA
    each = np.diff(table, axis=1)
    assert (each >= -1e-9).all()
    assert (np.diff(table, axis=0) >= -1e-9).all()
    assert (table <= np.minimum(offered[:, None], np.arange(most + 1)) + 1e-9).all()
    assert (np.diff(each, axis=1) <= (NESTING if waiting else 1e-9)).all()


def test_the_larger_the_batch_the_nearer_to_all_that_comes_up_to_what_replicas_can_do() -> None:
    most = 4
    short = []
    for batch in (1, 4, 16, 64):
        table = carried(batch=batch, slots=batch, most=most)
        whole = np.minimum(np.arange(len(table))[:, None] / STEPS_PER_REPLICA, np.arange(most + 1))
        short.append(float((whole - table).max()))
    assert all(fewer < more for more, fewer in pairwise(short))
    assert short[-1] < 0.2


def test_places_to_wait_in_carry_more() -> None:
    without, with_places = carried(batch=8, slots=8, most=3), carried(batch=8, slots=16, most=3)
    assert (with_places >= without - 1e-9).all()
    assert with_places[2 * STEPS_PER_REPLICA, 2] > without[2 * STEPS_PER_REPLICA, 2] + 0.1


@pytest.mark.parametrize("demand", [0.0, 0.4, 70.0, 71.25, 75.0, 400.0])
def test_a_large_fleet_carries_what_comes(demand: float) -> None:
    each = (realized_gains(demand, replace(TERMS, most=80, batch=4, slots=4)) + 1) / TERMS.kappa
    assert each == pytest.approx(np.clip(demand - np.arange(80), 0, 1))


def test_the_largest_fleet_that_is_allowed_takes_little_memory() -> None:
    tracemalloc.start()
    try:
        assert (realized_gains(3.0, replace(TERMS, most=1000)) > 0).sum() == 3
        assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    finally:
        tracemalloc.stop()


# What it is worth


def best(gains: Any, *, on: bool, ahead: int, entry: float, leave: float, worth_s: float = SLOT_S) -> float:
    """Return the most that any way of having the replica in some slots and not in others earns. It ends where the forecast does."""
    found = -math.inf
    for plan in product((False, True), repeat=len(gains)):
        earned, has, idle = 0.0, on, ahead if on else 0  # `idle`: slots since it may have been asked for
        for serves, gain in zip(plan, gains, strict=True):
            if serves and not has:
                earned -= entry if idle >= ahead else math.inf
            if has and not serves:
                earned, idle = earned - leave, 0
            earned += gain * worth_s if serves else 0.0
            idle += not serves
            has = serves
        found = max(found, earned)
    return found


@given(
    loads=st.lists(demands, min_size=4, max_size=8),
    kappa=kappas,
    ahead=st.integers(min_value=1, max_value=3),
    entry_s=costs_s,
    exit_s=costs_s,
    free=st.integers(min_value=0, max_value=2),
    level=st.integers(min_value=1, max_value=3),
)
def test_each_level_is_worth_what_the_best_of_all_plans_for_it_earns(
    loads: list[float], kappa: float, ahead: int, entry_s: float, exit_s: float, free: int, level: int
) -> None:
    terms = replace(TERMS, kappa=kappa, start_up_s=ahead * SLOT_S, entry_s=entry_s, exit_s=exit_s, free=free, most=3)
    found = values(certain(*loads), SLOT_S, terms)
    gains = [float(realized_gains(load, terms)[level - 1]) for load in loads]
    price = 0.0 if level <= free else 1.0
    entry, leave = price * entry_s, price * exit_s

    def on_at(slot: int) -> float:
        """Return the best for one that serves in this slot."""
        return gains[slot] * SLOT_S + best(gains[slot + 1 :], on=True, ahead=ahead, entry=entry, leave=leave)

    off = best(gains, on=False, ahead=ahead, entry=entry, leave=leave)
    later = best(gains[1:], on=False, ahead=ahead, entry=entry, leave=leave)
    assert found.keep[level - 1] == pytest.approx(on_at(0) - (off - leave), abs=1e-6)
    assert found.start[level - 1] == pytest.approx(on_at(ahead) - entry - later, abs=1e-6)
    assert found.pending[1][level - 1] == pytest.approx(on_at(1) - off, abs=1e-6)
    assert found.gain[level - 1] == pytest.approx(gains[ahead])


forecasts = st.lists(st.lists(demands, min_size=3, max_size=3), min_size=6, max_size=20).map(np.array)


@given(samples=forecasts, kappa=kappas, start_up_s=costs_s, entry_s=costs_s)
def test_no_replica_is_started_or_kept_before_the_one_below_it(samples: Any, kappa: float, start_up_s: float, entry_s: float) -> None:
    found = values(samples, SLOT_S, replace(TERMS, kappa=kappa, start_up_s=start_up_s, entry_s=entry_s))
    for yes in (found.keep >= 0, found.start > 0):
        assert not (np.diff(yes.astype(int)) > 0).any()
    assert (np.diff(found.gain) <= 1e-9).all()


@given(samples=forecasts, kappa=kappas, dearer=st.floats(min_value=1, max_value=4), start_up_s=costs_s)
def test_dearer_hosting_never_owns_fewer(samples: Any, kappa: float, dearer: float, start_up_s: float) -> None:
    cheap, dear = (values(samples, SLOT_S, replace(TERMS, kappa=each, start_up_s=start_up_s)) for each in (kappa, dearer * kappa))
    assert kept(dear) >= kept(cheap)
    assert started(dear) >= started(cheap)


@given(samples=forecasts, more=st.floats(min_value=0, max_value=3), kappa=kappas)
def test_more_demand_all_along_never_keeps_fewer(samples: Any, more: float, kappa: float) -> None:
    terms = replace(TERMS, kappa=kappa)
    assert kept(values(samples + more, SLOT_S, terms)) >= kept(values(samples, SLOT_S, terms))


@given(
    load=demands,
    falling=st.floats(min_value=0, max_value=1),
    kappa=kappas,
    start_up_s=st.floats(min_value=0, max_value=900),
    longer_s=st.floats(min_value=0, max_value=900),
)
def test_a_longer_start_never_starts_more_for_a_load_that_does_not_rise(
    load: float, falling: float, kappa: float, start_up_s: float, longer_s: float
) -> None:
    samples = certain(*(load * (1 - falling * slot / 30) for slot in range(30)))
    short, long = (
        values(samples, SLOT_S, replace(TERMS, kappa=kappa, start_up_s=each, entry_s=each)) for each in (start_up_s, start_up_s + longer_s)
    )
    assert started(long) <= started(short)


def test_the_longer_the_start_the_sooner_it_begins_for_a_load_to_come() -> None:
    to_come = certain(*[0.2] * 5, *[3.0] * 40)
    begun = [started(values(to_come, SLOT_S, replace(TERMS, start_up_s=slots * SLOT_S))) for slots in (1, 3, 5)]
    assert begun == [0, 0, 3]


@given(samples=forecasts, kappa=kappas, free=st.integers(min_value=1, max_value=8), exit_s=costs_s)
def test_what_is_paid_for_anyway_is_always_kept(samples: Any, kappa: float, free: int, exit_s: float) -> None:
    found = values(samples, SLOT_S, replace(TERMS, kappa=kappa, free=free, exit_s=exit_s))
    assert (found.keep[:free] >= -1e-9).all()


@given(samples=forecasts, kappa=st.floats(min_value=0.1, max_value=0.99))
def test_where_hosting_is_cheaper_than_a_full_replica_none_is_ever_started(samples: Any, kappa: float) -> None:
    assert started(values(samples, SLOT_S, replace(TERMS, kappa=kappa))) == 0


@pytest.mark.parametrize(
    ("kappa", "level"), [(1.05, 2), (1.25, 2), (2.5, 3), (10.0, 3)], ids=["nearly full", "four fifths full", "two fifths", "a tenth"]
)
def test_a_steady_load_owns_each_replica_that_is_used_for_more_than_one_over_kappa(kappa: float, level: int) -> None:
    terms = replace(TERMS, kappa=kappa, batch=64, slots=192, start_up_s=0.0, entry_s=0.0, exit_s=0.0)
    steady = certain(*[2.45] * 60)
    assert started(values(steady, SLOT_S, terms)) == level


def test_a_start_must_pay_for_itself_within_the_forecast() -> None:
    terms = replace(TERMS, kappa=3.0, batch=64, slots=128, start_up_s=240.0, entry_s=240.0)
    brief, long = certain(*[2.0] * 3, *[0.0] * 40), certain(*[2.0] * 20, *[0.0] * 40)
    assert (started(values(brief, SLOT_S, terms)), started(values(long, SLOT_S, terms))) == (0, 2)


def test_costs_of_coming_and_going_hold_what_there_is() -> None:
    terms = replace(TERMS, kappa=2.0, entry_s=600.0, exit_s=600.0, start_up_s=240.0)
    lull = certain(*[0.0] * 3, *[1.5] * 40)
    night = certain(*[0.0] * 40)
    assert values(lull, SLOT_S, terms).keep[0] > 0
    assert values(night, SLOT_S, terms).keep[0] < 0
    dithering = certain(*[0.51] * 20)  # at the break-even: not worth a start, nor worth an end
    found = values(dithering, SLOT_S, terms)
    assert found.start[0] <= 0 <= found.keep[0]


def test_a_start_that_is_nearly_done_is_waited_for_where_a_new_one_would_not_be_begun() -> None:
    terms = replace(TERMS, kappa=2.5, start_up_s=600.0, entry_s=600.0)
    found = values(certain(*[1.0] * 8, *[0.0] * 40), SLOT_S, terms)
    assert found.start[0] <= 0
    assert found.pending[1][0] - SLOT_S > 0 > found.pending[5][0] - 5 * SLOT_S


@given(load=demands, kappa=kappas)
def test_what_a_demand_saves_is_what_a_forecast_of_it_does(load: float, kappa: float) -> None:
    terms = replace(TERMS, kappa=kappa)
    assert values(certain(*[load] * 10), SLOT_S, terms).gain == pytest.approx(realized_gains(load, terms))


@given(samples=forecasts, kappa=kappas)
def test_a_wider_forecast_weighs_each_of_its_demands_alike(samples: Any, kappa: float) -> None:
    terms = replace(TERMS, kappa=kappa)
    apart = [values(samples[:, [column]], SLOT_S, terms).gain for column in range(samples.shape[1])]
    assert values(samples, SLOT_S, terms).gain == pytest.approx(np.mean(apart, axis=0))


def test_prices_of_a_start_are_of_those_that_are_not_paid_for() -> None:
    terms = replace(TERMS, free=2, most=4)
    assert entry_prices(terms).tolist() == [0.0, 0.0, 300.0, 300.0]


def test_a_forecast_beyond_the_table_counts_as_its_end() -> None:
    found = values(certain(*[1e6] * 10), SLOT_S, TERMS)
    assert found.gain == pytest.approx(np.full(8, TERMS.kappa - 1), abs=0.01)
