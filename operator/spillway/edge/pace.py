"""kopf's session with the API server, in which no watch is begun more than once a second: kopf begins one anew as soon as it has ended."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp
import kopf

WATCH_EVERY_S = 1.0


@dataclass(slots=True, kw_only=True)
class WatchPace:
    """Lets the watches of one path begin one at a time, a pause apart. One that an API server ends at once made 140 requests a second."""

    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    every_s: float = WATCH_EVERY_S
    _next: dict[str, float] = field(default_factory=dict)

    async def __call__(self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """Send a request, in its time."""
        if "watch" in request.url.query:
            now, path = self.clock(), request.url.path
            due = max(now, self._next.get(path, now))
            self._next[path] = due + self.every_s
            if due > now:
                await self.sleep(due - now)
                if request.session.closed:
                    raise RuntimeError("Session is closed")  # in aiohttp's words, after which kopf takes the next session
        return await send(request)


def paced(found: kopf.ConnectionInfo, pace: WatchPace) -> kopf.AiohttpSession:
    """Return the same way to the API server, at this pace; kopf closes the session when it expires."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=found.as_ssl_context()),
        headers=found.as_http_headers(),
        proxy=found.proxy_url,
        trust_env=found.trust_env,
        middlewares=(pace,),
    )
    return kopf.AiohttpSession(
        server=found.server, default_namespace=found.default_namespace, expiration=found.expiration, aiohttp_session=session
    )
