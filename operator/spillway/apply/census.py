"""Counting what there is, every few minutes: what a watch missed, and what is not watched at all.

Two gaps are closed by it. A deletion that falls between two watch streams is never reported (kopf lists anew, and what is missing in
the new list stays). And kinds that nobody else touches are not worth a watch each; here their drift is found.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from spillway.api.vocabulary import LABEL_WORKLOAD
from spillway.apply.connection import METADATA_LIST, Connection, path

PAGE = 500

# Made by users, and counted whole; of other kinds, what carries a workload's label.
USERS = frozenset({"InferenceWorkload", "HostedProvider", "AcceleratorClass"})


async def census(connection: Connection, kind: str) -> AsyncIterator[Mapping[str, Any]]:
    """Return every object of a kind that carries a workload's label, or every one of a kind that users make: metadata only."""
    query = {"limit": str(PAGE)}
    if kind not in USERS:
        query["labelSelector"] = LABEL_WORKLOAD
    while True:
        page = await connection.request("GET", path(kind, None, query=query), accept=METADATA_LIST)
        for item in page.get("items") or []:
            yield item
        token = (page.get("metadata") or {}).get("continue")
        if not token:
            return
        query["continue"] = token


async def config_maps(connection: Connection, component: str) -> AsyncIterator[Mapping[str, Any]]:
    """Return every ConfigMap of a component, data and all."""
    query = {"limit": str(PAGE), "labelSelector": f"{LABEL_WORKLOAD},app.kubernetes.io/component={component}"}
    while True:
        page = await connection.request("GET", path("ConfigMap", None, query=query))
        for item in page.get("items") or []:
            yield item
        token = (page.get("metadata") or {}).get("continue")
        if not token:
            return
        query["continue"] = token
