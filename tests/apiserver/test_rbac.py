"""The chart's rights, on a real API server: enough for the operator, and no more than it was seen to use."""

import contextlib
import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from kubernetes import client

from tests.apiserver.server import ApiServer
from tests.chart.conftest import NAMESPACE, Rendered, template
from tests.e2e.cluster import binaries

ACCOUNT = "spillway-operator"
WORKLOAD_NAMESPACE = "rights"
LOOK_S = 120  # for looking: a start of the operator alone took more than a minute with 25 processes to a pair of cores
RBAC_KINDS = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [{"level": "Metadata", "users": [f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"]}, {"level": "None"}],
}

# All kinds that the story leaves.
STORIED = (
    "iw,hostedproviders,deployments,pods,horizontalpodautoscalers,poddisruptionbudgets,networkpolicies,services,configmaps,serviceaccounts"
)

T = TypeVar("T")
Right = tuple[str, str, str]  # API group, resource with its subresource, verb

# Rights that no request shows, and what needs them.
NOT_SEEN_HERE: dict[Right, str] = {
    (
        "spillway.dev",
        "inferenceworkloads/finalizers",
        "update",
    ): "asked for by the admission of owner references; it is on in this API server",
}


@dataclass(frozen=True, kw_only=True)
class Site:
    """An API server with the chart's rights on it, and a log of every request under the operator's account."""

    server: ApiServer
    chart: Rendered
    audit: Path

    def requests(self) -> list[dict[str, Any]]:
        """Return the operator's requests so far, as audited."""
        return [json.loads(line) for line in self.audit.read_text().splitlines() if line.endswith("}")]

    def allowed(self, user: str, verb: str, resource: str, *, group: str = "", namespace: str = "", name: str = "") -> bool:
        """Ask the API server whether a user has a right; `resource` may have a subresource."""
        kind, _, subresource = resource.partition("/")
        attributes = client.V1ResourceAttributes(
            verb=verb, group=group, resource=kind, subresource=subresource, namespace=namespace, name=name
        )
        groups = ["system:authenticated"]
        if user.startswith("system:serviceaccount:"):
            groups += ["system:serviceaccounts", f"system:serviceaccounts:{user.split(':')[2]}"]
        asked = client.V1SubjectAccessReview(
            spec=client.V1SubjectAccessReviewSpec(user=user, groups=groups, resource_attributes=attributes)
        )
        answer = client.AuthorizationV1Api(self.server.admin_client).create_subject_access_review(asked)
        return answer.status is not None and bool(answer.status.allowed)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Start an API server that keeps an audit log, and install the chart's accounts, roles, bindings and catalogue."""
    folder = tmp_path_factory.mktemp("rbac")
    policy, audit = folder / "policy.yaml", folder / "audit.log"
    policy.write_text(yaml.safe_dump(AUDIT_POLICY))
    audit.touch()
    chart = template(folder, {})
    arguments = (f"--audit-policy-file={policy}", f"--audit-log-path={audit}")
    with ApiServer.started(arguments=arguments) as server:
        server.install_crds()
        for namespace in (NAMESPACE, WORKLOAD_NAMESPACE):
            server.kubectl("create", "namespace", namespace)
        server.kubectl("label", "namespace", WORKLOAD_NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
        objects = [o for kind in (*RBAC_KINDS, "AcceleratorClass") for o in chart.all(kind)]
        answer = server.apply(*objects)
        assert answer.code == 0, answer.err
        yield Site(server=server, chart=chart, audit=audit)


@pytest.fixture(scope="module")
def aggregated(site: Site) -> Iterator[Site]:
    """Run the one controller that fills `view`, `edit` and `admin`, and bind each of them to a user of its name."""
    command = [
        str(binaries.path("kube-controller-manager")),
        f"--kubeconfig={site.server.kubeconfig}",
        "--controllers=clusterrole-aggregation-controller",
        "--leader-elect=false",
        "--secure-port=0",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        group = "rbac.authorization.k8s.io"
        for role in ("view", "edit", "admin"):  # applied, not created: they may be there when the fixture is asked again
            who = {"kind": "User", "name": role, "apiGroup": group}
            binding = {
                "apiVersion": f"{group}/v1",
                "kind": "RoleBinding",
                "metadata": {"name": role, "namespace": WORKLOAD_NAMESPACE},
                "roleRef": {"kind": "ClusterRole", "name": role, "apiGroup": group},
                "subjects": [who],
            }
            assert site.server.apply(binding).code == 0
        wait_until(lambda: site.allowed("admin", "create", "hostedproviders", group="spillway.dev", namespace=WORKLOAD_NAMESPACE))
        yield site
    finally:
        process.terminate()
        process.wait(20)


def wait_until(check: Callable[[], T]) -> T:
    deadline = time.monotonic() + LOOK_S
    while not (found := check()):
        assert time.monotonic() < deadline, f"not within {LOOK_S} s"
        time.sleep(0.2)
    return found


OPERATOR = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"

DENIED = [
    *((verb, "secrets", "", WORKLOAD_NAMESPACE) for verb in ("get", "list", "watch", "create", "update", "patch", "delete")),
    *((verb, "secrets", "", NAMESPACE) for verb in ("get", "list", "watch")),
    *((verb, "secrets", "", "") for verb in ("get", "list", "watch")),
    *((verb, "pods", "", WORKLOAD_NAMESPACE) for verb in ("create", "update", "delete", "deletecollection")),
    *(("create", f"pods/{sub}", "", WORKLOAD_NAMESPACE) for sub in ("exec", "attach", "portforward", "eviction", "binding")),
    *(("get", f"pods/{sub}", "", WORKLOAD_NAMESPACE) for sub in ("log", "exec", "proxy")),
    ("patch", "pods/ephemeralcontainers", "", WORKLOAD_NAMESPACE),
    ("patch", "pods/status", "", WORKLOAD_NAMESPACE),
    ("create", "serviceaccounts/token", "", WORKLOAD_NAMESPACE),
    *((verb, "nodes", "", "") for verb in ("get", "list", "watch", "patch", "delete")),
    ("get", "nodes/proxy", "", ""),
    *((verb, "namespaces", "", "") for verb in ("create", "patch", "delete")),
    *((verb, "persistentvolumes", "", "") for verb in ("get", "create", "delete")),
    *((verb, "persistentvolumeclaims", "", WORKLOAD_NAMESPACE) for verb in ("get", "create")),
    *((verb, "clusterroles", "rbac.authorization.k8s.io", "") for verb in ("get", "create", "update", "patch", "escalate", "bind")),
    *((verb, "rolebindings", "rbac.authorization.k8s.io", WORKLOAD_NAMESPACE) for verb in ("create", "patch")),
    *((verb, "clusterrolebindings", "rbac.authorization.k8s.io", "") for verb in ("create", "patch")),
    *(("impersonate", resource, "", "") for resource in ("users", "groups", "serviceaccounts")),
    *((verb, "customresourcedefinitions", "apiextensions.k8s.io", "") for verb in ("create", "patch", "delete")),
    *((verb, "validatingwebhookconfigurations", "admissionregistration.k8s.io", "") for verb in ("create", "patch")),
    *((verb, "inferenceworkloads", "spillway.dev", WORKLOAD_NAMESPACE) for verb in ("create", "update", "patch", "delete")),
    *((verb, "hostedproviders", "spillway.dev", WORKLOAD_NAMESPACE) for verb in ("create", "update", "patch", "delete")),
    *((verb, "acceleratorclasses", "spillway.dev", "") for verb in ("create", "update", "patch", "delete")),
    *((verb, "deployments", "apps", WORKLOAD_NAMESPACE) for verb in ("update", "deletecollection")),
    *(("delete", resource, "", WORKLOAD_NAMESPACE) for resource in ("configmaps", "serviceaccounts", "persistentvolumeclaims", "events")),
    *(
        (verb, resource, "apps", WORKLOAD_NAMESPACE)
        for verb in ("create", "patch")
        for resource in ("daemonsets", "statefulsets", "replicasets")
    ),
    *((verb, "jobs", "batch", WORKLOAD_NAMESPACE) for verb in ("create", "patch")),
    *((verb, "leases", "coordination.k8s.io", WORKLOAD_NAMESPACE) for verb in ("get", "create", "update")),
    *((verb, "leases", "coordination.k8s.io", "kube-system") for verb in ("get", "create", "update")),
    ("delete", "leases", "coordination.k8s.io", NAMESPACE),
    ("*", "*", "*", ""),
    ("*", "secrets", "", WORKLOAD_NAMESPACE),
]


@pytest.mark.parametrize(("verb", "resource", "group", "namespace"), DENIED, ids=lambda part: part or "-")
def test_the_operator_may_not(site: Site, verb: str, resource: str, group: str, namespace: str) -> None:
    assert not site.allowed(OPERATOR, verb, resource, group=group, namespace=namespace)


def test_the_operator_writes_its_own_lease_and_no_other(site: Site) -> None:
    for name, expected in ((ACCOUNT, True), ("another", False)):
        assert site.allowed(OPERATOR, "update", "leases", group="coordination.k8s.io", namespace=NAMESPACE, name=name) is expected


USER_RIGHTS = [
    ("view", "get", "inferenceworkloads", True),
    ("view", "list", "hostedproviders", True),
    ("view", "create", "inferenceworkloads", False),
    ("view", "patch", "inferenceworkloads/scale", False),
    ("edit", "get", "hostedproviders", True),
    ("edit", "create", "inferenceworkloads", True),
    ("edit", "delete", "inferenceworkloads", True),
    ("edit", "patch", "inferenceworkloads/scale", True),
    ("edit", "patch", "inferenceworkloads/status", False),
    ("edit", "create", "hostedproviders", False),
    ("edit", "patch", "hostedproviders", False),
    ("edit", "delete", "hostedproviders", False),
    ("admin", "create", "inferenceworkloads", True),
    ("admin", "create", "hostedproviders", True),
    ("admin", "patch", "inferenceworkloads/status", False),
    ("admin", "create", "acceleratorclasses", False),
]


@pytest.mark.parametrize(("user", "verb", "resource", "expected"), USER_RIGHTS, ids=str)
def test_users_get_their_rights_by_the_clusters_own_roles(aggregated: Site, user: str, verb: str, resource: str, *, expected: bool) -> None:
    assert aggregated.allowed(user, verb, resource, group="spillway.dev", namespace=WORKLOAD_NAMESPACE) is expected


def test_an_editor_of_workloads_is_refused_a_hosted_provider(aggregated: Site) -> None:
    provider = yaml.safe_dump(
        {
            "apiVersion": "spillway.dev/v1alpha1",
            "kind": "HostedProvider",
            "metadata": {"name": "thief", "namespace": WORKLOAD_NAMESPACE},
            "spec": {
                "baseURL": "https://collector.example.com/v1",
                "auth": {"secretRef": {"name": "anything", "key": "password"}},
                "models": [{"name": "m", "inputUSDPerMillionTokens": "1", "outputUSDPerMillionTokens": "1"}],
            },
        }
    )
    for user, code in (("edit", 1), ("admin", 0)):
        kubeconfig = aggregated.server.kubeconfig_for(user, ("system:authenticated",))
        answer = aggregated.server.run_kubectl("create", "--dry-run=server", "-f", "-", stdin=provider, kubeconfig=kubeconfig)
        assert answer.code == code, answer.err


def provider() -> dict[str, Any]:
    return {
        "apiVersion": "spillway.dev/v1alpha1",
        "kind": "HostedProvider",
        "metadata": {"name": "rented", "namespace": WORKLOAD_NAMESPACE},
        "spec": {
            "baseURL": "https://api.example.com/v1",
            "auth": {"secretRef": {"name": "rented-key", "key": "api-key"}},
            "models": [{"name": "m", "inputUSDPerMillionTokens": "1", "outputUSDPerMillionTokens": "1"}],
        },
    }


def workload(name: str, mode: str, accelerator: str = "nvidia-l4") -> dict[str, Any]:
    spec: dict[str, Any] = {
        "model": {"id": "acme/tiny-chat"},
        "placement": {"mode": mode},
        "hosted": {"backends": [{"providerRef": {"name": "rented"}, "model": "m"}]},
    }
    if (name == "chat" and mode != "Hosted") or name == "taken":
        spec["gateway"] = {"autoscaling": {"maxReplicas": 4 if accelerator == "nvidia-l4" else 5}}
    if mode != "Hosted":
        spec["dedicated"] = {"accelerators": [accelerator], "scaling": {"minReplicas": 1, "maxReplicas": 2}}
    metadata = {"name": name, "namespace": WORKLOAD_NAMESPACE}
    return {"apiVersion": "spillway.dev/v1alpha1", "kind": "InferenceWorkload", "metadata": metadata, "spec": spec}


def pod(site: Site, name: str, labels: dict[str, str], annotations: dict[str, str] | None = None) -> None:
    """Make a ready pod: no controller and no kubelet runs here."""
    container = {
        "name": "main",
        "image": "none",
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {"containers": [container], "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}}
    metadata = {"name": name, "namespace": WORKLOAD_NAMESPACE, "labels": labels, "annotations": annotations or {}}
    answer = site.server.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    assert answer.code == 0, answer.err
    now = "2026-01-01T00:00:00Z"
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}]}
    site.server.kubectl(
        "-n", WORKLOAD_NAMESPACE, "patch", "pod", name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status})
    )


def get(site: Site, *what: str) -> Any:
    return json.loads(site.server.kubectl("-n", WORKLOAD_NAMESPACE, "get", *what, "-o", "json"))


def exists(site: Site, kind: str, name: str) -> bool:
    return site.server.run_kubectl("-n", WORKLOAD_NAMESPACE, "get", kind, name).code == 0


def gone(site: Site, kind: str, name: str) -> bool:
    return not exists(site, kind, name)


def engines(site: Site) -> list[Any]:
    found: list[Any] = get(site, "deployments", "-l", "spillway.dev/workload=chat,app.kubernetes.io/component=engine")["items"]
    return found


def condition(site: Site, name: str, type_: str) -> tuple[str, str] | None:
    found = get(site, "inferenceworkload", name).get("status", {}).get("conditions", [])
    return next(((each["status"], each["reason"]) for each in found if each["type"] == type_), None)


AUTOSCALER = ("horizontalpodautoscaler", "chat-gateway")


def children(name: str) -> list[tuple[str, str]]:
    """Return the objects whose names a hybrid workload needs."""
    return [
        ("service", name),
        ("service", f"{name}-replicas"),
        ("serviceaccount", name),
        ("configmap", f"{name}-gateway"),
        ("configmap", f"{name}-gateway-cap"),
        ("deployment", f"{name}-gateway"),
        ("poddisruptionbudget", f"{name}-gateway"),
        ("poddisruptionbudget", f"{name}-engine"),
        ("networkpolicy", f"{name}-gateway"),
        ("networkpolicy", f"{name}-engine"),
        ("horizontalpodautoscaler", f"{name}-gateway"),
    ]


@contextlib.contextmanager
def operator(site: Site, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the operator under the chart's account, with the chart's own environment."""
    (container,) = site.chart.pod(ACCOUNT)["containers"]
    fields = {"metadata.name": "operator-0", "metadata.namespace": NAMESPACE}
    told = {e["name"]: e.get("value") or fields[e["valueFrom"]["fieldRef"]["fieldPath"]] for e in container["env"]}
    told |= {"SPILLWAY_METRICS_PORT": "0", "SPILLWAY_PROBE_PORT": "0"}  # free ones
    kubeconfig = site.server.kubeconfig_for_service_account(NAMESPACE, ACCOUNT)
    environment = {"PATH": os.environ["PATH"], "HOME": str(log.parent), "KUBECONFIG": str(kubeconfig)} | told
    with log.open("wb") as output:
        command = [sys.executable, "-m", "spillway", *container["args"]]
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        yield process
    except AssertionError as failure:
        failure.add_note(f"the operator's log ends with:\n{log.read_text()[-3000:]}")
        raise
    finally:
        process.terminate()
        process.wait(30)


def strangers() -> list[dict[str, Any]]:
    """Return objects of somebody else's that have the names of what two workloads need."""
    taken = {"labels": {"whose": "somebodys"}, "namespace": WORKLOAD_NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "taken", **taken}, "spec": {"ports": [{"port": 80}]}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "taken", **taken}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "taken-gateway", **taken}},
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "taken-gateway", **taken},
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"none": "such"}}},
        },
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "taken-gateway", **taken},
            "spec": {"podSelector": {"matchLabels": {"none": "such"}}},
        },
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "taken-gateway", **taken},
            "spec": {"maxReplicas": 2, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"}},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "busy-gateway", **taken},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": {"none": "such"}},
                "template": {"metadata": {"labels": {"none": "such"}}, "spec": {"containers": [{"name": "main", "image": "none"}]}},
            },
        },
    ]


@pytest.fixture(scope="module")
def story(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Let the operator make a workload, follow a ready replica, meet taken names, clean up a changed one, start again; return its log."""
    log = tmp_path_factory.mktemp("operator") / "operator.log"
    # When it is told again after a failure, it begins where it began.
    site.server.kubectl("-n", WORKLOAD_NAMESPACE, "delete", STORIED, "--all", "--force", "--grace-period=0")
    answer = site.server.apply(provider(), *strangers())
    assert answer.code == 0, answer.err
    with operator(site, log) as process:
        assert site.server.apply(workload("chat", "Hybrid")).code == 0
        wait_until(lambda: condition(site, "chat", "SpecValid") == ("True", "Valid"))
        wait_until(lambda: all(exists(site, *each) for each in children("chat")))
        (engine,) = engines(site)
        gateway = get(site, "deployment", "chat-gateway")["spec"]["template"]["metadata"]
        for number in (1, 2):
            pod(site, f"chat-gateway-{number}", gateway["labels"], gateway["annotations"])
        pod(site, "chat-engine-1", engine["spec"]["template"]["metadata"]["labels"])
        wait_until(lambda: "spillway.dev/gateway-config" in get(site, "pod", "chat-gateway-1")["metadata"].get("annotations", {}))
        assert site.server.apply(workload("taken", "Hosted"), workload("busy", "Hosted")).code == 0
        wait_until(lambda: condition(site, "taken", "SpecValid") == ("False", "NameConflict"))
        wait_until(lambda: condition(site, "busy", "SpecValid") == ("False", "NameConflict"))
        assert exists(site, *AUTOSCALER)
        # Another shape takes over with its first ready replica; what is around replicas goes with the last of them.
        assert site.server.apply(workload("chat", "Hybrid", "nvidia-l40s")).code == 0
        wait_until(lambda: len(engines(site)) > 1)
        wait_until(lambda: patched(site, "horizontalpodautoscalers"))
        after = next(each for each in engines(site) if each["metadata"]["name"] != engine["metadata"]["name"])
        pod(site, "chat-engine-2", after["spec"]["template"]["metadata"]["labels"])
        wait_until(lambda: not exists(site, "deployment", engine["metadata"]["name"]))
        assert site.server.apply(workload("chat", "Hosted")).code == 0
        wait_until(lambda: condition(site, "chat", "PlacementResolved") == ("True", "HostedRequested"))
        assert exists(site, "networkpolicy", "chat-engine")
        site.server.kubectl("-n", WORKLOAD_NAMESPACE, "delete", "deployment", after["metadata"]["name"])
        for each in (("networkpolicy", "chat-engine"), ("poddisruptionbudget", "chat-engine"), ("service", "chat-replicas"), AUTOSCALER):
            wait_until(functools.partial(gone, site, *each))
        process.terminate()
        assert process.wait(30) == 0, log.read_text()[-3000:]
    # The next one applies what it finds, where this one has posted what was not there.
    with log.open("a") as whole, operator(site, log.with_name("next.log")):
        for resource in ("serviceaccounts", "poddisruptionbudgets"):
            wait_until(functools.partial(patched, site, resource))
        whole.write(log.with_name("next.log").read_text())
    return log


def patched(site: Site, resource: str) -> bool:
    """Tell whether the operator has patched one that was there."""
    asked = [each for each in site.requests() if each.get("objectRef", {}).get("resource") == resource]
    return any(each["verb"] == "patch" and each["responseStatus"]["code"] == 200 for each in asked)


def granted(chart: Rendered) -> set[Right]:
    """Return every right of the operator's ClusterRole and Role."""
    return {
        (group, resource, verb)
        for kind in ("ClusterRole", "Role")
        for rule in chart.one(kind, ACCOUNT)["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def used(request: dict[str, Any]) -> Iterator[Right]:
    """Return the rights that a request needed. An apply that made the object needed `create` too."""
    target = request["objectRef"]
    resource = "/".join(filter(None, (target["resource"], target.get("subresource"))))
    yield target.get("apiGroup", ""), resource, request["verb"]
    if request["verb"] == "patch" and request["responseStatus"]["code"] == 201:
        yield target.get("apiGroup", ""), resource, "create"


def test_the_rights_suffice(site: Site, story: Path) -> None:
    refused = [r for r in site.requests() if r["responseStatus"]["code"] in (401, 403)]
    assert not [(r["verb"], r["requestURI"]) for r in refused]
    assert "forbidden" not in story.read_text().lower()


def test_no_right_is_there_that_the_operator_was_not_seen_to_use(site: Site, story: Path) -> None:
    assert story.exists()
    seen = {right for request in site.requests() if "objectRef" in request for right in used(request)}
    assert granted(site.chart) - seen == NOT_SEEN_HERE.keys()
    assert seen <= granted(site.chart), "used, but not granted by the chart: what else grants it?"


@pytest.mark.parametrize("resource", ["pods", "deployments", "services"])
def test_of_what_others_have_too_only_our_own_is_listed_and_watched(site: Site, story: Path, resource: str) -> None:
    assert story.exists()
    made = [r for r in site.requests() if r.get("objectRef", {}).get("resource") == resource and r["verb"] in ("list", "watch")]
    assert {r["verb"] for r in made} == {"list", "watch"}
    for request in made:
        asked = parse_qs(urlsplit(request["requestURI"]).query)
        assert asked.get("labelSelector") == ["spillway.dev/workload"], request["requestURI"]


def test_the_operator_touches_nothing_that_is_not_its_own(site: Site, story: Path) -> None:
    assert story.exists()
    for kind, name in (
        ("service", "taken"),
        ("serviceaccount", "taken"),
        ("configmap", "taken-gateway"),
        ("networkpolicy", "taken-gateway"),
        ("horizontalpodautoscaler", "taken-gateway"),
    ):
        found = get(site, kind, name)
        assert found["metadata"]["labels"] == {"whose": "somebodys"}
        assert "ownerReferences" not in found["metadata"]


def test_the_operator_leaves_no_finalizer_and_no_annotation_of_its_framework(site: Site, story: Path) -> None:
    assert story.exists()
    for item in get(site, "inferenceworkloads,hostedproviders,pods,services,deployments,configmaps")["items"]:
        assert "finalizers" not in item["metadata"], item["metadata"]["name"]
        assert not [a for a in item["metadata"].get("annotations", {}) if "kopf" in a], item["metadata"]["name"]
