"""What a pass may see of the world."""

from datetime import UTC, datetime, timedelta
from typing import Any

from spillway.api.vocabulary import Reason
from spillway.apply.known import KnownObjects
from spillway.observe.cluster import ClusterView
from spillway.observe.signals import Target
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
    elsewhere = provider("unlimited", limits={"requestsPerMinute": 60})
    world.view.put("HostedProvider", {**elsewhere, "metadata": metadata("unlimited", "other")}, NOW)
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


def pod(name: str, component: str, *, ready_s: float, **more: Any) -> dict[str, Any]:
    """Return a pod that has been ready for so long."""
    labels = {"spillway.dev/workload": "x", "app.kubernetes.io/component": component}
    since = {"type": "Ready", "status": "True", "lastTransitionTime": (NOW - timedelta(seconds=ready_s)).isoformat()}
    return {"metadata": metadata(name, "ns", labels=labels, **more), "spec": {"nodeName": "a"}, "status": {"conditions": [since]}}


def test_prometheus_is_asked_by_the_targets_of_each_workload_and_for_pods_that_should_have_been_scraped() -> None:
    world = World(view=ClusterView(), known=KnownObjects(), window_s=60, unasked=Missing(reason=Reason.METRICS_MISSING))
    promised = renting("x", "p")
    promised["spec"]["slo"] = {"timeToFirstTokenMs": 500, "interTokenLatencyMs": 50, "endToEndMs": 9000}
    for body in (promised, renting("y"), renting("ending", deletionTimestamp="2026-11-21T11:00:00Z")):
        world.view.put("InferenceWorkload", body, NOW)
    for component in ("engine", "gateway"):
        for body in (
            pod(f"{component}-long", component, ready_s=45),
            pod(f"{component}-just", component, ready_s=44),
            pod(f"{component}-other", component, ready_s=900),
        ):
            world.view.put("Pod", body, NOW)
    world.view.put("Pod", pod("engine-leaving", "engine", ready_s=900, deletionTimestamp="2026-11-21T11:59:00Z"), NOW)
    plain = Target(ttft_ms=None, inter_token_ms=None, end_to_end_ms=None, backends=(), engines=0, gateways=0)
    assert world.targets(NOW) == {
        Key(namespace="ns", name="x"): Target(
            ttft_ms=500, inter_token_ms=50, end_to_end_ms=9000, backends=(("p", "m"),), engines=2, gateways=2
        ),
        Key(namespace="ns", name="y"): plain,
    }


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
