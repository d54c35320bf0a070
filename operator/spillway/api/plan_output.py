"""What `spillway plan -o json` prints: one document for each workload. docs/plan-output.schema.json is made from it.

Keys are only ever added. What does not apply or is not known is null, never zero.
"""

from typing import Annotated

from pydantic import ConfigDict, Field

from spillway.api.base import ApiModel

_MODE = "Dedicated, Hosted, Hybrid or Batch."
_CLASS = "AcceleratorClass of the own replicas; null where none are owned."
_PARALLEL = "Accelerators per replica."


class OutputModel(ApiModel):
    """Base of what is printed: every key is there."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)


class Recommended(OutputModel):
    """What to do."""

    mode: Annotated[str, Field(description=_MODE)]
    accelerator_class: Annotated[str | None, Field(description=_CLASS)]
    tensor_parallel_size: Annotated[int | None, Field(description=_PARALLEL)]
    pricing: Annotated[str | None, Field(description="OnDemand, Reserved or Spot; null where nothing is owned.")]
    provider: Annotated[str | None, Field(description="<provider>/<model> that is rented from; null where nothing is.")]
    replicas_mean: Annotated[float, Field(description="Own replicas on average over the month.")]
    replicas_peak: Annotated[int, Field(description="Own replicas at the busiest moment: dedicated.scaling.maxReplicas.")]
    monthly_usd: Annotated[float, Field(alias="monthlyUSD", description="USD in 30 days, without engineering.")]
    usd_per_million_tokens: Annotated[
        float | None, Field(alias="usdPerMillionTokens", description="Blended price of a million tokens, prompts and answers alike.")
    ]
    reason: Annotated[str, Field(description="Why, in a sentence or two.")]


class OptionOutput(OutputModel):
    """One way to serve."""

    mode: Annotated[str, Field(description=_MODE)]
    accelerator_class: Annotated[str | None, Field(description=_CLASS)]
    tensor_parallel_size: Annotated[int | None, Field(description=_PARALLEL)]
    pricing: Annotated[str | None, Field(description="OnDemand, Reserved or Spot; null where nothing is owned.")]
    provider: Annotated[str | None, Field(description="<provider>/<model> that is rented from; null where nothing is.")]
    feasible: Annotated[bool, Field(description="Whether nothing is in its way.")]
    reason: Annotated[str, Field(description="What is in its way, or how it compares.")]
    replicas_mean: Annotated[float | None, Field(description="Own replicas on average over the month.")]
    replicas_peak: Annotated[int | None, Field(description="Replicas at peak.")]
    utilization_percent: Annotated[float | None, Field(description="Share of what the running replicas could carry.")]
    monthly_usd: Annotated[float | None, Field(alias="monthlyUSD", description="USD per 30 days.")]
    usd_per_million_tokens: Annotated[float | None, Field(alias="usdPerMillionTokens", description="Blended price per million tokens.")]
    stranded_monthly_usd: Annotated[
        float | None,
        Field(
            alias="strandedMonthlyUSD",
            description="USD in 30 days for accelerators of the same nodes that nothing here uses; not in monthlyUSD.",
        ),
    ]
    kappa: Annotated[
        float | None, Field(description="Hosted price over the price of the same work on a full replica; below 1 owning loses.")
    ]
    break_even_requests_per_month: Annotated[
        int | None, Field(description="Volume from which own replicas save more than they cost; null where they never do.")
    ]
    break_even_utilization_percent: Annotated[
        float | None,
        Field(description="Use of a replica from which on it costs less than renting its work: 100 / kappa; null below kappa 1."),
    ]
    ttft_ms: Annotated[
        float | None, Field(description="Time to first token at the SLO's attainment, as predicted or as the provider states.")
    ]
    inter_token_latency_ms: Annotated[float | None, Field(description="Gap between tokens, likewise.")]
    requests_per_second_per_replica: Annotated[float | None, Field(description="What one replica carries within the promises.")]
    concurrency: Annotated[int | None, Field(description="Requests that one replica runs at a time at that rate.")]
    kv_tokens: Annotated[int | None, Field(description="Tokens that the KV cache of one replica holds.")]
    memory_gib_per_accelerator: Annotated[
        float | None,
        Field(
            alias="memoryGiBPerAccelerator",
            description="Memory that weights, activations and graphs take on each accelerator; the KV cache gets the rest.",
        ),
    ]
    basis: Annotated[str | None, Field(description="Calibrated (this model on this accelerator was measured) or Estimated.")]
    error_percent: Annotated[int | None, Field(description="How far off such figures were when checked against measurements.")]


class SelfHosting(OutputModel):
    """Whether owning pays at this load; the reasons are those of the condition SelfHostingEconomic."""

    economic: Annotated[bool | None, Field(description="Null where there is nothing to compare.")]
    reason: Annotated[str, Field(description="BelowBreakEven, HostedCheaperAtAnyLoad, ResidencyForcesDedicated, ...")]
    message: Annotated[str, Field(description="The same in words.")]


class EngineeringOutput(OutputModel):
    """What people cost, for owning. Shown apart: it is in no other figure."""

    once_usd: Annotated[float, Field(alias="onceUSD", description="Once.")]
    monthly_usd: Annotated[float, Field(alias="monthlyUSD", description="Every month.")]
    amortised_monthly_usd: Annotated[float, Field(alias="amortisedMonthlyUSD", description="A month's part of both.")]
    first_month_usd: Annotated[
        float | None, Field(alias="firstMonthUSD", description="The recommendation's first month with all of it, where it owns.")
    ]
    remark: Annotated[str, Field(description="What it changes.")]


class TrafficOutput(OutputModel):
    """The load that was planned for."""

    requests_per_month: Annotated[int, Field(description="Requests in 30 days.")]
    requests_per_second_mean: Annotated[float, Field(description="Mean rate.")]
    requests_per_second_peak: Annotated[float, Field(description="Peak rate over a minute.")]
    input_tokens_mean: Annotated[float, Field(description="Tokens of a prompt.")]
    output_tokens_mean: Annotated[float, Field(description="Tokens of an answer.")]
    tokens_per_second_peak: Annotated[int, Field(description="Tokens in and out per second in the busiest minute.")]


class SweepPoint(OutputModel):
    """The cheapest option of each mode at one volume; null where there is none that is possible."""

    requests_per_month: Annotated[int, Field(description="Volume.")]
    hosted_usd: Annotated[float | None, Field(alias="hostedUSD", description="USD in 30 days, all rented.")]
    batch_usd: Annotated[float | None, Field(alias="batchUSD", description="USD in 30 days, all in batches.")]
    dedicated_usd: Annotated[float | None, Field(alias="dedicatedUSD", description="USD in 30 days, all owned.")]
    hybrid_usd: Annotated[float | None, Field(alias="hybridUSD", description="USD in 30 days, peaks rented.")]
    recommended: Annotated[str | None, Field(description="Mode of the cheapest.")]
    accelerator_class: Annotated[str | None, Field(description="AcceleratorClass of the cheapest, where it owns.")]


class PlanOutput(OutputModel):
    """A plan."""

    workload: Annotated[str, Field(description="<namespace>/<name>.")]
    model: Annotated[str, Field(description="model.id.")]
    traffic: Annotated[TrafficOutput, Field(description="The load that was planned for.")]
    recommended: Annotated[Recommended | None, Field(description="What to do; null when nothing is possible, see relax.")]
    settings: Annotated[
        dict[str, str],
        Field(description="Fields of the InferenceWorkload to set for it, and those that have to change with them; as YAML, null: remove."),
    ]
    near_ties: Annotated[list[str], Field(description="Options whose cost is within the estimate's error of the cheapest.")]
    options: Annotated[list[OptionOutput], Field(description="Every way to serve: the possible ones first, cheapest first.")]
    break_even_requests_per_month: Annotated[
        int | None, Field(description="Smallest volume from which some way of owning pays; null where none ever does.")
    ]
    break_even_utilization_percent: Annotated[
        float | None, Field(description="Use of a replica from which on owning pays, that way of owning; 100 / kappa.")
    ]
    self_hosting_economic: Annotated[SelfHosting, Field(description="Whether owning pays at this load.")]
    engineering: Annotated[EngineeringOutput | None, Field(description="What people cost, when it was given.")]
    relax: Annotated[list[str], Field(description="When nothing is possible: the ways out, the fewest fields first and then the cheapest.")]
    warnings: Annotated[list[str], Field(description="What to check before relying on it.")]
    assumptions: Annotated[list[str], Field(description="What the figures rest on.")]
    sweep: Annotated[list[SweepPoint], Field(description="Cost by volume, with --sweep; empty without.")]
