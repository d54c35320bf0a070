"""What a pass may see of the world."""

from datetime import UTC, datetime, timedelta
from typing import Any

from spillway.api.vocabulary import Reason
from spillway.apply.known import KnownObjects
from spillway.observe.cluster import ClusterView
from spillway.plan.decision import Key
from spillway.plan.observation import Missing
from spillway.reconcile.queue import ReconcileQueue
from spillway.reconcile.tick import tick
from spillway.reconcile.world import World
from tests.unit.plan.situations import signals

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def metadata(name: str, namespace: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "namespace": namespace, "uid": f"uid-{name}", "generation": 1, "resourceVersion": "5", **more}


def renting(name: str, *providers: str, namespace: str = "ns", residency: str = "HostedAllowed", **more: Any) -> dict[str, Any]:
    spec = {
        "model": {"id": "acme/tiny"},
        "placement": {"mode": "Auto", "dataResidency": residency},
        "dedicated": {},
        "hosted": {"backends": [{"providerRef": {"name": each}, "model": "m"} for each in providers]},
    }
    return {"metadata": metadata(name, namespace, **more), "spec": spec}


def provider(name: str, **more: Any) -> dict[str, Any]:
    priced = {"name": "m", "inputUSDPerMillionTokens": "1", "outputUSDPerMillionTokens": "2"}
    return {"metadata": metadata(name, "ns"), "spec": {"baseURL": "https://api.example.com/v1", "models": [priced], **more}}


def test_an_accounts_limits_are_shared_by_the_workloads_of_its_namespace_that_may_use_it() -> None:
    world = World(view=ClusterView(), known=KnownObjects(), window_s=60, unasked=Missing(reason=Reason.METRICS_MISSING))
    world.view.put("HostedProvider", provider("p", limits={"requestsPerMinute": 60}), NOW)
    world.view.put("HostedProvider", provider("unlimited"), NOW)
    for body in (
        renting("x", "p", "unlimited"),
        renting("y", "p"),
        renting("staying", "p", residency="ClusterOnly"),
        renting("ending", "p", deletionTimestamp="2026-11-21T11:00:00Z"),
        renting("elsewhere", "p", namespace="other"),
    ):
        world.view.put("InferenceWorkload", body, NOW)
    workload = world.view.workloads[Key(namespace="ns", name="x")].as_workload()
    assert workload is not None
    assert world.observation(workload, NOW).provider_users == {"p": 2}


def test_a_clock_that_is_set_back_begins_the_watch_anew() -> None:
    world = World(view=ClusterView(), known=KnownObjects(), window_s=60, unasked=Missing(reason=Reason.METRICS_MISSING), leading_since=NOW)
    world.view.put("InferenceWorkload", renting("x", "p"), NOW)
    workload = world.view.workloads[Key(namespace="ns", name="x")].as_workload()
    assert workload is not None
    back = NOW - timedelta(hours=1)
    seen = [world.observation(workload, at).watched_since for at in (NOW, back, back + timedelta(minutes=10), NOW + timedelta(minutes=10))]
    assert seen == [NOW, back, back, NOW]


class Answering:
    """Stands for Prometheus."""

    async def read(self, targets: Any, *_: Any) -> Any:
        return dict.fromkeys(targets, signals())


async def test_what_was_measured_of_a_deleted_workload_is_not_of_the_one_that_has_its_name_now() -> None:
    world = World(view=ClusterView(), known=KnownObjects(), window_s=60, unasked=Missing(reason=Reason.METRICS_MISSING))
    key, queue = Key(namespace="ns", name="x"), ReconcileQueue(lambda: 0.0)

    def measured() -> bool:
        workload = world.view.workloads[key].as_workload()
        assert workload is not None
        return not isinstance(world.observation(workload, NOW).signals.arrivals_per_s, Missing)

    world.view.put("InferenceWorkload", renting("x"), NOW)
    await tick(Answering(), world, queue)
    assert measured()
    again = renting("x")
    again["metadata"]["uid"] = "uid-again"
    world.view.put("InferenceWorkload", again, NOW)
    assert not measured()
    await tick(Answering(), world, queue)
    assert measured()
