"""How often kopf may begin a watch, whatever becomes of it."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, cast

import aiohttp
import kopf
import pytest
from yarl import URL

from spillway.edge.pace import WatchPace, paced
from tests.servers import Request, serving


class Clock:
    """Time that passes while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ask(clock: Clock) -> Callable[[str], Awaitable[float]]:
    """Return how to ask for a path; the answer is when it was sent."""
    pace = WatchPace(clock=lambda: clock.now, sleep=clock.sleep)

    async def sent(_: aiohttp.ClientRequest) -> Any:
        return clock.now

    async def asked(path: str) -> float:
        request = type("Asked", (), {"url": URL(f"https://api{path}"), "session": type("Open", (), {"closed": False})})
        return cast("float", await pace(cast("aiohttp.ClientRequest", request), sent))

    return asked


async def test_a_watch_that_ends_at_once_is_begun_once_a_second(ask: Callable[[str], Awaitable[float]]) -> None:
    assert [await ask("/api/v1/pods?watch=true") for _ in range(4)] == [0, 1, 2, 3]


async def test_a_watch_that_lasted_is_begun_again_at_once(clock: Clock, ask: Callable[[str], Awaitable[float]]) -> None:
    await ask("/api/v1/pods?watch=true")
    clock.now = 240
    assert await ask("/api/v1/pods?watch=true") == 240


async def test_lists_and_the_watches_of_other_kinds_wait_for_none(ask: Callable[[str], Awaitable[float]]) -> None:
    watches = [await ask(f"/api/v1/{kind}?watch=true") for kind in ("pods", "services")]
    assert watches + [await ask("/api/v1/pods?limit=200") for _ in range(3)] == [0, 0, 0, 0, 0]


async def test_a_watch_for_which_the_session_has_gone_meanwhile_is_begun_on_the_next() -> None:
    found = kopf.ConnectionInfo(server="http://localhost")
    way = paced(found, WatchPace(clock=lambda: 0.0, sleep=lambda _: way.aiohttp_session.close()))
    with serving(lambda _: (200, {})) as url:
        async with way.aiohttp_session.get(f"{url}/api/v1/pods?watch=true"):
            pass
        with pytest.raises(RuntimeError, match="Session is closed"):
            await way.aiohttp_session.get(f"{url}/api/v1/pods?watch=true")


async def test_a_session_asks_with_the_credentials_that_were_found_and_expires_with_them(clock: Clock) -> None:
    asked: list[Request] = []

    def answer(request: Request) -> tuple[int, object]:
        asked.append(request)
        return 200, {}

    expiration = datetime(2026, 11, 28, tzinfo=UTC)
    with serving(answer) as url:
        found = kopf.ConnectionInfo(server=url, scheme="Bearer", token="t", default_namespace="ml", expiration=expiration)
        way = paced(found, WatchPace(clock=lambda: clock.now, sleep=clock.sleep))
        async with way.aiohttp_session as session:
            for _ in range(2):
                async with session.get(f"{way.server}/api/v1/pods?watch=true"):
                    pass
    assert (way.default_namespace, way.expiration) == ("ml", expiration)
    assert [each.headers["authorization"] for each in asked] == ["Bearer t", "Bearer t"]
    assert clock.now == 1
