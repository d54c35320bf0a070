"""What a short wait before spilling is worth: the same bursts at the same time to gateways that differ in hosted.overflow.maxWaitMs."""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from benchmarks.gateway.report import circumstances
from spillway.render.envoy.config import Address, GatewayAddresses
from tests.dataplane import certificates, decisions
from tests.dataplane.client import Client
from tests.dataplane.fakes import Backend, complete, delta, event, open_stream
from tests.dataplane.process import Gateway, running, until

WAITS_MS = (0, 250, 500, 1000)
OWN_FIRST_TOKEN_S, HOSTED_FIRST_TOKEN_S, HOSTED_REST_S = 0.05, 0.3, 0.5
PERIOD_S, BURST_S, BURST_TIMES = 8.0, 2.0, 3.0  # a quarter of the time three times the rest's rate
SEED = 6
_PROVIDER, _MODEL = "alpha", "vendor/alpha-model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Requests by chance, in bursts, whose own answers take an exponential time, five times the mean at most."""

    name: str
    slots: int
    answer_s: float  # mean time of an answer on own replicas
    load: float  # mean, as a part of what the slots can carry

    def arrivals(self, duration_s: float) -> Iterator[tuple[float, float]]:
        """Return when each request comes, and how long its answer takes on own replicas, seconds."""
        draw, now_s = random.Random(SEED), 0.0
        mean_per_s = self.load * self.slots / self.answer_s
        quiet_per_s = mean_per_s / (1 + (BURST_TIMES - 1) * BURST_S / PERIOD_S)
        peak_per_s = quiet_per_s * BURST_TIMES
        while True:
            now_s += draw.expovariate(peak_per_s)
            if now_s > duration_s:
                return
            bursts = now_s % PERIOD_S < BURST_S
            if draw.random() < (peak_per_s if bursts else quiet_per_s) / peak_per_s:
                yield now_s, min(draw.expovariate(1 / self.answer_s), 5 * self.answer_s)


TRAFFICS = (
    Traffic(name="answers of 1 s, bursts", slots=16, answer_s=1.0, load=0.7),
    Traffic(name="answers of 4 s, bursts", slots=32, answer_s=4.0, load=0.9),
    Traffic(name="answers of 1 s, 1.3 times too many", slots=16, answer_s=1.0, load=1.3),
)


@dataclass(slots=True)
class Seen:
    """What clients of one gateway got."""

    spilled: list[bool] = field(default_factory=list)
    first_ms: list[float] = field(default_factory=list)  # streams: from sending to the first event

    def row(self, wait_ms: int) -> str:
        """Return a line of the table."""
        cuts = statistics.quantiles(self.first_ms, n=100)
        share = 100 * statistics.fmean(self.spilled)
        return f"| {wait_ms} | {share:.1f} % of {len(self.spilled)} | {cuts[49]:.0f} ms | {cuts[94]:.0f} ms | {cuts[98]:.0f} ms |"


def main() -> None:
    """Run and print a table for each traffic."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway.waiting", description=__doc__)
    parser.add_argument("--seconds", type=float, default=32.0, help="length of each of the three traffics")
    arguments = parser.parse_args()
    for traffic in TRAFFICS:
        with tempfile.TemporaryDirectory() as scratch:
            seen = asyncio.run(_play(traffic, arguments.seconds, Path(scratch)))
        print(f"\n{traffic.name}: {traffic.slots} slots, load {traffic.load:.0%}\n")
        print("| maxWaitMs | spilled | time to first token, p50 | p95 | p99 |\n|---|---|---|---|---|")
        print("\n".join(each.row(wait_ms) for wait_ms, each in zip(WAITS_MS, seen, strict=True)))
    print(f"\n{circumstances(f'python -m benchmarks.gateway.waiting --seconds {arguments.seconds:g}')}")


async def _play(traffic: Traffic, duration_s: float, scratch: Path) -> list[Seen]:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(_gateway(traffic, wait_ms, scratch / str(wait_ms))) for wait_ms in WAITS_MS]
        seen = [Seen() for _ in clients]
        asked: list[Awaitable[None]] = []
        began_s = time.monotonic()
        for place, (at_s, answer_s) in enumerate(traffic.arrivals(duration_s)):
            await asyncio.sleep(max(0.0, began_s + at_s - time.monotonic()))
            # Plain and streamed by turns; each gateway gets every request at the same moment.
            asked += [
                asyncio.ensure_future(_ask(client, into, stream=place % 2 == 0, answer_s=answer_s))
                for client, into in zip(clients, seen, strict=True)
            ]
        await asyncio.gather(*asked)
    return seen


async def _ask(client: Client, seen: Seen, *, stream: bool, answer_s: float) -> None:
    if not stream:
        answer = await client.post(metadata={"answer_s": answer_s})
        assert answer.status == web.HTTPOk.status_code, answer
        seen.spilled.append(answer.served_by != "owned")
        return
    began_s = time.monotonic()
    opened = await client.open(metadata={"answer_s": answer_s})
    seen.first_ms.append(1000 * (time.monotonic() - began_s))
    seen.spilled.append(opened.served_by != "owned")
    await opened.rest()


@asynccontextmanager
async def _gateway(traffic: Traffic, wait_ms: int, folder: Path) -> AsyncIterator[Client]:
    """Run a gateway between one replica and one provider of its own."""
    authority = certificates.authority()
    chain, key = authority.issue(f"{_PROVIDER}.test", folder / "certificates")
    async with AsyncExitStack() as stack:
        engine, hosted = Backend(model=decisions.SERVED), Backend(model=_MODEL, tls=certificates.server(chain, key), keepalive_s=75)
        engine.script, hosted.script = _answers(OWN_FIRST_TOKEN_S, rest_s=None), _answers(HOSTED_FIRST_TOKEN_S, rest_s=HOSTED_REST_S)
        for backend in (engine, hosted):
            await backend.start()
            stack.push_async_callback(backend.stop)
        gateway = await stack.enter_async_context(_envoy(traffic, wait_ms, folder, engine=engine, hosted=hosted, authority=authority))
        yield await stack.enter_async_context(Client(gateway.url))


@asynccontextmanager
async def _envoy(
    traffic: Traffic, wait_ms: int, folder: Path, *, engine: Backend, hosted: Backend, authority: certificates.Authority
) -> AsyncIterator[Gateway]:
    spec: dict[str, Any] = {
        "model": {"id": decisions.MODEL},
        "placement": {"mode": "Hybrid"},
        "dedicated": {},
        "hosted": {"backends": [{"providerRef": {"name": _PROVIDER}, "model": _MODEL}], "overflow": {"maxWaitMs": wait_ms}},
        "gateway": {"replicas": 1},
    }
    if not wait_ms:
        del spec["hosted"]["overflow"]
    workload = decisions.workload(spec)
    provider = decisions.provider(f"https://{_PROVIDER}.test:{hosted.port}/v1", _MODEL)
    decision = decisions.decision(workload, {_PROVIDER: provider}, cap=traffic.slots)
    addresses = GatewayAddresses(
        engines=(Address(host="127.0.0.1", port=engine.port),), hosted={_PROVIDER: Address(host="127.0.0.1", port=hosted.port)}
    )
    async with running(workload, decision, folder, addresses) as gateway:
        gateway.write_authority(_PROVIDER, authority.pem)
        gateway.write_key(_PROVIDER, "key")

        async def healthy() -> bool:
            found = [each for each in await gateway.metrics() if each.name == "envoy_cluster_membership_healthy"]
            names = {each.labels["envoy_cluster_name"].partition("-")[0] for each in found if each.value == 1}
            return {"owned", "hosted"} <= names

        await until(healthy, "health checks")
        yield gateway


def _answers(first_token_s: float, *, rest_s: float | None) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Return a backend that takes `rest_s` after its first token; None: as long as the request says."""

    async def script(backend: Backend, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        after_s: float = body["metadata"]["answer_s"] if rest_s is None else rest_s
        if not body.get("stream"):
            await asyncio.sleep(first_token_s + after_s)
            return await complete(backend, request, body)
        response = await open_stream(request)  # headers come before the first token, as with vLLM
        await asyncio.sleep(first_token_s)
        await response.write(event(delta("hel")))
        await asyncio.sleep(after_s)
        await response.write(event(delta("lo")) + b"data: [DONE]\n\n")
        return response

    return script


if __name__ == "__main__":
    main()
