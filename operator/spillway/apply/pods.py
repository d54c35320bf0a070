"""Annotations on pods that others own: what a controller, or the kubelet, reads there."""

from collections.abc import Callable, Mapping

from spillway.api.vocabulary import FIELD_MANAGER
from spillway.apply.connection import MERGE_PATCH, METADATA, Connection, path


async def annotate_pod(
    connection: Connection, fence: Callable[[], None], *, namespace: str, name: str, uid: str, annotations: Mapping[str, str]
) -> None:
    """Set annotations of this very pod. Raises ApiError: NOT_FOUND when it is gone, CONFLICT when another pod has the name by now."""
    fence()
    body = {"metadata": {"uid": uid, "annotations": dict(annotations)}}
    where = path("Pod", namespace, name, query={"fieldManager": FIELD_MANAGER})
    await connection.request("PATCH", where, body, content_type=MERGE_PATCH, accept=METADATA)
