"""Counting what there is, every few minutes: what a watch missed, and what is not watched at all.

Two gaps are closed by it. A deletion that falls between two watch streams is never reported (kopf lists anew, and what is missing in
the new list stays). And kinds that nobody else touches are not worth a watch each; here their drift is found.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from spillway.api.vocabulary import LABEL_WORKLOAD
from spillway.apply.connection import JSON, METADATA_LIST, Connection, path

PAGE = 500
FULL_PAGE = 50  # of ConfigMaps with their data: anybody may give one of a mebibyte the labels of ours

# Made by users, and counted whole; of other kinds, what carries a workload's label.
USERS = frozenset({"InferenceWorkload", "HostedProvider", "AcceleratorClass"})


def census(connection: Connection, kind: str) -> AsyncIterator[Mapping[str, Any]]:
    """Return every object of a kind that carries a workload's label, or every one of a kind that users make: metadata only."""
    return _listed(connection, kind, selector="" if kind in USERS else LABEL_WORKLOAD, accept=METADATA_LIST, page=PAGE)


def config_maps(connection: Connection, component: str) -> AsyncIterator[Mapping[str, Any]]:
    """Return every ConfigMap of a component, data and all."""
    selector = f"{LABEL_WORKLOAD},app.kubernetes.io/component={component}"
    return _listed(connection, "ConfigMap", selector=selector, accept=JSON, page=FULL_PAGE)


async def _listed(connection: Connection, kind: str, *, selector: str, accept: str, page: int) -> AsyncIterator[Mapping[str, Any]]:
    query = {"limit": str(page)} | ({"labelSelector": selector} if selector else {})
    while True:
        found = await connection.request("GET", path(kind, None, query=query), accept=accept)
        for item in found.get("items") or []:
            yield item
        token = (found.get("metadata") or {}).get("continue")
        if not token:
            return
        query["continue"] = token
