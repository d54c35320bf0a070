"""Scaling that is only told: placement.apply Recommend decides as ever and leaves the replicas as they are."""

from dataclasses import replace
from typing import Any

import pytest

from spillway.api.vocabulary import Reason
from spillway.plan.decide import decide
from spillway.plan.decision import Decision, DemandPoint, Memory, ScaleDecision, Workload
from spillway.plan.observation import Observation
from tests.unit.plan.situations import LLAMA_8B, NOW, SETTINGS, dear, later, observe, pool, signals, workload

BUSY = signals(running=8.0, waiting=12.0)  # two and a half batches
CALM = Memory(demand=tuple(DemandPoint(at=later(-15.0 * (21 - index)), wanted=1) for index in range(21)))


def advised(**changes: Any) -> Workload:
    return workload(placement={"mode": "Hybrid", "apply": "Recommend"}, **changes)


def once(asked: Workload, seen: Observation, memory: Memory | None = None) -> tuple[Decision, ScaleDecision, Memory]:
    decision, after = decide(asked, seen, memory or Memory(), NOW, SETTINGS)
    assert decision.scale is not None
    return decision, decision.scale, after


@pytest.mark.parametrize(
    ("seen", "memory"),
    [pytest.param(observe(1, signals=BUSY), Memory(), id="up"), pytest.param(observe(3), CALM, id="down")],
)
def test_says_what_it_would_do_and_leaves_the_replicas(seen: Observation, memory: Memory) -> None:
    _, acting, _ = once(workload(), seen, memory)
    decision, told, _ = once(advised(), seen, memory)
    there = seen.pools[0].replicas
    assert acting.replicas != there
    assert (told.replicas, told.previous, told.recommended, told.reason) == (there, there, acting.replicas, acting.reason)
    assert acting.recommended is None
    assert decision.pool is not None
    assert decision.pool.replicas == there


@pytest.mark.parametrize("count", [0, 7], ids=["below minReplicas", "above maxReplicas"])
def test_a_count_that_somebody_set_beyond_the_bounds_is_left_too(count: int) -> None:
    _, told, _ = once(advised(), observe(count))
    assert told.replicas == count
    assert told.recommended == {0: 1, 7: 4}[count]


def test_a_new_pool_begins_with_the_fewest_and_says_how_many_the_declared_traffic_needs() -> None:
    traffic = {"requestsPerSecond": {"mean": "500", "peak": "500"}}
    decision, told, _ = once(
        advised(scaling={"minReplicas": 2}, traffic=traffic, model={"architecture": LLAMA_8B}), observe(0, pools=(), catalogue=dear())
    )
    assert (told.replicas, told.previous, told.recommended) == (2, None, 4)
    assert [each.what for each in decision.events if "replicas" in each.what] == ["recommended replicas 2 -> 4", "replicas 0 -> 2"]


def test_a_pool_of_another_kind_takes_over_as_many_as_there_were() -> None:
    _, told, _ = once(advised(), observe(3, pools=(pool(3, name="chat-engine-before"),)))
    assert (told.replicas, told.previous) == (3, None)


def test_a_recommendation_is_told_once_while_it_stays_the_same() -> None:
    seen = observe(1, signals=BUSY)
    first, told, memory = once(advised(), seen)
    assert told.recommended is not None
    assert f"recommended replicas 1 -> {told.recommended}" in [each.what for each in first.events]
    second, again, _ = once(advised(), seen, memory)
    assert again.recommended == told.recommended
    assert not [each for each in second.events if "replicas" in each.what]


def test_a_recommendation_goes_down_only_after_its_window_as_replicas_would() -> None:
    _, told, memory = once(advised(), observe(1, signals=BUSY))
    calm, held, _ = once(advised(), observe(1), memory)
    assert (held.recommended, held.reason) == (told.recommended, Reason.STABILIZING)
    assert not [each for each in calm.events if "replicas" in each.what]
    down, fallen, _ = once(advised(), observe(1), replace(CALM, recommended_replicas=told.recommended))
    assert (fallen.recommended, fallen.reason) == (1, Reason.DEMAND_FELL)
    assert f"recommended replicas {told.recommended} -> 1" in [each.what for each in down.events]


def test_a_restarted_operator_goes_on_from_what_the_status_tells() -> None:
    first, told, _ = once(advised(), observe(1, signals=BUSY))
    status = {
        "placement": {"mode": "Hybrid", "reason": "HybridRequested", "evaluatedAt": NOW.isoformat()},
        "dedicated": {"recommendedReplicas": told.recommended},
        "decisions": [each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in first.events],
    }
    restarted, again, _ = once(advised(previous_status=status), observe(1, signals=BUSY))
    assert again.recommended == told.recommended
    assert not [each for each in restarted.events if "replicas" in each.what]


def test_external_scaling_is_followed_and_nothing_is_recommended() -> None:
    _, followed, _ = once(advised(scaling={"mode": "External"}, replicas=3), observe(1))
    assert (followed.replicas, followed.recommended) == (3, None)


def test_placed_by_auto_it_is_told_as_well() -> None:
    asked = workload(placement={"mode": "Auto", "apply": "Recommend", "dataResidency": "ClusterOnly"}, hosted=None)
    _, told, _ = once(asked, observe(1, signals=BUSY))
    assert (told.replicas, told.recommended) == (1, 3)


def test_none_is_recommended_no_longer_once_requests_come_that_own_replicas_serve() -> None:
    wanted = advised(scaling={"minReplicas": 0}, model={"architecture": LLAMA_8B})
    busy = signals(
        arrivals_per_s=20.0, in_flight_owned=16.0, running=16.0, residence_s=1.0, input_tokens_mean=1000.0, output_tokens_mean=250.0
    )
    _, told, memory = once(wanted, observe(2, signals=busy, catalogue=dear()), Memory(recommended_replicas=0))
    assert told.recommended is not None
    assert told.recommended > 0
    assert told.reason is Reason.DEMAND_ROSE, "nothing spilled"
    assert memory.demand_model is not None
    assert (memory.demand_model.reading or 0.0) > 0


def test_without_metrics_nothing_new_is_recommended() -> None:
    _, told, _ = once(advised(), observe(1, signals=signals(running=8.0)), Memory(recommended_replicas=3))
    assert told.recommended == 3
