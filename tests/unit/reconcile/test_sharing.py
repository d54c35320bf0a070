"""Shares between passes: who is asked, who is told, and what is believed of what was told."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from spillway.api.vocabulary import ANNOTATION_GATEWAY_SHARE, COMPONENT_GATEWAY, LABEL_COMPONENT, LABEL_WORKLOAD
from spillway.apply.connection import ApiError
from spillway.observe.child import Child
from spillway.observe.cluster import ClusterView
from spillway.plan.decision import Decision, Key, Workload
from spillway.plan.gateway.shares import GatewayLoad
from spillway.reconcile.sharing import WATCH_LAG, Sharing
from spillway.render.envoy.share import share_annotation
from tests.unit.plan.situations import gateway, observe, one_pass, replica, workload

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
CAP = 16


class Cluster:
    """A view, pods that answer, and a log of what they were told."""

    def __init__(self, *pods: str, gateways: int = 2) -> None:
        self.now = NOW
        self.view = ClusterView()
        self.loads: dict[str, GatewayLoad | None] = dict.fromkeys(pods, GatewayLoad(in_force=8, owned=0, hosted=0, turned_away=0))
        self.told: list[tuple[str, int]] = []
        self.asked: list[str] = []
        self.looked = asyncio.Event()
        self.refuses: set[str] = set()
        self.status = 500
        self.workload: Workload = workload(gateway={"replicas": gateways})
        seen = replace(observe(), replicas=(replica(),), gateways=(gateway(0), gateway(1)))
        self.decision: Decision = one_pass(self.workload, seen=seen)[0]
        assert self.decision.gateway.cap_total == CAP
        for pod in pods:
            self.show(pod)
        self.sharing = Sharing(view=self.view, look=self.look, tell=self.tell, clock=lambda: self.now)
        self.sharing.follow(self.workload, self.decision)

    @property
    def key(self) -> Key:
        """The workload."""
        return self.workload.key

    def show(
        self, pod: str, *, told: int | None = None, knows_shares: bool = True, placed: bool = True, ends_by: datetime | None = None
    ) -> None:
        """Have the watch show a pod; without a place, one that no node takes; `ends_by`: when its time to end is over."""
        since = (NOW - timedelta(hours=1)).isoformat()
        metadata: dict[str, Any] = {
            "name": pod,
            "namespace": self.key.namespace,
            "uid": pod,
            "labels": {LABEL_WORKLOAD: self.key.name, LABEL_COMPONENT: COMPONENT_GATEWAY},
            "annotations": share_annotation(told) if knows_shares else {},
        }
        metadata |= {} if ends_by is None else {"deletionTimestamp": ends_by.isoformat()}
        status: dict[str, Any] = {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}]}
        if not placed:
            nowhere = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available."}
            status = {"conditions": [nowhere]}
        self.view.put("Pod", {"metadata": metadata, "status": status}, NOW)

    async def look(self, pod: Child) -> GatewayLoad | None:
        """Answer as a pod."""
        self.asked.append(pod.name)
        self.looked.set()
        return self.loads[pod.name]

    async def tell(self, _: Key, pod: Child, share: int) -> bool:
        """Write an annotation; the watch shows nothing of it."""
        if pod.name in self.refuses:
            raise ApiError(self.status, "etcd is away")
        self.told.append((pod.name, share))
        return True

    async def shared(self) -> list[tuple[str, int]]:
        """Look once; return what was told."""
        self.told.clear()
        await self.sharing.share(self.key)
        return sorted(self.told)


async def test_pods_are_told_once_and_before_the_watch_shows_it() -> None:
    cluster = Cluster("a", "b")
    assert await cluster.shared() == [("a", 8), ("b", 8)]
    assert await cluster.shared() == []
    cluster.now += WATCH_LAG
    for pod in ("a", "b"):
        cluster.show(pod, told=8)
    assert await cluster.shared() == []


async def test_a_pod_on_a_node_that_is_lost_leaves_its_share_to_the_others() -> None:
    cluster = Cluster("a", "b")
    for pod in ("a", "b"):
        cluster.show(pod, told=8)
    full = GatewayLoad(in_force=8, owned=8, hosted=0, turned_away=0)
    cluster.loads = {"a": full, "b": full}
    assert await cluster.shared() == []
    cluster.now += timedelta(hours=1)
    cluster.loads = {"a": replace(full, turned_away=9), "b": None}
    assert await cluster.shared() == []
    cluster.show("b", told=8, ends_by=NOW)
    assert await cluster.shared() == [("a", CAP)]


async def test_pods_that_come_late_are_looked_at_once_a_pass_has_seen_them() -> None:
    cluster = Cluster()
    running = asyncio.create_task(cluster.sharing.run())
    for _ in range(20):
        await asyncio.sleep(0)  # it looks at nobody
    assert cluster.sharing._followed[cluster.key].due > 0
    for pod in ("a", "b"):
        cluster.loads[pod] = GatewayLoad(in_force=8, owned=0, hosted=0, turned_away=0)
        cluster.show(pod)
    cluster.sharing.follow(cluster.workload, cluster.decision)
    async with asyncio.timeout(10):
        await cluster.looked.wait()
    assert set(cluster.asked) == {"a", "b"}
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_workload_whose_pods_cannot_be_told_for_long_does_not_hold_up_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a webhook of its namespace that does not answer."""
    for name in ("LOOK_S", "IDLE_LOOK_S", "MOVING_LOOK_S"):
        monkeypatch.setattr(f"spillway.reconcile.sharing.{name}", 0.01)
    cluster, never, looked = Cluster("a", "b"), asyncio.Event(), 0
    other = replace(cluster.workload, key=Key(namespace="elsewhere", name=cluster.key.name), uid="other")
    seen_twice = asyncio.Event()

    async def look(_: Child) -> GatewayLoad:
        return GatewayLoad(in_force=8, owned=0, hosted=0, turned_away=0)

    async def tell(key: Key, pod: Child, share: int) -> bool:
        nonlocal looked
        if key == cluster.key:
            await never.wait()
        looked += 1
        if looked == 4:  # two pods, two looks: the watch shows nothing of the first
            seen_twice.set()
        cluster.now += WATCH_LAG
        return await cluster.tell(key, pod, share)

    sharing = Sharing(view=cluster.view, look=look, tell=tell, clock=lambda: cluster.now)
    for pod in ("c", "d"):
        metadata = {
            "name": pod,
            "namespace": other.key.namespace,
            "uid": pod,
            "labels": {LABEL_WORKLOAD: other.key.name, LABEL_COMPONENT: COMPONENT_GATEWAY},
            "annotations": share_annotation(None),
        }
        cluster.view.put("Pod", {"metadata": metadata, "status": {"podIP": "10.0.0.2"}}, NOW)
    for each in (cluster.workload, other):
        sharing.follow(each, cluster.decision)
    running = asyncio.create_task(sharing.run())
    async with asyncio.timeout(30):
        await seen_twice.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert {pod for pod, _ in cluster.told} == {"c", "d"}


async def test_nothing_is_kept_for_a_pod_that_no_node_takes() -> None:
    cluster = Cluster("a", "b")
    cluster.loads |= dict.fromkeys(("a", "b"), GatewayLoad(in_force=5, owned=5, hosted=4, turned_away=0))
    for pod in ("a", "b"):
        cluster.show(pod, told=5)
    cluster.show("c", told=6, placed=False)
    assert await cluster.shared() == [("c", 1)]
    cluster.show("c", told=1, placed=False)
    assert sum(share for pod, share in await cluster.shared() if pod != "c") == CAP - 1


async def test_what_somebody_else_wrote_into_the_annotation_is_put_right() -> None:
    cluster = Cluster("a", "b")
    await cluster.shared()
    cluster.now += WATCH_LAG
    cluster.show("a", told=8)
    cluster.show("b", told=40)
    assert await cluster.shared() == [("b", 8)]


async def test_who_lets_no_pod_be_told_is_asked_ever_less_often_until_one_is() -> None:
    cluster, looked_at_s = Cluster("a", "b"), 100.0
    followed = cluster.sharing._followed[cluster.key]
    cluster.refuses, cluster.status = {"b"}, 403

    async def pause_s() -> float:
        await cluster.sharing._look_at(cluster.key, followed, looked_at_s)
        return followed.due - looked_at_s

    assert [await pause_s() for _ in range(6)] == [2, 4, 8, 16, 30, 30]
    cluster.refuses.clear()
    assert await pause_s() <= 2
    cluster.refuses = {"b"}
    assert await pause_s() <= 2, "nothing is to be told"


async def test_a_pod_that_could_not_be_told_is_told_at_the_next_look() -> None:
    cluster = Cluster("a", "b")
    cluster.refuses = {"b"}
    assert await cluster.shared() == [("a", 8)]
    cluster.refuses = set()
    assert await cluster.shared() == [("b", 8)]


async def test_a_share_that_may_have_been_told_is_not_given_to_another_pod_until_the_watch_shows_that_it_was_not() -> None:
    cluster = Cluster("a", "b")
    for pod in ("a", "b"):
        cluster.show(pod, told=1)
        cluster.loads[pod] = GatewayLoad(in_force=1, owned=0, hosted=0, turned_away=0)
    cluster.refuses, cluster.status = {"a"}, 0
    assert await cluster.shared() == [("b", 8)]
    assert await cluster.shared() == []
    cluster.now += WATCH_LAG
    cluster.refuses = set()
    cluster.show("b", told=8)
    assert await cluster.shared() == [("a", 8)]


async def test_a_pod_of_a_template_without_shares_is_neither_asked_nor_told() -> None:
    cluster = Cluster("a", "b")
    cluster.show("b", knows_shares=False)
    assert await cluster.shared() == [("a", 8)]
    assert cluster.asked == ["a"]


async def test_without_a_cap_nobody_is_asked() -> None:
    cluster = Cluster("a", "b")
    none = replace(cluster.decision, gateway=replace(cluster.decision.gateway, cap_total=0, cap_per_gateway=0))
    cluster.sharing.follow(cluster.workload, none)
    assert await cluster.shared() == [("a", 0), ("b", 0)]
    assert cluster.asked == []


async def test_a_cap_that_is_not_known_leaves_shares_as_they_are() -> None:
    cluster = Cluster("a", "b")
    await cluster.shared()
    unknown = replace(cluster.decision, gateway=replace(cluster.decision.gateway, cap_total=0, cap_known=False))
    cluster.sharing.follow(cluster.workload, unknown)
    assert await cluster.shared() == []


@pytest.mark.parametrize("gateways", [1, 2])
async def test_a_workload_is_followed_where_there_are_several_gateways(gateways: int) -> None:
    cluster = Cluster("a", gateways=gateways)
    assert (await cluster.sharing.share(cluster.key) is not None) == (gateways > 1)
    cluster.sharing.forget(cluster.key)
    assert await cluster.sharing.share(cluster.key) is None


def test_the_annotation_is_where_the_volume_looks() -> None:
    assert list(share_annotation(3)) == [ANNOTATION_GATEWAY_SHARE]
