"""The chart's rights, on a real API server: enough for the operator, and no more than it was seen to use."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from tests.apiserver.server import ApiServer
from tests.chart.conftest import NAMESPACE, Rendered, template
from tests.e2e.cluster import binaries

ACCOUNT = "spillway-operator"
WORKLOAD_NAMESPACE = "rights"
RBAC_KINDS = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [{"level": "Metadata", "users": [f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"]}, {"level": "None"}],
}

Right = tuple[str, str, str]  # API group, resource with its subresource, verb

# Rights that this test's short story has no occasion to use, and what needs them.
NOT_SEEN_HERE: dict[Right, str] = {}


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
        attributes = {"verb": verb, "group": group, "resource": kind, "subresource": subresource, "namespace": namespace, "name": name}
        groups = ["system:authenticated"]
        if user.startswith("system:serviceaccount:"):
            groups += ["system:serviceaccounts", f"system:serviceaccounts:{user.split(':')[2]}"]
        review = client.AuthorizationV1Api(self.server.admin_client).create_subject_access_review(
            {"spec": {"user": user, "groups": groups, "resourceAttributes": attributes}}
        )
        return bool(review.status.allowed)


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
        for role in ("view", "edit", "admin"):
            site.server.kubectl("-n", WORKLOAD_NAMESPACE, "create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}")
        wait_until(lambda: site.allowed("admin", "create", "hostedproviders", group="spillway.dev", namespace=WORKLOAD_NAMESPACE), 30)
        yield site
    finally:
        process.terminate()
        process.wait(20)


def wait_until(check: Any, within_s: float) -> Any:
    deadline = time.monotonic() + within_s
    while not (found := check()):
        assert time.monotonic() < deadline, f"not within {within_s} s"
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
    *((verb, "persistentvolumeclaims", "", WORKLOAD_NAMESPACE) for verb in ("create", "delete")),
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
