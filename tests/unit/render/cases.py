"""Small workloads to vary."""

from typing import Any

from tests.golden.objects.case import Case, case

L4: dict[str, Any] = {
    "kind": "AcceleratorClass",
    "metadata": {"name": "l4"},
    "spec": {"product": "NVIDIA L4", "memoryGiB": 24, "memoryBandwidthGBps": 300, "teraFLOPs": {"bf16": 121}, "perNode": 8},
}
RENTED: dict[str, Any] = {
    "kind": "HostedProvider",
    "metadata": {"name": "rented"},
    "spec": {
        "baseURL": "https://api.example.com/v1",
        "auth": {"secretRef": {"name": "rented-key", "key": "api-key"}},
        "models": [{"name": "acme/chat", "inputUSDPerMillionTokens": "1", "outputUSDPerMillionTokens": "1"}],
    },
}


def dedicated(
    *,
    model: dict[str, Any] | None = None,
    own: dict[str, Any] | None = None,
    gateway: dict[str, Any] | None = None,
    residency: str = "HostedAllowed",
) -> Case:
    """Return a workload on replicas of its own."""
    spec = {
        "model": {"id": "acme/chat", **(model or {})},
        "placement": {"mode": "Dedicated", "dataResidency": residency},
        "dedicated": {"accelerators": ["l4"], **(own or {})},
        "gateway": gateway or {},
    }
    return case(_workload(spec), L4)


def hybrid(own: dict[str, Any] | None = None, *, overflow: dict[str, Any] | None = None) -> Case:
    """Return a workload on its own replicas with a hosted backend behind them."""
    spec = {**_hosted("Hybrid"), "dedicated": {"accelerators": ["l4"], **(own or {})}}
    if overflow is not None:
        spec["hosted"] = {**spec["hosted"], "overflow": overflow}
    return case(_workload(spec), L4, RENTED)


def hosted() -> Case:
    """Return a workload that owns nothing."""
    return case(_workload(_hosted("Hosted")), RENTED)


def _hosted(mode: str) -> dict[str, Any]:
    backends = [{"providerRef": {"name": "rented"}, "model": "acme/chat"}]
    return {"model": {"id": "acme/chat"}, "placement": {"mode": mode}, "hosted": {"backends": backends}}


def _workload(spec: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "InferenceWorkload", "metadata": {"name": "chat", "namespace": "team"}, "spec": spec}


def container(deployment: dict[str, Any]) -> dict[str, Any]:
    """Return the only container of a Deployment's pods."""
    (only,) = deployment["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only
