"""What gateway pods say of themselves: all of it, or nothing."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from spillway.observe.gateways import FILTER, METRICS_PATH, MOST_BYTES, read_load
from spillway.plan.gateway.shares import GatewayLoad
from spillway.render.envoy.operations import IN_FORCE_PATH
from spillway.render.envoy.owned import CAP_KEY

IN_FORCE = {"entries": {CAP_KEY: {"final_value": "12"}}}
METRICS = """# TYPE envoy_cluster_upstream_rq_active gauge
envoy_cluster_upstream_rq_active{envoy_cluster_name="owned"} 7
envoy_cluster_upstream_rq_active_overflow{envoy_cluster_name="owned"} 40
envoy_cluster_upstream_rq_active{envoy_cluster_name="hosted-acme-a"} 2
envoy_cluster_upstream_rq_active_overflow{envoy_cluster_name="hosted-acme-a"} 9
envoy_cluster_upstream_rq_active{envoy_cluster_name="hosted-acme-b"} 3
"""


@asynccontextmanager
async def gateway(in_force: Any, metrics: str, status: int) -> AsyncIterator[str]:
    async def say_in_force(_: web.Request) -> web.Response:
        return web.json_response(in_force)

    async def say_metrics(request: web.Request) -> web.Response:
        assert request.query["filter"] == FILTER
        return web.Response(text=metrics, status=status)

    app = web.Application()
    app.router.add_get(IN_FORCE_PATH.partition("?")[0], say_in_force)
    app.router.add_get(METRICS_PATH, say_metrics)
    async with TestServer(app, host="127.0.0.1") as server:
        yield str(server.make_url("")).rstrip("/")


@pytest.mark.parametrize(
    ("in_force", "metrics", "status", "found"),
    [
        pytest.param(IN_FORCE, METRICS, 200, GatewayLoad(in_force=12, owned=7, hosted=5, turned_away=40), id="all of it"),
        pytest.param(
            IN_FORCE, "\n".join(METRICS.splitlines()[:3]), 200, GatewayLoad(in_force=12, owned=7, hosted=0, turned_away=40), id="own"
        ),
        pytest.param(IN_FORCE, METRICS.replace("_overflow", "_other"), 200, None, id="not what it turned away"),
        pytest.param(IN_FORCE, METRICS.replace('active{envoy_cluster_name="owned"}', "other"), 200, None, id="not what it holds"),
        pytest.param(IN_FORCE, METRICS, 503, None, id="an error"),
        pytest.param({"entries": {}}, METRICS, 200, None, id="no cap in force"),
        pytest.param([], METRICS, 200, None, id="something else"),
        pytest.param({"entries": {CAP_KEY: {"final_value": "9" * 400}}}, METRICS, 200, None, id="more in force than a float takes"),
        pytest.param({"entries": {CAP_KEY: {"final_value": "-" + "9" * 400}}}, METRICS, 200, None, id="less in force"),
        pytest.param(IN_FORCE, METRICS.replace(" 7", " " + "9" * 400), 200, None, id="more held than a float takes"),
    ],
)
async def test_a_gateway_says_what_it_holds(in_force: Any, metrics: str, status: int, found: GatewayLoad | None) -> None:
    async with gateway(in_force, metrics, status) as url, aiohttp.ClientSession() as session:
        assert await read_load(session, url) == found


async def test_no_more_is_read_than_a_gateway_says() -> None:
    sent: list[int] = []
    left = asyncio.Event()

    async def say_without_end(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        part = b" " * (1 << 14)
        try:
            while True:  # until the connection is gone
                await response.write(part)
                sent.append(len(part))
                await asyncio.sleep(0)  # to write need not be to wait
        finally:
            left.set()

    app = web.Application()
    app.router.add_get(IN_FORCE_PATH, say_without_end)
    async with TestServer(app, host="127.0.0.1") as server, aiohttp.ClientSession() as session:
        assert await read_load(session, str(server.make_url("")).rstrip("/")) is None
        await left.wait()
    assert sum(sent) < 32 * MOST_BYTES, "but for what is in buffers on the way"


async def test_what_is_compressed_unasked_is_not_unpacked() -> None:
    async def say_in_force(_: web.Request) -> web.Response:
        body = gzip.compress(json.dumps(IN_FORCE).encode() + b" " * (1 << 20))
        return web.Response(body=body, headers={"content-encoding": "gzip"})

    async def say_metrics(_: web.Request) -> web.Response:
        return web.Response(text=METRICS)

    app = web.Application()
    app.router.add_get(IN_FORCE_PATH, say_in_force)
    app.router.add_get(METRICS_PATH, say_metrics)
    async with TestServer(app, host="127.0.0.1") as server, aiohttp.ClientSession() as session:
        assert await read_load(session, str(server.make_url("")).rstrip("/")) is None


async def test_a_gateway_that_points_elsewhere_is_not_followed() -> None:
    followed: list[str] = []

    async def say_elsewhere(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"location": "/elsewhere"})

    async def elsewhere(request: web.Request) -> web.Response:
        followed.append(request.path)
        return web.json_response(IN_FORCE)

    app = web.Application()
    app.router.add_get(IN_FORCE_PATH, say_elsewhere)
    app.router.add_get("/elsewhere", elsewhere)
    async with TestServer(app, host="127.0.0.1") as server, aiohttp.ClientSession() as session:
        assert await read_load(session, str(server.make_url("")).rstrip("/")) is None
    assert followed == []


async def test_a_gateway_that_is_not_there_says_nothing() -> None:
    async with aiohttp.ClientSession() as session:
        assert await read_load(session, "http://127.0.0.1:9") is None
