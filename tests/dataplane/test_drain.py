"""A gateway that ends: streams finish, new connections are refused, readiness says so."""

import asyncio
import json

import pytest

from tests.dataplane.client import CHAT, request, rest_of
from tests.dataplane.conftest import SetStage, Stage
from tests.dataplane.process import until

pytestmark = pytest.mark.dataplane
ACCEPTS_S = 3.0  # how long one that ends goes on accepting: long enough for busy cores to bring it a request meanwhile


async def test_streams_in_flight_finish_before_the_pre_stop_hook_returns(stage: SetStage) -> None:
    scene = await stage(cap=4, workers=2)
    release = asyncio.Event()
    for backend in (*scene.engines, scene.alpha):
        backend.hold = release
    streams = await scene.client.open_many(8)  # four owned, four hosted
    hook = asyncio.create_task(scene.gateway.drain())
    await until(lambda: _unready(scene), "readiness says no")
    await until(lambda: _refused(scene), "new connections are refused")
    assert await scene.gateway.metric("envoy_http_downstream_rq_active", envoy_http_conn_manager_prefix="edge") == 8  # metrics go on
    assert not hook.done()
    release.set()
    assert all(each.complete for each in await rest_of(streams))
    assert await hook == 200
    scene.gateway.terminate()
    assert await scene.gateway.wait() == 0


async def test_a_request_on_a_connection_that_its_client_kept_is_served_before_the_hook_returns(stage: SetStage) -> None:
    scene = await stage(cap=4)
    assert (await scene.client.post()).status == 200
    hook = asyncio.create_task(scene.gateway.drain())
    await until(lambda: _refused(scene), "new connections are refused")
    await until(lambda: _unready(scene), "readiness says no")
    assert not hook.done()
    answer = await scene.client.post()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert await hook == 200


async def test_a_request_that_is_still_being_sent_is_waited_for_and_answered(stage: SetStage) -> None:
    scene = await stage(cap=4)
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.gateway.addresses.listen.port)
    body = json.dumps(request()).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body[:10])
    await until(lambda: _one_open(scene), "it has begun")
    hook = asyncio.create_task(scene.gateway.drain())
    await until(lambda: _refused(scene), "new connections are refused")
    assert not hook.done()
    writer.write(body[10:])
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()
    assert await hook == 200


async def _one_open(scene: Stage) -> bool:
    return await scene.gateway.metric("envoy_http_downstream_rq_active", envoy_http_conn_manager_prefix="edge") == 1


async def test_requests_that_come_while_services_forget_the_pod_are_served(stage: SetStage) -> None:
    scene = await stage(cap=4, addresses={"drain_settle_s": ACCEPTS_S})
    scene.engines[0].hold = scene.engines[1].hold = asyncio.Event()
    stream = await scene.client.open()
    hook = asyncio.create_task(scene.gateway.drain())
    await until(lambda: _unready(scene), "readiness says no")
    answer = await scene.client.post()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    scene.engines[0].hold.set()
    assert (await stream.rest()).complete
    assert await hook == 200


async def _unready(scene: Stage) -> bool:
    return not await scene.gateway.ready()


async def _refused(scene: Stage) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", scene.gateway.addresses.listen.port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False
