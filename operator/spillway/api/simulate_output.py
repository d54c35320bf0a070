"""What `spillway simulate -o json` prints: one document for each workload. docs/simulate-output.schema.json is made from it.

Keys are only ever added. What does not apply or is not known is null, never zero.
"""

from typing import Annotated, Literal

from pydantic import Field

from spillway.api.plan_output import OutputModel

_SLO = "null: no such target."


class TraceOutput(OutputModel):
    """The traffic that was replayed."""

    name: Annotated[str, Field(description="File, or workload whose recording it is.")]
    requests: Annotated[int, Field(description="Requests replayed.")]
    duration_hours: Annotated[float, Field(description="Time replayed.")]
    requests_per_second_mean: Annotated[float, Field(description="Arrivals on average.")]
    requests_per_second_peak: Annotated[float, Field(description="Arrivals in the busiest minute.")]
    input_tokens_mean: Annotated[float | None, Field(description="Tokens of a prompt on average; null without requests.")]
    output_tokens_mean: Annotated[float | None, Field(description="Tokens of an answer on average; null without requests.")]
    demand_replicas_mean: Annotated[float, Field(description="Own replicas that the work would fill on average.")]
    scale: Annotated[float, Field(description="Times the recorded requests: --copies, --scale-to.")]
    columns: Annotated[dict[str, str], Field(description="Which column of the file was taken for arrival, input and output.")]


class SloOutput(OutputModel):
    """What has to be kept."""

    time_to_first_token_ms: Annotated[int | None, Field(description=f"Target of each request; {_SLO}")]
    inter_token_latency_ms: Annotated[int | None, Field(description=f"Target of each request's mean gap; {_SLO}")]
    end_to_end_ms: Annotated[int | None, Field(description=f"Target of each request; {_SLO}")]
    attainment_percent: Annotated[float, Field(description="Share of requests that have to meet every target.")]


class EngineOutput(OutputModel):
    """An own replica. A step of B sequences with KV tokens and P prompt tokens takes a + b B + c KV/1000 + delta P milliseconds."""

    accelerator_class: Annotated[str, Field(description="AcceleratorClass that a plan for this traffic would own.")]
    tensor_parallel_size: Annotated[int, Field(description="Accelerators per replica.")]
    basis: Annotated[Literal["Calibrated", "Estimated", "Given"], Field(description="Where the coefficients come from; Given: --engine.")]
    step_base_ms: Annotated[float, Field(description="a.")]
    step_sequence_ms: Annotated[float, Field(description="b.")]
    step_kv_ms: Annotated[float, Field(description="c, per thousand tokens in the KV cache.")]
    step_prompt_ms: Annotated[float, Field(description="delta, per prompt token.")]
    concurrency: Annotated[int, Field(description="Requests that run together: --max-num-seqs.")]
    start_up_seconds: Annotated[float, Field(description="From the decision until it takes requests.")]
    usd_per_hour: Annotated[float, Field(alias="usdPerHour", description="Of one replica.")]


class HostedOutput(OutputModel):
    """The hosted side."""

    name: Annotated[str, Field(description="<provider>/<model>.")]
    speed: Annotated[Literal["fast", "slow"], Field(description="fast: meets a usual SLO; slow: does not.")]
    input_usd_per_million_tokens: Annotated[float, Field(alias="inputUSDPerMillionTokens", description="Price of prompts, as simulated.")]
    output_usd_per_million_tokens: Annotated[float, Field(alias="outputUSDPerMillionTokens", description="Price of answers, as simulated.")]


class CourseOutput(OutputModel):
    """A run over time: arrays of equal length, one entry per interval. null: nothing arrived in it."""

    interval_seconds: Annotated[float, Field(description="Length of an interval.")]
    arrivals_per_second: Annotated[list[float | None], Field(description="Arrivals.")]
    demand_replicas: Annotated[list[float | None], Field(description="Work that arrived, in replicas.")]
    ready_replicas: Annotated[list[float | None], Field(description="Replicas that took requests, on average.")]
    billed_replicas: Annotated[list[float | None], Field(description="Those that start and drain too.")]
    spilled_percent: Annotated[list[float | None], Field(description="Share of arrivals that the hosted side was given.")]
    attainment_percent: Annotated[list[float | None], Field(description="Share of arrivals that met every target.")]
    own_usd: Annotated[list[float | None], Field(alias="ownUSD", description="Spent on replicas in the interval.")]
    hosted_usd: Annotated[list[float | None], Field(alias="hostedUSD", description="Spent on tokens in the interval.")]


class PolicyOutput(OutputModel):
    """One policy's run."""

    policy: Annotated[str, Field(description="spillway is ours; oracle is a bound that nobody can reach, oracle-replay its plan, run.")]
    cost_usd: Annotated[float, Field(alias="costUSD", description="Owned and rented.")]
    cost_over_oracle: Annotated[float | None, Field(description="Cost over the clairvoyant lower bound's.")]
    cost_over_oracle_replay: Annotated[float | None, Field(description="Cost over that of the clairvoyant plan in the same simulator.")]
    own_usd: Annotated[
        float | None, Field(alias="ownUSD", description="Spent on replicas, from launch to end; null for the bound, which is a sum only.")
    ]
    hosted_usd: Annotated[float | None, Field(alias="hostedUSD", description="Spent on tokens; null for the bound.")]
    slo_attainment_percent: Annotated[
        float | None, Field(description="Share of requests that met every target; spilled and failed ones count.")
    ]
    worst_5_min_attainment_percent: Annotated[
        float | None,
        Field(alias="worst5MinAttainmentPercent", description="The same in the worst five minutes with at least 20 requests."),
    ]
    spilled_percent: Annotated[float | None, Field(description="Share of requests that the hosted side was given.")]
    failed_percent: Annotated[float | None, Field(description="Share of requests that nobody answered.")]
    replica_hours: Annotated[float | None, Field(description="Billed; null for the bound.")]
    starts: Annotated[int | None, Field(description="Replicas launched, those at the start included; null for the bound.")]
    ttft_p95_ms: Annotated[float | None, Field(description="Time to first token.")]
    inter_token_p95_ms: Annotated[float | None, Field(description="A request's mean gap between tokens.")]
    keeps_slo: Annotated[bool | None, Field(alias="keepsSLO", description="Whether slo.attainmentPercent was met; null for the bound.")]
    clairvoyant: Annotated[bool, Field(description="Knows the future: to compare with, not to choose.")]
    course: Annotated[CourseOutput | None, Field(description="Over time, at most a few hundred points; null for the bound.")]


class SimulateOutput(OutputModel):
    """What came of replaying a trace."""

    workload: Annotated[str, Field(description="<namespace>/<name>.")]
    model: Annotated[str, Field(description="model.id.")]
    trace: Annotated[TraceOutput, Field(description="The traffic.")]
    slo: Annotated[SloOutput, Field(description="The promise.")]
    engine: Annotated[EngineOutput, Field(description="An own replica.")]
    hosted: Annotated[HostedOutput | None, Field(description="The hosted side; null where nothing may be or can be rented.")]
    kappa: Annotated[
        float | None,
        Field(description="Hosted price over own cost of the same work on full replicas; null where nothing is rented, or owning is free."),
    ]
    seed: Annotated[int, Field(description="Same seed, same result.")]
    cheapest: Annotated[str | None, Field(description="The cheapest policy that keeps the SLO; null where none does.")]
    verdict: Annotated[str, Field(description="What came of it, in a sentence or two.")]
    policies: Annotated[list[PolicyOutput], Field(description="Those that keep the SLO first, cheapest first; clairvoyant ones last.")]
    warnings: Annotated[list[str], Field(description="What to check before relying on it.")]
    assumptions: Annotated[list[str], Field(description="What it rests on.")]
