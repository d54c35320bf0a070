"""What every object of a workload has in common: its name, its owner, its labels; and what every pod has: Pod Security "restricted"."""

import re
from collections.abc import Mapping
from typing import Any

from spillway.api.pods import Toleration
from spillway.api.vocabulary import API_VERSION, LABEL_COMPONENT, LABEL_MANAGED_BY, LABEL_WORKLOAD, MANAGED_BY
from spillway.plan.decision import Workload

KubernetesObject = dict[str, Any]

# "nonroot" of the distroless images. It needs no entry in the image's /etc/passwd.
POD_USER = 65532
LABEL_VALUE_LENGTH = 63


def child(
    workload: Workload,
    *,
    kind: str,
    name: str,
    component: str,
    api_version: str = "v1",
    annotations: Mapping[str, str] | None = None,
    **body: Any,
) -> KubernetesObject:
    """Return an object of this workload; `body` holds its spec, data or whatever its kind has.

    Labels and annotations here never hold the operator's version: an upgrade must leave objects as they are.
    """
    metadata: KubernetesObject = {
        "name": name,
        "namespace": workload.key.namespace,
        "labels": labels(workload, component),
        "ownerReferences": [_owner(workload)],
    }
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}


def labels(workload: Workload, component: str) -> dict[str, str]:
    """Return the labels of every object and pod of one component."""
    return {
        "app.kubernetes.io/name": "spillway",
        "app.kubernetes.io/instance": workload.key.name,
        LABEL_COMPONENT: component,
        "app.kubernetes.io/part-of": "spillway",
        LABEL_MANAGED_BY: MANAGED_BY,
        LABEL_WORKLOAD: workload.key.name,
    }


def selector(workload: Workload, component: str) -> dict[str, str]:
    """Return the labels that select a component's pods: immutable in a Deployment, so as few as will do."""
    return {LABEL_WORKLOAD: workload.key.name, LABEL_COMPONENT: component}


def label_value(text: str) -> str:
    """Return `text` as a label's value: other characters become dashes, and what is too long is cut."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", text)[:LABEL_VALUE_LENGTH].strip("._-")


def pod_security() -> KubernetesObject:
    """Return the pod's half of Pod Security "restricted"."""
    return {
        "runAsNonRoot": True,
        "runAsUser": POD_USER,
        "runAsGroup": POD_USER,
        "fsGroup": POD_USER,
        "fsGroupChangePolicy": "OnRootMismatch",  # a cache of a terabyte is not walked at every start
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> KubernetesObject:
    """Return the container's half, and a root file system that nothing writes to."""
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}


def pull_secrets(*names: str) -> list[KubernetesObject]:
    """Return the Secrets by which a pod's images are pulled, each once: the API server takes no name twice."""
    return [{"name": name} for name in dict.fromkeys(names)]


def tolerations_of(*tolerations: Toleration) -> list[KubernetesObject]:
    """Return tolerations as a pod's spec has them."""
    return [each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in tolerations]


def _owner(workload: Workload) -> KubernetesObject:
    return {
        "apiVersion": API_VERSION,
        "kind": "InferenceWorkload",
        "name": workload.key.name,
        "uid": workload.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
