"""PlacementResolved: what serves, where a move is going, and what would be cheaper."""

from collections.abc import Iterator

from spillway.api.vocabulary import Reason
from spillway.api.workload import ApplyMode, PlacementMode
from spillway.plan.comparing.options import ServedBy
from spillway.plan.place.evaluation import CANNOT, GIVE_A_PRICE
from spillway.report.conditions import Finding, no, yes
from spillway.report.passed import Pass

_REQUESTED = (Reason.MODE_DEDICATED, Reason.MODE_HOSTED, Reason.MODE_HYBRID)


def placement_resolved(this: Pass) -> Finding:
    """PlacementResolved: it is decided what serves."""
    decision = this.decision
    if is_unplaceable(this):
        return no(Reason.NOTHING_FEASIBLE, f"{decision.problems[0].message} What is running is kept.")
    if decision.problems:
        return no(Reason.INVALID_SPEC, "Undecided while the spec has problems, see SpecValid. What is running is kept.")
    pool, plan = decision.pool, decision.placing.evaluation
    shape = "" if pool is None else f", {pool.tensor_parallel_size} x {pool.accelerator_class} per replica"
    if plan is not None and plan.is_stuck and decision.mode_reason not in _REQUESTED:
        changes = "; or ".join(plan.relax)
        return no(
            Reason.NOTHING_FEASIBLE, f"Mode {decision.mode}{shape} stays, but no placement meets the SLO, budget and limits: {changes}."
        )
    return yes(decision.mode_reason, " ".join([f"Mode {decision.mode}{shape}.", *_impossible(this), *_long_prompts(this), *_onwards(this)]))


def is_unplaceable(this: Pass) -> bool:
    """Whether nothing serves because no way to serve is possible."""
    return any(problem.reason is Reason.NOTHING_FEASIBLE for problem in this.decision.problems)


def _impossible(this: Pass) -> Iterator[str]:
    """Return what to relax where the mode that was asked for keeps no promise by the plan: it serves all the same, as well as it can."""
    plan = this.decision.placing.evaluation
    if plan is not None and plan.is_stuck and GIVE_A_PRICE not in plan.relax:  # of what has no price only the cost is not known
        yield f"{CANNOT} To make it feasible: {'; or '.join(plan.relax)}."


def _long_prompts(this: Pass) -> Iterator[str]:
    """Return which prompts ask a hosted backend first, where the spec asks for that and there are both sides."""
    if not this.workload.spec.spills_long_prompts:
        return
    if (tokens := this.decision.gateway.longest_own_prompt_tokens) is not None:
        yield f"Streams with prompts over {tokens} tokens try a hosted backend first."
    else:
        yield (
            "No prompt counts as long, because the model's shape is unknown; set model.architecture or hosted.overflow.longPromptTokens."
        )


def _onwards(this: Pass) -> Iterator[str]:
    """Return where a move is going, and what would be cheaper."""
    placing = this.decision.placing
    match placing.destination:
        case PlacementMode.DEDICATED:
            yield "Moving to Dedicated: hosted backends serve until enough replicas are ready."
        case PlacementMode.HOSTED:
            yield "Moving to Hosted: replicas serve until a hosted backend is known to answer."
    best = placing.evaluation.recommended if placing.evaluation is not None else None
    if best is None or placing.serving is None or str(best) == str(placing.serving):
        return
    automatic = this.decision.mode_reason not in _REQUESTED and this.workload.spec.placement.apply is ApplyMode.AUTOMATIC
    if automatic and best.mode != ServedBy.BATCH:
        yield f"{best} is recommended, and applied once it has saved enough for long enough."
    else:
        yield f"{best} is recommended, see status.placement.recommended."
