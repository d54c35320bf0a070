"""Counting what there is: page by page to the end, and only what may be a workload's."""

from collections.abc import AsyncIterator
from typing import Any, cast
from urllib.parse import parse_qsl

import pytest

from spillway.apply.census import census, config_maps
from spillway.apply.connection import Connection


class Pages:
    """Stands for the connection: answers with these pages, one after the other."""

    def __init__(self, *pages: dict[str, Any]) -> None:
        self._pages = pages
        self.asked: list[dict[str, str]] = []

    async def request(self, method: str, where: str, **_: str) -> dict[str, Any]:
        assert method == "GET"
        self.asked.append(dict(parse_qsl(where.partition("?")[2])))
        return self._pages[len(self.asked) - 1]


THREE = (
    {"items": [{"n": 1}, {"n": 2}], "metadata": {"continue": "a"}},
    {"items": None, "metadata": {"continue": "b"}},
    {"items": [{"n": 3}]},
)
LABEL = "spillway.dev/workload"


async def counted(found: AsyncIterator[Any]) -> list[int]:
    return [each["n"] async for each in found]


@pytest.mark.parametrize(
    ("kind", "selector"), [("Pod", LABEL), ("ConfigMap", LABEL), ("HostedProvider", None), ("InferenceWorkload", None)]
)
async def test_all_pages_are_counted_of_what_users_make_and_of_what_has_our_label(kind: str, selector: str | None) -> None:
    server = Pages(*THREE)
    assert await counted(census(cast("Connection", server), kind)) == [1, 2, 3]
    assert [each.get("continue") for each in server.asked] == [None, "a", "b"]
    assert {each.get("labelSelector") for each in server.asked} == {selector}


async def test_config_maps_are_those_of_a_component_on_all_pages() -> None:
    server = Pages(*THREE)
    assert await counted(config_maps(cast("Connection", server), "ledger")) == [1, 2, 3]
    assert [each.get("continue") for each in server.asked] == [None, "a", "b"]
    assert {each["labelSelector"] for each in server.asked} == {f"{LABEL},app.kubernetes.io/component=ledger"}
