"""The oracle against every integer plan there is, and what must hold of any optimum."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.simulate.bound import lower_bound_usd
from spillway.simulate.demand import demand_of
from spillway.simulate.knapsack import savings_of
from spillway.simulate.oracle import OraclePlan, Terms, solve, without_overflow
from spillway.simulate.trace import Floats, Trace
from tests.unit.simulate.sights import seen

SLOT_S = 10.0
SLOTS = 6
OWN_USD_PER_S = 0.001


def trace_of(arrival_s: list[float], *, slots: int = SLOTS) -> Trace:
    tokens = np.ones(len(arrival_s), dtype=np.int64)
    return Trace(
        name="made",
        arrival_s=np.sort(np.array(arrival_s, dtype=np.float64)),
        input_tokens=tokens,
        output_tokens=tokens,
        duration_s=slots * SLOT_S,
    )


def terms(start_up_slots: float = 0.0, **values: float) -> Terms:
    return Terms(own_usd_per_s=OWN_USD_PER_S, start_up_s=start_up_slots * SLOT_S, **values)  # type: ignore[arg-type]


def rented_usd(work_s: Floats, usd: Floats, room_s: float) -> float:
    """Rent what does not fit, cheapest per unit of own work first, one request after the other."""
    excess = float(work_s.sum()) - room_s
    total = 0.0
    for work, price in sorted(zip(work_s, usd, strict=True), key=lambda each: each[1] / each[0]):
        if excess <= 0:
            break
        share = min(1.0, excess / work)
        total += share * price
        excess -= share * work
    return total


def cheapest_of_all(trace: Trace, work_s: Floats, usd: Floats, at: Terms, most: int) -> float:
    """Try every sequence of counts."""
    slot = np.minimum(trace.arrival_s // SLOT_S, SLOTS - 1)
    rented = [[rented_usd(work_s[slot == s], usd[slot == s], n * at.room_s(SLOT_S)) for n in range(most + 1)] for s in range(SLOTS)]
    counts = np.array(list(itertools.product(range(most + 1), repeat=SLOTS)))
    starts = np.maximum(np.diff(counts, axis=1, prepend=at.warm_replicas), 0).sum(axis=1)
    own = at.own_usd_per_s * (SLOT_S * counts.sum(axis=1) + at.start_up_s * starts)
    return float((own + np.array(rented)[np.arange(SLOTS), counts].sum(axis=1)).min())


@st.composite
def instances(draw: st.DrawFn) -> tuple[Trace, Floats, Floats]:
    requests = draw(st.integers(1, 24))
    arrivals = draw(st.lists(st.floats(0, SLOTS * SLOT_S - 1e-6), min_size=requests, max_size=requests))
    work = draw(st.lists(st.floats(0.5, 15), min_size=requests, max_size=requests))
    kappa = draw(st.lists(st.floats(0, 8), min_size=requests, max_size=requests))
    work_s = np.array(work)
    return trace_of(arrivals), work_s, work_s * np.array(kappa) * OWN_USD_PER_S


def cost(instance: tuple[Trace, Floats, Floats], at: Terms) -> OraclePlan:
    trace, work_s, usd = instance
    return solve(savings_of(trace, work_s, usd, SLOT_S), at)


@given(instances(), st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.integers(0, 2), st.sampled_from([1.0, 0.8]), st.sampled_from([0.0, 2.0]))
def test_no_sequence_of_replicas_is_cheaper_than_the_oracles_and_it_costs_what_it_says(
    instance: tuple[Trace, Floats, Floats], start_up_slots: float, warm: int, headroom: float, slack_s: float
) -> None:
    at = terms(start_up_slots, max_replicas=3, warm_replicas=warm, headroom=headroom, slack_s=slack_s)
    assert cost(instance, at).cost_usd == pytest.approx(cheapest_of_all(*instance, at, most=3), abs=1e-9)


@given(instances(), st.floats(1, 4))
def test_dearer_hosting_is_never_cheaper(instance: tuple[Trace, Floats, Floats], factor: float) -> None:
    trace, work_s, usd = instance
    assert cost((trace, work_s, usd * factor), terms(1)).cost_usd >= cost(instance, terms(1)).cost_usd - 1e-9


@given(instances(), st.floats(0, 3), st.floats(0, 3))
def test_a_longer_start_up_is_never_cheaper(instance: tuple[Trace, Floats, Floats], one: float, other: float) -> None:
    short, long = sorted((one, other))
    assert cost(instance, terms(long)).cost_usd >= cost(instance, terms(short)).cost_usd - 1e-9


@given(instances(), st.integers(1, 23))
def test_more_requests_are_never_cheaper(instance: tuple[Trace, Floats, Floats], kept: int) -> None:
    trace, work_s, usd = instance
    fewer = Trace(
        name=trace.name,
        arrival_s=trace.arrival_s[:kept],
        input_tokens=trace.input_tokens[:kept],
        output_tokens=trace.output_tokens[:kept],
        duration_s=trace.duration_s,
    )
    assert cost((fewer, work_s[:kept], usd[:kept]), terms(1)).cost_usd <= cost(instance, terms(1)).cost_usd + 1e-9


@given(instances(), st.floats(0, 5))
def test_slack_is_never_dearer(instance: tuple[Trace, Floats, Floats], slack_s: float) -> None:
    assert cost(instance, terms(1, slack_s=slack_s)).cost_usd <= cost(instance, terms(1)).cost_usd + 1e-9


@given(instances(), st.sampled_from([0.0, 0.5, 1.0, 3.0]), st.integers(0, 2))
def test_the_bound_holds_for_plans_that_change_inside_of_its_slots(
    instance: tuple[Trace, Floats, Floats], start_up_slots: float, warm: int
) -> None:
    at = terms(start_up_slots, warm_replicas=warm)
    finer = solve(savings_of(*instance, SLOT_S / 4), at)
    assert lower_bound_usd(*instance, at, residences_s=(None,), slot_lengths_s=(SLOT_S,)) <= finer.cost_usd + 1e-9


def test_the_bound_lets_a_warm_replica_go_inside_of_a_slot() -> None:
    instance = (trace_of([0.0]), np.array([1.0]), np.array([0.003]))
    at = terms(3, warm_replicas=1)
    finer = solve(savings_of(*instance, SLOT_S / 4), at)
    assert finer.own_usd == pytest.approx(SLOT_S / 4 * OWN_USD_PER_S)
    assert lower_bound_usd(*instance, at, residences_s=(None,), slot_lengths_s=(SLOT_S,)) <= finer.cost_usd + 1e-9


@given(instances())
def test_the_bound_takes_the_cheaper_pace(instance: tuple[Trace, Floats, Floats]) -> None:
    slow = np.linspace(0, 20, instance[0].requests)
    apart = [lower_bound_usd(*instance, terms(1), residences_s=(each,)) for each in (None, slow)]
    assert lower_bound_usd(*instance, terms(1), residences_s=(None, slow)) == pytest.approx(min(apart))


@pytest.mark.parametrize("seed", range(4))
def test_the_bound_with_slack_holds_for_who_delays_every_request_as_much_as_is_allowed(seed: int) -> None:
    chance = np.random.default_rng(seed)
    slots, requests, slack_s = 120, 1500, 3.0
    bursts = chance.uniform(0, slots * SLOT_S - slack_s - 1, 300)
    trace = trace_of(list(chance.choice(bursts, requests)), slots=slots)
    work_s = chance.exponential(2.0, requests)
    usd = work_s * chance.uniform(0.5, 5, requests) * OWN_USD_PER_S
    at = terms(3, slack_s=slack_s)
    bound = lower_bound_usd(trace, work_s, usd, at, residences_s=(None,), slot_lengths_s=(SLOT_S, 2 * SLOT_S))
    for delay_s in (np.zeros(requests), np.full(requests, slack_s), slack_s - trace.arrival_s % slack_s):
        delayed = replace(trace, arrival_s=trace.arrival_s + delay_s)
        finer = solve(savings_of(delayed, work_s, usd, 1.0), replace(at, slack_s=0.0))
        assert bound <= finer.cost_usd


@given(instances(), st.lists(st.floats(0, 25), min_size=24, max_size=24))
def test_spreading_work_over_its_residence_keeps_its_sum(instance: tuple[Trace, Floats, Floats], residence: list[float]) -> None:
    trace, work_s, usd = instance
    spread = savings_of(trace, work_s, usd, SLOT_S, residence_s=np.array(residence[: trace.requests]))
    assert spread.slot_work_s.sum() == pytest.approx(work_s.sum())
    assert spread.usd[spread.edges[-1]] - spread.usd[spread.edges[0]] == pytest.approx(usd.sum())


def test_a_request_in_two_slots_splits_by_the_time_in_each() -> None:
    spread = savings_of(trace_of([8.0]), np.array([4.0]), np.array([1.0]), SLOT_S, residence_s=np.array([8.0]))
    assert spread.slot_work_s == pytest.approx([1.0, 3.0])


def test_rents_everything_where_hosting_is_cheaper_than_a_full_replica() -> None:
    arrivals = [s * SLOT_S + i for s in range(SLOTS) for i in range(10)]
    work_s = np.full(60, 1.0)
    plan = cost((trace_of(arrivals), work_s, work_s * 0.8 * OWN_USD_PER_S), terms(1))
    assert plan.counts.tolist() == [0] * SLOTS
    assert plan.hosted_usd == pytest.approx(60 * 0.8 * OWN_USD_PER_S)
    assert plan.spilled_share == pytest.approx(1.0)


def test_keeps_what_is_dear_to_rent_and_rents_the_rest() -> None:
    # One slot, 20 replica-seconds, half of them at ten times the price: one replica, for the dear half.
    work_s = np.full(20, 1.0)
    usd = np.where(np.arange(20) % 2, 20.0, 0.5) * OWN_USD_PER_S
    plan = cost((trace_of([0.1 * i for i in range(20)]), work_s, usd), terms(0))
    assert plan.counts.tolist() == [1] + [0] * (SLOTS - 1)
    assert plan.hosted_usd == pytest.approx(10 * 0.5 * OWN_USD_PER_S)


def test_holds_a_replica_over_a_gap_shorter_than_a_start_up() -> None:
    work_s = np.full(20, 1.0)
    instance = (trace_of([0.9 * i for i in range(10)] + [20 + 0.9 * i for i in range(10)]), work_s, work_s * 9 * OWN_USD_PER_S)
    assert cost(instance, terms(2)).counts.tolist() == [1, 1, 1, 0, 0, 0]
    assert cost(instance, terms(0.5)).counts.tolist() == [1, 0, 1, 0, 0, 0]


def test_the_replay_launches_a_start_up_early_and_releases_at_the_end_of_need() -> None:
    plan = replace(cost((trace_of([1.0]), np.array([1.0]), np.array([0.0])), terms(1.5)), counts=np.array([0, 0, 0, 2, 1, 0]), tick_s=5.0)
    asked = {now: plan.replicas(seen(now_s=now)) for now in range(0, 70, 5)}
    assert asked == {0: 0, 5: 0, 10: 0, 15: 2, 20: 2, 25: 2, 30: 2, 35: 2, 40: 1, 45: 1, 50: 0, 55: 0, 60: 0, 65: 0}


def test_the_replay_keeps_on_its_way_what_is_needed_before_the_start_up_ends() -> None:
    plan = replace(cost((trace_of([1.0]), np.array([1.0]), np.array([0.0])), terms(3)), counts=np.array([0, 0, 0, 3, 0, 0]), tick_s=5.0)
    assert [plan.replicas(seen(now_s=now)) for now in (0.0, 10.0, 25.0, 30.0, 40.0)] == [3, 3, 3, 3, 0]


def test_without_overflow_serves_the_share_and_no_more_replicas_than_the_peak_needs() -> None:
    chance = np.random.default_rng(7)
    slots = 200
    trace = trace_of(list(chance.uniform(0, slots * SLOT_S, 4000)), slots=slots)
    work_s = chance.exponential(1.5, 4000)
    plan = without_overflow(trace, work_s, SLOT_S, terms(3))
    assert 1 - plan.spilled_share >= 0.99
    assert plan.hosted_usd == 0
    every = without_overflow(trace, work_s, SLOT_S, terms(3), served_share=1.0)
    assert every.counts.max() <= demand_of(trace, work_s, SLOT_S).peak_replicas
    assert plan.cost_usd < every.cost_usd


def test_a_request_without_work_is_refused() -> None:
    with pytest.raises(ValueError, match="positive number of replica-seconds"):
        savings_of(trace_of([1.0]), np.array([0.0]), np.array([1.0]), SLOT_S)
