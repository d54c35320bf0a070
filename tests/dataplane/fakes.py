"""Backends that check every request they get and do what a test tells them to."""

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from tests.dataplane.process import port_of, reserved

Script = Callable[["Backend", web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]
INPUT_TOKENS, OUTPUT_TOKENS = 7, 5


@dataclass(slots=True, kw_only=True)
class Backend:
    """One HTTP server. Whatever about a request is not as expected goes to `problems`, which a fixture asserts to be empty."""

    model: str
    host: str | None = None  # the Host header that must come; None: any
    prefix: str = "/v1"
    keys: frozenset[str] | None = None  # bearer keys of which exactly one must come, once; None: what a client sent is let be
    allowed_headers: frozenset[str] | None = None  # no other request header may come
    tls: ssl.SSLContext | None = None
    port: int = 0
    address: str = "127.0.0.1"

    script: Script | None = None
    healthy: bool = True
    problems: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    requests: int = 0
    active: int = 0
    peak: int = 0
    cancelled: int = 0
    checks: int = 0
    hold: asyncio.Event | None = None  # streams wait for it after their first chunk
    keepalive_s: float = 5  # uvicorn's
    work_s: float = 0.0  # how long every answer takes
    cached_tokens: int | None = None  # of each prompt, as its usage tells; None: it tells nothing of a cache
    frozen: asyncio.Event | None = None  # nothing at all is answered before it
    _runner: web.AppRunner | None = None
    _held: socket.socket | None = None  # keeps a port that it drew its own while it is stopped: tests run side by side

    async def start(self) -> Self:
        """Listen."""
        if not self.port:
            self._held = reserved(self.address)
            self.port = port_of(self._held)
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_get("/health", self._health)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, keepalive_timeout=self.keepalive_s, shutdown_timeout=0.1
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.address, self.port, ssl_context=self.tls, backlog=1024)
        await site.start()
        return self

    async def stop(self) -> None:
        """Stop listening and cut what is open."""
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    def give_back(self) -> None:
        """Give the port back: it will not be started again."""
        if self._held:
            self._held.close()

    async def kill(self) -> None:
        """End as a killed process does: what is open is reset, not closed."""
        assert self._runner
        assert self._runner.server
        for site in list(self._runner.sites):
            await site.stop()
        for connection in self._runner.server.connections:
            if connection.transport:
                reset_transport(connection.transport)
        await self.stop()

    async def _health(self, _: web.Request) -> web.Response:
        self.checks += 1
        if self.frozen:
            await self.frozen.wait()
        return web.Response(status=200 if self.healthy else 503)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        self.active += 1
        self.peak = max(self.peak, self.active)
        try:
            raw = await request.read()
            self.raw.append(raw)
            self.headers.append(request.headers.copy())
            try:
                body = json.loads(raw)
            except (ValueError, RecursionError):
                body = {}
            self.bodies.append(body)
            self._check(request, body)
            if self.frozen:
                await self.frozen.wait()
            if self.work_s:
                await asyncio.sleep(self.work_s)
            return await (self.script or complete)(self, request, body)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.active -= 1

    def _check(self, request: web.Request, body: dict[str, Any]) -> None:
        said = request.headers.getall("Authorization", [])
        expected = {f"Bearer {key}" for key in self.keys or ()}
        checks = {
            f"Host {request.headers.get('Host')}": self.host is None or request.headers.getall("Host") == [self.host],
            f"Authorization {said}": self.keys is None or (len(said) == len(expected and [1]) and set(said) <= expected),
            f"path {request.path_qs}": request.path.startswith(f"{self.prefix}/") and (not self.tls or not request.query_string),
            f"model {body.get('model')}": body.get("model") == self.model,
            f"TLS {request.secure}": request.secure == (self.tls is not None),
            f"headers {sorted(request.headers)}": self._only_allowed(request),
            "internal header": not any(name.lower().startswith("x-spillway") for name in request.headers),
        }
        self.problems += [what for what, right in checks.items() if not right]

    def _only_allowed(self, request: web.Request) -> bool:
        return self.allowed_headers is None or {name.lower() for name in request.headers} <= self.allowed_headers


async def complete(backend: Backend, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Answer as an OpenAI-compatible server does, streamed or not."""
    if not body.get("stream"):
        message = {"role": "assistant", "content": "hello"}
        answer = {"object": "chat.completion", "model": body["model"], "choices": [{"index": 0, "message": message}]}
        return web.json_response(answer | {"usage": usage(backend.cached_tokens)})
    response = await open_stream(request)
    with stream_end(response):
        await response.write(event(delta("hel")))
        if backend.hold:
            await backend.hold.wait()
        await response.write(event(delta("lo")))
        if (body.get("stream_options") or {}).get("include_usage"):
            await response.write(event({"object": "chat.completion.chunk", "choices": [], "usage": usage(backend.cached_tokens)}))
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
    return response


@contextlib.contextmanager
def stream_end(_: web.StreamResponse) -> Any:
    """Take a client that goes away as the end of a stream."""
    with contextlib.suppress(ConnectionResetError):
        yield


async def open_stream(request: web.Request) -> web.StreamResponse:
    """Send the headers of a stream, as vLLM does before the first token."""
    response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    return response


def in_two(whole: bytes, at: int) -> Script:
    """Return a script that sends a stream in two parts."""

    async def script(_: Backend, received: web.Request, __: dict[str, object]) -> web.StreamResponse:
        response = await open_stream(received)
        await response.write(whole[:at])
        await asyncio.sleep(0.001)  # paces the two parts; that they arrive apart is likely, and enough over all the splits
        await response.write(whole[at:])
        await response.write_eof()
        return response

    return script


def usage(cached_tokens: int | None = None) -> dict[str, Any]:
    """Return the token counts of every answer."""
    counts = {"prompt_tokens": INPUT_TOKENS, "completion_tokens": OUTPUT_TOKENS, "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS}
    return counts if cached_tokens is None else {**counts, "prompt_tokens_details": {"cached_tokens": cached_tokens}}


def delta(text: str) -> dict[str, Any]:
    """Return one chunk of a streamed answer."""
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}}]}


def event(content: Mapping[str, Any]) -> bytes:
    """Return one server-sent event."""
    return f"data: {json.dumps(content)}\n\n".encode()


def fail(status: int, **headers: str) -> Script:
    """Return a script that answers with an error whose text must not reach clients of a hosted backend."""

    async def script(_: Backend, __: web.Request, ___: dict[str, Any]) -> web.StreamResponse:
        return web.json_response({"error": {"message": f"secret of the provider: {status}"}}, status=status, headers=headers)

    return script


async def close(_: Backend, request: web.Request, __: dict[str, Any]) -> web.StreamResponse:
    """Close the connection instead of answering."""
    assert request.transport
    request.transport.close()
    await asyncio.sleep(0)
    raise ConnectionResetError


async def half_close(_: Backend, request: web.Request, __: dict[str, Any]) -> web.StreamResponse:
    """Say that nothing more will come, answer nothing, and keep the connection."""
    send_no_more(request)
    await asyncio.Event().wait()
    raise AssertionError


def send_no_more(request: web.Request) -> None:
    """Send FIN, under TLS without a word of it."""
    assert request.transport
    request.transport.get_extra_info("socket").shutdown(socket.SHUT_WR)


def hang(until_set: asyncio.Event) -> Script:
    """Return a script that answers only when the event has come."""

    async def script(backend: Backend, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        await until_set.wait()
        return await complete(backend, request, body)

    return script


async def reset(_: Backend, request: web.Request, __: dict[str, Any]) -> web.StreamResponse:
    """Reset the connection instead of answering."""
    assert request.transport
    reset_transport(request.transport)
    raise ConnectionResetError


def reset_transport(transport: asyncio.Transport) -> None:
    """Send RST."""
    raw = transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def die_after_first_event(_: Backend, request: web.Request, __: dict[str, Any]) -> web.StreamResponse:
    """Begin a stream, then reset."""
    response = await open_stream(request)
    await response.write(event(delta("hel")))
    assert request.transport
    reset_transport(request.transport)
    return response
