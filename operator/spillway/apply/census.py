"""Counting what there is, every few minutes: what a watch missed, and what is not watched at all.

Two gaps are closed by it. A deletion that falls between two watch streams is never reported (kopf lists anew, and what is missing in
the new list stays). And kinds that nobody else touches are not worth a watch each; here their drift is found.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from spillway.api.vocabulary import LABEL_WORKLOAD
from spillway.apply.connection import JSON, METADATA_LIST, Connection, path

PAGE = 500

# Made by users, and counted whole; of other kinds, what carries a workload's label.
USERS = frozenset({"InferenceWorkload", "HostedProvider", "AcceleratorClass"})


def census(connection: Connection, kind: str) -> AsyncIterator[Mapping[str, Any]]:
    """Return every object of a kind that carries a workload's label, or every one of a kind that users make: metadata only."""
    return _listed(connection, kind, selector="" if kind in USERS else LABEL_WORKLOAD, accept=METADATA_LIST)


def config_maps(connection: Connection, component: str) -> AsyncIterator[Mapping[str, Any]]:
    """Return every ConfigMap of a component, data and all."""
    return _listed(connection, "ConfigMap", selector=f"{LABEL_WORKLOAD},app.kubernetes.io/component={component}", accept=JSON)


async def _listed(connection: Connection, kind: str, *, selector: str, accept: str) -> AsyncIterator[Mapping[str, Any]]:
    query = {"limit": str(PAGE)} | ({"labelSelector": selector} if selector else {})
    while True:
        page = await connection.request("GET", path(kind, None, query=query), accept=accept)
        for item in page.get("items") or []:
            yield item
        token = (page.get("metadata") or {}).get("continue")
        if not token:
            return
        query["continue"] = token
