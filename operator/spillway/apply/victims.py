"""Which replica the ReplicaSet controller takes away is told by an annotation on the pods, just before there are fewer."""

import asyncio
from collections.abc import Callable, Sequence

from spillway.api.vocabulary import ANNOTATION_DELETION_COST
from spillway.apply.connection import CONFLICT, NOT_FOUND, ApiError, Connection
from spillway.apply.pods import annotate_pod
from spillway.plan.scaling.victims import DeletionCost


async def tell_deletion_costs(
    connection: Connection, fence: Callable[[], None], *, namespace: str, costs: Sequence[DeletionCost]
) -> tuple[str, ...]:
    """Annotate each pod with its cost; return what failed. A pod that is gone needs none."""
    told = await asyncio.gather(*(_tell(connection, fence, namespace, each) for each in costs))
    return tuple(failure for failure in told if failure is not None)


async def _tell(connection: Connection, fence: Callable[[], None], namespace: str, each: DeletionCost) -> str | None:
    cost = {ANNOTATION_DELETION_COST: str(each.cost)}
    try:
        await annotate_pod(connection, fence, namespace=namespace, name=each.pod, uid=each.uid, annotations=cost)
    except ApiError as problem:
        # A conflict: another pod has the name by now.
        return None if problem.status in (NOT_FOUND, CONFLICT) else f"Pod {each.pod}: {problem}"
    return None
