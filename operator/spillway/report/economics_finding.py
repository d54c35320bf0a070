"""SelfHostingEconomic: whether owning pays."""

from collections.abc import Mapping
from dataclasses import replace

from spillway.api.vocabulary import ConditionType, Reason
from spillway.api.workload import DataResidency, InferenceWorkloadSpec
from spillway.plan.comparing.offers import has_own_weights
from spillway.plan.money.cost import current_rate
from spillway.plan.replica.capacity import SECONDS_PER_30_DAYS
from spillway.plan.replica.long_prompts import without_long_prompts
from spillway.plan.scaling.scale import lower_bound
from spillway.report.conditions import Finding, Verdict, no, unknown, yes
from spillway.report.passed import Pass

SAME_ECONOMICS = 0.1  # volume must pass the break-even by this share before the verdict turns back

_VERDICTS: Mapping[bool | None, Verdict] = {True: "True", False: "False", None: "Unknown"}


def self_hosting_economic(this: Pass) -> Finding:  # noqa: PLR0911  one return per state
    """SelfHostingEconomic: owning costs less than renting would, at the current volume."""
    spec, cost = this.workload.spec, this.decision.cost
    if not spec.owns:
        return _owning_would_be(this)
    if (nothing := _nothing_to_compare(spec)) is not None:
        return nothing
    committed = spec.own.committed_replicas
    if committed and committed >= this.desired:
        return yes(Reason.SELF_HOSTING_CHEAPER, "All desired replicas are already paid for (committedReplicas).")
    if cost.kappa is not None and cost.kappa < 1:
        return no(
            Reason.HOSTED_CHEAPER_AT_ANY_LOAD,
            "The hosted price is below the cost of a replica at the highest load within the SLO (status.cost.kappa): "
            "self-hosting costs more at any load.",
        )
    kept = replace(this.seen, signals=without_long_prompts(this.seen.signals))  # those are rented whatever is owned
    rate, break_even = current_rate(spec, kept), cost.break_even_requests_per_month
    if break_even is None:
        return unknown(Reason.NO_PRICES, "The accelerator class or the hosted model has no price.")
    if cost.kappa is None:
        return _by_the_plan(this)
    if rate is None:
        return unknown(Reason.NO_EVIDENCE, "The volume is unknown: no metrics and no declared traffic.")
    always = max(1, lower_bound(spec) - committed)  # they cost, used or not
    before = this.previous.get(ConditionType.SELF_HOSTING_ECONOMIC)
    bound = always * break_even * (1 - SAME_ECONOMICS if before is not None and before.status == "True" else 1)
    if rate * SECONDS_PER_30_DAYS < bound:
        enough = "one replica" if always == 1 else "the replicas that always run (dedicated.scaling.minReplicas)"
        return no(Reason.BELOW_BREAK_EVEN, f"Too few requests to keep {enough} busy enough; hosted alone would be cheaper.")
    return yes(Reason.SELF_HOSTING_CHEAPER, "Replicas cost less than hosted backends for this traffic.")


def _by_the_plan(this: Pass) -> Finding:
    """Return the plan's verdict where nothing was measured and nothing else tells the model's shape; without one, why there is none."""
    plan = this.decision.placing.evaluation
    if plan is not None and plan.verdict is not None and plan.verdict.economic is not None:
        return Finding(status=_VERDICTS[plan.verdict.economic], reason=plan.verdict.reason, message=plan.verdict.message)
    why = "" if plan is None or plan.unknown is None else f" {plan.unknown}"
    return unknown(Reason.NO_EVIDENCE, f"A replica's capacity is not known yet: set model.architecture or send traffic.{why}")


def _owning_would_be(this: Pass) -> Finding:
    """Return the plan's verdict on owning what is rented."""
    plan = this.decision.placing.evaluation
    if plan is None or plan.verdict is None:
        return unknown(Reason.NOT_REQUESTED, "Mode Hosted runs no replicas.")
    return Finding(status=_VERDICTS[plan.verdict.economic], reason=plan.verdict.reason, message=plan.verdict.message)


def _nothing_to_compare(spec: InferenceWorkloadSpec) -> Finding | None:
    if spec.placement.data_residency is DataResidency.CLUSTER_ONLY:
        return unknown(Reason.RESIDENCY_FORCES_DEDICATED, "placement.dataResidency ClusterOnly leaves no hosted backend to compare with.")
    if spec.hosted is not None and spec.hosted.backends:
        return None
    if has_own_weights(spec):
        return unknown(Reason.OWN_WEIGHTS_FORCE_DEDICATED, "The weights are your own, and no hosted backend serves them.")
    return unknown(Reason.NO_HOSTED_ALTERNATIVE, "No hosted backend is configured to compare with.")
