"""A private Hugging Face compatible hub in a namespace, and the volume through which an engine trusts its certificate."""

import base64
from pathlib import Path
from typing import Any

from tests.e2e.cluster.engine import hub as program
from tests.e2e.cluster.engine import model
from tests.e2e.cluster.stand_in import certificates
from tests.e2e.stack import Stack

REPOSITORY = "acme/tiny-chat"
TOKEN = "hf-token-of-the-test"
PORT = 8443
CACHE_CLAIM = "weights"
CACHE_IN_POD = "/cache"
OPEN_TO_ALL = 0o777


def serve(stack: Stack, namespace: str) -> list[dict[str, str]]:
    """Start the hub with the tiny model, and return the environment with which an engine in that namespace uses it.

    Its token is Secret `hub-token`, key `token`; the claim `weights` is a model cache that holds the hub's certificate authority.
    """
    host = f"hub.{namespace}.svc"
    authority, leaf = certificates.make((host, f"{host}.cluster.local"))
    cache = stack.cluster.kubeconfig.parent / f"weights-{namespace}"
    cache.mkdir(parents=True, exist_ok=True)
    cache.chmod(OPEN_TO_ALL)
    (cache / "ca.crt").write_bytes(authority.certificate)
    stack.claim(namespace, CACHE_CLAIM, cache)
    secret = {"tls.crt": leaf.certificate, "tls.key": leaf.key}
    stack.claim(namespace, "repository", model.model_dir("tiny"), mode="ReadOnlyMany")
    metadata = {"namespace": namespace, "labels": {"app": "hub"}}
    stack.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "hub-token", **metadata},
            "data": {"token": base64.b64encode(TOKEN.encode()).decode()},
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "hub-server", **metadata},
            "data": {name: base64.b64encode(content).decode() for name, content in secret.items()},
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "hub", **metadata},
            "data": {"hub.py": Path(program.__file__).read_text()},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "hub", **metadata},
            "spec": {"selector": {"app": "hub"}, "ports": [{"port": 443, "targetPort": PORT}]},
        },
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "hub", **metadata}, "spec": _pod(stack.reference("operator"))},
    )
    return [
        {"name": "HF_ENDPOINT", "value": f"https://{host}"},
        {"name": "SSL_CERT_FILE", "value": f"{CACHE_IN_POD}/ca.crt"},
        {"name": "REQUESTS_CA_BUNDLE", "value": f"{CACHE_IN_POD}/ca.crt"},
    ]


def _pod(image: str) -> dict[str, Any]:
    arguments = ["--models", "/models", "--port", str(PORT), "--certificate", "/tls/tls.crt", "--key", "/tls/tls.key", "--token", TOKEN]
    return {
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "hub",
                "image": image,
                "command": ["python3", "/program/hub.py", *arguments],
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True},
                "volumeMounts": [
                    {"name": "program", "mountPath": "/program"},
                    {"name": "tls", "mountPath": "/tls"},
                    {"name": "repository", "mountPath": f"/models/{REPOSITORY}", "readOnly": True},
                ],
                "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
            }
        ],
        "volumes": [
            {"name": "program", "configMap": {"name": "hub"}},
            {"name": "tls", "secret": {"secretName": "hub-server"}},
            {"name": "repository", "persistentVolumeClaim": {"claimName": "repository", "readOnly": True}},
        ],
    }
