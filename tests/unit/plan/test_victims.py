"""Which replica goes at a scale-down: the one that costs the least work."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.plan.decide import decide
from spillway.plan.decision import Decision, DemandPoint, Memory
from spillway.plan.observation import Observation
from spillway.plan.scaling.victims import NOT_SERVING, deletion_costs
from tests.unit.plan.situations import NOW, POOL, SETTINGS, later, observe, pool, replica, signals, workload

CALM = Memory(demand=tuple(DemandPoint(at=later(-15.0 * (21 - index)), wanted=1) for index in range(21)))


def loaded(*loads: float | None, **changes: object) -> Observation:
    """Return as many ready replicas, each with that much in flight; None is not known."""
    by_pod = {f"{POOL}-{index}": load for index, load in enumerate(loads) if load is not None}
    return observe(len(loads), signals=replace(signals(), in_flight_by_pod=by_pod), **changes)


def decided(seen: Observation, memory: Memory = CALM) -> Decision:
    return decide(workload(), seen, memory, NOW, SETTINGS)[0]


def costs(seen: Observation) -> dict[str, int]:
    return {each.pod.removeprefix(f"{POOL}-"): each.cost for each in deletion_costs(seen, decided(seen))}


def test_the_replica_with_the_least_in_flight_costs_the_least() -> None:
    assert costs(loaded(3.0, 0.0, 1.0)) == {"0": 3, "1": 0, "2": 1}


def test_a_replica_that_does_not_serve_yet_goes_before_an_idle_one() -> None:
    pods = (replica(0), replica(1, ready=False, ready_since=None))
    assert costs(replace(loaded(0.0, 0.0), replicas=pods)) == {"0": 0, "1": NOT_SERVING}


def test_a_serving_replica_of_which_nothing_is_known_counts_as_the_busiest() -> None:
    assert costs(loaded(2.0, None, 5.0)) == {"0": 2, "1": 6, "2": 5}
    assert costs(loaded(float("nan"), 4.0)) == {"0": 5, "1": 4}


def test_where_no_load_is_known_all_that_serve_are_alike() -> None:
    assert len(set(costs(loaded(None, None)).values())) == 1


def test_what_goes_anyway_and_what_is_of_another_pool_is_not_told() -> None:
    others = (replica(2, terminating=True), replica(3, ended_at=NOW), replica(4, pool="another"))
    seen = loaded(1.0, 0.0)
    assert costs(replace(seen, replicas=(*seen.replicas, *others))).keys() == {"0", "1"}


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(loaded(1.0), id="as many as there were"),
        pytest.param(replace(loaded(8.0, 8.0), signals=signals(running=32.0)), id="more than there were"),
        pytest.param(loaded(1.0, pools=()), id="the first ones"),
        pytest.param(loaded(1.0, 0.0, pools=(pool(0),)), id="from none"),
    ],
)
def test_costs_are_told_only_where_some_go_and_some_stay(seen: Observation) -> None:
    assert deletion_costs(seen, decided(seen)) == ()


def test_when_all_go_none_is_told() -> None:
    idle = replace(CALM, demand=tuple(replace(point, wanted=0) for point in CALM.demand))
    asleep = workload(scaling={"minReplicas": 0})
    seen = loaded(0.0, 0.0)
    decision = decide(asleep, seen, idle, NOW, SETTINGS)[0]
    assert decision.scale is not None
    assert decision.scale.replicas == 0
    assert deletion_costs(seen, decision) == ()


@given(st.lists(st.one_of(st.none(), st.floats(min_value=0, max_value=1e12)), min_size=2, max_size=6))
def test_the_order_of_costs_is_the_order_of_whole_requests_and_fits_the_annotation(loads: list[float | None]) -> None:
    seen = loaded(*loads)
    told = costs(seen)
    known = [(load, told[str(index)]) for index, load in enumerate(loads) if load is not None]
    assert all(-(2**31) <= cost < 2**31 for cost in told.values())
    assert [cost for _, cost in sorted(known)] == sorted(cost for _, cost in known)
