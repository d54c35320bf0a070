"""HTTP/1.1 for the simulator, on asyncio's streams: enough for proxies, SDKs and Prometheus, and no dependency to install."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

BODY_LIMIT = 64 * 1024 * 1024
EVENTS = "text/event-stream; charset=utf-8"


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request, its body read in full."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    gone: Callable[[], bool]  # whether the client has closed the connection


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One answer: a body, or a stream of chunks. A chunk of None cuts the connection in the middle."""

    status: int = 200
    body: bytes = b""
    kind: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    stream: AsyncGenerator[bytes | None, None] | None = None


Chunks = AsyncGenerator[bytes | None, None]
Handler = Callable[[Request], Awaitable[Reply]]


def of_json(value: Any, status: int = 200) -> Reply:
    """Answer with a JSON document."""
    return Reply(status=status, body=json.dumps(value, separators=(",", ":")).encode(), kind="application/json")


def error(status: int, message: str, kind: str, parameter: str | None = None) -> Reply:
    """Answer with an error as vLLM words it."""
    return of_json({"error": {"message": message, "type": kind, "param": parameter, "code": status}}, status)


async def serve_connection(handler: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection, one after the other, until either side has had enough."""
    try:
        while (request := await _read(reader, writer)) is not None:
            reply = await handler(request)
            whole = await _write(writer, request, reply)
            if not whole or ("connection", "close") in reply.headers or request.headers.get("connection", "").lower() == "close":
                break
    except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
        pass  # a client that leaves, or does not speak HTTP: there is nobody to tell
    finally:
        writer.close()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = await _chunks(reader)
    else:
        length = int(headers.get("content-length", "0"))
        if length > BODY_LIMIT:
            raise ValueError("body too large")
        body = await reader.readexactly(length)

    def gone() -> bool:
        return reader.at_eof() or writer.transport.is_closing()

    return Request(method=method, path=target.partition("?")[0], headers=headers, body=body, gone=gone)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        if size > BODY_LIMIT:
            raise ValueError("chunk too large")
        parts.append((await reader.readexactly(size + 2))[:-2])
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # trailers
    return b"".join(parts)


async def _write(writer: asyncio.StreamWriter, request: Request, reply: Reply) -> bool:
    """Send an answer and return whether it was sent to its end."""
    lines = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}", "server: uvicorn"]
    lines += [f"{name}: {value}" for name, value in reply.headers]
    if reply.kind:
        lines.append(f"content-type: {reply.kind}")
    lines.append("transfer-encoding: chunked" if reply.stream is not None else f"content-length: {len(reply.body)}")
    writer.write("\r\n".join([*lines, "", ""]).encode() + (b"" if request.method == "HEAD" else reply.body))
    if reply.stream is None:
        await writer.drain()
        return True
    # Nothing may fail between here and the first step into the stream: one that was never begun does not clean up after itself.
    async with aclosing(reply.stream) as chunks:
        async for chunk in chunks:
            if chunk is None:
                writer.transport.abort()
                return False
            writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            await writer.drain()
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    return True
