"""Liveness and readiness, told honestly: 200 only while the thing is true."""

from collections.abc import Awaitable, Callable

from aiohttp import web

Check = Callable[[], str | None]  # None: well; else what is wrong


async def serve_probes(*, port: int, live: Check, ready: Check) -> tuple[web.AppRunner, int]:
    """Serve /livez and /readyz (and /healthz, as the chart calls the first); return what to clean up and the port."""
    app = web.Application()
    app.router.add_get("/livez", _handler(live))
    app.router.add_get("/healthz", _handler(live))
    app.router.add_get("/readyz", _handler(ready))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, host=None, port=port)
    await site.start()
    # With port 0 each address family has its own; the one that is told is IPv4's, where there is one.
    ports = sorted((len(address), int(address[1])) for address in runner.addresses)
    return runner, ports[0][1]


def _handler(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        wrong = check()
        return web.Response(text="ok\n") if wrong is None else web.Response(status=503, text=f"{wrong}\n")

    return answer
