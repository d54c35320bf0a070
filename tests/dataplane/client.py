"""A client of the gateway, as careless with credentials as clients are."""

import asyncio
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import aiohttp

from tests.dataplane.decisions import SERVED

CREDENTIALS = {"Authorization": "Bearer client-secret", "Cookie": "session=client-secret", "X-Api-Key": "client-secret"}
CHAT = "/v1/chat/completions"


@dataclass(slots=True, kw_only=True)
class Answer:
    """What a client got."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def served_by(self) -> str:
        """The backend."""
        return self.headers["x-served-by"]

    @property
    def attempts(self) -> int:
        """How many backends were tried."""
        return int(self.headers["x-envoy-attempt-count"])

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    @property
    def events(self) -> list[str]:
        """The data of the server-sent events."""
        return [line.removeprefix("data: ") for line in self.body.decode().split("\n\n") if line]

    @property
    def complete(self) -> bool:
        """Whether the stream came to its end."""
        return self.status == 200 and self.events[-1] == "[DONE]"


@dataclass(slots=True, kw_only=True)
class OpenStream:
    """A stream whose first event has come."""

    response: aiohttp.ClientResponse
    begun: bytes
    served_by: str = field(init=False)

    def __post_init__(self) -> None:
        self.served_by = self.response.headers["x-served-by"]

    async def rest(self) -> Answer:
        """Read to the end."""
        body = self.begun + await self.response.read()
        return Answer(status=self.response.status, headers={k.lower(): v for k, v in self.response.headers.items()}, body=body)

    def abort(self) -> None:
        """Go away."""
        self.response.close()


class Client:
    """HTTP to one gateway."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def __aenter__(self) -> Self:
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=30))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.session.close()
        await asyncio.sleep(0)

    async def post(self, body: Any = None, *, path: str = CHAT, headers: dict[str, str] | None = None, **more: Any) -> Answer:
        """Send a request and read the whole answer. `body`: bytes as they are; else JSON with the served name and `more`."""
        data = body if isinstance(body, bytes) else json.dumps(request(**more)).encode()
        sent = {"content-type": "application/json", "content-length": str(len(data)), **CREDENTIALS, **(headers or {})}
        async with self.session.post(self.url + path, data=io.BytesIO(data), headers=sent) as response:
            return await _answer(response)

    async def get(self, path: str, *, method: str = "GET") -> Answer:
        """Send a request without a body."""
        async with self.session.request(method, self.url + path, headers=CREDENTIALS) as response:
            return await _answer(response)

    async def open(self, **more: Any) -> OpenStream:
        """Open a stream and wait for its first event."""
        data = json.dumps(request(stream=True, **more)).encode()
        response = await self.session.post(self.url + CHAT, data=data, headers={"content-type": "application/json", **CREDENTIALS})
        assert response.status == 200, (response.status, await response.read())
        return OpenStream(response=response, begun=await response.content.readuntil(b"\n\n"))

    async def open_many(self, count: int) -> list[OpenStream]:
        """Open streams all at once."""
        return list(await asyncio.gather(*(self.open() for _ in range(count))))


async def rest_of(streams: Iterable[OpenStream]) -> list[Answer]:
    """Read streams to their ends."""
    return list(await asyncio.gather(*(each.rest() for each in streams)))


async def _answer(response: aiohttp.ClientResponse) -> Answer:
    body = await response.read()
    return Answer(status=response.status, headers={k.lower(): v for k, v in response.headers.items()}, body=body)


def request(**more: Any) -> dict[str, Any]:
    """Return a chat request."""
    return {"model": SERVED, "messages": [{"role": "user", "content": 'say "hi" \\ {[,'}], **more}
