"""prometheus-adapter on the cluster: external metrics for autoscalers, by the rule that the example for HPA gives its users."""

import json
from typing import Any

import yaml

from tests.e2e.cluster import images
from tests.e2e.stack import OURS, RELEASE, ROOT, SYSTEM_NAMESPACE, Stack, eventually

EXAMPLE = ROOT / "examples" / "external-scaling-hpa.yaml"
NAME = "prometheus-adapter"
API_SERVICE = "v1beta1.external.metrics.k8s.io"
PORT = 6443
COMPONENT = {"app.kubernetes.io/component": NAME}
RULES_BEGIN, RULES_INDENT = "#   rules:", "#   "


def install(stack: Stack) -> None:
    """Put the adapter on the cluster and wait until its API is served. An API of that name that is not ours is left alone: that fails."""
    owner = stack.kubectl("get", "apiservice", API_SERVICE, "--ignore-not-found", "-o", "jsonpath={.metadata.labels}")
    if owner and OURS.items() - json.loads(owner).items():
        raise AssertionError(f"the cluster has a {API_SERVICE} of its own; take one without it for this test")
    stack.cluster.load_images(images.archives([NAME]))
    stack.apply(*_rights(), *_program(stack), _api_service())
    stack.kubectl("-n", SYSTEM_NAMESPACE, "rollout", "status", f"deployment/{NAME}", "--timeout=180s")
    available = "jsonpath={.status.conditions[?(@.type=='Available')].status}"
    eventually(
        lambda: stack.kubectl("get", "apiservice", API_SERVICE, "-o", available) == "True", within=60, what="external metrics to be served"
    )


def remove(stack: Stack) -> None:
    """Take away what is not in the release's namespace, or would answer for it."""
    stack.kubectl("delete", "apiservice", API_SERVICE, "--ignore-not-found")
    stack.kubectl("delete", "clusterrolebinding", f"{NAME}-delegator", "--ignore-not-found")
    stack.kubectl("-n", "kube-system", "delete", "rolebinding", NAME, "--ignore-not-found")
    stack.kubectl("-n", SYSTEM_NAMESPACE, "delete", "deployment,service,configmap,serviceaccount,networkpolicy", NAME, "--ignore-not-found")


def demand(stack: Stack, namespace: str, workload: str) -> float | None:
    """Return the demand as an HPA reads it; None while there is none to read."""
    selector = f"labelSelector=workload%3D{workload}"
    where = f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/spillway_demand_replicas?{selector}"
    found = json.loads(stack.kubectl("get", "--raw", where))["items"]
    return _quantity(found[0]["value"]) if found else None


def _quantity(text: str) -> float:
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


def external_rules() -> list[dict[str, Any]]:
    """Return the adapter's rules as the example tells them, in its comment."""
    lines = EXAMPLE.read_text().splitlines()
    begin = lines.index(RULES_BEGIN)
    block = [line.removeprefix(RULES_INDENT) for line in lines[begin:] if line.startswith(RULES_INDENT) and "kubectl" not in line]
    rules: list[dict[str, Any]] = yaml.safe_load("\n".join(block))["rules"]["external"]
    return rules


def _metadata(name: str = NAME, **more: Any) -> dict[str, Any]:
    return {"name": name, "labels": {**OURS, **COMPONENT}, **more}


def _rights() -> list[dict[str, Any]]:
    """Return the adapter's account and what it asks the API server: who calls, and whether they may."""
    account = {"kind": "ServiceAccount", "name": NAME, "namespace": SYSTEM_NAMESPACE}
    group = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _metadata(namespace=SYSTEM_NAMESPACE)},
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": _metadata(f"{NAME}-delegator"),
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "system:auth-delegator"},
            "subjects": [account],
        },
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": _metadata(namespace="kube-system"),
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "extension-apiserver-authentication-reader"},
            "subjects": [account],
        },
    ]


def _program(stack: Stack) -> list[dict[str, Any]]:
    prometheus = f"{RELEASE}-prometheus"
    (port,) = [each["port"] for each in stack.get("-n", SYSTEM_NAMESPACE, "service", prometheus)["spec"]["ports"]]
    container = {
        "name": "adapter",
        "image": stack.reference(NAME),
        "args": [
            "--config=/etc/adapter/config.yaml",
            f"--prometheus-url=http://{prometheus}.{SYSTEM_NAMESPACE}.svc:{port}/",
            "--cert-dir=/tmp",
            f"--secure-port={PORT}",
            # A workload's series begins with the test; the adapter offers what it has listed, and forgets what has not been seen lately.
            "--metrics-relist-interval=5s",
            "--metrics-max-age=2m",
        ],
        "ports": [{"name": "https", "containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "https", "scheme": "HTTPS"}, "periodSeconds": 2},
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/adapter"}, {"name": "tmp", "mountPath": "/tmp"}],
    }
    pod = {
        "serviceAccountName": NAME,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": NAME}}, {"name": "tmp", "emptyDir": {}}],
    }
    here = _metadata(namespace=SYSTEM_NAMESPACE)
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": here,
            "data": {"config.yaml": yaml.safe_dump({"externalRules": external_rules()})},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": here,
            "spec": {"selector": {"matchLabels": COMPONENT}, "template": {"metadata": {"labels": {**COMPONENT}}, "spec": pod}},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": here,
            "spec": {"selector": COMPONENT, "ports": [{"port": 443, "targetPort": "https"}]},
        },
        # The chart lets only the operator ask the bundled Prometheus.
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": here,
            "spec": {
                "podSelector": {"matchLabels": {"app.kubernetes.io/component": "prometheus"}},
                "policyTypes": ["Ingress"],
                "ingress": [{"from": [{"podSelector": {"matchLabels": COMPONENT}}]}],
            },
        },
    ]


def _api_service() -> dict[str, Any]:
    version, _, group = API_SERVICE.partition(".")
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": _metadata(API_SERVICE),
        "spec": {
            "group": group,
            "version": version,
            "service": {"name": NAME, "namespace": SYSTEM_NAMESPACE},
            "insecureSkipTLSVerify": True,  # it signs its own certificate at each start
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
        },
    }
