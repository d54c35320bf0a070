"""One real vLLM behind the gateway as rendered, and a hosted endpoint whose latencies are drawn from a known distribution."""

import asyncio
import contextlib
import math
import random
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from aiohttp import web

from spillway.render.envoy import Address, GatewayAddresses
from spillway.simulate.setting import HostedModel
from spillway.simulate.simulate import NORMAL_99
from tests.dataplane import certificates, decisions, fakes
from tests.dataplane.conftest import HOSTED_HEADERS, KEYS
from tests.dataplane.process import Gateway, until
from tests.e2e.cluster.engine import model
from tests.engine.engines import started

MAX_NUM_SEQS = 4
QUEUED = 2  # requests that the cap lets wait at the engine
SLOTS = MAX_NUM_SEQS + QUEUED
MAX_QUEUED_REQUESTS = 64  # the engine's own limit, which the cap stays below
STEP_TOKENS = 2048
HOSTED = HostedModel(ttft_median_ms=300.0, ttft_p99_ms=450.0, inter_token_ms=(12.0, 18.0))
ENGINE_FLAGS = (
    *("--served-model-name", decisions.SERVED),
    *("--max-num-seqs", str(MAX_NUM_SEQS)),
    *("--max-num-batched-tokens", str(STEP_TOKENS)),
    *("--max-num-queued-reqs", str(MAX_QUEUED_REQUESTS)),
    *("--distributed-executor-backend", "uni"),
    "--no-enable-prefix-caching",  # prompts are random: nothing would be found
)
# The engine's core computes by itself. By default a worker process does, and both spin while they wait for each other, on two cores that
# client and gateway need too.
ONE_PROCESS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": "1"}
HEALTHY_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What is measured."""

    gateway: Gateway
    engine_url: str

    async def counters(self) -> dict[str, float]:
        """Return the engine's counters, each summed over its labels; of histograms the sum and the count."""
        async with httpx.AsyncClient(timeout=30) as client:
            page = (await client.get(f"{self.engine_url}/metrics")).text
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
            page = (await client.get(f"{self.engine_url}/metrics")).text
        line = next(each for each in page.splitlines() if each.startswith("vllm:cache_config_info{"))
        labels = dict(each.split("=", 1) for each in line.partition("{")[2].rpartition("}")[0].split(",") if "=" in each)
        return int(labels["num_gpu_blocks"].strip('"')) * int(labels["block_size"].strip('"'))


@contextlib.asynccontextmanager
async def staged(*, seed: int) -> AsyncIterator[Stage]:
    """Run everything for the length of a block, from the moment that the gateway has seen the engine healthy."""
    authority, chance = certificates.authority(), random.Random(seed)
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engine = stack.enter_context(
            started("vllm", *ENGINE_FLAGS, binds={model.model_dir("med"): "/med"}, variables=ONE_PROCESS, served="/med")
        )
        hosted = fakes.Backend(
            model="vendor/alpha-model",
            keys=frozenset({KEYS["alpha"]}),
            allowed_headers=HOSTED_HEADERS,
            tls=certificates.server(*authority.issue("alpha.test", folder / "certificates")),
            script=lambda _, request, body: _answer_in_time(request, body, chance),
        )
        await hosted.start()
        stack.push_async_callback(hosted.stop)
        hosted.host = f"alpha.test:{hosted.port}"
        gateway = await stack.enter_async_context(_gateway(folder, engine.url, hosted, authority))
        await until(lambda: _sees_engine(gateway), "the gateway to see the engine", patience_s=HEALTHY_S)
        yield Stage(gateway=gateway, engine_url=engine.url)
        if hosted.problems:
            raise SystemExit(f"the hosted side got what it must not: {hosted.problems[:3]}")


@contextlib.asynccontextmanager
async def _gateway(folder: Path, engine_url: str, hosted: fakes.Backend, authority: certificates.Authority) -> AsyncIterator[Gateway]:
    workload = decisions.workload(
        {
            "model": {"id": decisions.MODEL},
            "slo": {"timeToFirstTokenMs": 30_000, "endToEndMs": 60_000},  # of the gateway: so that nothing is given up for being slow
            "placement": {"mode": "Hybrid"},
            "gateway": {"replicas": 1},
            "dedicated": {},
            "hosted": {"backends": [{"providerRef": {"name": "alpha"}, "model": hosted.model}]},
        }
    )
    provider = decisions.provider(f"https://{hosted.host}/v1", hosted.model)
    addresses = GatewayAddresses(
        engines=(Address(host="127.0.0.1", port=int(engine_url.rpartition(":")[2])),),
        hosted={"alpha": Address(host="127.0.0.1", port=hosted.port)},
    )
    gateway = Gateway(workload, decisions.decision(workload, {"alpha": provider}, cap=SLOTS), folder / "gateway", addresses)
    gateway.write_authority("alpha", authority.pem)
    gateway.write_key("alpha", KEYS["alpha"])
    try:
        await gateway.start()
        yield gateway
    finally:
        await gateway.stop()


async def _sees_engine(gateway: Gateway) -> bool:
    return await gateway.metric("envoy_cluster_membership_healthy", envoy_cluster_name="owned") == 1


async def _answer_in_time(request: web.Request, body: dict[str, Any], chance: random.Random) -> web.StreamResponse:
    """Stream as many tokens as asked for, the first and the others when HOSTED says."""
    sigma = math.log(HOSTED.ttft_p99_ms / HOSTED.ttft_median_ms) / NORMAL_99
    first_s = chance.lognormvariate(math.log(HOSTED.ttft_median_ms), sigma) / 1e3
    gap_s = chance.uniform(*HOSTED.inter_token_ms) / 1e3
    clock = asyncio.get_running_loop().time
    begun_s = clock()
    response = await fakes.open_stream(request)
    with fakes.stream_end(response):
        for token in range(int(body["max_tokens"])):
            await asyncio.sleep(max(0.0, begun_s + first_s + token * gap_s - clock()))
            await response.write(fakes.event({"object": "text_completion", "choices": [{"index": 0, "text": "hel"}]}))
        if (body.get("stream_options") or {}).get("include_usage"):
            await response.write(fakes.event({"object": "text_completion", "choices": [], "usage": fakes.usage()}))
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
    return response
