"""A Service as kube-proxy plays it: each new connection goes to one of the endpoints by lot, and stays there until one side closes it."""

import asyncio
import contextlib
import random
from types import TracebackType
from typing import Self

from spillway.render.envoy.config import Address

_CHUNK = 65_536


class Service:
    """Forwards connections to `endpoints`, which a test changes as the endpoints controller would."""

    def __init__(self, endpoints: list[Address], *, seed: int = 0) -> None:
        self.endpoints = endpoints
        self.accepted: dict[Address, int] = {}
        self._chance = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1024)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._server
        self._server.close()
        for client in self._open.values():
            client.transport.abort()
        await asyncio.gather(*self._open)  # one that is left pending would be an error of whichever test runs then

    @property
    def url(self) -> str:
        """Where clients call."""
        assert self._server
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._forward(reader, writer))
        self._open[task] = writer
        task.add_done_callback(self._open.pop)
        await task

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        endpoint = self._chance.choice(self.endpoints)
        self.accepted[endpoint] = self.accepted.get(endpoint, 0) + 1
        try:
            there = await asyncio.open_connection(endpoint.host, endpoint.port)
        except OSError:
            writer.transport.abort()  # refused, as the client is to see it
            return
        await asyncio.gather(_pump(reader, there[1]), _pump(there[0], writer))
        for each in (writer, there[1]):
            each.close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(_CHUNK):
            sink.write(data)
            await sink.drain()
    with contextlib.suppress(OSError, RuntimeError):
        sink.write_eof()
