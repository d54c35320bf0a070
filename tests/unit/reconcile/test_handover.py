"""Replicas that are not wanted any more go once something else is known to carry their load, and not before."""

from dataclasses import replace
from typing import Any

import pytest

from spillway.apply.known import Ref
from spillway.plan.observation import GatewayPod, Observation, Pool, ReplicaPod
from spillway.reconcile.handover import hand_over
from spillway.render.objects import ChildRef
from tests.unit.plan.situations import MISSING, POOL, observe, one_pass, pool, replica, signals, workload

OLD = "chat-engine-00000000"
AROUND = {("Service", "chat-replicas"), ("NetworkPolicy", "chat-engine"), ("PodDisruptionBudget", "chat-engine")}
HOSTED = frozenset({ChildRef("Deployment", "chat-gateway"), ChildRef("Service", "chat")})
OWNED = HOSTED | {ChildRef("Deployment", POOL), *(ChildRef(*each) for each in AROUND)}


def gateways(*hashes: str, ready: bool = True) -> tuple[GatewayPod, ...]:
    return tuple(GatewayPod(uid=f"g{index}", name=f"g{index}", ready=ready, config_hash=each) for index, each in enumerate(hashes))


def seen(**changes: Any) -> Observation:
    old = Pool(name=OLD, replicas=1, ready_replicas=1)
    plain: dict[str, Any] = {"pools": (old, pool(1)), "replicas": (replica(pool=OLD),), "gateways": gateways("new", "new")}
    return observe(0, **(plain | changes))


def stays(
    mode: str, there: Observation, *, healthy: Any = MISSING, cache: str = "ReadWriteMany", limit: str | None = None, **read: Any
) -> bool:
    """Return whether the old pool stays; what is around it must go and stay with it. `limit`: of what hosted may cost in a day."""
    cached = {"modelCache": {"claimName": "weights", "accessMode": cache}}
    hosted = {"backends": [{"providerRef": {"name": "acme"}, "model": "llama-8b"}], "overflow": {"maxUSDPerDay": limit}}
    limited: dict[str, Any] = {} if limit is None else {"hosted": hosted}
    given = workload(mode, **limited) if mode == "Hosted" else workload(mode, dedicated=cached, **limited)
    there = replace(there, signals=signals(hosted_healthy={"acme/llama-8b": healthy}, **read))
    decision, _ = one_pass(given, there)
    wanted = HOSTED if decision.pool is None else OWNED
    if decision.pool is None:
        there = replace(there, pools=there.pools[:1])
    found = hand_over(given, there, decision, wanted=wanted, config_hash="new")
    kept = found.keeps(Ref("Deployment", "ml", OLD))
    if decision.pool is None:
        assert all(found.keeps(Ref(kind, "ml", name)) == kept for kind, name in AROUND)
    assert found.keeps(Ref("Service", "ml", "chat"))
    return kept


@pytest.mark.parametrize("mode", ["Hosted", "Hybrid"])
def test_an_old_pool_stays_until_a_hosted_backend_is_known_to_serve(mode: str) -> None:
    assert stays(mode, seen(), healthy=MISSING)
    assert stays(mode, seen(), healthy=False)
    assert not stays(mode, seen(), healthy=True)


@pytest.mark.parametrize("key", [{"hosted_credential_loaded": {"acme/llama-8b": False}}, {"hosted_rejected_per_s": {"acme/llama-8b": 0.1}}])
def test_a_hosted_backend_that_has_no_good_key_carries_nothing(key: dict[str, Any]) -> None:
    assert stays("Hosted", seen(), healthy=True, **key)


@pytest.mark.parametrize("pods", [(), gateways("new", "old"), gateways("new", "new", ready=False)])
def test_an_old_pool_stays_until_every_gateway_runs_the_new_configuration(pods: tuple[GatewayPod, ...]) -> None:
    assert stays("Hosted", seen(gateways=pods), healthy=True)


def test_an_old_pool_does_not_wait_for_a_gateway_that_cannot_start() -> None:
    without_node = GatewayPod(uid="g2", name="g2", ready=False, config_hash="new")
    assert not stays("Hosted", seen(gateways=(*gateways("new", "new"), without_node)), healthy=True)
    assert stays("Hosted", seen(gateways=(*gateways("new", "new"), replace(without_node, config_hash="old"))), healthy=True)


def test_another_shape_takes_over_with_its_first_ready_replica() -> None:
    assert stays("Dedicated", seen(), healthy=True), "a Dedicated workload has no hosted backend"
    starting = replica(1, ready=False)
    assert stays("Dedicated", seen(replicas=(replica(pool=OLD), starting)))
    assert not stays("Dedicated", seen(replicas=(replica(pool=OLD), replica(1))))
    assert not stays("Hybrid", seen(replicas=(replica(pool=OLD), replica(1))))


def test_with_nobody_else_to_answer_all_replicas_of_another_shape_take_over_but_for_those_without_a_place() -> None:
    old, first, second = replica(pool=OLD), replica(1), replica(2)
    starting, waiting = replica(2, ready=False), replica(2, ready=False, bound_at=None, unschedulable="0/1 nodes are available.")
    two = (Pool(name=OLD, replicas=1, ready_replicas=1), pool(2))
    busy: dict[str, Any] = {"running": 12.0}
    assert stays("Dedicated", seen(pools=two, replicas=(old, first, starting)), **busy)
    assert not stays("Hybrid", seen(pools=two, replicas=(old, first, starting)), **busy)
    assert not stays("Dedicated", seen(pools=two, replicas=(old, first, second)), **busy)
    assert not stays("Dedicated", seen(pools=two, replicas=(old, first, waiting)), **busy)


def test_another_shape_waits_for_all_its_replicas_although_one_of_the_old_has_no_place() -> None:
    first, starting = replica(1), replica(2, ready=False)
    waiting = replica(3, pool=OLD, ready=False, bound_at=None, unschedulable="0/1 nodes are available.")
    two = (Pool(name=OLD, replicas=2, ready_replicas=1), pool(2))
    assert stays("Dedicated", seen(pools=two, replicas=(replica(pool=OLD), waiting, first, starting)), running=12.0)
    refused = (replace(two[0], refused="exceeded quota"), two[1])
    assert stays("Dedicated", seen(pools=refused, replicas=(replica(pool=OLD), first, starting)), running=12.0)


@pytest.mark.parametrize(
    "old",
    [
        pytest.param((), id="has no pod"),
        pytest.param((replica(pool=OLD, ready=False, waiting_reason="CrashLoopBackOff"),), id="cannot start"),
        pytest.param((replica(pool=OLD, ready=False, bound_at=None, unschedulable="0/1 nodes are available."),), id="has no node"),
    ],
)
def test_an_old_pool_that_carries_nothing_does_not_keep_its_accelerators_from_its_successor(old: tuple[ReplicaPod, ...]) -> None:
    waiting = replica(1, ready=False, bound_at=None, unschedulable="0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
    for mode in ("Dedicated", "Hybrid", "Hosted"):
        assert not stays(mode, seen(replicas=(*old, waiting)))
        assert stays(mode, seen(replicas=(*old, replica(9, pool=OLD), waiting))), "another one serves"
        assert stays(mode, seen(replicas=(*old, replica(9, pool=OLD, ready=False), waiting))), "another one starts"


def test_a_hosted_backend_carries_nothing_where_a_limit_lets_nothing_go_there() -> None:
    two = (Pool(name=OLD, replicas=1, ready_replicas=1), pool(2))
    first, starting = replica(1), replica(2, ready=False)
    for there in (seen(), seen(pools=two, replicas=(replica(pool=OLD), first, starting))):
        assert stays("Hybrid", there, healthy=True, limit="10", running=12.0, spill_meters=MISSING), "there is no permit"
        assert not stays("Hybrid", there, healthy=True, limit="10", running=12.0, spill_meters=())
    assert not stays("Hosted", seen(), healthy=True, limit="10", spill_meters=MISSING), "gateways send nothing to replicas any more"


def test_an_old_pool_lets_go_of_a_volume_for_one_node_once_its_successor_waits_on_another() -> None:
    without_node, waiting = replica(1, ready=False, bound_at=None), replica(1, ready=False)
    for mode in ("Dedicated", "Hybrid"):
        assert stays(mode, seen(replicas=(replica(pool=OLD), without_node)), cache="ReadWriteOnce")
        assert not stays(mode, seen(replicas=(replica(pool=OLD), waiting)), cache="ReadWriteOnce")
