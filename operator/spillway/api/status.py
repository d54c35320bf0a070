"""Status of an InferenceWorkload. Numbers are decimal strings or integers, rounded so that they change when something did."""
# ruff: noqa: RUF012 - pydantic copies a default; ruff sees only that the base class is not its own

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from spillway.api.base import ApiModel
from spillway.api.model import Architecture
from spillway.api.workload import ApplyMode, PlacementMode

LONGEST_MESSAGE = 32768  # of a metav1.Condition, characters


class Basis(StrEnum):
    """Where a capacity figure comes from."""

    ESTIMATED = "Estimated"
    MEASURED = "Measured"


class Section(ApiModel):
    """What one field manager writes as a whole.

    Field by field, who owns a status takes as much room as the status, and a fifth of the API server's work for writing it
    (benchmarks/operator). Conditions are still owned one by one.
    """

    model_config = ConfigDict(json_schema_extra={"x-kubernetes-map-type": "atomic"})


class Condition(Section):
    """A metav1.Condition."""

    type: Annotated[str, Field(max_length=316, description="Type of the condition.")]
    status: Annotated[Literal["True", "False", "Unknown"], Field(description="Status of the condition.")]
    reason: Annotated[str, Field(max_length=1024, description="Constant, machine-readable reason.")]
    message: Annotated[str, Field(max_length=LONGEST_MESSAGE, description="Human-readable message.")] = ""
    observed_generation: Annotated[int | None, Field(ge=0, description="Generation of the spec that it applies to.")] = None
    last_transition_time: Annotated[datetime, Field(description="Last time the status changed.")]


class PlanBasis(StrEnum):
    """Which traffic a plan was made for."""

    DECLARED = "Declared"
    OBSERVED = "Observed"


class RecommendedStatus(ApiModel):
    """What the plan finds cheapest within the promises, at on-demand prices."""

    mode: Annotated[str, Field(description="Dedicated, Hosted, Hybrid or Batch.")]
    accelerator_class: Annotated[str | None, Field(description="AcceleratorClass of its replicas.")] = None
    tensor_parallel_size: Annotated[int | None, Field(description="Accelerators per replica.")] = None
    replicas_mean: Annotated[str | None, Field(description="Mean replicas over a month.")] = None
    replicas_peak: Annotated[int | None, Field(description="Replicas at peak.")] = None
    monthly_usd: Annotated[str | None, Field(alias="monthlyUSD", description="USD per 30 days.")] = None
    usd_per_million_tokens: Annotated[str | None, Field(alias="usdPerMillionTokens", description="Blended price per million tokens.")] = (
        None
    )
    reason: Annotated[str, Field(description="Reason, with the figures.")]


class PlannedTrafficStatus(ApiModel):
    """The traffic that the plan was made for."""

    basis: Annotated[PlanBasis, Field(description="Declared in spec.traffic, or Observed at the gateway.")]
    requests_per_second_mean: Annotated[str | None, Field(description="Mean rate.")] = None
    requests_per_second_peak: Annotated[str | None, Field(description="Peak rate over a minute.")] = None
    input_tokens_mean: Annotated[int | None, Field(description="Tokens of a prompt.")] = None
    output_tokens_mean: Annotated[int | None, Field(description="Tokens of an answer.")] = None


class ObservedLoadStatus(ApiModel):
    """What has been seen of the traffic, over the time for which a saving must hold. A new operator goes on from it."""

    requests_per_second_mean: Annotated[str, Field(description="Mean rate, weighted towards recent traffic.")]
    requests_per_second_peak: Annotated[str, Field(description="Peak rate over a minute, decaying over time.")]
    input_tokens_mean: Annotated[int | None, Field(description="Tokens of a prompt.")] = None
    output_tokens_mean: Annotated[int | None, Field(description="Tokens of an answer.")] = None
    seconds: Annotated[int, Field(ge=0, description="Observation time behind these figures.")]
    until: Annotated[datetime, Field(description="End of the observation.")]


class PlacementStatus(Section):
    """What serves the workload, and what should."""

    mode: Annotated[PlacementMode, Field(description="Where requests are served now; Auto while undecided.")]
    accelerator_class: Annotated[str | None, Field(description="AcceleratorClass of the replicas.")] = None
    tensor_parallel_size: Annotated[int | None, Field(description="Accelerators per replica.")] = None
    reason: Annotated[str, Field(description="Constant reason.")]
    recommended: Annotated[RecommendedStatus | None, Field(description="Recommended placement; absent if none is feasible.")] = None
    current_monthly_usd: Annotated[
        str | None, Field(alias="currentMonthlyUSD", description="Planned cost of the current placement, USD per 30 days.")
    ] = None
    saving_percent: Annotated[str | None, Field(description="How much less the recommended placement costs.")] = None
    traffic: Annotated[PlannedTrafficStatus | None, Field(description="Traffic behind the plan.")] = None
    observed: Annotated[ObservedLoadStatus | None, Field(description="Observed traffic.")] = None
    evaluated_at: Annotated[datetime, Field(description="Time of the last plan, or of the decision if there is no plan.")]
    saving_since: Annotated[
        datetime | None,
        Field(description="Since when every plan has found a sufficient saving; apply Automatic moves once that has lasted."),
    ] = None
    apply: Annotated[
        ApplyMode | None, Field(description="Whether a recommended placement is applied; under modes other than Auto it is only reported.")
    ] = None


class ModelStatus(Section):
    """What its replicas told of a model whose shape neither the spec nor the catalogue knows."""

    read_from: Annotated[str, Field(description="Location of the config.json: repository@revision, or claim:path.")]
    architecture: Annotated[
        Architecture | None,
        Field(description="Shape that plans use. Copy it to spec.model.architecture to size replicas by it."),
    ] = None
    problem: Annotated[str | None, Field(description="Why no shape could be read.")] = None


class CapacityStatus(ApiModel):
    """What one replica sustains within the SLO."""

    requests_per_second: Annotated[str | None, Field(description="Requests per second of one replica.")] = None
    concurrency: Annotated[int | None, Field(description="Concurrent requests of one replica (its batch).")] = None
    basis: Annotated[Basis, Field(description="Estimated from the accelerator's specifications, or Measured in the engine.")]


class DedicatedStatus(Section):
    """Replicas in the cluster."""

    accelerator_class: Annotated[str | None, Field(description="AcceleratorClass in use.")] = None
    tensor_parallel_size: Annotated[int | None, Field(description="Accelerators per replica.")] = None
    replicas: Annotated[int, Field(description="Replicas that exist, ready or not.")] = 0
    ready_replicas: Annotated[int, Field(description="Ready replicas.")] = 0
    desired_replicas: Annotated[int, Field(description="Desired replicas.")] = 0
    recommended_replicas: Annotated[
        int | None,
        Field(description="Recommended replicas with placement.apply Recommend; desiredReplicas is then the actual number."),
    ] = None
    gpu_utilization_percent: Annotated[int | None, Field(description="Mean accelerator utilisation, if DCGM exports it.")] = None
    prefix_hit_percent: Annotated[
        int | None, Field(description="Recent share of prompt tokens found in the replicas' prefix caches, if the engine reports it.")
    ] = None
    capacity: Annotated[CapacityStatus | None, Field(description="Capacity of one replica.")] = None
    start_up_seconds: Annotated[int | None, Field(description="Median time that the next replica will take from scheduled to ready.")] = (
        None
    )
    start_up_basis: Annotated[
        Basis | None, Field(description="Estimated from the size of the weights, or Measured on pods of the pool.")
    ] = None


class TrafficStatus(Section):
    """What arrives, seen at the gateway."""

    requests_per_second: Annotated[str | None, Field(description="Request arrivals per second, spilled ones included.")] = None
    input_tokens_mean: Annotated[int | None, Field(description="Mean prompt tokens.")] = None
    output_tokens_mean: Annotated[int | None, Field(description="Mean answer tokens.")] = None
    spilled_percent: Annotated[str | None, Field(description="Share of requests served by hosted backends.")] = None


class SideSlo(ApiModel):
    """Attainment on one side."""

    attainment_percent: Annotated[
        str | None, Field(description="Lowest of the targets' attainments on this side: no more than this share met every target.")
    ] = None
    ttft_p95_ms: Annotated[int | None, Field(description="95th percentile of the time to first token of streams.")] = None
    inter_token_p95_ms: Annotated[int | None, Field(description="95th percentile of streams' mean inter-token latency.")] = None


class SloStatus(Section):
    """How the promise holds, over `window`, spilled and failed requests included."""

    attainment_percent: Annotated[
        str | None, Field(description="Lowest of the targets' attainments: no more than this share met every target.")
    ] = None
    time_to_first_token_attainment_percent: Annotated[str | None, Field(description="Share of streamed requests within the target.")] = None
    inter_token_latency_attainment_percent: Annotated[str | None, Field(description="Share of streamed requests within the target.")] = None
    end_to_end_attainment_percent: Annotated[str | None, Field(description="Share of requests within the target.")] = None
    owned: Annotated[SideSlo | None, Field(description="Requests served by replicas.")] = None
    hosted: Annotated[SideSlo | None, Field(description="Requests served by hosted backends.")] = None
    ttft_p95_ms: Annotated[int | None, Field(description="95th percentile of the time to first token of streams.")] = None
    inter_token_p95_ms: Annotated[int | None, Field(description="95th percentile of streams' mean inter-token latency.")] = None
    window: Annotated[str, Field(description="Time window of the figures, for example 5m.")] = "5m"


class CostStatus(Section):
    """What it costs, in USD. A figure without a source is absent, never zero."""

    usd_per_hour: Annotated[str | None, Field(alias="usdPerHour", description="Cost per hour now: owned plus hosted.")] = None
    dedicated_usd_per_hour: Annotated[
        str | None,
        Field(
            alias="dedicatedUSDPerHour", description="Cost of replicas from binding to termination, idle or not, without committedReplicas."
        ),
    ] = None
    hosted_usd_per_hour: Annotated[str | None, Field(alias="hostedUSDPerHour", description="Hosted tokens, at the current rate.")] = None
    month_to_date_usd: Annotated[
        str | None, Field(alias="monthToDateUSD", description="Cost since the first of the month (UTC), from the ledger.")
    ] = None
    projected_monthly_usd: Annotated[
        str | None, Field(alias="projectedMonthlyUSD", description="Month to date plus the rest of the month at the current rate.")
    ] = None
    usd_per_million_tokens: Annotated[
        str | None, Field(alias="usdPerMillionTokens", description="Cost per million tokens (input and output) this month.")
    ] = None
    if_all_hosted_monthly_usd: Annotated[
        str | None, Field(alias="ifAllHostedMonthlyUSD", description="30 days of the current traffic, all hosted.")
    ] = None
    if_all_dedicated_monthly_usd: Annotated[
        str | None, Field(alias="ifAllDedicatedMonthlyUSD", description="30 days of the current traffic, all on replicas.")
    ] = None
    kappa: Annotated[
        str | None,
        Field(
            description="Hosted price divided by own cost of the same work at full SLO-feasible utilisation, at the lengths of the last "
            "minutes; below 1, self-hosting costs more at any load, and SelfHostingEconomic says so."
        ),
    ] = None
    break_even_requests_per_month: Annotated[int | None, Field(description="Volume from which one replica is cheaper than hosted.")] = None
    prices_as_of: Annotated[str | None, Field(description="Oldest date of the prices used.")] = None
    unaccounted_seconds: Annotated[int, Field(description="Unobserved seconds of this month; their cost may be missing.")] = 0
    estimated_requests: Annotated[
        int, Field(description="Requests of this month whose tokens were estimated (aborted, or no usage reported).")
    ] = 0


class ForecastStatus(ApiModel):
    """The demand that is expected when a replica asked for now would serve, in replicas."""

    p10: Annotated[str, Field(description="10th percentile.")]
    p50: Annotated[str, Field(description="Median.")]
    p90: Annotated[str, Field(description="90th percentile.")]
    horizon_seconds: Annotated[int, Field(ge=0, description="Forecast horizon.")]


class DecisionStatus(ApiModel):
    """One decision and its reason."""

    time: Annotated[datetime, Field(description="Time of the decision.")]
    what: Annotated[str, Field(description="What was decided, for example replicas 1 -> 2.")]
    reason: Annotated[str, Field(description="Constant reason.")]
    why: Annotated[str, Field(description="Figures behind the decision.")]
    usd_per_hour: Annotated[
        str | None, Field(alias="usdPerHour", description="Hourly cost of replicas after it, without committedReplicas.")
    ] = None
    forecast: Annotated[ForecastStatus | None, Field(description="Demand forecast behind the replica count.")] = None
    kappa: Annotated[
        str | None,
        Field(
            description="Hosted price divided by own cost of the same work, as used: for a full batch, at the lengths of the last hours. "
            "cost.kappa also keeps within the SLO, and is usually lower."
        ),
    ] = None
    marginal_saving_usd_per_hour: Annotated[
        str | None,
        Field(
            alias="marginalSavingUSDPerHour",
            description="Net hourly saving of the last replica added, kept or removed; negative: net cost.",
        ),
    ] = None
    rejected: Annotated[str | None, Field(description="The rejected alternative, with its net saving or cost.")] = None


class InferenceWorkloadStatus(ApiModel):
    """Observed state of the workload."""

    observed_generation: Annotated[int | None, Field(description="Generation of the spec that this status applies to.")] = None
    url: Annotated[str | None, Field(description="OpenAI-compatible base URL inside the cluster; changes only with gateway.tls.")] = None
    placement: Annotated[PlacementStatus | None, Field(description="Current and recommended placement.")] = None
    model: Annotated[
        ModelStatus | None, Field(description="The model's shape as read by a replica, if neither spec nor catalogue has it.")
    ] = None
    dedicated: Annotated[DedicatedStatus | None, Field(description="Replicas in the cluster.")] = None
    traffic: Annotated[TrafficStatus | None, Field(description="Incoming traffic.")] = None
    slo: Annotated[SloStatus | None, Field(description="SLO attainment.")] = None
    cost: Annotated[CostStatus | None, Field(description="Cost of the workload.")] = None
    decisions: Annotated[list[DecisionStatus], Field(max_length=10, description="Last ten decisions, newest first.")] = []
    replicas: Annotated[int | None, Field(ge=0, description="Replicas that exist; read by the scale subresource.")] = None
    selector: Annotated[str | None, Field(description="Label selector of replica pods; read by the scale subresource.")] = None
    replicas_summary: Annotated[str | None, Field(description="ready/desired, for the Replicas column.")] = None
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=32,
            description="Conditions, by type.",
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = []
