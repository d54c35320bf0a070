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
    status: Annotated[Literal["True", "False", "Unknown"], Field(description="Whether it holds.")]
    reason: Annotated[str, Field(max_length=1024, description="Constant that says why.")]
    message: Annotated[str, Field(max_length=LONGEST_MESSAGE, description="For people: what, which and what next.")] = ""
    observed_generation: Annotated[int | None, Field(ge=0, description="Generation of the spec it speaks of.")] = None
    last_transition_time: Annotated[datetime, Field(description="When the status last changed.")]


class PlanBasis(StrEnum):
    """Which traffic a plan was made for."""

    DECLARED = "Declared"
    OBSERVED = "Observed"


class RecommendedStatus(ApiModel):
    """What the plan finds cheapest within the promises, at on-demand prices."""

    mode: Annotated[str, Field(description="Dedicated, Hosted, Hybrid or Batch.")]
    accelerator_class: Annotated[str | None, Field(description="AcceleratorClass of its replicas.")] = None
    tensor_parallel_size: Annotated[int | None, Field(description="Accelerators per replica.")] = None
    replicas_mean: Annotated[str | None, Field(description="Own replicas on average over a month.")] = None
    replicas_peak: Annotated[int | None, Field(description="Own replicas at the busiest moment.")] = None
    monthly_usd: Annotated[str | None, Field(alias="monthlyUSD", description="USD in 30 days.")] = None
    usd_per_million_tokens: Annotated[str | None, Field(alias="usdPerMillionTokens", description="Blended price of a million tokens.")] = (
        None
    )
    reason: Annotated[str, Field(description="Why, with the figures.")]


class PlannedTrafficStatus(ApiModel):
    """The traffic that the plan was made for."""

    basis: Annotated[PlanBasis, Field(description="Declared in spec.traffic, or Observed at the gateway.")]
    requests_per_second_mean: Annotated[str | None, Field(description="Mean rate.")] = None
    requests_per_second_peak: Annotated[str | None, Field(description="Rate of the busiest minute.")] = None
    input_tokens_mean: Annotated[int | None, Field(description="Tokens of a prompt.")] = None
    output_tokens_mean: Annotated[int | None, Field(description="Tokens of an answer.")] = None


class ObservedLoadStatus(ApiModel):
    """What has been seen of the traffic, over the time for which a saving must hold. A new operator goes on from it."""

    requests_per_second_mean: Annotated[str, Field(description="Mean rate; recent time counts more.")]
    requests_per_second_peak: Annotated[str, Field(description="Busiest minute; it fades as it recedes.")]
    input_tokens_mean: Annotated[int | None, Field(description="Tokens of a prompt.")] = None
    output_tokens_mean: Annotated[int | None, Field(description="Tokens of an answer.")] = None
    seconds: Annotated[int, Field(ge=0, description="How much time of watching it rests on.")]
    until: Annotated[datetime, Field(description="Until when.")]


class PlacementStatus(Section):
    """What serves the workload, and what should."""

    mode: Annotated[PlacementMode, Field(description="Where requests are served now; Auto while that is not decided.")]
    accelerator_class: Annotated[str | None, Field(description="AcceleratorClass of the replicas.")] = None
    tensor_parallel_size: Annotated[int | None, Field(description="Accelerators per replica.")] = None
    reason: Annotated[str, Field(description="Why.")]
    recommended: Annotated[RecommendedStatus | None, Field(description="What the plan recommends; absent when nothing is possible.")] = None
    current_monthly_usd: Annotated[
        str | None, Field(alias="currentMonthlyUSD", description="What serves now, USD in 30 days, by the plan's arithmetic.")
    ] = None
    saving_percent: Annotated[str | None, Field(description="What the recommended costs less than that.")] = None
    traffic: Annotated[PlannedTrafficStatus | None, Field(description="The traffic that was planned for.")] = None
    observed: Annotated[ObservedLoadStatus | None, Field(description="The traffic that was seen.")] = None
    evaluated_at: Annotated[datetime, Field(description="When it was last planned, or decided where there is no plan.")]
    saving_since: Annotated[
        datetime | None, Field(description="Since when every plan has found enough to save; apply Automatic moves once that has lasted.")
    ] = None
    apply: Annotated[
        ApplyMode | None, Field(description="What becomes of a recommended placement; under a mode other than Auto it is only told.")
    ] = None


class ModelStatus(Section):
    """What its replicas told of a model whose shape neither the spec nor the catalogue knows."""

    read_from: Annotated[str, Field(description="Where their config.json is: repository@revision, or claim:path.")]
    architecture: Annotated[
        Architecture | None,
        Field(description="Its shape, as it is planned with. Copied to spec.model.architecture, replicas are made for it."),
    ] = None
    problem: Annotated[str | None, Field(description="Why it gave none.")] = None


class CapacityStatus(ApiModel):
    """What one replica sustains within the SLO."""

    requests_per_second: Annotated[str | None, Field(description="Requests per second of one replica.")] = None
    concurrency: Annotated[int | None, Field(description="Requests one replica serves at a time (its batch).")] = None
    basis: Annotated[Basis, Field(description="Estimated from the accelerator's figures, or Measured from the engine.")]


class DedicatedStatus(Section):
    """The owned side."""

    accelerator_class: Annotated[str | None, Field(description="AcceleratorClass in use.")] = None
    tensor_parallel_size: Annotated[int | None, Field(description="Accelerators per replica.")] = None
    replicas: Annotated[int, Field(description="Replicas that exist, ready or not.")] = 0
    ready_replicas: Annotated[int, Field(description="Replicas that serve.")] = 0
    desired_replicas: Annotated[int, Field(description="Replicas wanted.")] = 0
    recommended_replicas: Annotated[
        int | None,
        Field(description="Replicas that would be wanted, where placement.apply is Recommend; desiredReplicas is then what is."),
    ] = None
    gpu_utilization_percent: Annotated[int | None, Field(description="Mean accelerator utilisation, where DCGM exports it.")] = None
    prefix_hit_percent: Annotated[
        int | None, Field(description="Share of prompt tokens lately found in the replicas' prefix caches, where the engine tells it.")
    ] = None
    capacity: Annotated[CapacityStatus | None, Field(description="What one replica sustains.")] = None
    start_up_seconds: Annotated[
        int | None, Field(description="How long the next replica will take from its node to ready, as a median.")
    ] = None
    start_up_basis: Annotated[
        Basis | None, Field(description="Estimated from the size of the weights, or Measured from what pods of the pool took.")
    ] = None


class TrafficStatus(Section):
    """What arrives, seen at the gateway."""

    requests_per_second: Annotated[str | None, Field(description="Arrivals per second, spilled ones included.")] = None
    input_tokens_mean: Annotated[int | None, Field(description="Mean prompt tokens.")] = None
    output_tokens_mean: Annotated[int | None, Field(description="Mean answer tokens.")] = None
    spilled_percent: Annotated[str | None, Field(description="Share of requests answered by a hosted backend.")] = None


class SideSlo(ApiModel):
    """Attainment on one side."""

    attainment_percent: Annotated[
        str | None, Field(description="Lowest of the targets' attainments on this side: no more than this share met every target.")
    ] = None
    ttft_p95_ms: Annotated[int | None, Field(description="95th percentile of the time to the first token of a stream.")] = None
    inter_token_p95_ms: Annotated[int | None, Field(description="95th percentile of a stream's mean token gap.")] = None


class SloStatus(Section):
    """How the promise holds, over `window`, spilled and failed requests included."""

    attainment_percent: Annotated[
        str | None, Field(description="Lowest of the targets' attainments: no more than this share met every target.")
    ] = None
    time_to_first_token_attainment_percent: Annotated[str | None, Field(description="Share of streamed requests within the target.")] = None
    inter_token_latency_attainment_percent: Annotated[
        str | None, Field(description="Share of streamed requests whose mean token gap was within the target.")
    ] = None
    end_to_end_attainment_percent: Annotated[str | None, Field(description="Share of requests within the target.")] = None
    owned: Annotated[SideSlo | None, Field(description="Requests served by own replicas.")] = None
    hosted: Annotated[SideSlo | None, Field(description="Requests served by hosted backends.")] = None
    ttft_p95_ms: Annotated[int | None, Field(description="95th percentile of the time to the first token of a stream.")] = None
    inter_token_p95_ms: Annotated[int | None, Field(description="95th percentile of a stream's mean token gap.")] = None
    window: Annotated[str, Field(description="Time the figures cover, for example 5m.")] = "5m"


class CostStatus(Section):
    """What it costs, in USD. A figure without a source is absent, never zero."""

    usd_per_hour: Annotated[str | None, Field(alias="usdPerHour", description="Cost per hour now: owned plus hosted.")] = None
    dedicated_usd_per_hour: Annotated[
        str | None,
        Field(alias="dedicatedUSDPerHour", description="Own replicas, from binding to end, idle or not, but for committedReplicas."),
    ] = None
    hosted_usd_per_hour: Annotated[str | None, Field(alias="hostedUSDPerHour", description="Hosted tokens at the current rate.")] = None
    month_to_date_usd: Annotated[
        str | None, Field(alias="monthToDateUSD", description="Spent since the first of the month (UTC), from the ledger.")
    ] = None
    projected_monthly_usd: Annotated[
        str | None, Field(alias="projectedMonthlyUSD", description="Month to date plus the rest of the month at the current rate.")
    ] = None
    usd_per_million_tokens: Annotated[
        str | None, Field(alias="usdPerMillionTokens", description="Cost per million tokens, in and out together, this month.")
    ] = None
    if_all_hosted_monthly_usd: Annotated[
        str | None, Field(alias="ifAllHostedMonthlyUSD", description="30 days of the current traffic, all hosted.")
    ] = None
    if_all_dedicated_monthly_usd: Annotated[
        str | None, Field(alias="ifAllDedicatedMonthlyUSD", description="30 days of the current traffic, all on own replicas.")
    ] = None
    kappa: Annotated[
        str | None,
        Field(
            description="Hosted price over own cost of the same work at full SLO-feasible utilisation, at the lengths of the last minutes; "
            "below 1 owning loses at any load, and SelfHostingEconomic says so."
        ),
    ] = None
    break_even_requests_per_month: Annotated[int | None, Field(description="Volume from which one own replica is cheaper than hosted.")] = (
        None
    )
    prices_as_of: Annotated[str | None, Field(description="Oldest date among the prices used.")] = None
    unaccounted_seconds: Annotated[int, Field(description="Seconds of this month that nobody watched; their cost may be missing.")] = 0
    estimated_requests: Annotated[
        int, Field(description="Requests of this month whose tokens were estimated (aborted, or no usage reported).")
    ] = 0


class ForecastStatus(ApiModel):
    """The demand that is expected when a replica asked for now would serve, in replicas."""

    p10: Annotated[str, Field(description="Nine times out of ten it is at least this.")]
    p50: Annotated[str, Field(description="As often more as less.")]
    p90: Annotated[str, Field(description="Nine times out of ten it is at most this.")]
    horizon_seconds: Annotated[int, Field(ge=0, description="How far ahead that is.")]


class DecisionStatus(ApiModel):
    """One decision and its reason."""

    time: Annotated[datetime, Field(description="When.")]
    what: Annotated[str, Field(description="What was decided, for example replicas 1 -> 2.")]
    reason: Annotated[str, Field(description="Constant reason.")]
    why: Annotated[str, Field(description="The figures behind it.")]
    usd_per_hour: Annotated[
        str | None, Field(alias="usdPerHour", description="Cost per hour of own replicas after it, but for committedReplicas.")
    ] = None
    forecast: Annotated[ForecastStatus | None, Field(description="Demand forecast that replicas were decided by.")] = None
    kappa: Annotated[
        str | None,
        Field(
            description="Hosted price over own cost of the same work, as it was reckoned with: of a full batch, at the lengths of the last "
            "hours. cost.kappa also keeps the promises, and is the lower one as a rule."
        ),
    ] = None
    marginal_saving_usd_per_hour: Annotated[
        str | None,
        Field(
            alias="marginalSavingUSDPerHour",
            description="What the last replica decided upon saves in an hour; negative: what it costs more.",
        ),
    ] = None
    rejected: Annotated[str | None, Field(description="The alternative that was weighed, and its figure.")] = None


class InferenceWorkloadStatus(ApiModel):
    """What is."""

    observed_generation: Annotated[int | None, Field(description="Generation of the spec that this status speaks of.")] = None
    url: Annotated[str | None, Field(description="OpenAI-compatible base URL inside the cluster; changes only with gateway.tls.")] = None
    placement: Annotated[PlacementStatus | None, Field(description="What serves the workload.")] = None
    model: Annotated[ModelStatus | None, Field(description="What replicas told of the model, where nothing else knows its shape.")] = None
    dedicated: Annotated[DedicatedStatus | None, Field(description="The owned side.")] = None
    traffic: Annotated[TrafficStatus | None, Field(description="What arrives.")] = None
    slo: Annotated[SloStatus | None, Field(description="How the promise holds.")] = None
    cost: Annotated[CostStatus | None, Field(description="What it costs.")] = None
    decisions: Annotated[list[DecisionStatus], Field(max_length=10, description="Last ten decisions, newest first.")] = []
    replicas: Annotated[int | None, Field(ge=0, description="Replicas that exist; read by the scale subresource.")] = None
    selector: Annotated[str | None, Field(description="Label selector of replica pods; read by the scale subresource.")] = None
    replicas_summary: Annotated[str | None, Field(description="ready/desired, for the Replicas column.")] = None
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=32,
            description="Conditions, keyed by type.",
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = []
