"""Workloads and decisions for the gateway, without the planner: what a spec owns and rents is all that the gateway sees."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from spillway.api.catalogue import AcceleratorClassSpec, HostedProviderSpec
from spillway.api.status import Basis
from spillway.api.vocabulary import Reason
from spillway.api.workload import InferenceWorkloadSpec, PlacementMode
from spillway.plan.decision import Capacity, CostReport, Decision, GatewayPlan, HostedBackend, Key, OwnedPool, Workload
from spillway.plan.replica.start_up import start_up

MODEL = "acme/tiny-chat"
SERVED = "tiny-chat"
_REASONS = {
    PlacementMode.DEDICATED: Reason.MODE_DEDICATED,
    PlacementMode.HOSTED: Reason.MODE_HOSTED,
    PlacementMode.HYBRID: Reason.MODE_HYBRID,
}


def workload(spec: Mapping[str, Any], *, name: str = "chat", namespace: str = "demo") -> Workload:
    """Return a workload with this spec."""
    return Workload(
        key=Key(namespace=namespace, name=name),
        uid="0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
        generation=1,
        created_at=datetime(2026, 11, 1, tzinfo=UTC),
        spec=InferenceWorkloadSpec.model_validate(spec),
    )


def decision(given: Workload, providers: Mapping[str, HostedProviderSpec], *, cap: int) -> Decision:
    """Return the decision that follows from the spec alone, with a concurrency cap per gateway."""
    spec = given.spec
    refs = spec.hosted.backends if spec.hosted and spec.rents else []
    targets = spec.slo
    return Decision(
        mode=spec.placement.mode,
        mode_reason=_REASONS[spec.placement.mode],
        pool=_pool(given) if spec.owns else None,
        backends=tuple(_backend(ref.provider_ref.name, providers[ref.provider_ref.name], ref.model) for ref in refs),
        gateway=GatewayPlan(
            replicas=spec.gateway.replicas,
            cap_total=cap * spec.gateway.replicas,
            cap_per_gateway=cap,
            ttft_edge_ms=targets.time_to_first_token_ms if targets else None,
            end_to_end_edge_ms=targets.end_to_end_ms if targets else None,
            inter_token_edge_ms=targets.inter_token_latency_ms if targets else None,
            longest_own_prompt_tokens=spec.hosted.overflow.long_prompt_tokens if spec.hosted and spec.hosted.overflow else None,
        ),
        cost=_no_cost(),
        spec=spec,
    )


def provider(
    base_url: str,
    *models: str,
    key: bool = True,
    authority: bool = True,
    more: Mapping[str, Any] | None = None,
    more_of_model: Mapping[str, Any] | None = None,
) -> HostedProviderSpec:
    """Return a provider with these models."""
    prices = {"inputUSDPerMillionTokens": "1", "outputUSDPerMillionTokens": "2", **(more_of_model or {})}
    spec: dict[str, Any] = {
        "baseURL": base_url,
        "models": [{"name": each, **prices} for each in models],
        **(more or {}),
    }
    if key:
        spec["auth"] = {"secretRef": {"name": "hosted", "key": "api-key"}}
    if authority:
        spec["tls"] = {"caSecretRef": {"name": "hosted", "key": "ca.crt"}}
    return HostedProviderSpec.model_validate(spec)


def _backend(name: str, spec: HostedProviderSpec, model: str) -> HostedBackend:
    price = next(each for each in spec.models if each.name == model).cached_input_usd_per_million_tokens
    return HostedBackend(
        provider_name=name,
        provider=spec,
        model=model,
        input_usd_per_million=1.0,
        cached_input_usd_per_million=1.0 if price is None else float(price),
        output_usd_per_million=2.0,
    )


def _pool(given: Workload) -> OwnedPool:
    accelerator = AcceleratorClassSpec.model_validate(
        {"product": "Test GPU", "memoryGiB": 80, "memoryBandwidthGBps": 3350, "teraFLOPs": {"bf16": 990}, "perNode": 8}
    )
    capacity = Capacity(
        max_num_seqs=8,
        batch=8,
        queue_per_replica=0,
        requests_per_s=None,
        prefill_tokens_per_s=None,
        step_time_ms=None,
        kv_tokens=None,
        max_queued_tokens=None,
        max_queued_requests=64,
        sized_for="test",
        basis=Basis.ESTIMATED,
        work=None,
    )
    return OwnedPool(
        name=f"{given.key.name}-engine-00000000",
        accelerator_class="test-gpu",
        accelerator=accelerator,
        tensor_parallel_size=1,
        replicas=2,
        usd_per_replica_hour=None,
        capacity=capacity,
        start_up=start_up(None, estimate_s=180.0),
        surge=False,
    )


def _no_cost() -> CostReport:
    return CostReport(
        dedicated_usd_per_hour=None,
        hosted_usd_per_hour=None,
        month_to_date_usd=None,
        projected_monthly_usd=None,
        usd_per_million_tokens=None,
        if_all_hosted_monthly_usd=None,
        if_all_dedicated_monthly_usd=None,
        kappa=None,
        break_even_requests_per_month=None,
        prices_as_of=None,
        unaccounted_s=0.0,
        estimated_requests=0.0,
    )
