"""WithinBudget: what the month costs, and what becomes of it when that is too much."""

from collections.abc import Sequence

from spillway.api.vocabulary import Reason
from spillway.plan.gateway.permit import stops_spilling
from spillway.report.conditions import Finding, no, unknown, yes
from spillway.report.passed import Pass


def within_budget(this: Pass) -> Finding:
    """WithinBudget: the month's cost stays within budget.monthlyUSD."""
    match this.decision.budget:
        case Reason.BUDGET_EXCEEDED:
            return no(
                Reason.BUDGET_EXCEEDED,
                f"This month's cost exceeds budget.monthlyUSD. {_budget_consequence(this)}",
            )
        case Reason.PROJECTED_OVER_BUDGET:
            return no(
                Reason.PROJECTED_OVER_BUDGET,
                "At the current rate, this month's cost will exceed budget.monthlyUSD.",
            )
        case Reason.WITHIN_BUDGET:
            return yes(Reason.WITHIN_BUDGET, "This month's cost stays within budget.monthlyUSD.")
        case Reason.NO_PRICES:
            return unknown(Reason.NO_PRICES, f"The cost is unknown: {_unpriced(this.decision.cost.unpriced)}.")
        case _:
            return unknown(Reason.NO_BUDGET, "No budget is set.")


def _unpriced(names: Sequence[str]) -> str:
    """Return what has no price and where to give it one; a backend's name has a slash."""
    if not names:
        return "an accelerator class or a hosted model has no price"
    places = {"AcceleratorClass": [name for name in names if "/" not in name], "HostedProvider": [name for name in names if "/" in name]}
    return "; ".join(f"no price for {', '.join(found)}; set it in the {kind}" for kind, found in places.items() if found)


def _budget_consequence(this: Pass) -> str:
    if stops_spilling(this.workload.spec) and this.workload.spec.rents:
        return "No request goes to hosted backends until next month; replicas keep serving."
    return "Nothing is switched off."
