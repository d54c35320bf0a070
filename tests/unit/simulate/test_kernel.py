"""Replicas batch as the engine does, however many steps are taken at once."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from spillway.plan.replica.first_token import erlang_c
from spillway.plan.replica.roofline import StepModel
from spillway.simulate.arrivals import poisson
from spillway.simulate.fleet import Fleet
from spillway.simulate.kernel import run_ms, steps_until
from spillway.simulate.layout import FAILED, HELD, HOSTED, OWNED, PAUSING, READY
from spillway.simulate.run import Run
from spillway.simulate.setting import EngineModel, Rules
from spillway.simulate.trace import Trace
from tests.unit.simulate.fleets import HOSTED as PLAIN_HOSTED
from tests.unit.simulate.fleets import STEP, engine, played, step_by_step, trace

FEW = settings(max_examples=25)  # the kernel is plain Python here
ALL_ON_ONE: dict[str, Any] = {"slots_per_replica": 10_000}


def in_order(rows: list[tuple[int, int, int]]) -> Trace:
    """Return them as a trace in which no arrival falls upon the end of a step, where the order of two events would be a matter of taste."""
    return trace(*((at / 1000 + (number + 1) * 1.37e-5, prompt, answer) for number, (at, prompt, answer) in enumerate(sorted(rows))))


requests = st.lists(st.tuples(st.integers(0, 8000), st.integers(1, 1500), st.integers(1, 60)), min_size=1, max_size=12).map(in_order)
engines = st.builds(
    engine,
    kv_tokens=st.integers(1700, 6000),
    max_num_seqs=st.integers(1, 6),
    step_tokens=st.sampled_from([8, 64, 700, 4096]),
    step=st.builds(
        StepModel,
        base_ms=st.floats(1.0, 50.0),
        experts_ms=st.just(0.0),
        expert_share=st.just(1.0),
        sequence_ms=st.floats(0.0, 5.0),
        kv_ms=st.sampled_from([0.0, 0.3, 40.0]),
        prompt_ms=st.floats(0.0, 0.2),
        square_ms=st.floats(0.0, 1.0),
    ),
)

crowds = st.lists(st.tuples(st.integers(0, 800), st.integers(1, 100), st.integers(1, 80)), min_size=3, max_size=12).map(in_order)
tight = st.builds(engine, kv_tokens=st.integers(180, 500), max_num_seqs=st.integers(2, 8), step_tokens=st.sampled_from([16, 64, 4096]))


def fleet_of(traffic: Trace, model: EngineModel, **rules: Any) -> Fleet:
    plain: dict[str, Any] = {"spills": False, "slots_per_replica": 10_000, "gateways": 1}
    return Fleet(trace=traffic, engine=model, rules=Rules(**(plain | rules)), hosted=None, prices=None, seed=1)


@FEW
@given(traffic=requests, model=engines)
def test_runs_of_steps_come_to_the_same_as_one_step_after_another(traffic: Trace, model: EngineModel) -> None:
    found = played(traffic, (0.0, 1), hosted=None, model=model, **ALL_ON_ONE)
    assert_answered_as(step_by_step(traffic, model), found)


@FEW
@given(traffic=crowds, model=tight)
def test_they_do_so_where_the_cache_is_too_small_for_all(traffic: Trace, model: EngineModel) -> None:
    found = played(traffic, (0.0, 1), hosted=None, model=model, **ALL_ON_ONE)
    assert_answered_as(step_by_step(traffic, model), found)
    event("preempted" if found.preempted else "not preempted")


def assert_answered_as(expected: list[tuple[float, float]], found: Run) -> None:
    took_ms = 1000 * (np.array(expected) - found.trace.arrival_s[:, None])
    assert (found.side == OWNED).all()
    assert found.ttft_ms == pytest.approx(took_ms[:, 0], rel=1e-5, abs=1e-2)
    assert found.e2e_ms == pytest.approx(took_ms[:, 1], rel=1e-5, abs=1e-2)


@FEW
@given(first=st.floats(0.1, 100), growth=st.sampled_from([0.0, 1e-6, 0.01, 3.0]), elapsed=st.floats(0.0, 1e5))
def test_the_steps_until_a_moment_are_the_fewest_that_reach_it(first: float, growth: float, elapsed: float) -> None:
    steps = steps_until(first, growth, elapsed)
    assert run_ms(first, growth, steps) >= elapsed
    assert steps == 1 or run_ms(first, growth, steps - 1) < elapsed


@FEW
@given(traffic=requests, model=engines, moments=st.lists(st.floats(0.0, 20.0), min_size=1, max_size=8))
def test_at_no_moment_does_a_replica_hold_more_than_it_may(traffic: Trace, model: EngineModel, moments: list[float]) -> None:
    fleet = fleet_of(traffic, model)
    fleet.begin_with(2)
    for moment in [*sorted(moments), math.inf]:
        fleet.advance(moment)
        for place in np.flatnonzero(fleet.world.replicas["state"] == READY):
            one = fleet.world.replicas[place]
            assert 0 <= one["kv"] + one["reserved"] <= model.kv_tokens
            assert 0 <= one["decoding"] <= one["running"] <= model.max_num_seqs
            batch = fleet.world.requests[fleet.world.batch[place, : one["running"]]]
            assert one["kv_decoding"] <= one["kv"] <= (batch["input"] + batch["output"]).sum()
        assert fleet.world.site[0]["running"] == fleet.world.replicas["running"].sum()
        assert fleet.world.site[0]["waiting"] == fleet.world.replicas["waiting"].sum()
    assert (fleet.world.requests["side"] == OWNED).all()
    assert (fleet.world.replicas["kv"] == 0).all()


@FEW
@given(traffic=requests, model=engines, cap=st.integers(1, 6), gateways=st.integers(1, 3), replicas=st.integers(0, 3))
def test_no_gateway_sends_more_than_its_share_of_the_cap(
    traffic: Trace, model: EngineModel, cap: int, gateways: int, replicas: int
) -> None:
    fleet = fleet_of(traffic, model, slots_per_replica=cap, gateways=gateways, most_held=5, hold_s=5.0)
    fleet.begin_with(replicas)
    for moment in np.arange(0.0, 20.0, 0.73):
        fleet.advance(float(moment))
        world = fleet.world
        assert (world.gates["open"] <= math.ceil(cap * replicas / gateways)).all()
        assert (world.gates["open"] == world.open_at.sum(axis=1)).all()
        assert (world.lines[HELD]["count"] <= 5).all()
    fleet.advance(math.inf)
    assert (fleet.world.requests["side"] > 0).all()
    assert not fleet.world.gates["open"].any()


@FEW
@given(traffic=crowds, cap=st.integers(1, 4), most=st.integers(0, 4), pause_s=st.sampled_from([0.0, 0.05, 2.0]), replicas=st.integers(0, 2))
def test_no_more_wait_before_they_are_spilled_than_may_and_none_longer(
    traffic: Trace, cap: int, most: int, pause_s: float, replicas: int
) -> None:
    rules = Rules(spills=True, slots_per_replica=cap, gateways=2, most_pausing=most, pause_s=pause_s)
    fleet = Fleet(trace=traffic, engine=engine(), rules=rules, hosted=PLAIN_HOSTED, prices=None, seed=1)
    fleet.begin_with(replicas)
    for moment in np.arange(0.0, 10.0, 0.11):
        fleet.advance(float(moment))
        assert (fleet.world.lines[PAUSING]["count"] <= most).all()
        assert fleet.world.lines["count"].sum(axis=1).tolist() == [fleet.world.site[0]["pausing"], fleet.world.site[0]["held"]]
        assert (fleet.world.gates["open"] <= math.ceil(cap * replicas / 2)).all()
    fleet.advance(math.inf)
    sent_ms = fleet.world.requests["ttft_ms"][fleet.world.requests["side"] == HOSTED]  # what passed until it was sent there
    assert (sent_ms <= pause_s * 1000 + 1e-3).all()
    assert set(fleet.world.requests["side"].tolist()) <= {OWNED, HOSTED}
    event("some waited" if (sent_ms > 0).any() else "none waited in vain")


@FEW
@given(traffic=requests, model=engines)
def test_each_token_is_made_once_and_each_prompt_read_once_unless_preempted(traffic: Trace, model: EngineModel) -> None:
    fleet = fleet_of(traffic, model)
    fleet.begin_with(1)
    fleet.advance(math.inf)
    totals = fleet.world.totals[0]
    if not totals["preempted"]:
        assert totals["decoded"] == (traffic.output_tokens - 1).sum()
        assert totals["prompted"] == traffic.input_tokens.sum()
    assert totals["decoded"] + totals["prompted"] >= (traffic.output_tokens - 1 + traffic.input_tokens).sum()
    assert totals["own_output"] == traffic.output_tokens.sum()
    assert totals["busy_s"] <= totals["serving_s"] + 1e-6


@FEW
@given(traffic=requests, model=engines)
def test_who_comes_first_has_its_first_token_first(traffic: Trace, model: EngineModel) -> None:
    found = played(traffic, (0.0, 1), hosted=None, model=replace(model, kv_tokens=100_000), **ALL_ON_ONE)
    first_s = traffic.arrival_s + found.ttft_ms / 1000
    assert (np.diff(first_s) >= -1e-5).all()


def test_a_full_cache_preempts_the_youngest_which_is_answered_later() -> None:
    # 3 x 100 tokens fit at first and outgrow 450 together.
    crowd = trace((0.0, 100, 100), (0.001, 100, 100), (0.002, 100, 100), duration_s=60)
    tight, roomy = engine(kv_tokens=450), engine(kv_tokens=10_000)
    found, alone = played(crowd, (0.0, 1), hosted=None, model=tight), played(crowd, (0.0, 1), hosted=None, model=roomy)
    assert (found.preempted, alone.preempted) == (1, 0)
    assert (found.side == OWNED).all()
    assert found.ttft_ms == pytest.approx(alone.ttft_ms)  # a first token was had before
    assert found.e2e_ms[2] > alone.e2e_ms[2] + 100
    assert found.e2e_ms[0] <= alone.e2e_ms[0]


def test_a_step_takes_what_the_model_says() -> None:
    found = played(trace((0.0, 100, 3), duration_s=10), (0.0, 1), hosted=None)
    prompt_ms = 10 + 1 + 0.05 * 100 + 0.1 * 100**2 / 1e6
    assert found.ttft_ms[0] == pytest.approx(prompt_ms)
    assert found.e2e_ms[0] == pytest.approx(prompt_ms + 2 * 11 + 0.5 * (100 + 101) / 1000)


def test_a_long_prompt_is_read_in_chunks_beside_the_others_tokens() -> None:
    short, long = (0.0, 10, 200), (0.1, 2000, 2)
    found = played(trace(short, long, duration_s=30), (0.0, 1), hosted=None, model=engine(step_tokens=512))
    chunks = math.ceil(2000 / 511)  # one token of each step is the other's
    steps_ms = chunks * (STEP.base_ms + 2 * STEP.sequence_ms) + STEP.prompt_ms * 2000
    assert found.ttft_ms[1] == pytest.approx(steps_ms, rel=0.1)
    assert found.inter_token_ms[0] < 0.25 * steps_ms  # the short one was not stopped meanwhile


def test_experts_are_read_as_far_as_the_batch_touches_them() -> None:
    mixture = replace(STEP, experts_ms=40.0, expert_share=0.1)
    fixed = engine(step=mixture).fixed_ms(8)
    assert fixed[1] == pytest.approx(10 + 1 + 40 * 0.1)
    assert fixed[8] == pytest.approx(10 + 8 + 40 * (1 - 0.9**8))


def test_waits_are_those_of_a_queue_with_as_many_servers_as_the_batch() -> None:
    # Every step takes the same, so a replica is 4 servers; 24 ms x 50 tokens = 1.2 s each, at 2.5 a second: load 3 of 4.
    flat = StepModel(base_ms=24.0, experts_ms=0.0, expert_share=1.0, sequence_ms=0.0, kv_ms=0.0, prompt_ms=0.0, square_ms=0.0)
    traffic = poisson([(600.0, 2.5)], input_tokens=1, output_tokens=50, seed=3)
    found = played(traffic, (0.0, 1), hosted=None, model=engine(step=flat, max_num_seqs=4), slots_per_replica=10_000)
    load = 2.5 * float(traffic.output_tokens.mean()) * 0.024
    expected_s = erlang_c(4, load) * 1.2 / (4 - load)
    waited_s = (found.ttft_ms / 1000 - 0.024).mean()
    assert waited_s == pytest.approx(expected_s, rel=0.3)


def test_a_request_larger_than_the_cache_is_never_taken() -> None:
    huge = trace((0.0, 5000, 10), (0.1, 10, 10), duration_s=5)
    assert played(huge, model=engine(kv_tokens=4000)).side.tolist() == [HOSTED, OWNED]
    assert played(huge, model=engine(kv_tokens=4000), hosted=None).side.tolist() == [FAILED, OWNED]
