"""Two real vLLM replicas behind two gateways as rendered, one with each way to choose a replica."""

import contextlib
import os
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from spillway.api.routing import Routing
from spillway.render.envoy.config import Address, GatewayAddresses
from tests.dataplane import decisions
from tests.dataplane.process import Gateway, until
from tests.e2e.cluster.engine import model
from tests.engine.engines import Engine, started

REPLICAS = 2
MAX_NUM_SEQS = 8
BLOCK_TOKENS = 32  # the least that vLLM's CPU build takes; on a GPU it has 16
ENGINE_FLAGS = (
    *("--served-model-name", decisions.SERVED),
    *("--max-num-seqs", str(MAX_NUM_SEQS)),
    *("--block-size", str(BLOCK_TOKENS)),
    *("--distributed-executor-backend", "uni"),
    "--enable-prefix-caching",
    *("--kv-cache-memory-bytes", str(64 * 1024 * 1024)),
)
# One thread for each replica: two of them, gateways and client share the machine's cores.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
READY_S = 240.0  # both start at the same time, on busy cores


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """One replica's counters since it started. Tokens looked up in the prefix cache, and tokens found there."""

    looked_up: float
    found: float
    answered: float
    cpu_s: float  # of the engine's processes

    def since(self, before: "Counters") -> "Counters":
        """Return what was counted since `before`."""
        return Counters(
            looked_up=self.looked_up - before.looked_up,
            found=self.found - before.found,
            answered=self.answered - before.answered,
            cpu_s=self.cpu_s - before.cpu_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What is measured."""

    gateways: dict[Routing, Gateway]
    engines: tuple[Engine, ...]

    async def counters(self) -> list[Counters]:
        """Return the counters of each replica."""
        return [_counters(await _metrics(each.url), cpu_s=_cpu_s(each.process.pid)) for each in self.engines]

    async def cached_tokens(self) -> int:
        """Return how many tokens one replica's cache holds."""
        page = await _metrics(self.engines[0].url)
        line = next(each for each in page.splitlines() if each.startswith("vllm:cache_config_info{"))
        labels = dict(each.split("=", 1) for each in line.partition("{")[2].rpartition("}")[0].split(",") if "=" in each)
        assert int(labels["block_size"].strip('"')) == BLOCK_TOKENS, labels["block_size"]
        return int(labels["num_gpu_blocks"].strip('"')) * BLOCK_TOKENS


@contextlib.asynccontextmanager
async def staged() -> AsyncIterator[Stage]:
    """Run everything for the length of a block, from the moment that both gateways have seen both replicas healthy."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        served = {model.model_dir("med"): "/med"}
        engines = tuple(
            stack.enter_context(started("vllm", *ENGINE_FLAGS, wait=False, binds=served, variables=ONE_THREAD, served="/med"))
            for _ in range(REPLICAS)
        )
        gateways = {}
        for routing in Routing:
            gateways[routing] = _gateway(folder / routing, engines, routing)
            stack.push_async_callback(gateways[routing].stop)
            await gateways[routing].start(workers=2)
        for gateway in gateways.values():
            await until(lambda gateway=gateway: _sees_all(gateway), "the gateway to see the replicas", patience_s=READY_S)
        yield Stage(gateways=gateways, engines=engines)


def _gateway(folder: Path, engines: tuple[Engine, ...], routing: Routing) -> Gateway:
    workload = decisions.workload(
        {
            "model": {"id": decisions.MODEL},
            "placement": {"mode": "Dedicated"},
            "gateway": {"replicas": 1, "routing": routing.value},
            "dedicated": {},
        }
    )
    replicas = tuple(Address(host="127.0.0.1", port=httpx.URL(each.url).port or 0) for each in engines)
    decision = decisions.decision(workload, {}, cap=REPLICAS * MAX_NUM_SEQS)
    return Gateway(workload, decision, folder, GatewayAddresses(engines=replicas))


async def _sees_all(gateway: Gateway) -> bool:
    return await gateway.metric("envoy_cluster_membership_healthy", envoy_cluster_name="owned") == REPLICAS


async def _metrics(url: str) -> str:
    async with httpx.AsyncClient(timeout=60) as client:
        return (await client.get(f"{url}/metrics")).text


def _cpu_s(pid: int) -> float:
    """Return the CPU time that a process and those it has started have used so far: what a busy machine changes least."""
    process = Path(f"/proc/{pid}")
    # proc(5): after the name in parentheses the state is field 3, and user and system time are 14 and 15.
    user, system = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
    children = [int(child) for task in (process / "task").iterdir() for child in (task / "children").read_text().split()]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK") + sum(_cpu_s(child) for child in children)


def _counters(page: str, *, cpu_s: float) -> Counters:
    def total(name: str) -> float:
        return sum(float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(f"vllm:{name}{{"))

    return Counters(
        looked_up=total("prefix_cache_queries_total"),
        found=total("prefix_cache_hits_total"),
        answered=total("request_success_total"),
        cpu_s=cpu_s,
    )
