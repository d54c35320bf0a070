"""A request and what comes back: from the API server, or from what stands before it."""

import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration

from spillway.apply.connection import ApiError, Connection

PATH = "/api/v1/namespaces/ns/configmaps/x"


class Door:
    """Answers whatever it is told to."""

    def __init__(self) -> None:
        self.status, self.content_type, self.text = 200, "application/json", "{}"

    async def answer(self, _: web.Request) -> web.Response:
        return web.Response(status=self.status, content_type=self.content_type, text=self.text)


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
async def connection(door: Door) -> AsyncIterator[Connection]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", door.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    configuration = Configuration()
    configuration.host = f"http://127.0.0.1:{runner.addresses[0][1]}"
    found = Connection(ApiClient(configuration))
    yield found
    await found.close()
    await runner.cleanup()


@pytest.mark.parametrize("content_type", ["application/json", "application/apply-patch+json"])
async def test_an_answer_is_its_json(door: Door, connection: Connection, content_type: str) -> None:
    door.content_type, door.text = content_type, json.dumps({"kind": "ConfigMap"})
    assert await connection.request("GET", PATH) == {"kind": "ConfigMap"}


async def test_a_refusal_is_told_in_the_servers_words(door: Door, connection: Connection) -> None:
    door.status, door.text = 403, json.dumps({"message": "exceeded quota"})
    with pytest.raises(ApiError, match="403: exceeded quota"):
        await connection.request("POST", PATH, {})


@pytest.mark.parametrize(
    ("content_type", "text", "what"),
    [("text/html", "<html>please log in</html>", "text/html"), ("application/json", "", "nothing")],
    ids=["a page", "nothing"],
)
async def test_something_else_in_place_of_an_answer_is_as_good_as_none(
    door: Door, connection: Connection, content_type: str, text: str, what: str
) -> None:
    """As of a load balancer that has nobody behind it, or wants somebody to log in."""
    door.content_type, door.text = content_type, text
    with pytest.raises(ApiError, match=f"{what} instead of JSON") as told:
        await connection.request("GET", PATH)
    assert told.value.status == 0
