"""Connections that wait for a next request: the gateway ends them before the other side does, so that no request meets the end of one."""

import pytest

from tests.dataplane.conftest import SetStage, Stage
from tests.dataplane.process import until
from tests.dataplane.test_failures import ALPHA

pytestmark = pytest.mark.dataplane
KEEP_ALIVE_S = 5  # uvicorn's and Node.js's


async def test_an_idle_connection_to_a_provider_is_ended_by_the_gateway(stage: SetStage) -> None:
    scene = await stage(cap=0)
    await scene.alpha.stop()
    scene.alpha.keepalive_s = KEEP_ALIVE_S
    await scene.alpha.start()
    await until(lambda: _is_spilled(scene), "the provider is back")
    ended, by_the_provider = await _connections(scene, "idle_timeout"), await _connections(scene, "destroy_remote")
    await until(lambda: _more_ended(scene, ended), "the connection was idle for long enough")
    assert await _connections(scene, "destroy_remote") == by_the_provider
    assert await _is_spilled(scene), "and the next request makes a new one"


async def _is_spilled(scene: Stage) -> bool:
    return (await scene.client.post()).served_by == ALPHA


async def _more_ended(scene: Stage, before: float) -> bool:
    return await _connections(scene, "idle_timeout") > before


async def _connections(scene: Stage, what: str) -> float:
    found = [each for each in await scene.gateway.metrics() if each.name == f"envoy_cluster_upstream_cx_{what}"]
    return sum(each.value for each in found if each.labels["envoy_cluster_name"].startswith("hosted-alpha-"))
