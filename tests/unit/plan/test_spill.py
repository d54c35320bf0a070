"""The gateway's cap."""

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.plan.situations import NOW, gateway, observe, one_pass, replica, workload


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
