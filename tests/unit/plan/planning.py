"""Questions to plan for: one plain one, with sizes that are given rather than computed."""

from typing import Any

from spillway.api.catalogue import AcceleratorClassSpec, HostedProviderSpec
from spillway.api.traffic import TrafficPattern
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.comparing.offers import Offers, find_offers
from spillway.plan.comparing.options import Question
from spillway.plan.decision import Problem
from spillway.plan.replica.sizing import Memory, ReplicaSize, SizeBasis
from spillway.plan.traffic.load import Load

MODEL = "acme/Chat-8B-Instruct"


def accelerator(usd: str = "2", **changes: Any) -> AcceleratorClassSpec:
    price = {"onDemandUSDPerHour": usd, "per": "Accelerator", "asOf": "2026-11-01", "source": "a list"} | changes.pop("price", {})
    plain = {
        "product": "NVIDIA X 80GB",
        "memoryGiB": 80,
        "memoryBandwidthGBps": 2000,
        "teraFLOPs": {"bf16": 300},
        "perNode": 8,
        "price": price,
    }
    return AcceleratorClassSpec.model_validate(plain | changes)


def provider(usd_in: str = "0.5", usd_out: str = "1.5", *, model: dict[str, Any] | None = None, **changes: Any) -> HostedProviderSpec:
    listed = {"name": "chat-8b", "inputUSDPerMillionTokens": usd_in, "outputUSDPerMillionTokens": usd_out} | (model or {})
    plain = {
        "baseURL": "https://api.example.com/v1",
        "models": [listed],
        "prices": {"asOf": "2026-11-01", "source": "a list"},
    }
    return HostedProviderSpec.model_validate(plain | changes)


def size(name: str = "x", requests_per_s: float = 2.0, **changes: Any) -> ReplicaSize:
    plain: dict[str, Any] = {
        "accelerator_class": name,
        "tensor_parallel_size": 1,
        "memory": Memory(weights_gib=16, activations_gib=2, graphs_gib=1, usable_gib=72, kv_cache_gib=53),
        "kv_tokens": 400_000,
        "concurrency": 64,
        "requests_per_s": requests_per_s,
        "ttft_ms": 200.0,
        "inter_token_latency_ms": 30.0,
        "end_to_end_ms": 8000.0,
        "basis": SizeBasis.ESTIMATED,
        "error_percent": 20,
        "problem": None,
    }
    return ReplicaSize(**(plain | changes))


def spec(**changes: Any) -> InferenceWorkloadSpec:
    plain: dict[str, Any] = {
        "model": {"id": MODEL},
        "placement": {"mode": "Auto"},
        "dedicated": {},
        "traffic": {"inputTokens": {"mean": 1000}, "outputTokens": {"mean": 250}},
    }
    return InferenceWorkloadSpec.model_validate(plain | changes)


def question(
    given: InferenceWorkloadSpec | None = None,
    *,
    classes: dict[str, AcceleratorClassSpec] | None = None,
    providers: dict[str, HostedProviderSpec] | None = None,
) -> Question:
    asked = given or spec()
    offers = find_offers(asked, {"acme": provider()} if providers is None else providers)
    assert not isinstance(offers, Problem), offers
    assert isinstance(offers, Offers)
    return Question(name="chat", spec=asked, classes={"x": accelerator()} if classes is None else classes, offers=offers)


def load(mean: float = 4.0, peak: float | None = None, pattern: TrafficPattern = TrafficPattern.STEADY) -> Load:
    return Load(mean_per_s=mean, peak_per_s=mean if peak is None else peak, pattern=pattern)
