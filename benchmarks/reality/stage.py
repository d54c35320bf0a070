"""One real vLLM behind the gateway as rendered, and a hosted endpoint whose latencies are drawn from a known distribution."""

import contextlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.reality.hosted import HOST, MODEL, hosted
from benchmarks.reality.lab import Engine, Lab
from spillway.render.envoy.config import Address, GatewayAddresses
from tests.dataplane import certificates, decisions
from tests.dataplane.conftest import KEYS
from tests.dataplane.process import Gateway, until

PROVIDER = "alpha"
HEALTHY_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What is measured."""

    gateway: Gateway
    engine: Engine

    async def counters(self) -> dict[str, float]:
        """Return the engine's counters, each summed over its labels; of histograms the sum and the count."""
        async with httpx.AsyncClient(timeout=30) as client:
            page = (await client.get(f"{self.engine.url}/metrics")).text
        found: dict[str, float] = {}
        for line in page.splitlines():
            if line.startswith("vllm:") and "_bucket{" not in line:
                name, _, value = line.rpartition(" ")
                name = name.partition("{")[0]
                found[name] = found.get(name, 0.0) + float(value)
        return found

    async def kv_tokens(self) -> int:
        """Return what the engine's cache holds."""
        async with httpx.AsyncClient(timeout=30) as client:
            page = (await client.get(f"{self.engine.url}/metrics")).text
        line = next(each for each in page.splitlines() if each.startswith("vllm:cache_config_info{"))
        labels = dict(each.split("=", 1) for each in line.partition("{")[2].rpartition("}")[0].split(",") if "=" in each)
        return int(labels["num_gpu_blocks"].strip('"')) * int(labels["block_size"].strip('"'))


@contextlib.asynccontextmanager
async def staged(lab: Lab, *, seed: int) -> AsyncIterator[Stage]:
    """Run everything for the length of a block, from the moment that the gateway has seen the engine healthy."""
    authority = certificates.authority()
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engine = stack.enter_context(lab.start(folder))
        side = hosted(lab.limits.hosted, authority=authority, api_key=KEYS[PROVIDER], folder=folder, seed=seed)
        hosted_port = await stack.enter_async_context(side)
        gateway = await stack.enter_async_context(_gateway(folder, engine.url, hosted_port, authority, slots=lab.limits.slots))
        await until(lambda: _sees_engine(gateway), "the gateway to see the engine", patience_s=HEALTHY_S)
        yield Stage(gateway=gateway, engine=engine)


@contextlib.asynccontextmanager
async def _gateway(
    folder: Path, engine_url: str, hosted_port: int, authority: certificates.Authority, *, slots: int
) -> AsyncIterator[Gateway]:
    workload = decisions.workload(
        {
            "model": {"id": decisions.MODEL},
            "slo": {"timeToFirstTokenMs": 30_000, "endToEndMs": 60_000},  # of the gateway: so that nothing is given up for being slow
            "placement": {"mode": "Hybrid"},
            "gateway": {"replicas": 1},
            "dedicated": {},
            "hosted": {"backends": [{"providerRef": {"name": PROVIDER}, "model": MODEL}]},
        }
    )
    provider = decisions.provider(f"https://{HOST}:{hosted_port}/v1", MODEL)
    addresses = GatewayAddresses(
        engines=(Address(host="127.0.0.1", port=int(engine_url.rpartition(":")[2])),),
        hosted={PROVIDER: Address(host="127.0.0.1", port=hosted_port)},
    )
    gateway = Gateway(workload, decisions.decision(workload, {PROVIDER: provider}, cap=slots), folder / "gateway", addresses)
    gateway.write_authority(PROVIDER, authority.pem)
    gateway.write_key(PROVIDER, KEYS[PROVIDER])
    try:
        await gateway.start()
        yield gateway
    finally:
        await gateway.stop()


async def _sees_engine(gateway: Gateway) -> bool:
    return await gateway.metric("envoy_cluster_membership_healthy", envoy_cluster_name="owned") == 1
