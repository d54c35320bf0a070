"""What gateway pods say of themselves: all of it, or nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from spillway.observe.gateways import FILTER, METRICS_PATH, read_load
from spillway.plan.shares import GatewayLoad
from spillway.render.envoy_operations import IN_FORCE_PATH
from spillway.render.envoy_owned import CAP_KEY

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
    ],
)
async def test_a_gateway_says_what_it_holds(in_force: Any, metrics: str, status: int, found: GatewayLoad | None) -> None:
    async with gateway(in_force, metrics, status) as url, aiohttp.ClientSession() as session:
        assert await read_load(session, url) == found


async def test_a_gateway_that_is_not_there_says_nothing() -> None:
    async with aiohttp.ClientSession() as session:
        assert await read_load(session, "http://127.0.0.1:9") is None
