"""What `spillway report -o json` prints: one document for all workloads. docs/report-output.schema.json is made from it.

Keys are only ever added. What is not known is null, never zero; a total says how many workloads are not in it.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from spillway.api.plan_output import OutputModel


class Total(OutputModel):
    """A sum over the workloads of which the figure is known."""

    usd: Annotated[float | None, Field(description="USD; null where it is known of no workload.")]
    workloads: Annotated[int, Field(description="Workloads in the sum.")]
    unknown: Annotated[int, Field(description="Workloads that are not in it, because their figure is not known.")]


class Comparison(OutputModel):
    """The same workloads three ways: those of which all three figures are known."""

    workloads: Annotated[int, Field(description="Workloads compared.")]
    now_usd: Annotated[float, Field(alias="nowUSD", description="USD in 30 days at the current rate.")]
    if_all_hosted_usd: Annotated[float, Field(alias="ifAllHostedUSD", description="The same traffic, all hosted.")]
    if_all_dedicated_usd: Annotated[float, Field(alias="ifAllDedicatedUSD", description="The same traffic, all on own replicas.")]


class Totals(OutputModel):
    """Everything together."""

    now: Annotated[Total, Field(description="30 days at the current rate: usdPerHour x 720.")]
    month_to_date: Annotated[Total, Field(description="Spent since the first of the month (UTC).")]
    projected: Annotated[Total, Field(description="The whole calendar month: spent, plus the rest at the current rate.")]
    if_all_hosted: Annotated[Total, Field(description="30 days of the current traffic, all hosted.")]
    if_all_dedicated: Annotated[Total, Field(description="30 days of the current traffic, all on replicas.")]
    saving: Annotated[
        Total,
        Field(
            description="The largest saving of each workload that takes no other change than the spec's. A workload counts as unknown "
            "where nothing can be advised, see adviceMissing."
        ),
    ]
    compared: Annotated[Comparison | None, Field(description="Now against the two extremes, over the same workloads; null without any.")]


class OpportunityOutput(OutputModel):
    """One thing to change. Savings of one workload do not add up: each is against what runs now."""

    workload: Annotated[str, Field(description="<namespace>/<name>.")]
    topic: Annotated[str, Field(description="Placement, AcceleratorClass, TensorParallelSize, MinReplicas, Quantization, PrefixCache, ...")]
    usd_per_month: Annotated[
        float | None, Field(alias="usdPerMonth", description="Saved in 30 days at the traffic seen; null where that is not known.")
    ]
    message: Annotated[str, Field(description="What and why, with the figures.")]
    settings: Annotated[dict[str, str], Field(description="Fields of spec to change and their new values, as YAML; null: remove.")]
    basis: Annotated[Literal["Estimated", "Measured"], Field(description="What the saving rests on.")]
    takes: Annotated[
        Literal["Nothing", "QualityCheck", "ApplicationChange"],
        Field(description="What it takes besides the fields: answers change, or the program that sends the requests has to."),
    ]


class DecisionOutput(OutputModel):
    """A decision of the operator."""

    workload: Annotated[str, Field(description="<namespace>/<name>.")]
    time: Annotated[datetime, Field(description="Time of the decision.")]
    what: Annotated[str, Field(description="What was decided.")]
    reason: Annotated[str, Field(description="Constant reason.")]
    why: Annotated[str, Field(description="Figures behind the decision.")]


class WorkloadOutput(OutputModel):
    """One workload. Money is as its status says."""

    workload: Annotated[str, Field(description="<namespace>/<name>.")]
    model: Annotated[str, Field(description="model.id.")]
    mode: Annotated[str | None, Field(description="What serves now: Dedicated, Hosted or Hybrid.")]
    accelerator_class: Annotated[str | None, Field(description="AcceleratorClass in use.")]
    tensor_parallel_size: Annotated[int | None, Field(description="Accelerators per replica.")]
    ready_replicas: Annotated[int | None, Field(description="Ready replicas.")]
    desired_replicas: Annotated[int | None, Field(description="Desired replicas.")]
    requests_per_second: Annotated[float | None, Field(description="Arrivals now.")]
    slo_attainment_percent: Annotated[float | None, Field(description="No more than this share of requests met every target.")]
    ready: Annotated[bool | None, Field(description="Condition Ready; null where it is Unknown or absent.")]
    now_monthly_usd: Annotated[float | None, Field(alias="nowMonthlyUSD", description="30 days at the current rate: usdPerHour x 720.")]
    month_to_date_usd: Annotated[float | None, Field(alias="monthToDateUSD", description="Spent since the first of the month (UTC).")]
    projected_monthly_usd: Annotated[float | None, Field(alias="projectedMonthlyUSD", description="The whole calendar month.")]
    if_all_hosted_monthly_usd: Annotated[
        float | None, Field(alias="ifAllHostedMonthlyUSD", description="30 days of the current traffic, all hosted.")
    ]
    if_all_dedicated_monthly_usd: Annotated[
        float | None, Field(alias="ifAllDedicatedMonthlyUSD", description="30 days of the current traffic, all on replicas.")
    ]
    usd_per_million_tokens: Annotated[float | None, Field(alias="usdPerMillionTokens", description="This month, in and out together.")]
    budget_monthly_usd: Annotated[float | None, Field(alias="budgetMonthlyUSD", description="The budget; null without one.")]
    kappa: Annotated[float | None, Field(description="Hosted price over own cost of the same work; below 1 owning loses at any load.")]
    break_even_requests_per_month: Annotated[int | None, Field(description="Volume from which one replica is cheaper than hosted.")]
    prices_as_of: Annotated[str | None, Field(description="Oldest date of the prices used.")]
    advice_missing: Annotated[str | None, Field(description="Why nothing can be advised; null where it can.")]


class ReportOutput(OutputModel):
    """A report."""

    time: Annotated[datetime, Field(description="When it was made.")]
    scope: Annotated[str, Field(description="The namespace, or `all namespaces`.")]
    totals: Annotated[Totals, Field(description="Everything together.")]
    workloads: Annotated[list[WorkloadOutput], Field(description="The dearest first; those of unknown cost last.")]
    opportunities: Annotated[
        list[OpportunityOutput], Field(description="By saving, the largest first; unknown ones, then those of 0, last.")
    ]
    decisions: Annotated[list[DecisionOutput], Field(description="The operator's decisions of these workloads, newest first.")]
    warnings: Annotated[list[str], Field(description="What to check before relying on it.")]
