"""How long one decision takes for 50 replicas and a demand of which a week was learned.

    python -m benchmarks.decision

Every decision is one whole pass of `decide()` on readings that move, a tick after the one before, with what that one remembered. CPU
time says what an idle machine would need. The bar is held by its median; the rest is shown beside it. Exits 1 when it is missed.
"""

import math
import statistics
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from spillway.api.catalogue import AcceleratorClassSpec, HostedProviderSpec
from spillway.api.vocabulary import Reason
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.decide import decide
from spillway.plan.decision import Key, Memory, Workload
from spillway.plan.names import pool_name
from spillway.plan.observation import Catalogue, GatewayPod, Missing, Observation, Pool, ReplicaPod, Sample, Signals
from spillway.plan.scaling.forecast import BIN_S, DemandModel, learn, new_model
from spillway.plan.settings import PlanSettings

REPLICAS = 50
BAR_MS = 20.0
WARM_UP, DECISIONS = 100, 1000
WEEK_MINUTES = 7 * 24 * 60
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
SETTINGS = PlanSettings()
UNREAD = Missing(reason=Reason.METRICS_MISSING)

WORKLOAD = Workload(
    key=Key(namespace="ml", name="chat"),
    uid="uid-1",
    generation=1,
    created_at=NOW - timedelta(days=8),
    spec=InferenceWorkloadSpec.model_validate(
        {
            "model": {"id": "meta-llama/Llama-3.1-8B-Instruct"},
            "slo": {"timeToFirstTokenMs": 2000, "interTokenLatencyMs": 50},
            "placement": {"mode": "Hybrid"},
            "traffic": {"inputTokens": {"mean": 1000}, "outputTokens": {"mean": 250}},
            "dedicated": {"scaling": {"minReplicas": 0, "maxReplicas": 100}},
            "hosted": {"backends": [{"providerRef": {"name": "acme"}, "model": "llama-8b"}]},
        }
    ),
)
CATALOGUE = Catalogue(
    accelerator_classes={
        "h100": AcceleratorClassSpec.model_validate(
            {
                "product": "NVIDIA H100 SXM 80GB",
                "memoryGiB": 80,
                "memoryBandwidthGBps": 3350,
                "teraFLOPs": {"bf16": 989, "fp8": 1979},
                "perNode": 8,
                "price": {"onDemandUSDPerHour": "3", "per": "Accelerator", "asOf": "2026-11-01", "source": "made up"},
            }
        )
    },
    providers={
        "acme": HostedProviderSpec.model_validate(
            {
                "baseURL": "https://api.example.com/v1",
                "auth": {"secretRef": {"name": "acme-key", "key": "token"}},
                "models": [{"name": "llama-8b", "inputUSDPerMillionTokens": "0.2", "outputUSDPerMillionTokens": "0.4"}],
                "prices": {"asOf": "2026-11-01", "source": "made up"},
            }
        )
    },
)


def main() -> int:
    """Measure and print."""
    walls_ms, busy_ms, wanted = _decisions()
    print(f"{len(walls_ms)} decisions on {REPLICAS} replicas, {wanted} wanted at last\n")
    print("| | median ms | 95th percentile ms |\n|---|---|---|")
    for name, taken_ms in (("wall", walls_ms), ("CPU", busy_ms)):
        print(f"| {name} | {statistics.median(taken_ms):.2f} | {statistics.quantiles(taken_ms, n=20)[-1]:.2f} |")
    return 0 if statistics.median(busy_ms) <= BAR_MS else 1


def _decisions() -> tuple[list[float], list[float], int]:
    """Return how long each decision took, how much of that it was computing, and the count that the last one wanted."""
    per_replica = _requests_per_s()
    memory, wanted = Memory(demand_model=_week()), 0
    walls_ms: list[float] = []
    busy_ms: list[float] = []
    for tick in range(WARM_UP + DECISIONS):
        now = NOW + tick * SETTINGS.tick
        seen = _observation(now, rate=per_replica * (0.9 * REPLICAS + 3 * math.sin(tick / 40)))
        started, before = time.perf_counter(), time.process_time()
        decision, memory = decide(WORKLOAD, seen, memory, now, SETTINGS)
        walls_ms.append(1000 * (time.perf_counter() - started))
        busy_ms.append(1000 * (time.process_time() - before))
        if decision.scale is None or decision.scale.figures is None:
            raise SystemExit(f"money did not decide: {decision.scale}; look at WORKLOAD and CATALOGUE")
        wanted = decision.scale.replicas
        memory = replace(memory, settling=None)
    return walls_ms[WARM_UP:], busy_ms[WARM_UP:], wanted


def _requests_per_s() -> float:
    """Return the rate that is the work of one replica."""
    decision, _ = decide(WORKLOAD, _observation(NOW, rate=1.0), Memory(), NOW, SETTINGS)
    work_s = decision.pool.capacity.work_s_per_request if decision.pool else None
    if work_s is None:
        raise SystemExit("no work is known for the model; look at WORKLOAD")
    return 1 / work_s


def _week() -> DemandModel:
    """Return what a week with nights in it teaches."""
    first = int(NOW.timestamp() // BIN_S) - WEEK_MINUTES - 1
    model = new_model(first)
    for minute in range(WEEK_MINUTES + 1):
        demand = REPLICAS * (0.6 + 0.3 * math.sin(2 * math.pi * minute / 1440)) + 2 * math.sin(minute)
        model = learn(model, demand, (first + minute + 0.5) * BIN_S)
    return model


def _observation(now: datetime, *, rate: float) -> Observation:
    pool = pool_name("chat", "h100", 1)
    pods = tuple(
        ReplicaPod(
            uid=f"replica-{index}",
            name=f"{pool}-{index}",
            pool=pool,
            accelerator_class="h100",
            tensor_parallel_size=1,
            ready=index < REPLICAS - 2,
            terminating=False,
            bound_at=now - timedelta(seconds=60 if index >= REPLICAS - 2 else 7200),
            ready_since=now - timedelta(hours=1) if index < REPLICAS - 2 else None,
            ended_at=None,
        )
        for index in range(REPLICAS)
    )
    return Observation(
        catalogue=CATALOGUE,
        replicas=pods,
        gateways=(GatewayPod(uid="gateway-0", name="chat-gateway-0", ready=True),),
        pools=(Pool(name=pool, replicas=REPLICAS, ready_replicas=REPLICAS - 2),),
        foreign_objects=(),
        signals=_signals(now, rate),
        watched_since=now - timedelta(days=7),
    )


def _signals(now: datetime, rate: float) -> Signals:
    def read(number: float) -> Sample[float]:
        return Sample(value=number, at=now)

    return Signals(
        window_s=60.0,
        arrivals_per_s=read(rate),
        spilled_per_s=read(0.02 * rate),
        failed_per_s=read(0.0),
        refused_per_s=read(0.0),
        cancelled_per_s=read(0.0),
        in_flight_owned=read(REPLICAS * 20.0),
        input_tokens_mean=read(1000.0),
        output_tokens_mean=read(250.0),
        residence_s=read(6.0),
        running=read(REPLICAS * 20.0),
        waiting=read(0.0),
        kv_cache_usage_ratio=read(0.5),
        step_time_ms=read(22.0),
        batch_mean=read(60.0),
        prompt_tokens_per_step=read(100.0),
        kv_tokens_per_step=UNREAD,
        prefix_hit_ratio=UNREAD,
        inter_token_within_ratio=UNREAD,
        ttft_p95_ms=UNREAD,
        inter_token_p95_ms=UNREAD,
        gpu_utilization_percent=UNREAD,
        owned_latency=UNREAD,
        hosted_latency=UNREAD,
        hosted_healthy={},
        hosted_rejected_per_s={},
        hosted_credential_loaded={},
        counters=UNREAD,
    )


if __name__ == "__main__":
    sys.exit(main())
