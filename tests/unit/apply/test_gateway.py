"""Telling gateways of a new cap: all of them are told, and one that cannot be told keeps nobody else from it."""

from typing import Any, cast

import pytest

from spillway.apply.connection import ApiError, Connection
from spillway.apply.gateway import announce_cap

PODS = [("a", "uid-a", None), ("b", "uid-b", "before"), ("c", "uid-c", "now")]


class ApiServer:
    """Takes patches; answers those of some pods with an error."""

    def __init__(self, **refused: int) -> None:
        self.told: list[str] = []
        self._refused = refused

    async def request(self, method: str, path: str, body: dict[str, Any], **_: str) -> None:
        pod = path.partition("?")[0].rpartition("/")[2]
        assert (method, body["metadata"]["uid"]) == ("PATCH", f"uid-{pod}")
        if pod in self._refused:
            raise ApiError(self._refused[pod], "no")
        self.told.append(pod)


async def announce(server: ApiServer) -> None:
    await announce_cap(cast("Connection", server), lambda: None, namespace="ns", pods=PODS, generation="now")


async def test_who_knows_already_is_not_told_again() -> None:
    server = ApiServer()
    await announce(server)
    assert server.told == ["a", "b"]


@pytest.mark.parametrize("status", [404, 409])
async def test_one_that_is_gone_or_another_by_now_is_no_failure(status: int) -> None:
    server = ApiServer(a=status)
    await announce(server)
    assert server.told == ["b"]


async def test_one_that_cannot_be_told_is_a_failure_once_the_others_know() -> None:
    server = ApiServer(a=403)
    with pytest.raises(ApiError, match="403"):
        await announce(server)
    assert server.told == ["b"]
