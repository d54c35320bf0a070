"""More than the gateway has memory for: the newest is turned away with a clear error, and the gateway stays under its limit and alive."""

import asyncio
import contextlib
import json
import re
import socket
from collections import Counter
from pathlib import Path

import pytest

from spillway.api.pod_rules import LEAST_GATEWAY_MEMORY
from spillway.api.quantities import amount
from spillway.render.envoy.http import MAX_BODY_BYTES
from tests.dataplane.client import request
from tests.dataplane.conftest import SetStage, Stage
from tests.dataplane.process import MEMORY_BYTES, Gateway, until
from tests.dataplane.test_failures import error_of
from tests.dataplane.test_guards import permit

pytestmark = pytest.mark.dataplane
CLIENTS, BODY_BYTES = 2000, 1_000_000
EARLY = 64
SEND_BUFFER_BYTES = 64 * 1024  # what the kernel keeps for each client: all together must not fill the machine that runs the test
NO_ANSWER = "no answer"  # the client was still sending when it was refused, and lost the answer with its connection
TIGHT_BYTES = 8 * 1024 * 1024  # less than an idle gateway has on its heap
HOLD = {"gateway": {"replicas": 1, "hold": {"seconds": 10, "maxRequests": 256}}}


@pytest.mark.parametrize("spec", [{}, HOLD], ids=["refused at the cap", "waiting"])
async def test_two_thousand_bodies_of_a_megabyte_at_once_stay_under_the_memory_limit(stage: SetStage, spec: dict[str, object]) -> None:
    scene = await stage(mode="Dedicated", engines=1, cap=16, workers=2, spec=spec)
    scene.engines[0].work_s = 0.5
    answers = await many(scene.gateway)
    peak = peak_bytes(scene.gateway)
    assert peak < MEMORY_BYTES, f"{peak / 2**20:.0f} MiB of {MEMORY_BYTES / 2**20:.0f}"
    assert set(answers) <= {"200", "503", NO_ANSWER}, answers
    assert answers["503"], answers
    await until(lambda: _serves(scene), "it serves again")


async def test_so_do_they_where_they_are_spilled_under_limits(stage: SetStage) -> None:
    """Scripts read them then, whose memory is not on the heap that Envoy looks at."""
    scene = await stage(engines=1, cap=0, workers=2, overflow={"maxUSDPerDay": "1000"})
    scene.gateway.set_permit(permit(scene.gateway.pod, workers=2))
    scene.alpha.work_s = 0.5
    early = asyncio.create_task(many(scene.gateway, EARLY))  # of the crowd itself, it may be that none gets so far
    await until(lambda: scene.alpha.requests > 0, "spilled requests")
    answers = await many(scene.gateway)
    peak = peak_bytes(scene.gateway)
    assert peak < MEMORY_BYTES, f"{peak / 2**20:.0f} MiB of {MEMORY_BYTES / 2**20:.0f}"
    assert set(answers + await early) <= {"200", "429", "503", NO_ANSWER}, answers
    assert answers["503"], answers
    await until(lambda: _serves(scene), "it serves again")


async def test_a_gateway_without_memory_refuses_with_a_clear_error_and_is_neither_dead_nor_unseen(stage: SetStage) -> None:
    scene = await stage(mode="Dedicated", engines=1, memory_bytes=TIGHT_BYTES)
    await until(lambda: _refuses(scene), "its first look at the memory")
    (engine,) = scene.engines
    seen = engine.requests
    for stream in (False, True):
        refused = await scene.client.post(stream=stream)
        assert (refused.status, error_of(refused), refused.served_by) == (503, "gateway_overloaded", "none")
        assert refused.headers["retry-after"] == "5"
    assert engine.requests == seen
    assert await scene.gateway.ready()
    assert await scene.gateway.metric("envoy_http_downstream_rq_overload_close", envoy_http_conn_manager_prefix="edge") >= 2


async def test_a_gateway_of_the_least_memory_that_is_taken_serves_the_longest_bodies(stage: SetStage) -> None:
    """One after the other, through all that may stand in their way; of a crowd of them most would be refused."""
    least = int(amount(LEAST_GATEWAY_MEMORY))
    overflow = {"maxUSDPerDay": "1000", "maxWaitMs": 100}
    scene = await stage(engines=1, workers=2, spec={"gateway": {"replicas": 1}}, overflow=overflow, memory_bytes=least)
    await scene.seen_healthy()
    body = "x" * (MAX_BODY_BYTES - 1024)
    answers = [await scene.client.post(padding=body, stream=stream) for stream in (False, True, False)]
    assert [each.status for each in answers] == [200, 200, 200]
    assert peak_bytes(scene.gateway) < least


async def _refuses(scene: Stage) -> bool:
    return (await scene.client.post()).status == 503


async def _serves(scene: Stage) -> bool:
    return (await scene.client.post()).status == 200


async def many(gateway: Gateway, clients: int = CLIENTS) -> Counter[str]:
    """Send all bodies at the same moment; return the status codes. Sockets of its own: a client library would copy each body."""
    body = json.dumps(request(padding="x" * BODY_BYTES)).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    message = memoryview(f"{head}connection: close\r\n\r\n".encode() + body)
    return Counter(await asyncio.gather(*(one(gateway, message) for _ in range(clients))))


async def one(gateway: Gateway, message: memoryview) -> str:
    """Send one request and return the status code of its answer."""
    loop = asyncio.get_running_loop()
    with socket.socket() as connection:
        connection.settimeout(0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        await loop.sock_connect(connection, ("127.0.0.1", gateway.addresses.listen.port))
        with contextlib.suppress(ConnectionError):  # refused while it was being sent; the answer may be there all the same
            await loop.sock_sendall(connection, message)
        try:
            begun = await loop.sock_recv(connection, 64)
        except ConnectionError:
            begun = b""
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", begun)
    return found[1].decode() if found else NO_ANSWER


def peak_bytes(gateway: Gateway) -> int:
    """Return the most memory that the process has had in RAM."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{gateway.pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024
