"""A collector of traces that reads OTLP over HTTP, as far as a test needs it: protobuf by its wire format, no generated code."""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

from aiohttp import web

_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5
Value = int | bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One span. Numbers in comments are those of opentelemetry/proto/trace/v1/trace.proto."""

    trace_id: str  # 1
    span_id: str  # 2
    parent_id: str  # 4; "" for the first of a trace
    name: str  # 5
    attributes: dict[str, str]  # 9


@dataclass(slots=True, kw_only=True)
class Collector:
    """An HTTP server that keeps what it is sent."""

    spans: list[Span] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    port: int = 0
    tls: ssl.SSLContext | None = None
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v1/traces", self._take)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self.tls).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.raw.append(body)
        self.spans += spans(body)
        return web.Response(content_type="application/x-protobuf")


def spans(request: bytes) -> Iterator[Span]:
    """Yield the spans of an ExportTraceServiceRequest: its resource_spans (1), their scope_spans (2), their spans (2)."""
    for resource in _each(request, 1):
        for scope in _each(resource, 2):
            for span in _each(scope, 2):
                yield _span(span)


def _span(message: bytes) -> Span:
    attributes = {}
    for pair in _each(message, 9):
        (key,) = _each(pair, 1)
        attributes[key.decode()] = _any_value(next(_each(pair, 2)))
    return Span(
        trace_id=_first(message, 1).hex(),
        span_id=_first(message, 2).hex(),
        parent_id=_first(message, 4).hex(),
        name=_first(message, 5).decode(),
        attributes=attributes,
    )


def _any_value(message: bytes) -> str:
    """Return a text (1) as it is, a number (3) in digits."""
    found = dict(_fields(message))
    text = found.get(1, found.get(3, b""))
    return text.decode() if isinstance(text, bytes) else str(text)


def _first(message: bytes, number: int) -> bytes:
    return next(_each(message, number), b"")


def _each(message: bytes, number: int) -> Iterator[bytes]:
    return (value for field_number, value in _fields(message) if field_number == number and isinstance(value, bytes))


def _fields(message: bytes) -> Iterator[tuple[int, Value]]:
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == _BYTES:
            length, at = _varint(message, at)
        else:
            length = {_DOUBLE: 8, _FLOAT: 4}[kind]
        yield number, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
