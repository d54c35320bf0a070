"""Which replica the ReplicaSet controller takes away is told by an annotation on the pods, just before there are fewer."""

import asyncio
from collections.abc import Callable, Sequence

from spillway.api.vocabulary import ANNOTATION_DELETION_COST, FIELD_MANAGER
from spillway.apply.connection import CONFLICT, MERGE_PATCH, METADATA, NOT_FOUND, ApiError, Connection, path
from spillway.plan.victims import DeletionCost


async def tell_deletion_costs(
    connection: Connection, fence: Callable[[], None], *, namespace: str, costs: Sequence[DeletionCost]
) -> tuple[str, ...]:
    """Annotate each pod with its cost; return what failed. A pod that is gone needs none."""
    told = await asyncio.gather(*(_tell(connection, fence, namespace, each) for each in costs))
    return tuple(failure for failure in told if failure is not None)


async def _tell(connection: Connection, fence: Callable[[], None], namespace: str, each: DeletionCost) -> str | None:
    fence()
    body = {"metadata": {"uid": each.uid, "annotations": {ANNOTATION_DELETION_COST: str(each.cost)}}}
    where = path("Pod", namespace, each.pod, query={"fieldManager": FIELD_MANAGER})
    try:
        await connection.request("PATCH", where, body, content_type=MERGE_PATCH, accept=METADATA)
    except ApiError as problem:
        # A conflict: another pod has the name by now.
        return None if problem.status in (NOT_FOUND, CONFLICT) else f"Pod {each.pod}: {problem}"
    return None
