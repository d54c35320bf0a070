"""Watch events as facts, and for which workloads they are news."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from spillway.api.base import ApiModel
from spillway.observe.cluster import ClusterView
from spillway.observe.pods import gateway_pod, pool, replica_pod
from spillway.plan.decision import Key
from spillway.plan.observation import EngineLimits, ToldConfig
from tests.unit.plan.situations import accelerator, provider

LIMITS = '{"sizedFor":"abc","maxNumSeqs":36,"maxQueuedRequests":64,"maxQueuedTokens":null}'
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEY = Key(namespace="ns", name="x")


def workload(*, name: str = "x", generation: int = 1, spec: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    hybrid = {
        "model": {"id": "acme/tiny"},
        "placement": {"mode": "Hybrid"},
        "dedicated": {"accelerators": ["l4"]},
        "hosted": {"backends": [{"providerRef": {"name": "p"}, "model": "m"}]},
    }
    return {
        "metadata": {"name": name, "namespace": "ns", "uid": f"uid-{name}", "generation": generation, "resourceVersion": "5", **metadata},
        "spec": hybrid if spec is None else spec,
    }


def as_written(spec: ApiModel) -> dict[str, Any]:
    return spec.model_dump(mode="json", by_alias=True, exclude_none=True)


def pod(*, component: str = "engine", ready: bool = True, **extra: Any) -> dict[str, Any]:
    status = "True" if ready else "False"
    return {
        "metadata": {
            "name": f"x-{component}-0",
            "namespace": "ns",
            "uid": "pod-uid",
            "labels": {"spillway.dev/workload": "x", "app.kubernetes.io/component": component, "spillway.dev/pool": "x-engine-12345678"},
            "annotations": {"spillway.dev/accelerator-class": "l4", "spillway.dev/tensor-parallel-size": "2"},
            **extra.pop("metadata", {}),
        },
        "spec": {"nodeName": "node"},
        "status": {
            "phase": "Running",
            "startTime": "2026-11-21T10:00:00Z",
            "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-21T09:59:59Z"},
                {"type": "Ready", "status": status, "lastTransitionTime": "2026-11-21T10:05:00Z"},
            ],
            "containerStatuses": [
                {"name": component, "restartCount": 1, "state": {"running": {}}},
                {"name": "istio-proxy", "restartCount": 7, "state": {"running": {}}},
            ],
        },
        **extra,
    }


@pytest.fixture
def view() -> ClusterView:
    found = ClusterView()
    found.put("InferenceWorkload", workload(), NOW)
    return found


def test_an_engine_pod_has_all_its_facts(view: ClusterView) -> None:
    made = pod()
    made["metadata"]["creationTimestamp"] = "2026-11-21T09:59:00Z"
    view.put("Pod", made, NOW)
    (found,) = view.replicas(KEY, NOW)
    assert found.created_at == datetime(2026, 11, 21, 9, 59, tzinfo=UTC)
    assert (found.restarts, found.max_num_seqs) == (1, None)
    assert (found.pool, found.accelerator_class, found.tensor_parallel_size) == ("x-engine-12345678", "l4", 2)
    assert (found.ready, found.terminating) == (True, False)
    assert found.bound_at == datetime(2026, 11, 21, 9, 59, 59, tzinfo=UTC)
    assert found.ready_since == datetime(2026, 11, 21, 10, 5, tzinfo=UTC)


def test_a_pod_tells_the_batch_that_its_engine_was_told(view: ClusterView) -> None:
    made = pod()
    made["spec"] = {**made["spec"], "containers": [{"command": ["vllm", "serve", "m", "--max-num-seqs", "8"]}]}
    view.put("Pod", made, NOW)
    assert [each.max_num_seqs for each in view.replicas(KEY, NOW)] == [8]


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"conditions": None, "containerStatuses": None},
        {"conditions": [{"type": "Ready"}, {}], "containerStatuses": [{"restartCount": None, "state": None}]},
        {"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"finishedAt": "when?"}}}]},
    ],
    ids=["none", "nulls", "halves", "odd times"],
)
def test_an_odd_pod_is_not_ready_and_no_error(view: ClusterView, status: dict[str, Any]) -> None:
    view.put("Pod", {**pod(), "status": status}, NOW)
    (found,) = view.replicas(KEY, NOW)
    assert not found.ready


@pytest.mark.parametrize(
    ("status", "ended_at"),
    [
        pytest.param({"phase": "Running"}, None, id="one that runs has not"),
        pytest.param(
            {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "2026-11-21T11:00:00Z"}]}, 11, id="evicted"
        ),
        pytest.param({"startTime": "2026-11-21T10:00:00Z"}, 10, id="refused by its node"),
    ],
)
def test_a_pod_whose_containers_tell_no_end_ended_when_it_was_no_longer_ready(status: dict[str, Any], ended_at: int | None) -> None:
    found = replica_pod({**pod(), "status": {"phase": "Failed", "startTime": "2026-11-21T10:00:00Z"} | status})
    assert found.ended_at == (None if ended_at is None else datetime(2026, 11, 21, ended_at, tzinfo=UTC))


@pytest.mark.parametrize(
    ("reason", "message", "said"),
    [
        pytest.param(
            "Evicted",
            "The node was low on resource: ephemeral-storage. Threshold quantity: 10Gi, available: 8Gi. Container engine was using 140Gi, "
            "request is 0, has larger consumption of ephemeral-storage. ",
            "Evicted: The node was low on resource: ephemeral-storage",
            id="evicted",
        ),
        pytest.param(
            "UnexpectedAdmissionError",
            "Pod was rejected: Allocate failed due to no healthy devices present; cannot allocate unhealthy devices nvidia.com/gpu",
            "UnexpectedAdmissionError: Allocate failed due to no healthy devices present; cannot allocate unhealthy devices nvidia.com/gpu",
            id="no healthy accelerator",
        ),
        pytest.param(
            "OutOfnvidia.com/gpu",
            "Pod was rejected: Node didn't have enough resource: nvidia.com/gpu, requested: 1, used: 8, capacity: 8",
            "OutOfnvidia.com/gpu: Node didn't have enough resource: nvidia.com/gpu",
            id="no accelerator left",
        ),
        pytest.param("Terminated", "", "Terminated", id="without words"),
        pytest.param(None, "no reason", None, id="an end of its own"),
    ],
)
def test_why_a_node_put_a_replica_out_is_told_without_amounts(reason: str | None, message: str, said: str | None) -> None:
    """As kubelets from 1.30 to 1.36 write it: a pod that is refused has no containers in its status."""
    status = {"phase": "Failed", "reason": reason, "message": message, "startTime": "2026-11-21T10:00:00Z"}
    found = replica_pod({**pod(), "status": status})
    assert (found.ended_words, found.ended_at) == (said, datetime(2026, 11, 21, 10, tzinfo=UTC))


def test_a_replica_that_its_node_refused_never_had_an_accelerator_and_is_forgotten(view: ClusterView) -> None:
    """A node without healthy accelerators refuses thousands, one after the other: each had a mark in the ledger, and cost a second."""
    refused = {**pod(), "status": {"phase": "Failed", "reason": "UnexpectedAdmissionError", "startTime": "2026-11-21T10:00:00Z"}}
    view.put("Pod", refused, NOW)
    assert [each.bound_at for each in view.replicas(KEY, NOW)] == [None]
    view.remove("Pod", refused, NOW)
    assert view.replicas(KEY, NOW) == ()


@pytest.mark.parametrize(
    ("started", "silent"),
    [
        pytest.param("2026-11-21T10:04:59Z", True, id="it was ready in between"),
        pytest.param("2026-11-21T10:05:00Z", False, id="it is starting"),
        pytest.param(None, False, id="it does not run"),
    ],
)
def test_a_replica_that_served_and_answers_no_more_is_told_from_one_that_starts(started: str | None, silent: bool) -> None:  # noqa: FBT001
    """A node that is lost, say: its replicas run on as far as the API server knows, but are not ready any more."""
    body = pod(ready=False)
    state = {"waiting": {"reason": "ContainerCreating"}} if started is None else {"running": {"startedAt": started}}
    body["status"]["containerStatuses"] = [{"name": "engine", "ready": False, "restartCount": 0, "state": state}]
    assert replica_pod(body).fell_silent is silent
    assert not replica_pod(pod(ready=True)).fell_silent


@pytest.mark.parametrize("read", [replica_pod, gateway_pod])
def test_a_pod_whose_node_has_no_volumes_for_it_yet_tells_since_when(read: Any) -> None:
    since = {"lastTransitionTime": "2026-11-21T10:00:01Z"}
    body = pod(ready=False)
    body["status"]["conditions"].append({"type": "PodReadyToStartContainers", "status": "False", **since})
    assert read(body).preparing_since == datetime(2026, 11, 21, 10, 0, 1, tzinfo=UTC)
    body["status"]["conditions"][-1]["status"] = "True"
    assert read(body).preparing_since is None


def test_what_ended_of_a_deleted_workload_is_not_its_successors(view: ClusterView) -> None:
    view.put("Pod", pod(), NOW)
    view.remove("Pod", pod(), NOW)
    assert len(view.replicas(KEY, NOW)) == 1
    view.remove("InferenceWorkload", workload(), NOW)
    view.put("InferenceWorkload", workload(uid="another"), NOW)
    assert view.replicas(KEY, NOW) == ()


def test_who_was_never_seen_is_gone_without_news(view: ClusterView) -> None:
    assert view.remove_named("Pod", "ns", "x-engine-0", NOW, owner=KEY) == frozenset()


def test_gateways_are_told_from_all_else_that_a_workload_has(view: ClusterView) -> None:
    for body in (pod(), pod(component="gateway")):
        view.put("Pod", body, NOW)
    view.put("Deployment", deployment("gateway", message=None), NOW)
    assert [each.name for each in view.gateway_children(KEY, NOW)] == ["x-gateway-0"]
    assert view.gateways_ready_before(KEY, NOW) == 1


def test_why_a_pod_waits_is_told(view: ClusterView) -> None:
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
    unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: no gpu"}
    status = {"conditions": [unschedulable], "containerStatuses": [{"name": "engine", "restartCount": 3, "state": waiting}]}
    view.put("Pod", {**pod(), "spec": {}, "status": status}, NOW)
    (found,) = view.replicas(KEY, NOW)
    assert (found.waiting_reason, found.unschedulable, found.bound_at) == ("CrashLoopBackOff", "0/1 nodes: no gpu", None)


def crashed(
    *, state: dict[str, Any], ended: dict[str, Any], name: str = "engine", unready_since: str = "10:00:05", kind: str = "engine"
) -> Any:
    """Return a pod as the kubelet writes it between an end of a container and the next; its Ready condition tells since when it is not."""
    body = pod(component=kind, ready=False)
    body["status"]["conditions"][1]["lastTransitionTime"] = f"2026-11-21T{unready_since}Z"
    body["status"]["containerStatuses"] = [
        {"name": kind, "ready": False, "restartCount": 4, "state": {"running": {"startedAt": "2026-11-21T10:20:00Z"}}},
        {"name": "istio-proxy", "ready": True, "restartCount": 1, "state": {"running": {}}, "lastState": {"terminated": ended}},
    ]
    at = 0 if name == kind else 1
    body["status"]["containerStatuses"][at] |= {"name": name, "ready": False, "state": state, "lastState": {"terminated": ended}}
    return body


RUNS = {"running": {"startedAt": "2026-11-21T10:20:00Z"}}
BACK_OFF = {
    "waiting": {"reason": "CrashLoopBackOff", "message": "back-off 2m40s restarting failed container=engine pod=x-engine-0_ns(pod-uid)"}
}
NO_VLLM = 'failed to create containerd task: exec: "vllm": executable file not found in $PATH: unknown'
OOM = {"exitCode": 137, "reason": "OOMKilled", "startedAt": "2026-11-21T10:10:00Z", "finishedAt": "2026-11-21T10:14:00Z"}
ERROR = OOM | {"exitCode": 1, "reason": "Error", "message": "vllm: error: unrecognized arguments: --no-such-flag"}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param(crashed(state=BACK_OFF, ended=ERROR), ("CrashLoopBackOff", "exit code 1", ERROR["message"]), id="it waits"),
        pytest.param(crashed(state=RUNS, ended=ERROR), ("CrashLoopBackOff", "exit code 1", ERROR["message"]), id="it loads again"),
        pytest.param(
            crashed(state={"terminated": ERROR}, ended=OOM), ("CrashLoopBackOff", "exit code 1", ERROR["message"]), id="it has just ended"
        ),
        pytest.param(crashed(state=RUNS, ended=OOM), ("CrashLoopBackOff", "OOMKilled", None), id="by its memory"),
        pytest.param(crashed(state=RUNS, ended=OOM, unready_since="10:14:01"), (None, None, None), id="it served, until it ended"),
        pytest.param(
            crashed(state=BACK_OFF, ended=ERROR, name="istio-proxy"),
            ("CrashLoopBackOff", "container istio-proxy, exit code 1", None),
            id="a sidecar",
        ),
        pytest.param(
            crashed(state={"terminated": ERROR | {"exitCode": 0}}, ended=ERROR, name="vault-agent"),
            (None, None, None),
            id="one that is done",
        ),
        pytest.param(
            crashed(
                state=BACK_OFF,
                ended=OOM | {"exitCode": 128, "reason": "StartError", "message": NO_VLLM},
            ),
            ("CrashLoopBackOff", f"StartError: {NO_VLLM}", NO_VLLM),
            id="it cannot be run",
        ),
    ],
)
def test_a_replica_that_ends_before_it_serves_is_in_a_loop_also_while_it_runs_again(body: Any, said: tuple[Any, ...]) -> None:
    """A large model takes minutes to its next end; alerts that wait for half an hour of one reason never came."""
    found = replica_pod(body)
    assert (found.waiting_reason, found.waiting_words, found.last_words) == said
    assert found.is_stuck == (said[0] is not None)


@pytest.mark.parametrize(
    ("waiting", "said"),
    [
        pytest.param(
            {"reason": "ErrImagePull", "message": 'failed to pull and unpack image "r.example.com/vllm:1": not found'},
            ("ImagePullBackOff", "image r.example.com/vllm:1"),
            id="it could not be pulled",
        ),
        pytest.param(
            {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "r.example.com/vllm:1"'},
            ("ImagePullBackOff", "image r.example.com/vllm:1"),
            id="it will be pulled again",
        ),
        pytest.param(
            {"reason": "CreateContainerConfigError", "message": "couldn't find key token in Secret ns/hub"},
            ("CreateContainerConfigError", "couldn't find key token in Secret ns/hub"),
            id="a Secret without the key",
        ),
        pytest.param(
            {
                "reason": "CreateContainerConfigError",
                "message": 'container has runAsNonRoot and image will run as root (pod: "x-engine-0_ns(pod-uid)", container: engine)',
            },
            ("CreateContainerConfigError", "container has runAsNonRoot and image will run as root"),
            id="without the pod's name",
        ),
        pytest.param(
            {
                "reason": "CreateContainerError",
                "message": 'failed to reserve container name "engine_1": name is reserved for "5f9c2a7be1d04c3b8a6f5f9c2a7be1d04c3b8a6f"',
            },
            ("CreateContainerError", 'failed to reserve container name "engine_1": name is reserved for "…"'),
            id="without an id",
        ),
        pytest.param({"reason": "ContainerCreating"}, (None, None), id="it is being made"),
    ],
)
def test_why_a_replica_waits_is_told_without_what_changes_from_attempt_to_attempt(waiting: dict[str, str], said: tuple[Any, ...]) -> None:
    body = pod(ready=False)
    body["status"]["containerStatuses"] = [{"name": "engine", "image": "r.example.com/vllm:1", "state": {"waiting": waiting}}]
    found = replica_pod(body)
    assert (found.waiting_reason, found.waiting_words) == said


def test_a_gateway_that_ends_before_it_serves_has_the_same_trouble_while_it_runs_again() -> None:
    ended = {**ERROR, "message": "error initializing configuration"}
    found = [gateway_pod(crashed(state=state, ended=ended, name="gateway", kind="gateway")) for state in (BACK_OFF, RUNS)]
    assert {(each.config_mounted_problem, each.is_stuck) for each in found} == {
        ("CrashLoopBackOff: see its log (kubectl logs) (exit code 1)", True)
    }


@pytest.mark.parametrize(
    ("reason", "message", "said"),
    [
        pytest.param(
            "SchedulingGated",
            "Scheduling is blocked due to non-empty scheduling gates",
            "held back by scheduling gate kueue.x-k8s.io/admission",
            id="held back",
        ),
        pytest.param(
            "SchedulerError",
            'running PreBind plugin "VolumeBinding": binding volumes: context deadline exceeded',
            'running PreBind plugin "VolumeBinding": binding volumes: context deadline exceeded',
            id="a volume that is not made",
        ),
        pytest.param("NodeReclaimed", "what nobody knows", None, id="another reason"),
    ],
)
@pytest.mark.parametrize("component", ["engine", "gateway"])
def test_a_pod_that_gets_no_node_says_why(component: str, reason: str, message: str, said: str | None) -> None:
    body = pod(component=component, ready=False)
    body["spec"] = {"schedulingGates": [{"name": "kueue.x-k8s.io/admission"}]}
    body["status"] = {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": reason, "message": message}]}
    found = replica_pod(body) if component == "engine" else gateway_pod(body)
    assert found.unschedulable == said


def test_a_pod_that_is_gone_is_remembered_with_its_end_and_forgotten_later(view: ClusterView) -> None:
    view.put("Pod", pod(), NOW)
    assert view.remove("Pod", pod(), NOW) == {KEY}
    (found,) = view.replicas(KEY, NOW)
    assert (found.ready, found.ended_at) == (False, NOW)
    assert view.replicas(KEY, NOW + timedelta(minutes=11)) == ()


def test_readiness_is_news_and_a_heartbeat_is_not(view: ClusterView) -> None:
    assert view.put("Pod", pod(ready=False), NOW) == {KEY}
    assert view.put("Pod", pod(ready=False), NOW) == frozenset()
    assert view.put("Pod", pod(ready=True), NOW) == {KEY}


def test_our_own_status_is_no_news_and_a_new_generation_is(view: ClusterView) -> None:
    assert view.put("InferenceWorkload", {**workload(resourceVersion="6"), "status": {"url": "u"}}, NOW) == frozenset()
    assert view.workloads[KEY].status == {"url": "u"}
    assert view.put("InferenceWorkload", workload(generation=2), NOW) == {KEY}


def test_a_class_or_provider_concerns_those_that_refer_to_it(view: ClusterView) -> None:
    hosted = {"model": {"id": "m"}, "placement": {"mode": "Hosted"}, "hosted": {"backends": [{"providerRef": {"name": "q"}, "model": "m"}]}}
    view.put("InferenceWorkload", workload(name="hosted", spec=hosted), NOW)
    any_class = {"model": {"id": "m"}, "placement": {"mode": "Dedicated"}, "dedicated": {}}
    view.put("InferenceWorkload", workload(name="any", spec=any_class), NOW)
    body: dict[str, Any] = {"metadata": {"name": "l4", "uid": "c", "generation": 1}, "spec": {}}
    assert {key.name for key in view.put("AcceleratorClass", body, NOW)} == {"x", "any"}
    provider: dict[str, Any] = {"metadata": {"name": "q", "namespace": "ns", "uid": "p", "generation": 1}, "spec": {}}
    assert {key.name for key in view.put("HostedProvider", provider, NOW)} == {"hosted"}
    elsewhere = {**provider, "metadata": {**provider["metadata"], "namespace": "other"}}
    assert view.put("HostedProvider", elsewhere, NOW) == frozenset()


def test_the_catalogue_is_one_object_until_a_class_or_a_provider_changes(view: ClusterView) -> None:
    """What was worked out for a catalogue holds for as long as it is there, so it must not be there for longer than it is true."""
    changes: tuple[tuple[str, dict[str, Any]], ...] = (
        ("AcceleratorClass", {"metadata": {"name": "l4", "uid": "c", "generation": 1}, "spec": as_written(accelerator())}),
        ("AcceleratorClass", {"metadata": {"name": "l4", "uid": "c", "generation": 2}, "spec": as_written(accelerator(memoryGiB=96))}),
        ("HostedProvider", {"metadata": {"name": "p", "namespace": "ns", "uid": "p", "generation": 1}, "spec": as_written(provider())}),
        (
            "HostedProvider",
            {
                "metadata": {"name": "p", "namespace": "ns", "uid": "p", "generation": 2},
                "spec": as_written(provider(baseURL="https://other.example.com")),
            },
        ),
    )
    known = [view.catalogue("ns")]
    for kind, body in changes:
        view.put(kind, body, NOW)
        known.append(view.catalogue("ns"))
        view.put(kind, body, NOW)  # what a watch tells again is no change
        assert view.catalogue("ns") is known[-1]
    for kind, body in (changes[1], changes[3]):
        view.remove(kind, body, NOW)
        known.append(view.catalogue("ns"))
    assert len({id(each) for each in known}) == len(known)
    assert [(each.accelerator_classes.keys() | each.providers.keys()) for each in known] == [
        set(), {"l4"}, {"l4"}, {"l4", "p"}, {"l4", "p"}, {"p"}, set(),
    ]  # fmt: skip
    assert [each.accelerator_classes["l4"].memory_gib for each in known[1:3]] == [80, 96]
    assert [each.providers["p"].base_url for each in known[3:5]] == ["https://api.example.com/v1", "https://other.example.com"]
    view.put(*changes[2], NOW)
    assert view.catalogue("elsewhere").providers == {}


def test_a_spec_that_cannot_be_read_says_where(view: ClusterView) -> None:
    view.put("InferenceWorkload", workload(generation=2, spec={"model": {"id": "m"}, "placement": {"mode": "Teleport"}}), NOW)
    seen = view.workloads[KEY]
    assert seen.as_workload() is None
    assert "spec.placement.mode" in seen.parsed.problem


def test_a_class_or_provider_that_cannot_be_read_is_there_and_says_why(view: ClusterView) -> None:
    named = {"generation": 1, "uid": "c"}
    view.put("AcceleratorClass", {"metadata": {"name": "l4", **named}, "spec": as_written(accelerator()) | {"memoryGiB": "plenty"}}, NOW)
    view.put("HostedProvider", {"metadata": {"name": "p", "namespace": "ns", **named}, "spec": {"baseURL": 7}}, NOW)
    found = view.catalogue("ns")
    assert (found.accelerator_classes, found.providers) == ({}, {})
    assert found.unreadable_classes["l4"].startswith("spec.memoryGiB: ")
    assert found.unreadable_providers["p"].startswith("spec.")
    assert view.catalogue("elsewhere").unreadable_providers == {}


def test_a_recreated_workload_is_watched_anew() -> None:
    view = ClusterView()
    view.put("InferenceWorkload", workload(), NOW)
    later = NOW + timedelta(hours=1)
    view.put("InferenceWorkload", workload(generation=2), later)
    assert view.workloads[KEY].seen_since == NOW
    view.put("InferenceWorkload", workload(uid="another"), later)
    assert view.workloads[KEY].seen_since == later


def test_an_end_that_is_told_after_its_successor_leaves_that_one(view: ClusterView) -> None:
    plain = {"name": "l4", "namespace": "ns", "generation": 1}
    for kind, body in (
        ("InferenceWorkload", workload()),
        ("AcceleratorClass", {"metadata": plain, "spec": as_written(accelerator())}),
        ("HostedProvider", {"metadata": plain, "spec": as_written(provider())}),
        ("Pod", pod(component="gateway")),
    ):
        old, new = ({**body, "metadata": {**body["metadata"], "uid": uid}} for uid in ("old", "new"))
        for each in (old, new):
            view.put(kind, each, NOW)
        assert view.remove(kind, old, NOW) == frozenset(), kind
        assert view.workloads[KEY].parsed.uid == "new", kind
    assert (list(view.classes), list(view.providers), [each.uid for each in view.gateways(KEY, NOW)]) == (["l4"], [("ns", "l4")], ["new"])
    view.remove("HostedProvider", {"metadata": {**plain, "uid": "new"}}, NOW)
    assert view.providers == {}


def test_what_became_of_an_object_before_its_end_leaves_its_successor_too(view: ClusterView) -> None:
    plain = {"name": "l4", "namespace": "ns", "generation": 1}
    for kind, body in (
        ("InferenceWorkload", workload()),
        ("AcceleratorClass", {"metadata": plain, "spec": as_written(accelerator())}),
        ("HostedProvider", {"metadata": plain, "spec": as_written(provider())}),
        ("Deployment", deployment("engine", message=None)),
    ):

        def at(version: int, uid: str, kind: str = kind, body: dict[str, Any] = body) -> tuple[str, dict[str, Any], datetime]:
            return kind, {**body, "metadata": {**body["metadata"], "uid": uid, "resourceVersion": str(version)}}, NOW

        view.put(*at(8, "old"))
        view.put(*at(20, "new"))
        assert view.put(*at(18, "old")) == frozenset()
        assert view.remove(*at(19, "old")) == frozenset()
    assert view.workloads[KEY].parsed.uid == "new"
    assert (view.classes["l4"].uid, view.providers["ns", "l4"].uid) == ("new", "new")
    assert [each.uid for each in view.children(KEY).values()] == ["new"]


def test_a_pod_that_somebody_takes_aside_by_its_label_serves_no_more_and_may_come_back(view: ClusterView) -> None:
    aside = pod()
    aside["metadata"]["labels"]["spillway.dev/workload"] = "debug"
    debug = Key(namespace="ns", name="debug")
    view.put("Pod", pod(), NOW)
    assert view.put("Pod", aside, NOW) == {KEY, debug}
    assert [(each.ready, each.ended_at) for each in view.replicas(KEY, NOW)] == [(False, NOW)]
    assert view.children(KEY) == {}
    assert view.put("Pod", pod(), NOW) == {KEY, debug}
    assert [(each.ready, each.ended_at) for each in view.replicas(KEY, NOW)] == [(True, None)]
    view.remove("Pod", pod(), NOW)
    assert not list(view.all_children())
    assert view.put("Pod", aside, NOW) == {debug}


def test_a_pool_of_a_former_workload_of_the_name_is_not_this_ones(view: ClusterView) -> None:
    deployment = {
        "metadata": {
            "name": "x-engine-12345678",
            "namespace": "ns",
            "uid": "d",
            "labels": {"spillway.dev/workload": "x", "app.kubernetes.io/component": "engine"},
            "annotations": {"spillway.dev/default-engine-image": "engine:1", "spillway.dev/engine-limits": LIMITS},
            "ownerReferences": [{"uid": "former", "controller": True}],
        },
        "spec": {"replicas": 2},
        "status": {"readyReplicas": 1},
    }
    view.put("Deployment", deployment, NOW)
    assert view.pools(KEY, "uid-x") == ()
    (found,) = view.pools(KEY, "former")
    assert (found.replicas, found.ready_replicas, found.engine_image) == (2, 1, "engine:1")
    assert found.limits == EngineLimits(sized_for="abc", max_num_seqs=36, max_queued_requests=64, max_queued_tokens=None)


@pytest.mark.parametrize(
    "written",
    [None, "", "{}", "[]", "null", '{"sizedFor": "abc"}', LIMITS.replace("36", '"many"'), LIMITS.replace("36", "Infinity"), "[" * 100_000],
    ids=lambda written: str(written)[:90],
)
def test_limits_that_cannot_be_read_are_made_anew(written: str | None) -> None:
    annotations = {} if written is None else {"spillway.dev/engine-limits": written}
    assert pool({"metadata": {"name": "x-engine-1", "annotations": annotations}}).limits is None


TELLING = {"name": "model-config", "env": [{"name": "HF_HOME"}, {"name": "SPILLWAY_MODEL", "value": "acme/tiny@main"}]}


@pytest.mark.parametrize(
    ("state", "text"),
    [
        pytest.param({"terminated": {"exitCode": 0, "message": "its words"}}, "its words", id="with last words"),
        pytest.param({"terminated": {"exitCode": 1}}, "", id="without any"),
        pytest.param({"running": {}}, None, id="not ended"),
        pytest.param({"terminated": None}, None, id="odd"),
        pytest.param(None, None, id="unknown"),
    ],
)
def test_what_a_replica_told_of_its_model_is_read_from_its_pods_status(state: dict[str, Any] | None, text: str | None) -> None:
    body = pod()
    body["spec"]["initContainers"] = [{"name": "injected"}, TELLING]
    body["status"]["initContainerStatuses"] = [
        {"name": "injected", "state": {"terminated": {"message": "no matter"}}},
        {"name": "model-config", "state": state},
    ]
    assert replica_pod(body).told_config == (None if text is None else ToldConfig(model="acme/tiny@main", text=text))


def test_a_pod_that_was_not_asked_of_its_model_tells_nothing() -> None:
    body = pod()
    body["status"]["initContainerStatuses"] = [{"name": "model-config", "state": {"terminated": {"message": "who asked?"}}}]
    assert replica_pod(body).told_config is None
    assert replica_pod(pod()).told_config is None


@pytest.mark.parametrize(("containers", "tells"), [([TELLING], True), ([{"name": "injected"}], False), (None, False)])
def test_a_pool_knows_whether_its_pods_tell_of_their_model(containers: list[dict[str, Any]] | None, tells: bool) -> None:  # noqa: FBT001
    template = {"spec": {"containers": [], "initContainers": containers}}
    assert pool({"metadata": {"name": "x-engine-1"}, "spec": {"template": template}}).tells_config is tells


@pytest.mark.parametrize(
    ("status", "rolling"),
    [
        pytest.param({"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2}, False, id="done"),
        pytest.param({"observedGeneration": 3}, False, id="nothing runs"),
        pytest.param({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2}, True, id="not begun"),
        pytest.param({"observedGeneration": 3, "replicas": 3, "updatedReplicas": 1}, True, id="under way"),
    ],
)
def test_a_pool_knows_whether_pods_of_a_spec_before_this_one_run(status: dict[str, int], rolling: bool) -> None:  # noqa: FBT001
    assert pool({"metadata": {"name": "x", "generation": 3}, "status": status}).is_rolling is rolling


CRASHES = {"containerStatuses": [{"name": "engine", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(
            {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room"}]},
            id="finds no place",
        ),
        pytest.param(CRASHES, id="cannot start"),
    ],
)
def test_a_rollout_is_blocked_as_soon_as_a_pod_of_the_new_template(view: ClusterView, status: dict[str, Any]) -> None:
    deployment = {
        "metadata": {
            "name": "x-engine-12345678",
            "namespace": "ns",
            "uid": "d",
            "labels": {"spillway.dev/workload": "x", "app.kubernetes.io/component": "engine"},
            "ownerReferences": [{"controller": True, "uid": "uid-x"}],
        },
        "spec": {"replicas": 1, "template": {"spec": {"containers": [{"command": ["vllm", "serve", "m", "--max-num-seqs", "8"]}]}}},
    }
    view.put("Deployment", deployment, NOW)

    def put(name: str, template: str, *, ready: bool) -> None:
        found = pod(ready=ready)
        found["metadata"] |= {"name": name, "uid": name, "labels": {**found["metadata"]["labels"], "pod-template-hash": template}}
        if not ready:
            found["status"] |= status
        view.put("Pod", found, NOW)

    def blocked() -> bool:
        (found,) = view.pools(KEY, "uid-x")
        assert found.max_num_seqs == 8
        return found.rollout_blocked is not None

    put("a", "old", ready=True)
    assert not blocked()
    put("b", "old", ready=False)
    assert not blocked(), "one more of the same is scaling up, not a rollout"
    put("b", "new", ready=False)
    assert blocked()
    put("b", "new", ready=True)
    assert not blocked()


@pytest.mark.parametrize("written", ["", "{}", '{"resources":[]}', "[" * 100_000], ids=lambda written: written[:20] or "nothing")
def test_a_share_that_cannot_be_read_is_none_told(view: ClusterView, written: str) -> None:
    found = pod(component="gateway")
    found["metadata"]["annotations"] = {"spillway.dev/gateway-share": written}
    view.put("Pod", found, NOW)
    (child,) = view.gateway_children(KEY, NOW)
    assert child.sharing is not None
    assert child.sharing.told is None


def test_a_gateway_pod_tells_its_age_and_which_configuration_it_runs_and_an_ended_one_is_none(view: ClusterView) -> None:
    found = pod(component="gateway")
    found["metadata"] |= {"annotations": {"spillway.dev/config-hash": "abc"}, "creationTimestamp": "2026-11-21T09:59:58Z"}
    view.put("Pod", found, NOW)
    assert [(each.config_hash, each.created_at) for each in view.gateways(KEY, NOW)] == [
        ("abc", datetime(2026, 11, 21, 9, 59, 58, tzinfo=UTC))
    ]
    found["status"]["phase"] = "Failed"
    view.put("Pod", found, NOW)
    assert view.gateways(KEY, NOW) == ()


QUOTA = 'pods "x-engine-12345678-7d9f-abcde" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=1.'


def deployment(component: str, *, message: str | None, ready: int = 0) -> dict[str, Any]:
    failure = [] if message is None else [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}]
    return {
        "metadata": {
            "name": f"x-{component}",
            "namespace": "ns",
            "uid": component,
            "labels": {"spillway.dev/workload": "x", "app.kubernetes.io/component": component},
            "ownerReferences": [{"controller": True, "uid": "uid-x"}],
        },
        "spec": {"replicas": 1},
        "status": {"readyReplicas": ready, "conditions": [{"type": "Available", "status": "False"}, *failure]},
    }


@pytest.mark.parametrize(
    ("message", "said"),
    [
        pytest.param(QUOTA, "exceeded quota: gpus, requested: requests.nvidia.com/gpu=1", id="a quota"),
        pytest.param('Pod "x-1" is invalid: spec.runtimeClassName: no', "spec.runtimeClassName: no", id="invalid"),
        pytest.param("denied by a webhook", "denied by a webhook", id="without a pod's name"),
        pytest.param("", "FailedCreate", id="without words"),
        pytest.param(None, None, id="taken"),
    ],
)
def test_why_no_pod_is_taken_is_read_from_the_deployment(view: ClusterView, message: str | None, said: str | None) -> None:
    for component in ("engine", "gateway"):
        view.put("Deployment", deployment(component, message=message), NOW)
    (found,) = view.pools(KEY, "uid-x")
    assert (found.refused, found.rollout_blocked) == (said, None)
    assert view.gateway_refused(KEY, "uid-x") == said
    assert view.gateway_refused(KEY, "former") is None


@pytest.mark.parametrize(
    ("progressing", "blocked"),
    [
        pytest.param({"status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}, "timed out", id="too late"),
        pytest.param({"status": "False", "reason": "ProgressDeadlineExceeded"}, "the rollout makes no progress", id="without words"),
        pytest.param({"status": "False", "reason": "FailedCreate", "message": "quota"}, None, id="something else"),
        pytest.param({"status": "Unknown", "reason": "ProgressDeadlineExceeded"}, None, id="not sure"),
        pytest.param({"status": "True", "reason": "NewReplicaSetAvailable"}, None, id="done"),
    ],
)
def test_a_rollout_is_blocked_once_its_deadline_has_passed(progressing: dict[str, str], blocked: str | None) -> None:
    body = deployment("engine", message=None)
    body["status"]["conditions"].append({"type": "Progressing", **progressing})
    assert pool(body).rollout_blocked == blocked


def test_that_no_pod_of_a_gateway_is_taken_is_news(view: ClusterView) -> None:
    assert view.put("Deployment", deployment("gateway", message=None), NOW) == frozenset()
    assert view.put("Deployment", deployment("gateway", message=QUOTA), NOW) == {KEY}
    assert view.put("Deployment", deployment("gateway", message=QUOTA), NOW) == frozenset()
    assert view.put("Deployment", deployment("gateway", message=None), NOW) == {KEY}


def test_a_rollout_is_blocked_when_the_one_pod_more_that_it_takes_is_refused(view: ClusterView) -> None:
    view.put("Deployment", deployment("engine", message=QUOTA, ready=1), NOW)
    (found,) = view.pools(KEY, "uid-x")
    assert found.rollout_blocked is not None
    assert "exceeded quota" in found.rollout_blocked


@pytest.mark.parametrize(
    ("reason", "message", "said"),
    [
        ("CrashLoopBackOff", "back-off 40s restarting failed container=gateway pod=x-gateway-0_ns(uid)", "see its log (kubectl logs)"),
        ("CreateContainerConfigError", 'configmap "x-gateway" not found', 'configmap "x-gateway" not found'),
    ],
)
def test_why_a_gateway_does_not_start_is_told_without_what_changes_from_start_to_start(reason: str, message: str, said: str) -> None:
    body = pod(component="gateway", ready=False)
    body["status"]["containerStatuses"] = [{"state": {"waiting": {"reason": reason, "message": message}}}]
    assert gateway_pod(body).config_mounted_problem == f"{reason}: {said}"


def test_a_gateway_on_a_node_that_is_lost_is_not_waited_for(view: ClusterView) -> None:
    """Nobody is there to end it, and its pod stays for as long as its node does: old replicas stayed, and so did its part of the cap."""
    found = pod(component="gateway", ready=False)
    found["metadata"]["deletionTimestamp"] = "2026-11-21T11:57:59Z"  # when its time to end was over
    view.put("Pod", found, NOW)
    before, after = NOW - timedelta(minutes=1), NOW
    assert [len(view.gateways(KEY, now)) for now in (before, after)] == [1, 0]
    assert [len(view.gateway_children(KEY, now)) for now in (before, after)] == [1, 0]


def test_restarts_of_a_sidecar_are_not_those_of_a_gateway_or_a_replica() -> None:
    """The counters of a gateway go on whatever a mesh's proxy beside it does."""
    assert gateway_pod(pod(component="gateway")).restarts == 1
    assert replica_pod(pod()).restarts == 1


def test_that_no_node_takes_a_gateway_is_seen_until_the_pod_goes() -> None:
    body = pod(component="gateway", ready=False)
    body["status"]["conditions"] = [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available"}
    ]
    assert gateway_pod(body).unschedulable == "0/1 nodes are available"
    body["metadata"]["deletionTimestamp"] = "2026-11-02T00:00:00Z"
    assert gateway_pod(body).unschedulable is None
