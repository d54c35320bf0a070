"""The gateway's cap reaches its pods at once: the kubelet looks at a ConfigMap again when the pod's own annotations change.

Left alone, a changed ConfigMap takes a minute to reach the file; with the annotation it takes less than a second.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from spillway.api.vocabulary import ANNOTATION_CONFIG_GENERATION, FIELD_MANAGER
from spillway.apply.connection import APPLY_PATCH, CONFLICT, METADATA, NOT_FOUND, ApiError, Connection, path
from spillway.apply.known import digest_of
from spillway.apply.pods import annotate_pod
from spillway.render.envoy.share import share_annotation


async def announce_cap(
    connection: Connection, fence: Callable[[], None], *, namespace: str, pods: Iterable[tuple[str, str, str | None]], generation: str
) -> None:
    """Touch each pod (name, uid, what it was told last) that was not told of this generation of the cap.

    Raises ApiError, once the others are told, when one cannot be; not for one that is gone, or another by now.
    """
    failures = []
    for name, uid, told in pods:
        if told == generation:
            continue
        touched = {ANNOTATION_CONFIG_GENERATION: generation}
        try:
            await annotate_pod(connection, fence, namespace=namespace, name=name, uid=uid, annotations=touched)
        except ApiError as problem:
            if problem.status not in (NOT_FOUND, CONFLICT):
                failures.append(problem)
    if failures:
        raise failures[0]


async def tell_share(connection: Connection, fence: Callable[[], None], *, namespace: str, name: str, uid: str, share: int) -> bool:
    """Tell a pod its share of the cap; return whether it is still there. The kubelet brings it within a second."""
    try:
        await annotate_pod(connection, fence, namespace=namespace, name=name, uid=uid, annotations=share_annotation(share))
    except ApiError as problem:
        if problem.status not in (NOT_FOUND, CONFLICT):
            raise
        return False
    return True


async def leave_replicas(connection: Connection, fence: Callable[[], None], *, namespace: str, name: str) -> None:
    """Give the number of a Deployment's pods, where it is ours, to another field manager, for an autoscaler to change.

    A field that only we own falls back to its default, one pod, when we apply the Deployment without it.
    """
    where = path("Deployment", namespace, name)
    try:
        found = await connection.request("GET", where)
    except ApiError as problem:
        if problem.status != NOT_FOUND:
            raise
        return
    if not any(_owns_replicas(each) for each in found["metadata"].get("managedFields") or []):
        return
    fence()
    body = {
        "apiVersion": found["apiVersion"],
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "uid": found["metadata"]["uid"]},
        "spec": {"replicas": found["spec"]["replicas"]},
    }
    query = {"fieldManager": f"{FIELD_MANAGER}-autoscaling"}
    await connection.request("PATCH", path("Deployment", namespace, name, query=query), body, content_type=APPLY_PATCH, accept=METADATA)


def _owns_replicas(entry: Mapping[str, Any]) -> bool:
    fields = (entry.get("fieldsV1") or {}).get("f:spec") or {}
    return entry.get("manager") == FIELD_MANAGER and "f:replicas" in fields


def cap_generation(cap: Mapping[str, Any]) -> str:
    """Return what stands for a cap ConfigMap's content."""
    return digest_of(cap.get("data", {}))[:12]
