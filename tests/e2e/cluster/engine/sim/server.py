"""The simulator's server: its routes, its key, and its life from refused connections to a drained end."""

import argparse
import asyncio
import contextlib
import json
import random
import signal
import ssl
import time

from . import wire
from .completions import CHAT, TEXT, Completions
from .knobs import Knobs
from .metrics import Metrics
from .scheduler import Limits, Scheduler

VERSION = "0.32.0"
LAST_WORDS_S = 0.05  # for the errors to reach their clients


class Server:
    """One engine behind its port."""

    def __init__(self, options: argparse.Namespace, knobs: Knobs) -> None:
        self._options, self._knobs = options, knobs
        self._metrics = Metrics(options.names[0], context=options.max_model_len, kv_tokens=knobs.kv_tokens)
        limits = Limits(
            sequences=options.max_num_seqs,
            batched_tokens=options.max_num_batched_tokens,
            queued_requests=options.max_num_queued_reqs,
            queued_tokens=options.max_num_queued_tokens,
        )
        self._scheduler = Scheduler(limits, knobs, self._metrics)
        self._completions = Completions(options.names, options.max_model_len, self._scheduler, knobs)
        self._chance = random.Random(knobs.seed)
        self._busy = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._crashed = asyncio.Event()

    async def run(self) -> int:
        """Start, serve until SIGTERM or a crash, drain, and return the exit status."""
        told = await self._start()
        listener = await asyncio.start_server(self._connection, self._options.host, self._options.port, ssl=self._tls(), backlog=2048)
        engine = asyncio.create_task(self._scheduler.run())
        ends = [asyncio.create_task(event.wait()) for event in (told, self._crashed)]
        await asyncio.wait([engine, *ends], return_when=asyncio.FIRST_COMPLETED)
        if not told.is_set():
            return 1
        await self._drain(listener, engine)
        return 0

    async def _start(self) -> asyncio.Event:
        """Take the time to get ready, deaf to SIGTERM in its last part as vLLM is while its engine starts."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(min(self._knobs.deaf_after_s, self._knobs.start_s) if self._knobs.deaf_after_s else self._knobs.start_s)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, lambda: None)
        if self._knobs.deaf_after_s:
            await asyncio.sleep(max(0.0, self._knobs.start_s - self._knobs.deaf_after_s))
        told = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told.set)
        return told

    async def _drain(self, listener: asyncio.Server, engine: asyncio.Task[None]) -> None:
        """End as vLLM does: without a timeout open requests fail at once.

        With one they are finished, and until then the port keeps answering but refuses completions with 500.
        """
        self._scheduler.closed = True
        if self._options.shutdown_timeout == 0 and self._knobs.hang_on_stop:
            listener.close()
            engine.cancel()
            await self._idle.wait()
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), self._options.shutdown_timeout)
        self._scheduler.fail_all()
        await asyncio.sleep(LAST_WORDS_S)
        listener.close()

    def _tls(self) -> ssl.SSLContext | None:
        if not self._options.ssl_certfile:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._options.ssl_certfile, self._options.ssl_keyfile)
        return context

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await wire.serve_connection(self._counted, reader, writer)

    async def _counted(self, request: wire.Request) -> wire.Reply:
        reply = await self._route(request)
        handler = request.path if reply.status not in {404, 405} or request.path in {CHAT, TEXT} else "none"
        if request.path not in {"/health", "/metrics", "/ping", "/version"}:
            self._metrics.http[handler, request.method, f"{reply.status // 100}xx"] += 1
        return reply

    async def _route(self, request: wire.Request) -> wire.Reply:  # noqa: PLR0911 - one line per endpoint reads best
        keys = self._options.api_key or []
        if keys and request.path.startswith("/v1") and request.headers.get("authorization") not in {f"Bearer {key}" for key in keys}:
            return wire.of_json({"error": "Unauthorized"}, 401)
        match request.method, request.path:
            case ("GET", "/health" | "/ping") | ("POST", "/ping"):
                return wire.Reply()
            case "GET", "/version":
                return wire.of_json({"version": VERSION})
            case "GET", "/metrics":
                return wire.Reply(body=self._metrics.text().encode(), kind="text/plain; version=1.0.0; charset=utf-8")
            case "GET", "/v1/models":
                return self._models()
            case "POST", ("/v1/chat/completions" | "/v1/completions"):
                return await self._complete(request)
            case _, ("/v1/chat/completions" | "/v1/completions"):
                return wire.of_json({"detail": "Method Not Allowed"}, 405)
            case "POST", "/sim/knobs":
                return self._set(request)
            case "POST", "/sim/crash":
                self._crashed.set()
                return wire.Reply()
        return wire.of_json({"detail": "Not Found"}, 404)

    def _models(self) -> wire.Reply:
        common = {"object": "model", "created": int(time.time()), "owned_by": "vllm", "root": self._options.model, "parent": None}
        models = [{"id": name, **common, "max_model_len": self._options.max_model_len, "permission": []} for name in self._options.names]
        return wire.of_json({"object": "list", "data": models})

    async def _complete(self, request: wire.Request) -> wire.Reply:
        if self._chance.uniform(0, 100) < self._knobs.fail_percent:
            return wire.error(500, "a failure injected by SIM_FAIL_PERCENT", "Internal Server Error")
        self._count(1)
        reply = None
        try:
            reply = await self._completions.answer(request)
        finally:
            if reply is None or reply.stream is None:
                self._count(-1)
        return reply if reply.stream is None else wire.Reply(status=reply.status, kind=reply.kind, stream=self._watched(reply.stream))

    async def _watched(self, stream: wire.Chunks) -> wire.Chunks:
        try:
            async with contextlib.aclosing(stream) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        self._busy += change
        (self._idle.clear if self._busy else self._idle.set)()

    def _set(self, request: wire.Request) -> wire.Reply:
        try:
            self._knobs.update(json.loads(request.body))
        except (ValueError, AttributeError) as wrong:
            return wire.error(400, str(wrong), "BadRequestError")
        return wire.Reply()
