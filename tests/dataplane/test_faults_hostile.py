"""Clients that mean harm, or that nobody thought of: connections that do nothing, requests that never end, bodies that are no JSON."""

import asyncio
import itertools
import json
import resource
import socket
from contextlib import ExitStack
from typing import Any, Self

import pytest
from aiohttp import web

from tests.dataplane import fakes, fuzz
from tests.dataplane.client import CHAT, CREDENTIALS
from tests.dataplane.conftest import SetStage, Stage
from tests.dataplane.faults import PATIENT
from tests.dataplane.load import Load
from tests.dataplane.process import until
from tests.dataplane.reliability import Table, Tally
from tests.dataplane.test_guards import LIMITED, permit

pytestmark = pytest.mark.dataplane
IDLE, SLOW, BODIES, SEED = 10_000, 300, 12_000, 20260611
IDLE_FAULT = f"{IDLE:,} idle connections".replace(",", " ")
SLOW_FAULT = f"{2 * SLOW} slow senders of headers and bodies"
BODY_FAULT = f"{BODIES:,} malformed bodies".replace(",", " ")
HOSTILE = (IDLE_FAULT, SLOW_FAULT, BODY_FAULT)
_SPARE_FILES = 500
_LIMITED_BODIES = 4_000
_PATHS = (CHAT, "/v1/completions", "/v1/embeddings", "/v1/responses")


@pytest.fixture
def many_files() -> int:
    """Let this process, and the gateway that it starts, open as many files as they may; return how many connections that is good for."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    assert most >= 2 * _SPARE_FILES, f"{most} open files are too few; raise the limit (ulimit -Hn)"
    return most - _SPARE_FILES


async def test_ten_thousand_idle_connections_are_in_nobodys_way(stage: SetStage, table: Table, many_files: int) -> None:
    count = min(IDLE, many_files)
    scene = await stage(spec=PATIENT)
    with ExitStack() as connections:
        for _ in range(count):
            connections.enter_context(_connected(scene))
        await until(lambda: _connections(scene, at_least=count), f"{count} connections are open")
        await scene.seen_healthy()  # replicas live in this process, too, and answered no health check while it connected
        async with Load(scene.client) as load:
            await load.more("sent", 100)
    await until(lambda: _connections(scene, at_most=load_connections(load)), "they are gone when their clients are")
    _all_owned(load.tally)
    table.record(IDLE_FAULT, load.tally, seen="nothing" if count == IDLE else f"nothing ({count}: more files may not be open here)")


def load_connections(load: Load) -> int:
    """Return how many connections a load keeps."""
    return load.workers


async def test_those_who_send_slowly_hold_no_slot_and_those_who_never_end_their_headers_are_cut_off(stage: SetStage, table: Table) -> None:
    scene = await stage(spec=PATIENT)
    with ExitStack() as connections:
        heads = [connections.enter_context(_connected(scene)) for _ in range(SLOW)]
        bodies = [connections.enter_context(_connected(scene)) for _ in range(SLOW)]
        for each in heads:
            each.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-a: ")
        for each in bodies:
            each.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{")
        async with Load(scene.client) as load:
            while not all(_closed(each) for each in heads):
                for each in heads + bodies:
                    _send(each, b"x")
                await load.more("sent", 40)
        served = sum(engine.requests for engine in scene.engines)
        assert scene.alpha.requests == 0
        assert served == load.tally.owned, "what is not whole is at no replica"
    _all_owned(load.tally)
    table.record(SLOW_FAULT, load.tally, seen="others: nothing; a head that is not whole after 10 s, a body after 60 s: 408, or closed")


async def test_no_body_crashes_the_gateway_or_brings_another_model_or_the_clients_key_to_the_provider(
    stage: SetStage, table: Table
) -> None:
    scene = await stage(engines=1, cap=0, spec=PATIENT)
    pid = scene.gateway.pid
    scene.alpha.script = _take_anything
    tally = Tally()
    waiting = fuzz.bodies(SEED, BODIES)

    async def work() -> None:
        async with _Plain(scene) as plain:
            for body in waiting:
                tally_answer(tally, await plain.post(body))

    await asyncio.gather(*(work() for _ in range(8)))
    assert tally.lost == 0, tally
    assert tally.sent == BODIES
    assert tally.spilled, "some are requests"
    assert tally.spilled == scene.alpha.requests, tally
    assert {what.split()[0] for what in tally.seen} <= {"400", "404"}, tally
    _only_the_served_model_was_asked_for(scene)
    assert (scene.gateway.pid, await scene.gateway.ready()) == (pid, True)
    assert "lua" not in scene.gateway.log.read_text().lower(), "no script fails, which would let a body pass as it is"
    table.record(BODY_FAULT, tally, seen="400 `invalid_body`, 404 `model_not_found`; what has the served name once and plainly, is sent on")


async def test_no_body_makes_a_script_fail_where_requests_are_priced_and_routed_by_what_is_in_them(stage: SetStage) -> None:
    spec = PATIENT | {"gateway": {"replicas": 1, "routing": "PrefixHash"}}
    scene = await stage(engines=1, cap=0, spec=spec, overflow=LIMITED)
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=10**12))
    await until(lambda: _spills(scene), "the permit is in force")
    scene.alpha.script = _take_anything
    before, tally = scene.alpha.requests, Tally()
    waiting = zip(fuzz.bodies(SEED + 1, _LIMITED_BODIES), itertools.cycle(_PATHS), strict=False)

    async def work() -> None:
        async with _Plain(scene) as plain:
            for body, path in waiting:
                tally_answer(tally, await plain.post(body, path=path))

    await asyncio.gather(*(work() for _ in range(8)))
    assert tally.sent == _LIMITED_BODIES
    assert tally.spilled, "some are requests"
    assert tally.spilled == scene.alpha.requests - before, tally
    assert {what.split()[0] for what in tally.seen} <= {"400", "404"}, tally
    _only_the_served_model_was_asked_for(scene)
    assert await scene.gateway.metric("envoy_http_lua_executions") > _LIMITED_BODIES
    assert await scene.gateway.metric("envoy_http_lua_errors") == 0


def _only_the_served_model_was_asked_for(scene: Stage) -> None:
    assert "client-secret" not in str(scene.alpha.headers)
    wrong = [body for body in scene.alpha.raw if not _asks_only_for(body, scene.alpha.model)]
    assert not wrong, wrong[:3]
    # What is no JSON at all is the provider's to refuse; the fake found no model in it.
    scene.alpha.problems = [each for each in scene.alpha.problems if each != "model None"]


async def _spills(scene: Stage) -> bool:
    return (await scene.client.post()).status == 200


async def _take_anything(*_: object) -> web.StreamResponse:
    return web.json_response({"usage": fakes.usage()})


def _asks_only_for(body: bytes, model: str) -> bool:
    """Whether a body cannot be read, by any reader, as one for another model."""
    try:
        members = json.loads(body, object_pairs_hook=lambda pairs: pairs)
    except (ValueError, RecursionError):
        # No reader of JSON: whatever it finds, the name that the gateway wrote is the only one at the top.
        return body.count(f'"{model}"'.encode()) == 1
    named = [value for name, value in members if name.lower() == "model"]
    return bool(named == [model])


def tally_answer(tally: Tally, answer: tuple[int, bytes]) -> None:
    """Count an answer to a body that may be none."""
    status, body = answer
    if status == 200:
        tally.spilled += 1
        return
    error: dict[str, Any] = json.loads(body)["error"]
    tally.failed += 1
    tally.note(f"{status} {error['code']}")


class _Plain:
    """A connection that sends bytes as they are, and no faster than answers come."""

    def __init__(self, scene: Stage) -> None:
        self._port = scene.gateway.addresses.listen.port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def post(self, body: bytes, *, path: str = CHAT) -> tuple[int, bytes]:
        """Send a body as JSON; return the status and the whole answer."""
        sent = {"host": "x", "content-type": "application/json", "content-length": str(len(body)), **CREDENTIALS}
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        head = f"POST {path} HTTP/1.1\r\n{lines}\r\n"
        self._writer.write(head.encode() + body)
        answer = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        got = dict(line.split(": ", 1) for line in answer.splitlines()[1:] if line)
        status = int(answer.split()[1])
        if "content-length" in got:
            return status, await self._reader.readexactly(int(got["content-length"]))
        text = b""
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            text += await self._reader.readexactly(size)
            await self._reader.readexactly(2)
        await self._reader.readexactly(2)
        return status, text


def _connected(scene: Stage) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", scene.gateway.addresses.listen.port))
    made.settimeout(0)
    return made


def _send(connection: socket.socket, data: bytes) -> None:
    try:
        connection.send(data)
    except (BrokenPipeError, ConnectionResetError, BlockingIOError):
        return  # closed by the other side, which _closed will find


def _closed(connection: socket.socket) -> bool:
    """Whether the other side has answered or closed."""
    try:
        connection.recv(4096, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


async def _connections(scene: Stage, *, at_least: int = 0, at_most: int | None = None) -> bool:
    found = await scene.gateway.metric("envoy_http_downstream_cx_active", envoy_http_conn_manager_prefix="edge")
    return at_least <= found and (at_most is None or found <= at_most)


def _all_owned(tally: Tally) -> None:
    assert tally.owned == tally.sent, tally
