"""Values to decide on: one plain situation, and keyword arguments for what a test changes in it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from spillway.api.catalogue import AcceleratorClassSpec, HostedProviderSpec
from spillway.api.vocabulary import Reason
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.decide import decide
from spillway.plan.decision import Decision, Key, Memory, Workload
from spillway.plan.names import pool_name
from spillway.plan.observation import (
    Catalogue,
    GatewayPod,
    Missing,
    Observation,
    Pool,
    ReplicaPod,
    Sample,
    SideLatency,
    Signals,
    TokenCounters,
)
from spillway.plan.replica.measuring import Measured, remember
from spillway.plan.settings import PlanSettings

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SETTINGS = PlanSettings()
MISSING = Missing(reason=Reason.METRICS_MISSING)
POOL = pool_name("chat", "h100", 1)

LLAMA_8B: dict[str, int] = {"parameters": 8_030_000_000, "layers": 32, "attentionHeads": 32, "keyValueHeads": 8, "headSize": 128}


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def accelerator(**changes: Any) -> AcceleratorClassSpec:
    h100 = {
        "product": "NVIDIA H100 SXM 80GB",
        "memoryGiB": 80,
        "memoryBandwidthGBps": 3350,
        "teraFLOPs": {"bf16": 989, "fp8": 1979},
        "perNode": 8,
        "price": {"onDemandUSDPerHour": "4", "per": "Accelerator", "asOf": "2026-07-20", "source": "a price list"},
    }
    return AcceleratorClassSpec.model_validate(h100 | changes)


def provider(**changes: Any) -> HostedProviderSpec:
    acme = {
        "baseURL": "https://api.example.com/v1",
        "auth": {"secretRef": {"name": "acme-key", "key": "token"}},
        "models": [
            {"name": "llama-8b", "inputUSDPerMillionTokens": "0.1", "outputUSDPerMillionTokens": "0.4"},
            {"name": "org/llama-70b", "inputUSDPerMillionTokens": "1", "outputUSDPerMillionTokens": "2"},
        ],
        "prices": {"asOf": "2026-08-01", "source": "its price page"},
    }
    return HostedProviderSpec.model_validate(acme | changes)


def spec(mode: str = "Hybrid", **changes: Any) -> InferenceWorkloadSpec:
    """Return a hybrid workload with a batch of 8 and one to four replicas. `scaling`, `engine`, `model` and the like are merged in."""
    scaling = {"minReplicas": 1, "maxReplicas": 4} | changes.pop("scaling", {})
    engine = {"maxNumSeqs": 8} | changes.pop("engine", {})
    dedicated = {"scaling": scaling, "engine": engine} | changes.pop("dedicated", {})
    whole: dict[str, Any] = {
        "model": {"id": "meta/llama-8b"} | changes.pop("model", {}),
        "placement": {"mode": mode},
        "dedicated": dedicated,
        "hosted": {"backends": [{"providerRef": {"name": "acme"}, "model": "llama-8b"}]},
    }
    if mode == "Dedicated":
        whole.pop("hosted")
    if mode == "Hosted":
        whole.pop("dedicated")
    return InferenceWorkloadSpec.model_validate(whole | changes)


def workload(mode: str = "Hybrid", *, previous_status: Mapping[str, object] | None = None, generation: int = 1, **changes: Any) -> Workload:
    return Workload(
        key=Key(namespace="ml", name="chat"),
        uid="uid-1",
        generation=generation,
        created_at=NOW - timedelta(days=1),
        spec=spec(mode, **changes),
        previous_status=previous_status or {},
    )


def reading(found: Any) -> Any:
    return found if isinstance(found, Missing) else Sample(value=found, at=NOW)


QUIET: dict[str, Any] = {
    "arrivals_per_s": 0.0,
    "spilled_per_s": 0.0,
    "failed_per_s": 0.0,
    "refused_per_s": 0.0,
    "cancelled_per_s": 0.0,
    "in_flight_owned": 0.0,
    "held_at_gateway": 0.0,
    "input_tokens_mean": MISSING,
    "output_tokens_mean": MISSING,
    "residence_s": MISSING,
    "running": 0.0,
    "waiting": 0.0,
    "kv_cache_usage_ratio": 0.0,
    "step_time_ms": MISSING,
    "batch_mean": MISSING,
    "prompt_tokens_per_step": MISSING,
    "kv_tokens_per_step": MISSING,
    "prefix_hit_ratio": MISSING,
    "inter_token_within_ratio": MISSING,
    "ttft_p95_ms": MISSING,
    "inter_token_p95_ms": MISSING,
    "gpu_utilization_percent": MISSING,
    "owned_latency": MISSING,
    "hosted_latency": MISSING,
    "counters": (),
}


BY_BACKEND = ("hosted_healthy", "hosted_rejected_per_s", "hosted_credential_loaded")


def signals(*, window_s: float = 60.0, **changes: Any) -> Signals:
    """Return the readings of a quiet workload, with these changes."""
    by_backend: dict[str, Any] = {name: {label: reading(state) for label, state in changes.pop(name, {}).items()} for name in BY_BACKEND}
    readings = {name: reading(found) for name, found in (QUIET | changes).items()}
    return Signals(window_s=window_s, **readings, **by_backend)


def blind(**changes: Any) -> Signals:
    """Return the readings while Prometheus is away."""
    return signals(**(dict.fromkeys(QUIET, MISSING) | changes))


def latency(requests: float = 100.0, **changes: Any) -> SideLatency:
    plain: dict[str, Any] = {"within_ttft": 1.0, "within_end_to_end": 1.0, "ttft_p95_ms": 200.0}
    return SideLatency(requests=requests, **(plain | changes))


def replica(index: int = 0, **changes: Any) -> ReplicaPod:
    plain: dict[str, Any] = {
        "uid": f"replica-{index}",
        "name": f"{POOL}-{index}",
        "pool": POOL,
        "accelerator_class": "h100",
        "tensor_parallel_size": 1,
        "ready": True,
        "terminating": False,
        "bound_at": NOW - timedelta(hours=1),
        "ready_since": NOW - timedelta(minutes=50),
        "ended_at": None,
    }
    return ReplicaPod(**(plain | changes))


def gateway(index: int = 0, *, ready: bool = True, **changes: Any) -> GatewayPod:
    return GatewayPod(uid=f"gateway-{index}", name=f"chat-gateway-{index}", ready=ready, **changes)


def pool(replicas: int, *, name: str = POOL, **changes: Any) -> Pool:
    return Pool(name=name, replicas=replicas, ready_replicas=changes.pop("ready_replicas", replicas), **changes)


def counters(pod: str = "chat-gateway-0", backend: str = "acme/llama-8b", **changes: float) -> TokenCounters:
    plain = {
        "requests": 0.0,
        "input_tokens": 0.0,
        "output_tokens": 0.0,
        "unmetered_requests": 0.0,
        "unmetered_request_bytes": 0.0,
        "unmetered_response_bytes": 0.0,
        "unmetered_plain_response_bytes": 0.0,
    }
    return TokenCounters(pod=pod, backend=backend, **(plain | changes))


def learned(step_ms: float, batch: float, wanted: Workload | None = None) -> Memory:
    """Return the memory of an operator that has seen steps of this length at this batch, on the replicas of `observe`."""
    subject = Measured(pool=POOL, spec=(wanted or workload()).spec, accelerator=accelerator(), running=None)
    return remember(Memory(), signals(step_time_ms=step_ms, batch_mean=batch), subject, NOW)


def observe(count: int = 1, /, **changes: Any) -> Observation:
    """One gateway, that many ready replicas, a quiet minute, watched for a day."""
    plain: dict[str, Any] = {
        "catalogue": Catalogue(accelerator_classes={"h100": accelerator()}, providers={"acme": provider()}),
        "replicas": tuple(replica(index) for index in range(count)),
        "gateways": (gateway(),),
        "pools": (pool(count),),
        "foreign_objects": (),
        "signals": signals(),
        "watched_since": NOW - timedelta(days=1),
    }
    return Observation(**(plain | changes))


def catalogue(
    classes: Mapping[str, AcceleratorClassSpec] | None = None, providers: Mapping[str, HostedProviderSpec] | None = None
) -> Catalogue:
    return Catalogue(
        accelerator_classes={"h100": accelerator()} if classes is None else classes,
        providers={"acme": provider()} if providers is None else providers,
    )


def dear() -> Catalogue:
    """Return a catalogue in which hosting costs so much that owning pays at any use."""
    models = [{"name": "llama-8b", "inputUSDPerMillionTokens": "100", "outputUSDPerMillionTokens": "400"}]
    return catalogue(providers={"acme": provider(models=models)})


def one_pass(
    wanted: Workload | None = None, seen: Observation | None = None, memory: Memory | None = None, at: datetime = NOW
) -> tuple[Decision, Memory]:
    return decide(wanted or workload(), seen or observe(), memory or Memory(), at, SETTINGS)


def passes(wanted: Workload, seen: Observation, memory: Memory, *, start: datetime, seconds: float) -> tuple[Decision, Memory]:
    """Repeat the same observation every tick over a time; returns the last decision, the replica count it decided being followed."""
    steps = round(seconds / SETTINGS.tick.total_seconds())
    decision, memory = decide(wanted, seen, memory, start, SETTINGS)
    for step in range(1, steps + 1):
        if decision.scale is not None:
            seen = replace(seen, pools=(pool(decision.scale.replicas),))
        decision, memory = decide(wanted, seen, memory, start + step * SETTINGS.tick, SETTINGS)
    return decision, memory
