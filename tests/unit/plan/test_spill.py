"""The gateway's cap."""

from dataclasses import replace
from typing import Any

import pytest

from spillway.plan.decision import Memory
from spillway.plan.learned import Learned, from_json, to_json
from spillway.plan.names import pool_name
from spillway.plan.observation import ReplicaPod
from tests.unit.plan.situations import LLAMA_8B, NOW, gateway, observe, one_pass, pool, replica, signals, workload

BEFORE = pool_name("chat", "l4", 1)


def old(index: int, **changes: Any) -> ReplicaPod:
    """Return a replica of the class before this one."""
    return replica(index, pool=BEFORE, accelerator_class="l4", **changes)


@pytest.mark.parametrize(
    ("replicas", "gateways", "total", "each"),
    [
        pytest.param((), (gateway(),), 0, 0, id="nothing ready, nothing kept"),
        pytest.param((replica(),), (gateway(),), 16, 16, id="batch and queue of one replica"),
        pytest.param((replica(0), replica(1, ready=False)), (gateway(),), 16, 16, id="a starting replica does not count"),
        pytest.param((replica(0), replica(1, terminating=True)), (gateway(),), 16, 16, id="a leaving one neither"),
        pytest.param((replica(0), replica(1, ended_at=NOW)), (gateway(),), 16, 16, id="nor an ended one"),
        pytest.param((replica(),), (gateway(0), gateway(1), gateway(2)), 16, 6, id="shared between gateways, rounded up"),
        pytest.param((replica(),), (gateway(0), gateway(1, ready=False)), 16, 16, id="between the ready ones"),
        pytest.param((replica(),), (), 16, 8, id="between those to come while none is ready"),
    ],
)
def test_cap_follows_ready_replicas(replicas: tuple[Any, ...], gateways: tuple[Any, ...], total: int, each: int) -> None:
    decision, _ = one_pass(seen=replace(observe(), replicas=replicas, gateways=gateways))
    assert (decision.gateway.cap_total, decision.gateway.cap_per_gateway) == (total, each)


def test_histogram_edges_lie_at_the_targets() -> None:
    decision, _ = one_pass(workload(slo={"timeToFirstTokenMs": 700, "endToEndMs": 9000}))
    assert (decision.gateway.ttft_edge_ms, decision.gateway.end_to_end_edge_ms) == (700, 9000)


def test_a_hosted_workload_keeps_nothing() -> None:
    decision, _ = one_pass(workload("Hosted"))
    assert decision.gateway.cap_total == 0


@pytest.mark.parametrize(
    ("batches", "total"),
    [
        pytest.param((4, 4), 16, id="those of before hold what they held"),
        pytest.param((4, 8), 16, id="likewise while both serve"),
        pytest.param((8, 8), 32, id="until they serve alone"),
    ],
)
def test_a_larger_batch_counts_once_replicas_were_told_of_it(batches: tuple[int, int], total: int) -> None:
    seen = observe(2, replicas=tuple(replica(index, max_num_seqs=batch) for index, batch in enumerate(batches)))
    assert one_pass(seen=seen, memory=Memory(slots=8))[0].gateway.cap_total == total


@pytest.mark.parametrize(
    ("batches", "total"),
    [
        pytest.param((10, 10), 40, id="those of before hold what they held"),
        pytest.param((10, 8), 32, id="no more than the others take while both serve"),
        pytest.param((8, 8), 32, id="nor once these serve alone"),
    ],
)
def test_a_smaller_batch_counts_with_the_first_replica_that_was_told_of_it(batches: tuple[int, int], total: int) -> None:
    seen = observe(2, replicas=tuple(replica(index, max_num_seqs=batch) for index, batch in enumerate(batches)))
    assert one_pass(seen=seen, memory=Memory(slots=20))[0].gateway.cap_total == total


def test_a_new_operator_goes_by_the_least_batch_of_those_that_serve_while_another_is_rolled_out() -> None:
    seen = observe(1, replicas=(replica(max_num_seqs=4),), pools=(pool(1, max_num_seqs=8),))
    assert one_pass(seen=seen)[0].gateway.cap_total == 4


@pytest.mark.parametrize(
    ("replicas", "total"),
    [
        pytest.param((old(0), old(1)), 8, id="those of the class before hold what they held"),
        pytest.param((old(0), old(1), replica(2, ready=False)), 8, id="while the first of the new class starts"),
        pytest.param((old(0), old(1), replica(2)), 12, id="and in the pass that sees it ready: requests are spread evenly"),
        pytest.param((old(0, terminating=True), replica(2)), 16, id="those of the new class hold theirs once they serve alone"),
    ],
)
def test_a_move_to_another_class_gives_replicas_that_serve_no_more_than_they_hold(replicas: tuple[Any, ...], total: int) -> None:
    seen = observe(0, replicas=replicas, pools=(pool(2, name=BEFORE, max_num_seqs=2), pool(1)))
    _, memory = one_pass(seen=seen, memory=Memory(slots=4))
    decision, memory = one_pass(seen=seen, memory=memory)
    assert decision.gateway.cap_total == total


@pytest.mark.parametrize("problem", [{"dedicated": {"accelerators": ["nobody-has-it"]}}, {"engine": {"maxNumSeqs": 32}}])
def test_a_new_operator_lets_replicas_hold_what_they_held_whatever_the_latest_spec_is(problem: dict[str, Any]) -> None:
    plain: dict[str, Any] = {"model": {"architecture": LLAMA_8B}}
    seen = observe(1, replicas=(replica(max_num_seqs=8),), pools=(pool(1, max_num_seqs=8),), signals=signals(arrivals_per_s=1.0))
    before, memory = one_pass(workload("Dedicated", **plain), seen)
    learned = Learned.of(memory)
    assert learned is not None
    restored = from_json(to_json(learned)).into(Memory(ledger=memory.ledger))
    after, _ = one_pass(workload("Dedicated", **(plain | problem)), seen, restored)
    assert before.gateway.cap_total > 8, "a batch, and those that wait behind it"
    assert after.gateway.cap_total == before.gateway.cap_total
