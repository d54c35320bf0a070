"""The operator against a real API server: what it makes, what it leaves alone, and who of two acts."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.apiserver.operator_process import LEASE, Operator, condition, eventually, get, holder, operator
from tests.apiserver.server import ApiServer

EXAMPLE = Path(__file__).parents[2] / "examples" / "hybrid-llama-8b-l40s.yaml"
KINDS = ("serviceaccount", "configmap", "service", "deployment", "poddisruptionbudget", "networkpolicy")
CHILDREN = {
    "serviceaccount": {"chat"},
    "configmap": {"chat-gateway", "chat-gateway-cap", "chat-ledger"},
    "service": {"chat", "chat-replicas"},
    "poddisruptionbudget": {"chat-gateway", "chat-engine"},
    "networkpolicy": {"chat-gateway", "chat-engine"},
}
CONDITIONS = 13
TAKEOVER_S = 20
CAP_FOLLOWS_S = 5


def documents(namespace: str, **changes: Any) -> list[dict[str, Any]]:
    """Return the example's documents, placed in a namespace; `changes` go into the workload's spec."""
    found = [each for each in yaml.safe_load_all(EXAMPLE.read_text()) if each]
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


def warnings(server: ApiServer, namespace: str) -> list[str]:
    """Return the reasons of all Warning Events."""
    found = json.loads(server.kubectl("get", "events.events.k8s.io", "-n", namespace, "-o", "json"))["items"]
    return [each["reason"] for each in found if each["type"] == "Warning"]


def settled(server: ApiServer, namespace: str) -> bool:
    """Whether the workload has its status and nothing has changed for a moment."""
    if not condition(server, namespace, "chat", "SpecValid"):
        return False
    before = versions(server, namespace)
    time.sleep(1)
    return versions(server, namespace) == before


@pytest.fixture
def fleet(apiserver: ApiServer, namespace: str) -> Iterator[str]:
    """Apply the example; take it away at the end, so that the next test's operator has no part in it."""
    apply(apiserver, documents(namespace))
    yield namespace
    apiserver.run_kubectl("delete", "iw,hostedprovider", "--all", "-n", namespace, "--wait=false")


@pytest.fixture
def running(apiserver: ApiServer, fleet: str) -> Iterator[Operator]:
    with operator(apiserver, namespace=fleet) as started:
        eventually(lambda: settled(apiserver, fleet), "the workload is settled")
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
    events = json.loads(apiserver.kubectl("get", "events.events.k8s.io", "-n", fleet, "-o", "json"))["items"]
    assert {each["reason"] for each in events} == {"HybridRequested", "Initial"}


@pytest.mark.usefixtures("running")
def test_leaves_no_finalizer_and_no_trace_of_kopf_on_any_object(apiserver: ApiServer, fleet: str) -> None:
    kinds = ",".join([*KINDS, "iw", "hostedprovider"])
    for each in json.loads(apiserver.kubectl("get", kinds, "-n", fleet, "-o", "json", "--show-managed-fields"))["items"]:
        assert "finalizers" not in each["metadata"]
        assert "kopf" not in json.dumps(each)
    assert "kopf" not in apiserver.kubectl("get", "acceleratorclass", "-o", "json", "--show-managed-fields")


def test_a_second_pass_and_a_second_operator_change_nothing(apiserver: ApiServer, running: Operator, fleet: str) -> None:
    before = versions(apiserver, fleet)
    passes = running.said().count("decided")
    # A class that is touched without a change of its spec, and one that is changed: both end in a pass, neither in a write.
    apiserver.kubectl("label", "acceleratorclass", "l40s-g6e", "touched=yes", "--overwrite")
    time.sleep(1)
    assert running.said().count("decided") == passes
    assert running.stop() == 0
    del before[("configmap", "chat-ledger")]  # the first operator's last word, and the second one's first
    with operator(apiserver, namespace=fleet, name="two"):
        eventually(lambda: holder(apiserver, fleet) == "two", "the second operator leads")
        eventually(lambda: settled(apiserver, fleet), "the workload is settled")
        after = versions(apiserver, fleet)
        assert {name: version for name, version in after.items() if name in before} == before


@pytest.mark.usefixtures("running")
def test_puts_back_what_somebody_changed_or_deleted(apiserver: ApiServer, fleet: str) -> None:
    engine = next(name for kind, name in children(apiserver, fleet) if kind == "deployment" and name != "chat-gateway")
    apiserver.kubectl("scale", "deployment", engine, "-n", fleet, "--replicas=7")
    apiserver.kubectl("delete", "service", "chat", "-n", fleet)
    eventually(lambda: get(apiserver, "deployment", fleet, engine)["spec"]["replicas"] != 7, "the replicas are put back")
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
    apiserver.kubectl("delete", "iw", "--all", "-n", namespace)


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
    apiserver.kubectl("delete", "iw", "--all", "-n", namespace)


@pytest.mark.usefixtures("running")
def test_a_changed_class_reaches_the_workloads_that_refer_to_it(apiserver: ApiServer, fleet: str) -> None:
    before = get(apiserver, "iw", fleet, "chat")["status"]["cost"]["kappa"]
    accelerator = next(each for each in documents(fleet) if each["kind"] == "AcceleratorClass")
    accelerator["spec"]["nodeSelector"] = {"moved": "yes"}
    apply(apiserver, [accelerator])
    engine = next(name for kind, name in children(apiserver, fleet) if kind == "deployment" and name != "chat-gateway")

    def moved() -> bool:
        template = get(apiserver, "deployment", fleet, engine)["spec"]["template"]
        return bool(template["spec"].get("nodeSelector", {}).get("moved") == "yes")

    eventually(moved, "the replicas' node selector follows the class")
    apply(apiserver, documents(fleet))
    assert before


@pytest.mark.usefixtures("running")
def test_an_old_pool_stays_with_all_that_makes_it_reachable_until_something_else_serves(apiserver: ApiServer, fleet: str) -> None:
    before = children(apiserver, fleet).keys()
    changed = documents(fleet, placement={"mode": "Hosted"})
    changed[-1]["spec"].pop("dedicated", None)
    apply(apiserver, changed)
    eventually(lambda: condition(apiserver, fleet, "chat", "PlacementResolved").get("reason") == "HostedRequested", "it is decided")
    eventually(lambda: settled(apiserver, fleet), "the workload is settled")
    assert children(apiserver, fleet).keys() == before  # no gateway is ready here, and no hosted backend is known to answer


@pytest.mark.usefixtures("running")
def test_the_cap_follows_the_replicas_also_while_the_spec_has_problems(apiserver: ApiServer, fleet: str) -> None:
    engine = next(each for (kind, name), each in children(apiserver, fleet).items() if kind == "deployment" and name != "chat-gateway")
    template = engine["spec"]["template"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "replica", "namespace": fleet, "labels": template["metadata"]["labels"]},
        "spec": {"serviceAccountName": "chat", "containers": [{"name": "engine", "image": "none"}]},
    }
    ready = json.dumps({"status": {"conditions": [{"type": "Ready", "status": "True"}]}})

    def cap() -> str:
        return json.dumps(get(apiserver, "configmap", fleet, "chat-gateway-cap")["data"], sort_keys=True)

    none = cap()
    apply(apiserver, [pod])
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
            eventually(lambda: settled(apiserver, fleet), "the workload is settled")
            first.kill()
            killed = time.monotonic()
            apiserver.kubectl("delete", "service", "chat", "-n", fleet)
            eventually(
                lambda: apiserver.run_kubectl("get", "service", "chat", "-n", fleet).code == 0, "the standby acts", within_s=TAKEOVER_S
            )
            assert time.monotonic() - killed < TAKEOVER_S
            assert holder(apiserver, fleet) == "two"


# Put in place of a leading task: what a bug could make of it. Renewing the Lease would outlive each of these.
BUGS = {
    "raises": "async def run(self): await asyncio.sleep(6); raise ValueError('bug')\nStocktaker.run = run",
    "is cancelled": "async def run(self): await asyncio.sleep(6); raise asyncio.CancelledError\nStocktaker.run = run",
    "hangs": "async def run(self, key): await asyncio.sleep(3600)\nReconciler.run = run\noperator.STUCK_MARGIN_S = -14.0",
}
IMPORTS = (
    "import asyncio\nfrom spillway.cli import main\nfrom spillway.edge import operator\n"
    "from spillway.reconcile.reconcile import Reconciler\nfrom spillway.reconcile.stocktaking import Stocktaker\n"
)


@pytest.mark.parametrize("bug", BUGS)
def test_a_dead_leading_task_ends_the_process_and_hands_over(apiserver: ApiServer, fleet: str, bug: str) -> None:
    program = ("-c", f"{IMPORTS}{BUGS[bug]}\nraise SystemExit(main(['operator']))")
    with operator(apiserver, namespace=fleet, program=program) as first:
        eventually(lambda: holder(apiserver, fleet) == "one", "the first leads")
        with operator(apiserver, namespace=fleet, name="two"):
            eventually(lambda: first.process.poll() is not None, "the first has ended")
            assert first.process.returncode == 1
            ended = time.monotonic()
            eventually(lambda: holder(apiserver, fleet) == "two", "the standby leads", within_s=TAKEOVER_S)
            eventually(lambda: settled(apiserver, fleet), "the standby acts", within_s=TAKEOVER_S)
            assert time.monotonic() - ended < TAKEOVER_S


def test_a_clean_stop_hands_over_at_once(apiserver: ApiServer, fleet: str) -> None:
    with operator(apiserver, namespace=fleet) as first:
        eventually(lambda: holder(apiserver, fleet) == "one", "the first leads")
        with operator(apiserver, namespace=fleet, name="two") as second:
            eventually(lambda: second.probe("/readyz") == 200, "the standby is ready")
            assert first.stop() == 0
            eventually(lambda: holder(apiserver, fleet) == "two", "the standby leads", within_s=5)


def test_a_lost_lease_ends_the_process(apiserver: ApiServer, fleet: str) -> None:
    with operator(apiserver, namespace=fleet) as started:
        eventually(lambda: holder(apiserver, fleet) == "one", "it leads")
        stolen = json.dumps({"spec": {"holderIdentity": "a-thief_1", "leaseDurationSeconds": 15}})
        apiserver.kubectl("patch", "lease", LEASE, "-n", fleet, "--type=merge", "-p", stolen)
        assert started.process.wait(15) == 1
        assert holder(apiserver, fleet) == "a-thief"


def test_probes_tell_the_truth(apiserver: ApiServer, running: Operator) -> None:
    del apiserver
    assert (running.probe("/livez"), running.probe("/healthz"), running.probe("/readyz")) == (200, 200, 200)
    assert running.stop() == 0
    assert running.probe("/livez") == 0


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


def pod(namespace: str, name: str, component: str, template: dict[str, Any]) -> dict[str, Any]:
    """Return a pod as a ReplicaSet would make it from a Deployment's template."""
    container = {"name": component, "image": "none"}
    metadata = {**template["metadata"], "name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container], "nodeName": "node"}}


def make_ready(server: ApiServer, namespace: str, name: str) -> None:
    condition = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-21T12:00:00Z"}
    patch = json.dumps({"status": {"phase": "Running", "conditions": [condition]}})
    server.kubectl("patch", "pod", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)


@pytest.mark.usefixtures("running")
def test_the_cap_follows_ready_replicas_within_five_seconds(apiserver: ApiServer, fleet: str) -> None:
    found = children(apiserver, fleet)
    engine = next(each for (kind, name), each in found.items() if kind == "deployment" and name != "chat-gateway")
    gateway = found["deployment", "chat-gateway"]
    before = found["configmap", "chat-gateway-cap"]["data"]
    for name, component, deployment in (("chat-gateway-a", "gateway", gateway), ("chat-engine-a", "engine", engine)):
        answer = apiserver.run_kubectl("create", "-f", "-", stdin=json.dumps(pod(fleet, name, component, deployment["spec"]["template"])))
        assert answer.code == 0, answer.err
    make_ready(apiserver, fleet, "chat-gateway-a")
    eventually(lambda: told_of_cap(apiserver, fleet), "the gateway is told of the cap it has", within_s=10)
    told = told_of_cap(apiserver, fleet)
    make_ready(apiserver, fleet, "chat-engine-a")
    eventually(lambda: told_of_cap(apiserver, fleet) != told, "the gateway is told of the new cap", within_s=CAP_FOLLOWS_S)
    assert children(apiserver, fleet)["configmap", "chat-gateway-cap"]["data"] != before
    assert get(apiserver, "iw", fleet, "chat")["status"]["dedicated"]["readyReplicas"] == 1
    apiserver.kubectl("delete", "pod", "--all", "-n", fleet, "--force", "--grace-period=0")


def told_of_cap(server: ApiServer, namespace: str) -> str:
    annotations = get(server, "pod", namespace, "chat-gateway-a")["metadata"].get("annotations", {})
    return str(annotations.get("spillway.dev/gateway-config", ""))
