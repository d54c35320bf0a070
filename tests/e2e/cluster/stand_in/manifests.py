"""The stand-in's objects. Nothing in them is Spillway's: as far as the product can see, it is somebody else's API."""

import base64
from typing import Any

from tests.e2e.cluster.certificates import Pair

NAMESPACE = "hosted"
NAME = "hosted"
HOST = f"{NAME}.{NAMESPACE}.svc"
SERVED_NAME = "acme/tiny-chat-hosted"
PORT = 8443
USER = 65532
LABELS = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": "spillway-e2e"}
SLOTS = 64  # many more than any burst of the tests overflows, so that what is refused was refused by Spillway
STARTS_WITHIN_S = 180  # with three other engines starting on two cores


def manifests(
    leaf: Pair,
    *,
    api_key: str,
    image: str,
    volume: str,
    path: str = "",
    max_model_len: int = 2048,
    environment: dict[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Return namespace, secret, claim, deployment and service, in the order to apply them.

    `volume` names a ReadOnlyMany PersistentVolume that nothing else claims and that has the model at `path`.
    """
    secret = {"tls.crt": leaf.certificate, "tls.key": leaf.key, "api-key": api_key.encode()}
    claim = {"accessModes": ["ReadOnlyMany"], "storageClassName": "spillway-static", "volumeName": volume}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": _restricted()}},
        {
            **_object("v1", "Secret", f"{NAME}-server"),
            "data": {name: base64.b64encode(content).decode() for name, content in secret.items()},
        },
        {
            **_object("v1", "PersistentVolumeClaim", f"{NAME}-model"),
            "spec": {**claim, "resources": {"requests": {"storage": "1Gi"}}},
        },
        {**_object("apps/v1", "Deployment", NAME), "spec": _deployment(image, path, max_model_len, environment or {})},
        {
            **_object("v1", "Service", NAME),
            "spec": {"selector": LABELS, "ports": [{"name": "https", "port": 443, "targetPort": PORT}]},
        },
    ]


def _object(version: str, kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE, "labels": LABELS}}


def _restricted() -> dict[str, str]:
    return {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}


def _deployment(image: str, path: str, max_model_len: int, environment: dict[str, str]) -> dict[str, Any]:
    probe = {"httpGet": {"path": "/health", "port": PORT, "scheme": "HTTPS"}}
    container = {
        "name": "vllm",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["vllm", "serve"],
        "args": [
            f"/models/{path}".rstrip("/"),
            f"--served-model-name={SERVED_NAME}",
            f"--port={PORT}",
            f"--max-model-len={max_model_len}",
            f"--max-num-seqs={SLOTS}",
            "--shutdown-timeout=20",
            "--ssl-certfile=/certificates/tls.crt",
            "--ssl-keyfile=/certificates/tls.key",
            # vLLM's CPU build: no compiler in the image, and without a bound it takes nine tenths of the machine's memory.
            "--enforce-eager",
            "--kv-cache-memory-bytes=67108864",
        ],
        "env": [
            {"name": "VLLM_API_KEY", "valueFrom": {"secretKeyRef": {"name": f"{NAME}-server", "key": "api-key"}}},
            {"name": "HOME", "value": "/tmp"},
            {"name": "HF_HUB_OFFLINE", "value": "1"},
            {"name": "VLLM_HOST_IP", "value": "127.0.0.1"},
            *({"name": name, "value": value} for name, value in environment.items()),
        ],
        "ports": [{"name": "https", "containerPort": PORT}],
        "startupProbe": {**probe, "periodSeconds": 1, "failureThreshold": STARTS_WITHIN_S},
        "readinessProbe": {**probe, "periodSeconds": 2, "timeoutSeconds": 5},
        "resources": {"requests": {"cpu": "100m", "memory": "1Gi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True},
        "volumeMounts": [
            {"name": "model", "mountPath": "/models", "readOnly": True},
            {"name": "certificates", "mountPath": "/certificates", "readOnly": True},
            {"name": "scratch", "mountPath": "/tmp"},
            {"name": "shared-memory", "mountPath": "/dev/shm"},
        ],
    }
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # a Service called "vllm" would set VLLM_PORT to a URI, and vLLM dies of it
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": 30,
        "containers": [container],
        "volumes": [
            {"name": "model", "persistentVolumeClaim": {"claimName": f"{NAME}-model", "readOnly": True}},
            {"name": "certificates", "secret": {"secretName": f"{NAME}-server", "items": [_item("tls.crt"), _item("tls.key")]}},
            {"name": "scratch", "emptyDir": {}},
            {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}},
        ],
    }
    return {"replicas": 1, "selector": {"matchLabels": LABELS}, "template": {"metadata": {"labels": LABELS}, "spec": pod}}


def _item(name: str) -> dict[str, str]:
    return {"key": name, "path": name}
