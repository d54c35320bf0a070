"""The operator against a real API server: what it makes, what it leaves alone, and who of two acts."""

import contextlib
import json
import signal
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from spillway.render.envoy.share import share_told
from tests.apiserver.operator_process import LEASE, Operator, acquired_at, condition, eventually, get, holder, operator
from tests.apiserver.server import ApiServer
from tests.dataplane import certificates
from tests.unit.plan.test_architecture import LLAMA

EXAMPLES = Path(__file__).parents[2] / "examples"
EXAMPLE, AUTO = EXAMPLES / "hybrid-llama-8b-l40s.yaml", EXAMPLES / "auto.yaml"
KINDS = ("serviceaccount", "configmap", "service", "deployment", "poddisruptionbudget", "networkpolicy")
CHILDREN = {
    "serviceaccount": {"chat"},
    "configmap": {"chat-gateway", "chat-gateway-cap", "chat-ledger"},
    "service": {"chat", "chat-replicas"},
    "poddisruptionbudget": {"chat-gateway", "chat-engine"},
    "networkpolicy": {"chat-gateway", "chat-engine"},
}
CONDITIONS = 15
# What the kubelet says of any container.
EMPTY_STATUS = {"image": "none", "imageID": "", "ready": True, "restartCount": 0}
# Promises, measured by what the API server and the operators wrote down, not by when this process came to look.
TAKEOVER_S = 20
HANDOVER_S = 5
CAP_FOLLOWS_S = 5
LOOK_S = 90  # for looking, on a slow machine


def documents(namespace: str, example: Path = EXAMPLE, **changes: Any) -> list[dict[str, Any]]:
    """Return the example's documents, placed in a namespace; `changes` go into the workload's spec."""
    found = [each for each in yaml.safe_load_all(example.read_text()) if each]
    for each in found:
        if each["kind"] != "AcceleratorClass":
            each["metadata"]["namespace"] = namespace
        if each["kind"] == "InferenceWorkload":
            each["spec"] |= changes
    return found


def apply(server: ApiServer, found: list[dict[str, Any]]) -> None:
    answer = server.apply(*found)
    assert answer.code == 0, answer.err


def children(server: ApiServer, namespace: str) -> dict[tuple[str, str], dict[str, Any]]:
    text = server.kubectl("get", ",".join(KINDS), "-n", namespace, "-l", "spillway.dev/workload", "-o", "json", "--show-managed-fields")
    return {(each["kind"].lower(), each["metadata"]["name"]): each for each in json.loads(text)["items"]}


def versions(server: ApiServer, namespace: str) -> dict[tuple[str, str], str]:
    found = {name: each["metadata"]["resourceVersion"] for name, each in children(server, namespace).items()}
    return {**found, ("iw", "chat"): get(server, "iw", namespace, "chat")["metadata"]["resourceVersion"]}


def without_versions(found: dict[str, Any]) -> dict[str, Any]:
    """Return an object without what is noted of its writers."""
    metadata = {name: value for name, value in found["metadata"].items() if name not in {"resourceVersion", "managedFields"}}
    return {**found, "metadata": metadata}


def events(server: ApiServer, namespace: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(server.kubectl("get", "events.events.k8s.io", "-n", namespace, "-o", "json"))["items"]
    return found


def warnings(server: ApiServer, namespace: str) -> list[str]:
    """Return the reasons of all Warning Events."""
    return [each["reason"] for each in events(server, namespace) if each["type"] == "Warning"]


def settled(server: ApiServer, acting: Operator, namespace: str) -> bool:
    """Whether the workload has its status and whole passes over it change nothing any more."""
    if not condition(server, namespace, "chat", "SpecValid"):
        return False
    before, passes = versions(server, namespace), acting.passes()
    # One may have begun before the look and ended after it.
    eventually(lambda: acting.passes() >= passes + 2, "two more passes are made")
    return versions(server, namespace) == before


@pytest.fixture
def namespace(apiserver: ApiServer, namespace: str) -> Iterator[str]:
    """Take workloads away at the end of a test, failed or not, so that the next one's operator has no part in them."""
    yield namespace
    apiserver.run_kubectl("delete", "iw,hostedprovider", "--all", "-n", namespace, "--wait=false")


@pytest.fixture
def fleet(apiserver: ApiServer, namespace: str) -> str:
    """Apply the example."""
    apply(apiserver, documents(namespace))
    return namespace


@pytest.fixture
def running(apiserver: ApiServer, fleet: str) -> Iterator[Operator]:
    with operator(apiserver, namespace=fleet) as started:
        eventually(lambda: settled(apiserver, started, fleet), "the workload is settled")
        yield started


@pytest.mark.usefixtures("running")
def test_makes_every_object_with_its_owner_and_writes_every_condition(apiserver: ApiServer, fleet: str) -> None:
    found = children(apiserver, fleet)
    for kind, names in CHILDREN.items():
        assert {name for what, name in found if what == kind} == names
    deployments = {name for kind, name in found if kind == "deployment"}
    assert len(deployments) == 2
    assert "chat-gateway" in deployments
    workload = get(apiserver, "iw", fleet, "chat")
    for each in found.values():
        (owner,) = each["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"], owner["kind"]) == (workload["metadata"]["uid"], True, "InferenceWorkload")
        assert {entry["manager"] for entry in each["metadata"]["managedFields"]} == {"spillway"}
    status = workload["status"]
    assert len(status["conditions"]) == CONDITIONS
    assert all(each["observedGeneration"] == workload["metadata"]["generation"] for each in status["conditions"])
    assert status["url"] == f"http://chat.{fleet}.svc.cluster.local/v1"
    assert condition(apiserver, fleet, "chat", "MetricsAvailable")["status"] != "True"
    # They are posted one after another, once no pass is due.
    eventually(lambda: len(events(apiserver, fleet)) == 2, "both decisions are told in Events")
    assert {each["reason"] for each in events(apiserver, fleet)} == {"HybridRequested", "Initial"}


@pytest.mark.usefixtures("running")
def test_leaves_no_finalizer_and_no_trace_of_kopf_on_any_object(apiserver: ApiServer, fleet: str) -> None:
    kinds = ",".join([*KINDS, "iw", "hostedprovider"])
    for each in json.loads(apiserver.kubectl("get", kinds, "-n", fleet, "-o", "json", "--show-managed-fields"))["items"]:
        assert "finalizers" not in each["metadata"]
        assert "kopf" not in json.dumps(each)
    assert "kopf" not in apiserver.kubectl("get", "acceleratorclass", "-o", "json", "--show-managed-fields")


def test_a_second_pass_a_touched_class_and_a_second_operator_change_nothing(apiserver: ApiServer, running: Operator, fleet: str) -> None:
    before = versions(apiserver, fleet)
    apiserver.kubectl("label", "acceleratorclass", "l40s-g6e", "touched=yes", "--overwrite")
    assert settled(apiserver, running, fleet)
    assert versions(apiserver, fleet) == before
    assert running.stop() == 0
    del before["configmap", "chat-ledger"]  # the first operator's last word, and the second one's first
    contents = {name: without_versions(each) for name, each in children(apiserver, fleet).items() if name in before}
    with operator(apiserver, namespace=fleet, name="two") as second:
        eventually(lambda: settled(apiserver, second, fleet), "the workload is settled")
        assert holder(apiserver, fleet) == "two"
        # What the first one has posted is applied for the first time, which metadata tell: generations in it are as they were.
        assert {name: without_versions(each) for name, each in children(apiserver, fleet).items() if name in before} == contents
    before = {name: version for name, version in versions(apiserver, fleet).items() if name in before}
    with operator(apiserver, namespace=fleet, name="three") as third:
        eventually(lambda: settled(apiserver, third, fleet), "the workload is settled")
        assert {name: version for name, version in versions(apiserver, fleet).items() if name in before} == before


def test_auto_is_placed_by_its_plan_and_a_new_price_is_told_before_anything_moves(apiserver: ApiServer, namespace: str) -> None:
    found = documents(namespace, example=AUTO)
    apply(apiserver, found)
    with operator(apiserver, namespace=namespace):
        eventually(lambda: placement(apiserver, namespace).get("recommended"), "a plan is made", within_s=60)
        first = placement(apiserver, namespace)
        assert (first["mode"], first["recommended"]["mode"], first["traffic"]["basis"]) == ("Hosted", "Hosted", "Declared")
        assert condition(apiserver, namespace, "assistant", "PlacementResolved")["reason"] == "AutoResolved"
        assert {name for kind, name in children(apiserver, namespace) if kind == "deployment"} == {"assistant-gateway"}
        provider = next(each for each in found if each["kind"] == "HostedProvider")
        for each in provider["spec"]["models"]:
            each |= {"inputUSDPerMillionTokens": "50", "outputUSDPerMillionTokens": "50"}
        apply(apiserver, [provider])
        eventually(
            lambda: placement(apiserver, namespace)["recommended"]["mode"] in {"Dedicated", "Hybrid"}, "the price is told", within_s=45
        )
        told = placement(apiserver, namespace)
        assert told["mode"] == "Hosted"
        assert "savingSince" not in told, "no traffic was observed, so nothing counts for a move"
        assert "RecommendationChanged" in {each["reason"] for each in get(apiserver, "iw", namespace, "assistant")["status"]["decisions"]}


def placement(server: ApiServer, namespace: str) -> dict[str, Any]:
    found: dict[str, Any] = get(server, "iw", namespace, "assistant").get("status", {}).get("placement", {})
    return found


def test_another_price_ends_in_a_pass_that_writes_no_object(apiserver: ApiServer, fleet: str) -> None:
    with operator(apiserver, namespace=fleet, tick_seconds="3600") as started:  # so that every pass has a cause
        eventually(started.passes, "the first pass is made, to its end")
        before, passes = versions(apiserver, fleet), started.passes()
        accelerator = next(each for each in documents(fleet) if each["kind"] == "AcceleratorClass")
        accelerator["spec"]["price"]["onDemandUSDPerHour"] = "2.5"
        apply(apiserver, [accelerator])
        eventually(lambda: started.passes() > passes, "the price ends in a pass")
        after = versions(apiserver, fleet)
        assert {name for name in before if after[name] != before[name]} <= {("iw", "chat")}


@pytest.mark.usefixtures("running")
def test_what_others_add_to_an_object_survives_its_being_applied_again(apiserver: ApiServer, fleet: str) -> None:
    def annotated(kind: str, name: str) -> dict[str, Any]:
        api_version = "v1" if kind == "Service" else "apps/v1"
        metadata = {"name": name, "namespace": fleet, "annotations": {"acme.example/team": "serving"}}
        return {"apiVersion": api_version, "kind": kind, "metadata": metadata}

    for kind, name in (("Service", "chat"), ("Deployment", "chat-gateway")):
        answer = apiserver.apply(annotated(kind, name), manager="platform")
        assert answer.code == 0, answer.err
    apply(apiserver, documents(fleet, gateway={"replicas": 3}))
    eventually(lambda: get(apiserver, "deployment", fleet, "chat-gateway")["spec"]["replicas"] == 3, "the new spec is applied")
    # No spec changes a Service: it is applied again when somebody has changed what is ours of it.
    apiserver.kubectl("patch", "service", "chat", "-n", fleet, "-p", json.dumps({"spec": {"selector": {"app": "somebody-elses"}}}))
    eventually(lambda: "app" not in get(apiserver, "service", fleet, "chat")["spec"]["selector"], "the selector is put back")
    for kind, name in (("service", "chat"), ("deployment", "chat-gateway")):
        assert get(apiserver, kind, fleet, name)["metadata"]["annotations"]["acme.example/team"] == "serving"


@pytest.mark.usefixtures("running")
def test_puts_back_what_somebody_changed_or_deleted(apiserver: ApiServer, fleet: str) -> None:
    engine = next(name for kind, name in children(apiserver, fleet) if kind == "deployment" and name != "chat-gateway")
    apiserver.kubectl("scale", "deployment", engine, "-n", fleet, "--replicas=7")
    apiserver.kubectl("delete", "service", "chat", "-n", fleet)
    apiserver.kubectl("label", "deployment", "chat-gateway", "-n", fleet, "app.kubernetes.io/component-")
    taken = (("deployment", engine), ("service", "chat-replicas"))
    for kind, name in taken:
        apiserver.kubectl("label", kind, name, "-n", fleet, "spillway.dev/workload=anothers", "--overwrite")
    eventually(lambda: get(apiserver, "deployment", fleet, engine)["spec"]["replicas"] != 7, "the replicas are put back")
    eventually(
        lambda: "app.kubernetes.io/component" in get(apiserver, "deployment", fleet, "chat-gateway")["metadata"]["labels"],
        "the label is put back",
    )
    eventually(
        lambda: {children(apiserver, fleet)[each]["metadata"]["labels"]["spillway.dev/workload"] for each in taken} == {"chat"},
        "what was labelled as another workload's is taken back",
    )
    eventually(lambda: apiserver.run_kubectl("get", "service", "chat", "-n", fleet).code == 0, "the Service is put back")


def test_a_name_that_is_taken_is_left_alone_and_told(apiserver: ApiServer, namespace: str) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "chat", "namespace": namespace},
        "spec": {"ports": [{"port": 5432}], "selector": {"app": "somebody-elses"}},
    }
    apply(apiserver, [service])
    before = get(apiserver, "service", namespace, "chat")
    apply(apiserver, documents(namespace))
    with operator(apiserver, namespace=namespace):
        eventually(lambda: condition(apiserver, namespace, "chat", "SpecValid").get("reason") == "NameConflict", "the conflict is told")
        assert get(apiserver, "service", namespace, "chat") == before
        assert "deployment" not in {kind for kind, _ in children(apiserver, namespace)}  # nothing that costs money was started
        eventually(lambda: warnings(apiserver, namespace) == ["NameConflict"], "an Event tells it, too")
        apiserver.kubectl("delete", "service", "chat", "-n", namespace)
        eventually(
            lambda: condition(apiserver, namespace, "chat", "SpecValid").get("status") == "True", "the conflict is over", within_s=45
        )


def test_an_object_that_is_refused_is_told_and_holds_up_nothing_else(apiserver: ApiServer, namespace: str) -> None:
    what = [{"apiGroups": ["policy"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["poddisruptionbudgets"]}]
    policy: dict[str, Any] = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": f"no-budgets-{namespace}"},
        "spec": {"matchConstraints": {"resourceRules": what}, "validations": [{"expression": "false", "message": "no budgets here"}]},
    }
    chosen = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    binding = {
        **policy,
        "kind": "ValidatingAdmissionPolicyBinding",
        "spec": {"policyName": policy["metadata"]["name"], "validationActions": ["Deny"], "matchResources": chosen},
    }
    apply(apiserver, [policy, binding])
    budget = ("create", "poddisruptionbudget", "any", "-n", namespace, "--selector=a=b", "--min-available=1", "--dry-run=server")
    eventually(lambda: "no budgets here" in apiserver.run_kubectl(*budget).err, "the policy is in force")
    apply(apiserver, documents(namespace))
    with operator(apiserver, namespace=namespace) as acting:
        eventually(lambda: "no budgets here" in condition(apiserver, namespace, "chat", "Degraded").get("message", ""), "it is told")
        before = acting.passes()
        eventually(lambda: acting.passes() >= before + 4, "passes go on that do not send it")
        assert condition(apiserver, namespace, "chat", "Degraded")["reason"] == "ApplyFailed"
        assert "deployment" in {kind for kind, _ in children(apiserver, namespace)}
        apiserver.kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", policy["metadata"]["name"])
        eventually(lambda: ("poddisruptionbudget", "chat-gateway") in children(apiserver, namespace), "it is sent again", within_s=LOOK_S)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dedicated": {"accelerators": ["no-such-class"]}}, "UnknownAcceleratorClass"),
        ({"hosted": {"backends": [{"providerRef": {"name": "nobody"}, "model": "m"}]}}, "UnknownProvider"),
        ({"hosted": {"backends": [{"providerRef": {"name": "together"}, "model": "no-such-model"}]}}, "UnknownProviderModel"),
    ],
    ids=["class", "provider", "model"],
)
def test_a_reference_that_leads_nowhere_is_told_and_healed(
    apiserver: ApiServer, namespace: str, changes: dict[str, Any], reason: str
) -> None:
    good = documents(namespace)
    apply(apiserver, documents(namespace, **changes))
    with operator(apiserver, namespace=namespace):
        told = eventually(lambda: condition(apiserver, namespace, "chat", "SpecValid"), "SpecValid is written")
        assert (told["status"], told["reason"]) == ("False", reason)
        assert not children(apiserver, namespace).keys() - {("configmap", "chat-ledger")}
        eventually(lambda: warnings(apiserver, namespace) == [reason], "an Event tells it, too")
        apply(apiserver, good)
        eventually(lambda: condition(apiserver, namespace, "chat", "SpecValid")["status"] == "True", "the spec is valid again")


@pytest.mark.usefixtures("running")
def test_a_changed_class_reaches_the_workloads_that_refer_to_it(apiserver: ApiServer, fleet: str) -> None:
    accelerator = next(each for each in documents(fleet) if each["kind"] == "AcceleratorClass")
    accelerator["spec"]["nodeSelector"] = {"moved": "yes"}
    apply(apiserver, [accelerator])
    engine = next(name for kind, name in children(apiserver, fleet) if kind == "deployment" and name != "chat-gateway")

    def moved() -> bool:
        template = get(apiserver, "deployment", fleet, engine)["spec"]["template"]
        return bool(template["spec"].get("nodeSelector", {}).get("moved") == "yes")

    eventually(moved, "the replicas' node selector follows the class")


def test_an_old_pool_stays_with_all_that_makes_it_reachable_until_something_else_serves(
    apiserver: ApiServer, running: Operator, fleet: str
) -> None:
    there = children(apiserver, fleet)
    engine = next(each for (kind, name), each in there.items() if kind == "deployment" and name != "chat-gateway")
    apply(apiserver, [unready_replica(fleet, engine)])
    before = there.keys()
    changed = documents(fleet, placement={"mode": "Hosted"})
    changed[-1]["spec"].pop("dedicated", None)
    apply(apiserver, changed)
    eventually(lambda: condition(apiserver, fleet, "chat", "PlacementResolved").get("reason") == "HostedRequested", "it is decided")
    eventually(lambda: settled(apiserver, running, fleet), "the workload is settled")
    assert children(apiserver, fleet).keys() == before  # no gateway is ready here, and no hosted backend is known to answer
    apiserver.kubectl("delete", "pod", "replica", "-n", fleet, "--grace-period=0", "--force")
    gone = {("deployment", engine["metadata"]["name"]), ("service", "chat-replicas"), *((kind, "chat-engine") for kind in KINDS[-2:])}
    eventually(lambda: children(apiserver, fleet).keys() == before - gone, "a pool without a replica is not waited for")


def unready_replica(namespace: str, engine: dict[str, Any]) -> dict[str, Any]:
    """Return a pod as the engine's Deployment makes them."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "replica", "namespace": namespace, "labels": engine["spec"]["template"]["metadata"]["labels"]},
        "spec": {"serviceAccountName": "chat", "containers": [{"name": "engine", "image": "none"}]},
    }


@pytest.mark.usefixtures("running")
def test_the_cap_follows_the_replicas_also_while_the_spec_has_problems(apiserver: ApiServer, fleet: str) -> None:
    engine = next(each for (kind, name), each in children(apiserver, fleet).items() if kind == "deployment" and name != "chat-gateway")
    ready = json.dumps({"status": {"conditions": [{"type": "Ready", "status": "True"}]}})

    def cap() -> str:
        return json.dumps(get(apiserver, "configmap", fleet, "chat-gateway-cap")["data"], sort_keys=True)

    none = cap()
    apply(apiserver, [unready_replica(fleet, engine)])
    apiserver.kubectl("patch", "pod", "replica", "-n", fleet, "--subresource=status", "--type=merge", "-p", ready)
    eventually(lambda: cap() != none, "the cap follows a replica that is ready")
    apply(apiserver, documents(fleet, hosted={"backends": [{"providerRef": {"name": "nobody"}, "model": "m"}]}))
    eventually(lambda: condition(apiserver, fleet, "chat", "SpecValid").get("status") == "False", "the spec has a problem")
    assert cap() != none
    apiserver.kubectl("delete", "pod", "replica", "-n", fleet, "--grace-period=0", "--force")
    eventually(lambda: cap() == none, "the cap is taken back")


def test_the_other_replica_acts_within_twenty_seconds_of_a_kill(apiserver: ApiServer, fleet: str) -> None:
    with operator(apiserver, namespace=fleet) as first:
        eventually(lambda: holder(apiserver, fleet) == "one", "the first leads")
        with operator(apiserver, namespace=fleet, name="two") as second:
            eventually(lambda: second.probe("/readyz") == 200, "the standby is ready")
            eventually(lambda: settled(apiserver, first, fleet), "the workload is settled")
            killed = time.time()
            first.kill()
            apiserver.kubectl("delete", "service", "chat", "-n", fleet)
            eventually(lambda: holder(apiserver, fleet) == "two", "the standby leads", within_s=LOOK_S)
            eventually(lambda: ("service", "chat") in children(apiserver, fleet), "the standby acts", within_s=LOOK_S)
            acted = moment(get(apiserver, "service", fleet, "chat")["metadata"]["creationTimestamp"])
            print(f"led {acquired_at(apiserver, fleet) - killed:.1f} s and acted {acted - killed:.1f} s after the kill")
            assert acquired_at(apiserver, fleet) - killed < TAKEOVER_S
            assert acted - killed < TAKEOVER_S


def moment(text: str) -> float:
    """Return a time as Kubernetes writes it, in seconds."""
    return datetime.fromisoformat(text).timestamp()


# Put in place of a leading task, from the moment of a SIGUSR1 on: what a bug could make of it. Renewing the Lease would outlive each.
BUGS = {
    "raises": """
async def run(self):
  await bug()
  raise ValueError("bug")
Stocktaker.run = run
""",
    "is cancelled": """
async def run(self):
  await bug()
  raise asyncio.CancelledError
Stocktaker.run = run
""",
    "hangs": """
well = Reconciler.run
async def run(self, key):
  if not asked:
    return await well(self, key)
  await bug()
  await asyncio.sleep(3600)
Reconciler.run = run
""",
}
BROKEN_OPERATOR = """
import asyncio, signal, time
from spillway.cli import main
from spillway.reconcile.reconcile import Reconciler
from spillway.reconcile.stocktaking import Stocktaker
asked = []
signal.signal(signal.SIGUSR1, lambda *_: asked.append(True))
async def bug():
  while not asked: await asyncio.sleep(0.05)
  print("bug at", time.time(), flush=True)
"""


@pytest.mark.parametrize("bug", BUGS)
def test_a_dead_leading_task_ends_the_process_and_hands_over_within_twenty_seconds(apiserver: ApiServer, fleet: str, bug: str) -> None:
    program = ("-c", f"{BROKEN_OPERATOR}{BUGS[bug]}\nraise SystemExit(main(['operator']))")
    with operator(apiserver, namespace=fleet, program=program) as first:
        eventually(lambda: holder(apiserver, fleet) == "one", "the first leads")
        eventually(lambda: first.probe("/readyz") == 200, "the first has its tasks")
        with operator(apiserver, namespace=fleet, name="two") as second:
            eventually(lambda: second.probe("/readyz") == 200, "the standby is ready")
            first.process.send_signal(signal.SIGUSR1)
            eventually(lambda: holder(apiserver, fleet) == "two", "the standby leads", within_s=LOOK_S)
            broke = float(next(line for line in first.said().splitlines() if line.startswith("bug at")).rpartition(" ")[2])
            print(f"led {acquired_at(apiserver, fleet) - broke:.1f} s after the bug")
            assert acquired_at(apiserver, fleet) - broke < TAKEOVER_S
            assert first.process.wait(LOOK_S) == 1
            eventually(lambda: settled(apiserver, second, fleet), "the standby acts")


def test_a_clean_stop_hands_over_at_once(apiserver: ApiServer, fleet: str) -> None:
    with operator(apiserver, namespace=fleet) as first:
        eventually(lambda: holder(apiserver, fleet) == "one", "the first leads")
        with operator(apiserver, namespace=fleet, name="two") as second:
            eventually(lambda: second.probe("/readyz") == 200, "the standby is ready")
            asked = time.time()
            assert first.stop() == 0
            eventually(lambda: holder(apiserver, fleet) == "two", "the standby leads", within_s=LOOK_S)
            print(f"led {acquired_at(apiserver, fleet) - asked:.1f} s after the stop")
            assert acquired_at(apiserver, fleet) - asked < HANDOVER_S


def test_a_lost_lease_ends_the_process(apiserver: ApiServer, fleet: str) -> None:
    with operator(apiserver, namespace=fleet) as started:
        eventually(lambda: holder(apiserver, fleet) == "one", "it leads")
        stolen = json.dumps({"spec": {"holderIdentity": "a-thief_1", "leaseDurationSeconds": 15}})
        apiserver.kubectl("patch", "lease", LEASE, "-n", fleet, "--type=merge", "-p", stolen)
        assert started.process.wait(LOOK_S) == 1  # its goodbye waits for up to 8 s, three times
        assert holder(apiserver, fleet) == "a-thief"


def test_probes_tell_the_truth(apiserver: ApiServer, running: Operator) -> None:
    del apiserver
    assert (running.probe("/livez"), running.probe("/healthz"), running.probe("/readyz")) == (200, 200, 200)
    assert running.stop() == 0
    assert running.probe("/livez") == 0


@contextlib.contextmanager
def prometheus(namespace: str, *, tls: ssl.SSLContext | None = None, token: str | None = None, **in_flight: int) -> Iterator[str]:
    """Serve an API like Prometheus' that answers every query with 1 for the workload's gateway; return its URL.

    Asked for the engines' queues it says how much each pod has in flight, where that is given. Where it has a token, it wants that.
    """
    us = {"namespace": namespace, "workload": "chat", "component": "gateway"}
    ones: list[dict[str, Any]] = [{"metric": us, "value": [0, "1"]}]
    queues: list[dict[str, Any]] = [
        {"metric": {**us, "__name__": f"vllm:num_requests_{queue}", "pod": f"chat-engine-{pod}"}, "value": [0, str(count)]}
        for pod, load in in_flight.items()
        for queue, count in (("running", load), ("waiting", 0))
    ]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = self.path + self.rfile.read(int(self.headers["Content-Length"])).decode()
            if token is not None and self.headers["Authorization"] != f"Bearer {token}":
                self.send_error(401)
                return
            result = queues if queues and "num_requests" in asked else ones
            answer = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}" if tls is None else f"https://localhost:{server.server_port}"
        finally:
            server.shutdown()


def test_its_metrics_can_be_scraped_and_scaled_by(apiserver: ApiServer, fleet: str) -> None:
    with prometheus(fleet) as url, operator(apiserver, namespace=fleet, prometheus_url=url) as started:
        eventually(lambda: started.metric("spillway_demand_replicas", namespace=fleet, workload="chat"), "demand is exported")
        eventually(started.passes, "the pass is counted, which exported it before its end")
        content_type, text = started.page()
    assert content_type.startswith("text/plain; version=")
    for line in ('spillway_passes_total{result="done"} ', "spillway_lease_held 1.0", f'spillway_ready_replicas{{namespace="{fleet}",'):
        assert line in text


def test_a_prometheus_behind_a_token_and_a_private_authority_is_asked_once_the_token_is_there(
    apiserver: ApiServer, fleet: str, tmp_path: Path
) -> None:
    trusted, folder = certificates.authority(), tmp_path / "auth"
    (tmp_path / "ca.crt").write_text(trusted.pem)
    folder.mkdir()
    tls = certificates.server(*trusted.issue("localhost", tmp_path))

    def told(reason: str) -> str:
        found = condition(apiserver, fleet, "chat", "MetricsAvailable")
        return str(found["message"]) if found.get("reason") == reason else ""

    def token(text: str) -> None:
        (folder / "written").write_text(text)
        (folder / "written").rename(folder / "token")

    with (
        prometheus(fleet, tls=tls, token="sesame") as url,
        operator(
            apiserver,
            namespace=fleet,
            prometheus_url=url,
            prometheus_auth_folder=str(folder),
            prometheus_ca_file=str(tmp_path / "ca.crt"),
        ) as started,
    ):
        eventually(lambda: condition(apiserver, fleet, "chat", "SpecValid"), "the objects are made")
        template = children(apiserver, fleet)["deployment", "chat-gateway"]["spec"]["template"]
        answer = apiserver.run_kubectl("create", "-f", "-", stdin=json.dumps(pod(fleet, "chat-gateway-a", "gateway", template)))
        assert answer.code == 0, answer.err
        make_ready(apiserver, fleet, "chat-gateway-a")
        assert "has neither a token" in eventually(lambda: told("PrometheusError"), "it is told that there is no Secret")
        token("old")
        eventually(lambda: "401 Unauthorized to the credential of prometheus.auth" in told("PrometheusError"), "that it is refused")
        token("sesame")
        eventually(lambda: told("MetricsFound"), "a new token needs no restart")
        assert "sesame" not in started.said()
    apiserver.kubectl("delete", "pod", "--all", "-n", fleet, "--force", "--grace-period=0")


def test_without_rights_it_ends_and_says_which_it_lacks(apiserver: ApiServer, namespace: str) -> None:
    nobody = apiserver.kubeconfig_for("nobody", ("system:authenticated",))
    with operator(apiserver, namespace=namespace, kubeconfig=nobody) as started:
        assert started.process.wait(30) == 1
        assert 'cannot get resource "leases"' in started.said()


def test_the_ledger_outlives_the_operator(apiserver: ApiServer, running: Operator, fleet: str) -> None:
    assert running.stop() == 0
    ledger = get(apiserver, "configmap", fleet, "chat-ledger")
    document = json.loads(ledger["data"]["ledger.json"])
    document["hosted_usd"] = 12.5
    patch = json.dumps({"data": {"ledger.json": json.dumps(document)}})
    apiserver.kubectl("patch", "configmap", "chat-ledger", "-n", fleet, "--type=merge", "-p", patch)

    def month_to_date() -> str:
        return str(get(apiserver, "iw", fleet, "chat")["status"]["cost"].get("monthToDateUSD"))

    with operator(apiserver, namespace=fleet, name="two"):
        eventually(lambda: month_to_date().startswith("12.5"), "the month's sum is read back")


def test_what_gateways_may_spend_outlives_an_operator_that_is_killed(apiserver: ApiServer, fleet: str) -> None:
    """The next one neither takes the permit away nor deals the same money out again, though it sees no metrics to renew it by."""
    apply(apiserver, [with_a_days_limit(each) for each in documents(fleet)])

    def permitted() -> str:
        return str(children(apiserver, fleet)["configmap", "chat-gateway-cap"]["data"].get("permit", ""))

    with prometheus(fleet) as url, operator(apiserver, namespace=fleet, prometheus_url=url) as first:
        eventually(lambda: condition(apiserver, fleet, "chat", "SpecValid"), "the objects are made")
        template = children(apiserver, fleet)["deployment", "chat-gateway"]["spec"]["template"]
        answer = apiserver.run_kubectl("create", "-f", "-", stdin=json.dumps(pod(fleet, "chat-gateway-a", "gateway", template)))
        assert answer.code == 0, answer.err
        make_ready(apiserver, fleet, "chat-gateway-a")
        eventually(lambda: "lane chat-gateway-a " in permitted(), "the gateway has a permit", within_s=60)
        first.kill()
    before, ledger = permitted(), kept_ledger(apiserver, fleet)
    assert ledger["grants"]
    written = {name: int(version) for (_, name), version in versions(apiserver, fleet).items() if name.endswith(("-cap", "-ledger"))}
    assert written["chat-ledger"] < written["chat-gateway-cap"], "it is written down before it is given"
    with operator(apiserver, namespace=fleet, name="two") as second:
        eventually(lambda: settled(apiserver, second, fleet), "the second one has made its passes", within_s=60)
        assert holder(apiserver, fleet) == "two"
        assert permitted() == before
        assert kept_ledger(apiserver, fleet)["grants"] == ledger["grants"]
    apiserver.kubectl("delete", "pod", "--all", "-n", fleet, "--force", "--grace-period=0")


def test_a_limit_that_is_reached_is_told_by_an_event(apiserver: ApiServer, fleet: str) -> None:
    apply(apiserver, [with_a_days_limit(each) for each in documents(fleet)])
    with prometheus(fleet) as url, operator(apiserver, namespace=fleet, prometheus_url=url) as started:
        eventually(lambda: condition(apiserver, fleet, "chat", "SpecValid"), "the objects are made")
        template = children(apiserver, fleet)["deployment", "chat-gateway"]["spec"]["template"]
        answer = apiserver.run_kubectl("create", "-f", "-", stdin=json.dumps(pod(fleet, "chat-gateway-a", "gateway", template)))
        assert answer.code == 0, answer.err
        make_ready(apiserver, fleet, "chat-gateway-a")
        eventually(lambda: kept_ledger(apiserver, fleet).get("permit"), "the gateway has a permit", within_s=60)
        assert started.stop() == 0
    spent = json.dumps({**kept_ledger(apiserver, fleet), "day_hosted_usd": 10.5, "permit": None})
    patch = json.dumps({"data": {"ledger.json": spent}})
    apiserver.kubectl("patch", "configmap", "chat-ledger", "-n", fleet, "--type=merge", "-p", patch)
    assert "SpillLimitReached" not in warnings(apiserver, fleet)
    with prometheus(fleet) as url, operator(apiserver, namespace=fleet, name="two", prometheus_url=url):
        eventually(lambda: "SpillLimitReached" in warnings(apiserver, fleet), "it is told", within_s=60)
        assert condition(apiserver, fleet, "chat", "SpillActive")["reason"] == "SpillLimitReached"
    apiserver.kubectl("delete", "pod", "--all", "-n", fleet, "--force", "--grace-period=0")


def with_a_days_limit(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document; a workload with a limit of its day on what is rented."""
    if document["kind"] != "InferenceWorkload":
        return document
    hosted = {**document["spec"]["hosted"], "overflow": {"maxUSDPerDay": "10"}}
    return {**document, "spec": {**document["spec"], "hosted": hosted}}


def kept_ledger(server: ApiServer, namespace: str) -> dict[str, Any]:
    """Return the ledger that is written down; empty while there is none: it follows the first status."""
    ledger = children(server, namespace).get(("configmap", "chat-ledger"))
    found: dict[str, Any] = json.loads(ledger["data"]["ledger.json"]) if ledger else {}
    return found


@pytest.fixture
def ending(apiserver: ApiServer, namespace: str) -> Iterator[str]:
    """Make a second namespace, for a test to delete: here that never comes to its end, so what is in it is taken away by itself."""
    name = f"{namespace}-ending"
    apiserver.kubectl("create", "namespace", name)
    yield name
    apiserver.run_kubectl("delete", "iw,hostedprovider", "--all", "-n", name, "--wait=false")


def test_what_was_learned_outlives_the_operator(apiserver: ApiServer, running: Operator, fleet: str, ending: str) -> None:
    """Three replicas took 77 s each; the next operator knows, though it has seen none of them start.

    Nor does it matter that beside it somebody deletes a namespace, in which nothing can be written down any more.
    """
    apply(apiserver, [each for each in documents(ending) if each["kind"] != "AcceleratorClass"])
    apiserver.kubectl("delete", "namespace", ending, "--wait=false")
    found = children(apiserver, fleet)
    engine = next(each for (kind, name), each in found.items() if kind == "deployment" and name != "chat-gateway")
    for name in ("chat-engine-a", "chat-engine-b", "chat-engine-c"):
        made = json.dumps(pod(fleet, name, "engine", engine["spec"]["template"]))
        answer = apiserver.run_kubectl("create", "-f", "-", stdin=made)
        assert answer.code == 0, answer.err
        start_in(apiserver, fleet, name, seconds=77)
        # The first is written at once, so that the rest is in memory only until the operator ends.
        eventually(lambda: ("configmap", "chat-learned") in children(apiserver, fleet), "what was learned is written down")
    eventually(lambda: running.metric("spillway_start_up_seconds", namespace=fleet, workload="chat") == 77, "the starts are learned")
    assert running.stop() == 0
    assert "Traceback" not in running.said(), "a namespace that ends is nothing to shout about"
    (owner,) = get(apiserver, "configmap", fleet, "chat-learned")["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["controller"]) == ("InferenceWorkload", True)
    apiserver.kubectl("delete", "pod", "-n", fleet, "--all", "--force", "--grace-period=0")

    def said() -> tuple[object, object]:
        dedicated = get(apiserver, "iw", fleet, "chat")["status"]["dedicated"]
        return dedicated.get("startUpSeconds"), dedicated.get("startUpBasis")

    with operator(apiserver, namespace=fleet, name="two") as second:
        eventually(
            lambda: second.metric("spillway_start_up_seconds", namespace=fleet, workload="chat") == 77, "it is known again", within_s=60
        )
        eventually(lambda: said() == (77, "Measured"), "the status tells it")
        eventually(lambda: settled(apiserver, second, fleet), "the workload is settled")
        assert ("configmap", "chat-learned") in children(apiserver, fleet), "and nothing prunes it"


def test_a_replica_tells_the_shape_of_a_model_that_nothing_else_knows_and_the_next_operator_still_knows_it(
    apiserver: ApiServer, namespace: str
) -> None:
    apply(apiserver, documents(namespace, model={"id": "acme/support-v3", "servedName": "chat"}))
    words = json.dumps({"config": LLAMA})
    with operator(apiserver, namespace=namespace) as first:
        eventually(lambda: condition(apiserver, namespace, "chat", "SpecValid"), "the objects are made")
        found = children(apiserver, namespace)
        name, engine = next((name, each) for (kind, name), each in found.items() if kind == "deployment" and name != "chat-gateway")
        assert "recommended" not in placement_of(apiserver, namespace, "chat")
        (telling,) = engine["spec"]["template"]["spec"]["initContainers"]
        made = pod(namespace, "chat-engine-a", "engine", engine["spec"]["template"])
        made["spec"]["initContainers"] = [{"name": telling["name"], "image": "none", "env": telling["env"]}]
        assert apiserver.run_kubectl("create", "-f", "-", stdin=json.dumps(made)).code == 0
        ended = {"exitCode": 0, "message": words, "finishedAt": "2026-11-21T12:00:00Z", "startedAt": "2026-11-21T12:00:00Z"}
        status = {**EMPTY_STATUS, "name": telling["name"], "state": {"terminated": ended}}
        patch = json.dumps({"status": {"phase": "Pending", "initContainerStatuses": [status]}})
        apiserver.kubectl("patch", "pod", "chat-engine-a", "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
        eventually(lambda: "recommended" in placement_of(apiserver, namespace, "chat"), "the plan reckons with what the replica told")
        decisions = get(apiserver, "iw", namespace, "chat")["status"]["decisions"]
        assert "8.0B parameters" in next(each["why"] for each in decisions if each["reason"] == "ModelTold")
        eventually(lambda: ("configmap", "chat-learned") in children(apiserver, namespace), "it is written down")
        apiserver.kubectl("delete", "pod", "-n", namespace, "--all", "--force", "--grace-period=0")
        eventually(lambda: settled(apiserver, first, namespace), "the replica's end has been taken in")
        after = children(apiserver, namespace)["deployment", name]
        assert after["spec"]["template"] == engine["spec"]["template"], "what was told restarts nobody"
    with operator(apiserver, namespace=namespace, name="two") as second:
        eventually(lambda: second.metric("spillway_ready_replicas", namespace=namespace, workload="chat") is not None, "it has made a pass")
        eventually(lambda: settled(apiserver, second, namespace), "the workload is settled")
        assert "recommended" in placement_of(apiserver, namespace, "chat")
        assert get(apiserver, "iw", namespace, "chat")["status"]["model"]["architecture"]["layers"] == LLAMA["num_hidden_layers"]
        decisions = get(apiserver, "iw", namespace, "chat")["status"]["decisions"]
        assert len([each for each in decisions if each["reason"] == "ModelTold"]) == 1
        assert children(apiserver, namespace)["deployment", name]["spec"]["template"] == engine["spec"]["template"]


def placement_of(server: ApiServer, namespace: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = get(server, "iw", namespace, name)["status"]["placement"]
    return found


def start_in(server: ApiServer, namespace: str, name: str, *, seconds: float) -> None:
    """Make a pod that got its node when it was created ready so much later, by what its status says."""
    created = datetime.fromisoformat(get(server, "pod", namespace, name)["metadata"]["creationTimestamp"])
    ready = (created + timedelta(seconds=seconds)).isoformat()
    status = {
        "phase": "Running",
        "startTime": created.isoformat(),
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": ready}],
    }
    server.kubectl("patch", "pod", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))


def pod(namespace: str, name: str, component: str, template: dict[str, Any]) -> dict[str, Any]:
    """Return a pod as a ReplicaSet would make it from a Deployment's template."""
    container = {"name": component, "image": "none"}
    metadata = {**template["metadata"], "name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container], "nodeName": "node"}}


def make_ready(server: ApiServer, namespace: str, name: str) -> None:
    condition = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-21T12:00:00Z"}
    patch = json.dumps({"status": {"phase": "Running", "conditions": [condition]}})
    server.kubectl("patch", "pod", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)


def test_the_cap_follows_ready_replicas_within_five_seconds(apiserver: ApiServer, fleet: str) -> None:
    with operator(apiserver, namespace=fleet, tick_seconds="3600"):  # so that it is the event that does it
        eventually(lambda: condition(apiserver, fleet, "chat", "SpecValid"), "the objects are made")
        _follow_a_replica(apiserver, fleet)


def _follow_a_replica(apiserver: ApiServer, fleet: str) -> None:
    found = children(apiserver, fleet)
    engine = next(each for (kind, name), each in found.items() if kind == "deployment" and name != "chat-gateway")
    gateway = found["deployment", "chat-gateway"]
    before = found["configmap", "chat-gateway-cap"]["data"]
    for name, component, deployment in (("chat-gateway-a", "gateway", gateway), ("chat-engine-a", "engine", engine)):
        answer = apiserver.run_kubectl("create", "-f", "-", stdin=json.dumps(pod(fleet, name, component, deployment["spec"]["template"])))
        assert answer.code == 0, answer.err
    make_ready(apiserver, fleet, "chat-gateway-a")
    told = eventually(lambda: told_of_cap(apiserver, fleet), "the gateway is told of the cap it has")
    changed = time.time()
    make_ready(apiserver, fleet, "chat-engine-a")
    eventually(lambda: told_of_cap(apiserver, fleet) != told, "the gateway is told of the new cap")
    gateway_pod = get(apiserver, "pod", fleet, "chat-gateway-a")
    (telling,) = [each for each in gateway_pod["metadata"]["managedFields"] if each["manager"] == "spillway"]
    assert moment(telling["time"]) - changed < CAP_FOLLOWS_S
    assert children(apiserver, fleet)["configmap", "chat-gateway-cap"]["data"] != before
    # Gateways are told first; the status ends the pass.
    eventually(lambda: owned(apiserver, fleet).get("readyReplicas") == 1, "the status follows")
    eventually(lambda: (share_of(apiserver, fleet) or 0) > 1, "the only gateway is told that the whole cap is its share")
    apiserver.kubectl("delete", "pod", "--all", "-n", fleet, "--force", "--grace-period=0")


def test_before_there_are_fewer_replicas_each_is_told_what_its_end_would_cost(apiserver: ApiServer, fleet: str) -> None:
    with prometheus(fleet, a=5, b=1) as url, operator(apiserver, namespace=fleet, prometheus_url=url):
        apply(apiserver, [with_scaling(each, minReplicas=3) for each in documents(fleet)])
        name = eventually(lambda: engine_of(apiserver, fleet, replicas=3), "three replicas are wanted")
        template = get(apiserver, "deployment", fleet, name)["spec"]["template"]
        for each in ("a", "b", "c"):
            answer = apiserver.run_kubectl("create", "-f", "-", stdin=json.dumps(pod(fleet, f"chat-engine-{each}", "engine", template)))
            assert answer.code == 0, answer.err
        for each in ("a", "b"):
            make_ready(apiserver, fleet, f"chat-engine-{each}")
        eventually(lambda: owned(apiserver, fleet).get("readyReplicas") == 2, "two replicas are seen")
        assert not any(deletion_cost(apiserver, fleet, each) for each in "abc"), "nobody is told while nobody goes"
        apply(apiserver, [with_scaling(each, minReplicas=1, maxReplicas=2) for each in documents(fleet)])
        eventually(lambda: engine_of(apiserver, fleet, replicas=2), "two replicas are wanted")
        assert [deletion_cost(apiserver, fleet, each) for each in "abc"] == ["5", "1", "-1"]
        scaled = int(get(apiserver, "deployment", fleet, name)["metadata"]["resourceVersion"])
        told = [int(get(apiserver, "pod", fleet, f"chat-engine-{each}")["metadata"]["resourceVersion"]) for each in "abc"]
        assert max(told) < scaled, "told before, not after"
    apiserver.kubectl("delete", "pod", "--all", "-n", fleet, "--force", "--grace-period=0")


def test_a_count_that_is_only_told_leaves_the_deployment_to_whoever_scales_it(apiserver: ApiServer, namespace: str) -> None:
    found = documents(namespace, placement={"mode": "Hybrid", "apply": "Recommend"})
    for each in found:
        if each["kind"] == "HostedProvider":  # so dear that every replica pays which the declared traffic needs
            for model in each["spec"]["models"]:
                model |= {"inputUSDPerMillionTokens": "100", "outputUSDPerMillionTokens": "400"}
    apply(apiserver, found)
    with operator(apiserver, namespace=namespace) as started:
        name = eventually(lambda: engine_of(apiserver, namespace, replicas=1), "a first replica is wanted")
        told = int(eventually(lambda: owned(apiserver, namespace).get("recommendedReplicas", 0), "a count is recommended"))
        assert told > 1, "the declared traffic needs more"
        apiserver.kubectl("scale", "deployment", name, "-n", namespace, "--replicas=6")  # above maxReplicas
        eventually(
            lambda: get(apiserver, "iw", namespace, "chat")["status"]["dedicated"]["desiredReplicas"] == 6,
            "the status follows what there is",
        )
        passes = started.passes()
        eventually(lambda: started.passes() >= passes + 3, "three more passes are made")
        assert get(apiserver, "deployment", namespace, name)["spec"]["replicas"] == 6
        assert owned(apiserver, namespace)["recommendedReplicas"] == told
        assert started.metric("spillway_recommended_replicas", namespace=namespace, workload="chat") == told


def test_an_autoscaler_gets_the_number_of_gateways_without_a_jump_and_gives_it_back(apiserver: ApiServer, namespace: str) -> None:
    def gateways() -> int:
        return int(get(apiserver, "deployment", namespace, "chat-gateway")["spec"]["replicas"])

    apply(apiserver, documents(namespace, gateway={"replicas": 3}))
    with operator(apiserver, namespace=namespace) as started:
        eventually(lambda: settled(apiserver, started, namespace), "the workload is settled")
        assert gateways() == 3
        made = get(apiserver, "deployment", namespace, "chat-gateway")["metadata"]["generation"]
        apply(apiserver, documents(namespace, gateway={"replicas": 3, "autoscaling": {"maxReplicas": 9}}))
        eventually(lambda: _autoscaler(apiserver, namespace) == (3, 9), "the autoscaler is there")
        eventually(lambda: _owners_of_replicas(apiserver, namespace) == {"spillway-autoscaling"}, "the number is not ours any more")
        assert gateways() == 3
        assert get(apiserver, "deployment", namespace, "chat-gateway")["metadata"]["generation"] == made  # it was never another
        apiserver.kubectl("scale", "deployment", "chat-gateway", "-n", namespace, "--replicas=5")
        eventually(lambda: settled(apiserver, started, namespace), "the other number has been taken in")
        assert gateways() == 5
        apply(apiserver, documents(namespace, gateway={"replicas": 2}))
        eventually(lambda: _autoscaler(apiserver, namespace) is None, "the autoscaler is gone")
        eventually(lambda: gateways() == 2, "the spec says how many again")


def _autoscaler(server: ApiServer, namespace: str) -> tuple[int, int] | None:
    found = json.loads(server.kubectl("get", "hpa", "-n", namespace, "-o", "json"))["items"]
    return next(((each["spec"]["minReplicas"], each["spec"]["maxReplicas"]) for each in found), None)


def _owners_of_replicas(server: ApiServer, namespace: str) -> set[str]:
    entries = children(server, namespace)["deployment", "chat-gateway"]["metadata"]["managedFields"]
    return {each["manager"] for each in entries if "f:replicas" in each["fieldsV1"].get("f:spec", {})}


def owned(server: ApiServer, namespace: str) -> dict[str, Any]:
    """Return status.dedicated; empty while there is none."""
    found: dict[str, Any] = get(server, "iw", namespace, "chat").get("status", {}).get("dedicated", {})
    return found


def with_scaling(document: dict[str, Any], **scaling: int) -> dict[str, Any]:
    if document["kind"] == "InferenceWorkload":
        document["spec"]["dedicated"]["scaling"] |= scaling
    return document


def engine_of(server: ApiServer, namespace: str, *, replicas: int) -> str:
    """Return the name of the engine Deployment that has this many replicas; empty while none has."""
    found = children(server, namespace).items()
    wanted = (name for (kind, name), each in found if kind == "deployment" and each["spec"]["replicas"] == replicas)
    return next((name for name in wanted if name != "chat-gateway"), "")


def deletion_cost(server: ApiServer, namespace: str, each: str) -> str | None:
    annotations = get(server, "pod", namespace, f"chat-engine-{each}")["metadata"].get("annotations", {})
    found: str | None = annotations.get("controller.kubernetes.io/pod-deletion-cost")
    return found


def share_of(server: ApiServer, namespace: str) -> int | None:
    return share_told(get(server, "pod", namespace, "chat-gateway-a")["metadata"]["annotations"]["spillway.dev/gateway-share"])


def told_of_cap(server: ApiServer, namespace: str) -> str:
    annotations = get(server, "pod", namespace, "chat-gateway-a")["metadata"].get("annotations", {})
    return str(annotations.get("spillway.dev/gateway-config", ""))
