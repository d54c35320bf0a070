"""The replica count: what raises it, what lowers it, and what must not."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.api.vocabulary import Reason
from spillway.plan.decision import Counted, Decision, DemandPoint, Memory, ScaleDecision, Settling, Workload
from spillway.plan.observation import Observation
from spillway.plan.scaling.forecast import BIN_S
from spillway.plan.scaling.no_place import unschedulable
from spillway.plan.scaling.scale import lower_bound, upper_bound
from tests.unit.plan.demands import taught
from tests.unit.plan.situations import (
    MISSING,
    NOW,
    POOL,
    SETTINGS,
    blind,
    dear,
    gateway,
    later,
    learned,
    observe,
    one_pass,
    passes,
    pool,
    replica,
    signals,
    workload,
)

UNSCHEDULABLE = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: 0/3 nodes are available"


def scaled(decision: Decision) -> ScaleDecision:
    assert decision.scale is not None
    return decision.scale


def wanting(*wanted: int, every: float = 15.0) -> Memory:
    """Return a memory of evaluations, the last one a tick ago, each wanting that many."""
    count = len(wanted)
    return Memory(demand=tuple(DemandPoint(at=later(-every * (count - index)), wanted=each) for index, each in enumerate(wanted)))


MODES = st.sampled_from(["Hybrid", "Dedicated"])
CALM = wanting(*[1] * 21)  # more than the window of 300 s


@pytest.mark.parametrize(
    ("replicas", "readings", "to", "reason"),
    [
        pytest.param(1, {"running": 8.0}, 1, Reason.WITHIN_TOLERANCE, id="a full batch is no reason for another replica"),
        pytest.param(1, {"running": 8.0, "waiting": 0.8}, 1, Reason.WITHIN_TOLERANCE, id="nor is what lies within the tolerance"),
        pytest.param(1, {"running": 8.0, "waiting": 1.0}, 2, Reason.DEMAND_ROSE, id="a queue beyond the tolerance is"),
        pytest.param(1, {"running": 8.0, "waiting": 20.0}, 4, Reason.DEMAND_ROSE, id="as many as are needed at once"),
        pytest.param(1, {"running": 8.0, "waiting": 80.0}, 4, Reason.DEMAND_ROSE, id="never more than maxReplicas"),
        pytest.param(4, {"running": 32.0, "waiting": 80.0}, 4, Reason.AT_MAX_REPLICAS, id="at maxReplicas it stays"),
        pytest.param(1, {"arrivals_per_s": 4.0, "residence_s": 4.0}, 2, Reason.DEMAND_ROSE, id="arrivals count by the time they stay"),
        pytest.param(
            1,
            {"arrivals_per_s": 4.0, "spilled_per_s": 3.0, "residence_s": 4.0, "running": 8.0, "in_flight_owned": 8.0},
            3,
            Reason.DEMAND_ROSE,
            id="spilled requests count as if they had stayed",
        ),
        pytest.param(
            1,
            {"arrivals_per_s": 1.0, "residence_s": 16.0, "running": 8.0, "waiting": 8.0},
            2,
            Reason.DEMAND_ROSE,
            id="time spent waiting is taken out of the time they stay",
        ),
        pytest.param(
            2,
            {"kv_cache_usage_ratio": 0.95, "running": 10.0},
            2,
            Reason.WITHIN_TOLERANCE,
            id="a KV cache just over its target stays in the tolerance",
        ),
        pytest.param(3, {"kv_cache_usage_ratio": 1.0, "running": 10.0}, 4, Reason.DEMAND_ROSE, id="a full KV cache asks for more"),
        pytest.param(
            1,
            {"in_flight_owned": 16.0, "running": MISSING, "waiting": MISSING},
            2,
            Reason.DEMAND_ROSE,
            id="the gateway's view serves where the engine's is missing",
        ),
        pytest.param(
            1, {"in_flight_owned": MISSING, "running": 16.0}, 2, Reason.DEMAND_ROSE, id="and the engine's where the gateway's is missing"
        ),
        pytest.param(
            1,
            {"arrivals_per_s": MISSING, "running": 16.0},
            2,
            Reason.DEMAND_ROSE,
            id="what is known may raise the count while something is missing",
        ),
        pytest.param(2, {"arrivals_per_s": MISSING}, 2, Reason.HELD_METRICS_MISSING, id="but not lower it"),
        pytest.param(2, {"spilled_per_s": MISSING}, 2, Reason.HELD_METRICS_MISSING, id="nor while spilled requests are unknown"),
        pytest.param(
            2,
            {"running": MISSING, "waiting": MISSING, "in_flight_owned": MISSING},
            2,
            Reason.HELD_METRICS_MISSING,
            id="nor while concurrency is unknown",
        ),
        pytest.param(2, {"arrivals_per_s": float("nan")}, 2, Reason.HELD_METRICS_MISSING, id="not a number is missing"),
    ],
)
def test_count_follows_demand(replicas: int, readings: dict[str, Any], to: int, reason: Reason) -> None:
    found = scaled(one_pass(workload(), observe(replicas, signals=signals(**readings)), CALM)[0])
    assert (found.replicas, found.reason, found.previous) == (to, reason, replicas)


@pytest.mark.parametrize(("running", "limited"), [(30.0, None), (40.0, Reason.AT_MAX_REPLICAS)], ids=["as many", "more"])
def test_the_upper_bound_is_in_the_way_only_of_more_than_it_allows(running: float, limited: Reason | None) -> None:
    found = scaled(one_pass(workload(), observe(4, signals=signals(running=running)), CALM)[0])
    assert (found.replicas, found.limited) == (4, limited)


@pytest.mark.parametrize("scaling", ["Spillway", "External"])
def test_replicas_of_an_engine_that_is_slower_than_planned_are_counted_by_the_batch_that_keeps_the_promise(scaling: str) -> None:
    wanted = workload("Dedicated", slo={"interTokenLatencyMs": 50}, scaling={"mode": scaling})
    decision, _ = one_pass(wanted, observe(1, signals=signals(running=8.0)), learned(52.0, 8.0, wanted))
    assert decision.pool is not None
    batch = decision.pool.capacity.batch
    assert batch < decision.pool.capacity.max_num_seqs == 8
    assert scaled(decision).demand_replicas == pytest.approx(8 / (0.85 * batch))
    assert scaled(decision).replicas > 1 or scaling == "External"


def test_holds_while_nothing_is_known() -> None:
    found = scaled(one_pass(workload(), observe(3, signals=blind()), CALM)[0])
    assert (found.replicas, found.reason, found.demand_replicas) == (3, Reason.HELD_METRICS_MISSING, None)
    assert "demand unknown" in found.why


@pytest.mark.parametrize(
    ("replicas", "scaling", "to", "reason"),
    [
        pytest.param(1, {"minReplicas": 2}, 2, Reason.AT_MIN_REPLICAS, id="a raised lower bound"),
        pytest.param(4, {"maxReplicas": 2}, 2, Reason.AT_MAX_REPLICAS, id="a lowered upper bound"),
    ],
)
def test_bounds_hold_even_while_nothing_is_known(replicas: int, scaling: dict[str, int], to: int, reason: Reason) -> None:
    found = scaled(one_pass(workload(scaling=scaling), observe(replicas, signals=blind()))[0])
    assert (found.replicas, found.reason) == (to, reason)


def test_a_raised_lower_bound_does_not_hold_back_demand() -> None:
    busy = observe(1, signals=signals(running=32.0))
    assert scaled(one_pass(workload(scaling={"minReplicas": 2}), busy)[0]).replicas == 4


# Down


def test_goes_down_after_a_whole_window_that_wanted_fewer() -> None:
    found = scaled(one_pass(workload(), observe(3), CALM)[0])
    assert (found.replicas, found.reason) == (1, Reason.DEMAND_FELL)


@pytest.mark.parametrize(
    ("memory", "changes", "reason"),
    [
        pytest.param(wanting(1, 1, 1), {}, Reason.STABILIZING, id="not before the window is full"),
        pytest.param(wanting(*[1] * 10, 3, *[1] * 10), {}, Reason.STABILIZING, id="not when one evaluation wanted as many"),
        pytest.param(wanting(*[1] * 10, 4, *[1] * 10), {}, Reason.STABILIZING, id="not when one evaluation wanted more"),
        pytest.param(Memory(), {}, Reason.STABILIZING, id="not on the first evaluation"),
        pytest.param(CALM, {"watched_since": later(-290)}, Reason.HELD_WATCHING, id="not by an operator that has not watched for a window"),
        pytest.param(wanting(*[1] * 21, every=120.0), {}, Reason.STABILIZING, id="not when the evaluations had breaks"),
        pytest.param(
            CALM,
            {"signals": signals(in_flight_owned=48.0, running=0.0, arrivals_per_s=0.0)},
            Reason.WITHIN_TOLERANCE,
            id="not while as many are busy",
        ),
    ],
)
def test_does_not_go_down(memory: Memory, changes: dict[str, Any], reason: Reason) -> None:
    replicas = 6 if "signals" in changes else 3
    found = scaled(one_pass(workload(scaling={"maxReplicas": 8}), observe(replicas, **changes), memory)[0])
    assert (found.replicas, found.reason) == (replicas, reason)


def test_goes_no_lower_than_what_demand_asks_for_now() -> None:
    assert scaled(one_pass(workload(), observe(4, signals=signals(running=10.0)), CALM)[0]).replicas == 2  # 10 / 8


def test_goes_no_lower_than_the_highest_of_the_window() -> None:
    found = scaled(one_pass(workload(), observe(4), wanting(*[1] * 10, 2, *[1] * 10))[0])
    assert found.replicas == 2


@given(
    mode=MODES,
    replicas=st.integers(min_value=1, max_value=8),
    held=st.floats(min_value=0, max_value=200),
    running=st.floats(min_value=0, max_value=200),
    waiting=st.floats(min_value=0, max_value=200),
)
def test_never_goes_below_what_is_in_flight(mode: str, replicas: int, held: float, running: float, waiting: float) -> None:
    wanted = workload(mode, scaling={"minReplicas": 0, "maxReplicas": 8})
    seen = observe(replicas, signals=signals(in_flight_owned=held, running=running, waiting=waiting))
    decision, _ = one_pass(wanted, seen, wanting(*[0] * 21))
    assert decision.pool is not None
    slots = decision.pool.capacity.slots
    assert scaled(decision).replicas * slots >= min(max(held, running + waiting), replicas * slots) - 1e-6


def test_at_the_lower_bound_it_says_so() -> None:
    found = scaled(one_pass(workload(scaling={"minReplicas": 2}), observe(2), CALM)[0])
    assert (found.replicas, found.reason, found.limited) == (2, Reason.AT_MIN_REPLICAS, None)


def test_a_missing_reading_within_the_window_starts_it_anew() -> None:
    wanted, seen = workload(), observe(3)
    _, memory = passes(wanted, seen, Memory(), start=NOW, seconds=240)
    _, memory = one_pass(wanted, replace(seen, signals=blind()), memory, later(255))
    decision, memory = passes(wanted, seen, memory, start=later(270), seconds=255)
    assert scaled(decision).replicas == 3
    decision, _ = passes(wanted, seen, memory, start=later(540), seconds=45)
    assert scaled(decision).replicas == 1


# Zero


def test_wakes_from_zero_on_the_first_spilled_request() -> None:
    asleep = workload(scaling={"minReplicas": 0})
    found = scaled(one_pass(asleep, observe(0, signals=signals(spilled_per_s=0.02, arrivals_per_s=0.02)))[0])
    assert (found.replicas, found.reason) == (1, Reason.WOKEN_BY_SPILL)


def test_wakes_for_a_request_that_nobody_could_answer() -> None:
    asleep = workload(scaling={"minReplicas": 0})
    found = scaled(one_pass(asleep, observe(0, signals=signals(refused_per_s=0.02, failed_per_s=0.02, arrivals_per_s=0.02)))[0])
    assert (found.replicas, found.reason) == (1, Reason.WOKEN_BY_SPILL)


def test_sleeps_on_while_nothing_that_arrives_is_for_a_backend() -> None:
    asleep = workload(scaling={"minReplicas": 0})
    assert scaled(one_pass(asleep, observe(0, signals=signals(arrivals_per_s=5.0)))[0]).replicas == 0


def test_wakes_with_as_many_as_the_spill_needs() -> None:
    asleep = workload(scaling={"minReplicas": 0, "scaleUpStabilizationSeconds": 600})
    found = scaled(one_pass(asleep, observe(0, signals=signals(spilled_per_s=1.0, arrivals_per_s=1.0)))[0])
    assert found.replicas == 2  # 1/s x 12.5 s assumed stay / 8


def test_sleeps_on_while_nothing_arrives_and_while_nothing_is_known() -> None:
    asleep = workload(scaling={"minReplicas": 0})
    for readings in (signals(), blind()):
        assert scaled(one_pass(asleep, observe(0, signals=readings), CALM)[0]).replicas == 0


def test_goes_to_zero_only_after_an_idle_window() -> None:
    asleep = workload(scaling={"minReplicas": 0})
    found = scaled(one_pass(asleep, observe(1), wanting(*[0] * 21))[0])
    assert (found.replicas, found.reason) == (0, Reason.IDLE)
    stirred = scaled(one_pass(asleep, observe(1), wanting(*[0] * 20, 1))[0])
    assert (stirred.replicas, stirred.reason) == (1, Reason.STABILIZING)


def test_a_request_now_and_then_keeps_the_last_replica() -> None:
    asleep = workload(scaling={"minReplicas": 0})
    found = scaled(one_pass(asleep, observe(1, signals=signals(arrivals_per_s=0.01)), wanting(*[0] * 21))[0])
    assert found.replicas == 1


def test_a_dedicated_workload_never_goes_to_zero() -> None:
    wanted = workload("Dedicated", scaling={"minReplicas": 0})
    assert scaled(one_pass(wanted, observe(1), wanting(*[0] * 21))[0]).replicas == 1


# Zero, and requests that wait at the gateway

HOLD: dict[str, Any] = {"gateway": {"hold": {"seconds": 300}}}


def holding(**scaling: Any) -> Workload:
    return workload("Dedicated", scaling={"minReplicas": 0} | scaling, **HOLD)


def test_a_dedicated_workload_whose_requests_wait_goes_to_zero_after_an_idle_window() -> None:
    found = scaled(one_pass(holding(), observe(1), wanting(*[0] * 21))[0])
    assert (found.replicas, found.reason) == (0, Reason.IDLE)


@pytest.mark.parametrize(("held", "to"), [(1.0, 1), (6.0, 1), (40.0, 4), (400.0, 4)], ids=["one", "a batch", "many", "more than may run"])
def test_wakes_from_zero_with_as_many_as_the_requests_that_wait_need(held: float, to: int) -> None:
    found = scaled(one_pass(holding(), observe(0, signals=signals(held_at_gateway=held)))[0])
    assert (found.replicas, found.reason) == (to, Reason.WOKEN_BY_WAITING)
    assert f"{held:.1f} waiting at the gateway" in found.why


def test_wakes_for_a_request_that_has_waited_in_vain() -> None:
    found = scaled(one_pass(holding(), observe(0, signals=signals(refused_per_s=0.02, failed_per_s=0.02, arrivals_per_s=0.02)))[0])
    assert (found.replicas, found.reason) == (1, Reason.WOKEN_BY_WAITING)


def test_sleeps_on_while_nothing_waits_whatever_is_forecast() -> None:
    model = taught([3.0] * 120, first=round(NOW.timestamp() / BIN_S) - 120)
    for seen in (observe(0), observe(0, signals=blind())):
        assert scaled(one_pass(holding(), seen, replace(CALM, demand_model=model))[0]).replicas == 0


def test_a_forecast_still_staffs_ahead_while_there_are_requests() -> None:
    model = taught([3.0] * 120, first=round(NOW.timestamp() / BIN_S) - 120)
    busy = observe(1, signals=signals(arrivals_per_s=0.1, running=1.0))
    assert scaled(one_pass(holding(), busy, replace(CALM, demand_model=model))[0]).replicas > 1


@pytest.mark.parametrize(("healthy", "more"), [(True, False), (False, True)], ids=["hosted takes what is beyond", "nothing does"])
def test_a_forecast_staffs_ahead_only_where_nothing_hosted_takes_what_is_beyond(healthy: bool, more: bool) -> None:  # noqa: FBT001
    model = taught([3.0] * 120, first=round(NOW.timestamp() / BIN_S) - 120)
    busy = signals(arrivals_per_s=0.1, running=1.0, hosted_healthy={"acme/llama-8b": healthy})
    found = scaled(one_pass(workload(), observe(1, signals=busy), replace(CALM, demand_model=model))[0])
    assert (found.replicas > 1) is more


def test_a_replica_that_starts_for_those_who_wait_is_not_chased_and_not_taken_away() -> None:
    held = observe(1, replicas=(replica(ready=False),), signals=signals(held_at_gateway=5.0))
    found = scaled(one_pass(holding(), held, wanting(*[0] * 21))[0])
    assert found.replicas == 1


def test_requests_that_wait_for_room_ask_for_more_replicas() -> None:
    full = observe(1, signals=signals(running=8.0, in_flight_owned=8.0, held_at_gateway=12.0))
    found = scaled(one_pass(holding(), full, CALM)[0])
    assert (found.replicas, found.reason) == (3, Reason.DEMAND_ROSE)  # 20 / (8 x 0.85)


def test_what_waits_counts_only_where_requests_may_wait() -> None:
    for mode in ("Hybrid", "Dedicated"):
        wanted = workload(mode, scaling={"minReplicas": 0})
        assert scaled(one_pass(wanted, observe(1, signals=signals(held_at_gateway=100.0)), CALM)[0]).replicas == 1


def capped(when_exceeded: str = "Wait") -> Workload:
    backends = [{"providerRef": {"name": "acme"}, "model": "llama-8b"}]
    limits = {"maxUSDPerDay": "10", "whenExceeded": when_exceeded}
    return workload(scaling={"minReplicas": 0}, hosted={"backends": backends, "overflow": limits}, **HOLD)


def test_what_waits_since_no_limit_lets_it_go_wakes_replicas() -> None:
    found = scaled(one_pass(capped(), observe(0, signals=signals(held_at_gateway=6.0)))[0])
    assert (found.replicas, found.reason) == (1, Reason.WOKEN_BY_WAITING)
    assert "6.0 waiting at the gateway" in found.why
    spilled = signals(spilled_per_s=0.02, arrivals_per_s=0.02)
    assert scaled(one_pass(capped(), observe(0, signals=spilled))[0]).reason == Reason.WOKEN_BY_SPILL


def test_where_a_limit_refuses_nothing_waits_whatever_the_gateway_seems_to_hold() -> None:
    assert scaled(one_pass(capped("Refuse"), observe(0, signals=signals(held_at_gateway=6.0)))[0]).replicas == 0


def test_starts_at_zero_where_nothing_was_declared() -> None:
    found = scaled(one_pass(holding(), observe(0, pools=()))[0])
    assert (found.replicas, found.reason) == (0, Reason.INITIAL)


# Up, with a window


def test_a_scale_up_waits_for_its_window_where_there_is_one() -> None:
    wanted = workload(scaling={"scaleUpStabilizationSeconds": 60})
    busy = observe(1, signals=signals(running=24.0))
    waiting = scaled(one_pass(wanted, busy, wanting(3, 3))[0])
    assert (waiting.replicas, waiting.reason) == (1, Reason.STABILIZING)
    lasting = scaled(one_pass(wanted, busy, wanting(3, 2, 3, 3, 3))[0])
    assert (lasting.replicas, lasting.reason) == (2, Reason.DEMAND_ROSE)
    interrupted = scaled(one_pass(wanted, busy, wanting(3, 3, 1, 3, 3))[0])
    assert interrupted.replicas == 1


# What cannot be scheduled


def test_a_clock_that_is_set_back_holds_up_no_replica() -> None:
    ahead = Memory(demand=tuple(DemandPoint(at=later(3600 - 15 * index), wanted=1) for index in range(22, 0, -1)))
    decision, memory = one_pass(seen=observe(1, signals=signals(running=16.0)), memory=ahead)
    assert (scaled(decision).replicas, scaled(decision).reason) == (2, Reason.DEMAND_ROSE)
    assert [point.at for point in memory.demand] == [NOW]


def test_what_cannot_be_scheduled_is_not_chased() -> None:
    pods = (replica(0), replica(1, ready=False, bound_at=None, unschedulable=UNSCHEDULABLE))
    seen = observe(2, replicas=pods, signals=signals(running=32.0))
    found = scaled(one_pass(workload(), seen)[0])
    assert (found.replicas, found.reason, found.limited) == (2, Reason.UNSCHEDULABLE, Reason.UNSCHEDULABLE)
    assert "nvidia.com/gpu" in found.why


def test_what_the_api_server_does_not_take_is_not_chased() -> None:
    seen = observe(1, pools=(pool(2, ready_replicas=1, refused="exceeded quota: gpus"),), signals=signals(running=32.0))
    found = scaled(one_pass(workload(), seen)[0])
    assert (found.replicas, found.reason, found.limited) == (2, Reason.UNSCHEDULABLE, Reason.UNSCHEDULABLE)
    assert "while one is rejected (exceeded quota: gpus)" in found.why


@pytest.mark.parametrize("trouble", [{"unschedulable": UNSCHEDULABLE, "bound_at": None}, {"waiting_reason": "CrashLoopBackOff"}])
def test_what_ails_replicas_of_a_pool_that_is_to_go_keeps_none_of_the_next_from_being_asked_for(trouble: dict[str, Any]) -> None:
    before = "chat-engine-before"
    pods = (replica(0, pool=before, ready=False, **trouble), replica(1, ready=False))
    seen = observe(1, replicas=pods, pools=(pool(2, name=before, refused="exceeded quota: gpus"), pool(1)), signals=signals(running=32.0))
    found = scaled(one_pass(workload("Dedicated"), seen)[0])
    assert (found.replicas, found.reason, found.limited) == (4, Reason.DEMAND_ROSE, Reason.AT_MAX_REPLICAS)


@pytest.mark.parametrize(
    ("wanted", "readings"),
    [
        pytest.param(workload(), {"arrivals_per_s": 40.0, "spilled_per_s": 40.0}, id="what is spilled"),
        pytest.param(workload("Dedicated"), {"arrivals_per_s": 40.0, "refused_per_s": 40.0}, id="what is refused"),
    ],
)
def test_no_more_are_asked_for_while_one_cannot_start_and_none_serves(wanted: Workload, readings: dict[str, float]) -> None:
    """A wrong image or argument would keep all of them from starting, and each costs an accelerator by the hour."""
    crashing = tuple(replica(index, ready=False, waiting_reason="CrashLoopBackOff") for index in range(2))
    seen = observe(2, replicas=crashing, signals=signals(**readings))
    found = scaled(one_pass(wanted, seen)[0])
    assert (found.replicas, found.reason, found.limited) == (2, Reason.CRASH_LOOP, Reason.CRASH_LOOP)
    one_serves = replace(seen, replicas=(replica(0), crashing[1]))
    assert scaled(one_pass(wanted, one_serves)[0]).replicas == 4, "a node of its own may be what is wrong with the other"
    before = replica(2, pool="chat-engine-before")
    moving = replace(seen, replicas=(before, *crashing), pools=(pool(1, name=before.pool), *seen.pools))
    assert scaled(one_pass(wanted, moving)[0]).replicas == 2, "what another class serves with tells nothing"


@pytest.mark.parametrize(
    ("pods", "words"),
    [
        pytest.param((replica(),), None, id="all found a node"),
        pytest.param((replica(unschedulable=UNSCHEDULABLE),), "Insufficient nvidia.com/gpu", id="the resource"),
        pytest.param(
            (
                replica(unschedulable="0/3 nodes are available: 2 node(s) had untolerated taint {gpu: 1}, 1 Insufficient cpu."),
                replica(1, unschedulable="0/4 nodes are available: 3 Insufficient cpu, 1 node(s) had untolerated taint {gpu: 1}."),
            ),
            "Insufficient cpu, node(s) had untolerated taint {gpu: 1}",
            id="several, in an order of its own",
        ),
        pytest.param(
            (replica(unschedulable="0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. preemption: none."),),
            "node(s) didn't match Pod's node affinity/selector",
            id="a label",
        ),
        pytest.param(
            (
                replica(
                    unschedulable="0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient nvidia.com/gpu. no new "
                    "claims to deallocate, preemption: 0/3 nodes are available: 1 Preemption is not helpful for scheduling, 2 No "
                    "preemption victims found for incoming pod."
                ),
            ),
            "Insufficient nvidia.com/gpu, node(s) had untolerated taint(s)",
            id="as of 1.34, when claims of devices came",
        ),
        pytest.param(
            (replica(unschedulable='0/1 nodes are available: persistentvolumeclaim "a.b" not found. preemption: none.'),),
            'persistentvolumeclaim "a.b" not found',
            id="a name with a dot",
        ),
        pytest.param((replica(unschedulable="no gpu"),), "no gpu", id="what has no counts"),
        pytest.param(
            (replica(unschedulable=UNSCHEDULABLE, terminating=True), replica(1, unschedulable=UNSCHEDULABLE, ended_at=NOW)),
            None,
            id="not what is leaving",
        ),
    ],
)
def test_keeps_the_schedulers_words_without_its_counts(pods: tuple[Any, ...], words: str | None) -> None:
    assert unschedulable(observe(replicas=pods, pools=())) == words


# First count


@pytest.mark.parametrize(
    ("wanted", "seen", "to"),
    [
        pytest.param(workload(), observe(0, pools=()), 1, id="the lower bound"),
        pytest.param(workload(scaling={"minReplicas": 0}), observe(0, pools=()), 0, id="none where the lower bound says none"),
        pytest.param(workload("Dedicated", scaling={"minReplicas": 0}), observe(0, pools=()), 1, id="one where nothing else could answer"),
        pytest.param(
            workload(traffic={"requestsPerSecond": {"mean": "1"}}),
            observe(0, pools=()),
            1,
            id="the lower bound where a replica's rate is unknown",
        ),
        pytest.param(workload(), observe(0, pools=(pool(3, name="chat-engine-before"),)), 3, id="as many as the pool it takes over from"),
        pytest.param(
            workload(scaling={"maxReplicas": 2}), observe(0, pools=(pool(3, name="chat-engine-before"),)), 2, id="within the bounds"
        ),
    ],
)
def test_first_count(wanted: Any, seen: Observation, to: int) -> None:
    found = scaled(one_pass(wanted, seen)[0])
    assert (found.replicas, found.reason, found.previous) == (to, Reason.INITIAL, None)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="decided"),
        pytest.param({"placement": {"mode": "Dedicated", "apply": "Recommend"}}, id="told"),
        pytest.param({"dedicated": {"scaling": {"mode": "External", "maxReplicas": 9}}}, id="external"),
    ],
)
@pytest.mark.parametrize("counted", [Counted(pool="chat-engine-next", work_s=1.0), None], ids=["known", "after a restart"])
def test_a_third_pool_takes_over_what_the_second_had_and_not_what_both_had(changes: dict[str, Any], counted: Counted | None) -> None:
    """An accelerator class is corrected before the replicas of the first edit serve."""
    wanted = workload("Dedicated", **({"scaling": {"maxReplicas": 9}} | changes))
    two = observe(0, pools=(pool(3, name="chat-engine-before"), pool(3, name="chat-engine-next", ready_replicas=0)))
    assert scaled(one_pass(wanted, two, Memory(counted=counted))[0]).replicas == 3


@pytest.mark.parametrize(
    ("mode", "rate", "to"),
    [
        pytest.param("Hybrid", 4, 3, id="the mean, where hosted takes the peak"),
        pytest.param("Dedicated", 6, 4, id="the peak, where nothing else does"),
    ],
)
def test_first_count_serves_the_declared_traffic(mode: str, rate: int, to: int) -> None:
    memory = learned(20.0, 8.0, workload(mode))
    wanted = workload(mode, traffic={"requestsPerSecond": {"mean": "4", "peak": "6"}})
    found = scaled(one_pass(wanted, observe(0, pools=(), catalogue=dear()), memory)[0])
    assert found.replicas == to  # one serves 1.6/s
    assert f"declared {rate:.2f} requests/s, 1.60 per replica" in found.why


# External


@pytest.mark.parametrize(
    ("asked", "to", "limited"),
    [
        pytest.param(3, 3, None, id="what is asked"),
        pytest.param(9, 4, Reason.AT_MAX_REPLICAS, id="no more than maxReplicas"),
        pytest.param(0, 1, Reason.AT_MIN_REPLICAS, id="no fewer than minReplicas"),
        pytest.param(None, 2, None, id="what there is while nobody asks"),
    ],
)
def test_an_external_scaler_is_followed_within_the_bounds(asked: int | None, to: int, limited: Reason | None) -> None:
    wanted = workload(scaling={"mode": "External"}, replicas=asked)
    found = scaled(one_pass(wanted, observe(2, signals=signals(running=30.0)))[0])
    assert (found.replicas, found.reason, found.limited) == (to, Reason.EXTERNAL, limited)
    assert found.demand_replicas == pytest.approx(30 / 8)


@pytest.mark.parametrize(
    "changes",
    [
        {"replicas": (replica(0), replica(1, ready=False, bound_at=None, unschedulable=UNSCHEDULABLE))},
        {"pools": (pool(2, ready_replicas=1, refused="exceeded quota: gpus"),)},
    ],
    ids=["no node", "no quota"],
)
def test_an_external_scaler_is_followed_and_told_where_there_is_no_place(changes: dict[str, Any]) -> None:
    found = scaled(one_pass(workload(scaling={"mode": "External"}, replicas=3), observe(2, **changes))[0])
    assert (found.replicas, found.reason, found.limited) == (3, Reason.EXTERNAL, Reason.UNSCHEDULABLE)


def test_another_class_begins_with_what_there_is_where_an_external_scaler_has_not_spoken() -> None:
    before = observe(0, pools=(pool(3, name="chat-engine-before"),))
    assert scaled(one_pass(workload(scaling={"mode": "External"}), before)[0]).replicas == 3


def test_an_external_scaler_that_never_spoke_gets_the_lower_bound() -> None:
    assert scaled(one_pass(workload(scaling={"mode": "External", "minReplicas": 2}), observe(0, pools=()))[0]).replicas == 2


# Reading its own writes


def test_a_count_just_decided_is_trusted_over_a_stale_view() -> None:
    wanted, busy = workload(), observe(1, signals=signals(running=16.0))
    first, memory = one_pass(wanted, busy)
    assert scaled(first).replicas == 2
    again, memory = one_pass(wanted, observe(1, signals=signals()), memory, later(5))
    assert scaled(again).replicas == 2
    assert again.events == ()
    assert memory.settling == Settling(pool=POOL, replicas=2, at=NOW)


def test_a_count_that_did_not_arrive_is_no_longer_trusted_after_a_while() -> None:
    _, memory = one_pass(workload(), observe(1, signals=signals(running=16.0)))
    later_on, _ = one_pass(workload(), observe(1), memory, later(60))
    assert scaled(later_on).replicas == 1


# Laws

RATES = st.one_of(st.just(MISSING), st.floats(min_value=0, max_value=200))
LIVE = ("arrivals_per_s", "spilled_per_s", "refused_per_s", "in_flight_owned", "residence_s", "running", "waiting")


@st.composite
def readings(draw: st.DrawFn) -> dict[str, Any]:
    return {name: draw(RATES) for name in LIVE} | {
        "kv_cache_usage_ratio": draw(st.one_of(st.just(MISSING), st.floats(min_value=0, max_value=1)))
    }


BOUNDS = st.tuples(st.integers(min_value=0, max_value=5), st.integers(min_value=1, max_value=8)).filter(
    lambda bounds: bounds[0] <= bounds[1]
)
MEMORIES = st.lists(st.integers(min_value=0, max_value=9), max_size=25).map(lambda wanted: wanting(*wanted))


@given(mode=MODES, bounds=BOUNDS, replicas=st.integers(min_value=0, max_value=12), found=readings(), memory=MEMORIES)
def test_the_count_is_always_within_its_bounds(
    mode: str, bounds: tuple[int, int], replicas: int, found: dict[str, Any], memory: Memory
) -> None:
    wanted = workload(mode, scaling={"minReplicas": bounds[0], "maxReplicas": bounds[1]})
    count = scaled(one_pass(wanted, observe(replicas, signals=signals(**found)), memory)[0]).replicas
    assert lower_bound(wanted.spec) <= count <= upper_bound(wanted.spec)


@given(
    mode=MODES,
    replicas=st.integers(min_value=0, max_value=8),
    found=readings(),
    name=st.sampled_from(["arrivals_per_s", "spilled_per_s", "refused_per_s", "in_flight_owned", "waiting", "kv_cache_usage_ratio"]),
    more=st.floats(min_value=0, max_value=100),
    memory=MEMORIES,
)
def test_more_load_never_gives_fewer_replicas(
    mode: str, replicas: int, found: dict[str, Any], name: str, more: float, memory: Memory
) -> None:
    # Without residence_s: at the same residence, more waiting is less work, and rightly fewer replicas.
    plain = found | {"residence_s": MISSING}
    if plain[name] is MISSING:
        return
    wanted = workload(mode, scaling={"minReplicas": 0, "maxReplicas": 8})
    less = one_pass(wanted, observe(replicas, signals=signals(**plain)), memory)[0]
    heavier = one_pass(wanted, observe(replicas, signals=signals(**(plain | {name: plain[name] + more}))), memory)[0]
    assert scaled(heavier).replicas >= scaled(less).replicas


@given(
    mode=MODES,
    replicas=st.integers(min_value=1, max_value=8),
    found=readings(),
    gone=st.sampled_from(["arrivals_per_s", "spilled_per_s", "concurrency", "all"]),
    memory=MEMORIES,
)
def test_what_is_missing_never_takes_a_replica_away(mode: str, replicas: int, found: dict[str, Any], gone: str, memory: Memory) -> None:
    wanted = workload(mode, scaling={"maxReplicas": 8})
    absent = {
        "concurrency": ("in_flight_owned", "running", "waiting"),
        "all": tuple(found),
        "arrivals_per_s": ("arrivals_per_s",),
        "spilled_per_s": ("spilled_per_s",) if mode == "Hybrid" else ("arrivals_per_s",),
    }[gone]
    seen = observe(replicas, signals=signals(**(found | dict.fromkeys(absent, MISSING))))
    assert scaled(one_pass(wanted, seen, memory)[0]).replicas >= replicas


@given(found=readings(), replicas=st.integers(min_value=0, max_value=8), memory=MEMORIES)
def test_the_same_values_give_the_same_decision(found: dict[str, Any], replicas: int, memory: Memory) -> None:
    seen = observe(replicas, signals=signals(**found))
    assert one_pass(workload(), seen, memory) == one_pass(workload(), seen, memory)


@given(found=readings(), replicas=st.integers(min_value=0, max_value=8), mode=MODES)
def test_settled_stays_settled(found: dict[str, Any], replicas: int, mode: str) -> None:
    """Under constant demand the count moves up once, down at most once, and then not at all."""
    wanted = workload(mode, scaling={"minReplicas": 0, "maxReplicas": 8, "scaleDownStabilizationSeconds": 60})
    seen = observe(replicas, signals=signals(**(found | {"kv_cache_usage_ratio": MISSING})))
    counts: list[int] = []
    memory, now = Memory(), NOW
    for _ in range(16):
        decision, memory = one_pass(wanted, seen, memory, now)
        counts.append(scaled(decision).replicas)
        seen = replace(seen, pools=(pool(counts[-1]),))
        now += SETTINGS.tick
    moves = [after for before, after in pairwise(counts) if before != after]
    assert len(moves) <= 1
    assert len(set(counts[-8:])) == 1


@given(ready=st.integers(min_value=0, max_value=5), gateways=st.integers(min_value=1, max_value=5))
def test_the_shared_cap_covers_the_whole_and_no_more_than_rounding(ready: int, gateways: int) -> None:
    decision, _ = one_pass(seen=observe(ready, gateways=tuple(gateway(index) for index in range(gateways))))
    plan = decision.gateway
    assert plan.cap_total == ready * 16
    assert plan.cap_total <= plan.cap_per_gateway * gateways < plan.cap_total + gateways
    assert (plan.cap_per_gateway == 0) == (ready == 0)
