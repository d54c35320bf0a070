"""The one entry: workload + what is seen + what is remembered + now → what to do, and what to remember."""

from dataclasses import replace
from datetime import datetime

from pydantic import ValidationError

from spillway.api.status import DecisionStatus, InferenceWorkloadStatus
from spillway.api.vocabulary import ConditionType, Reason
from spillway.api.workload import Engine, Model
from spillway.plan.capacity import remember, size, usd_per_replica_hour
from spillway.plan.cost import judge_budget, report_cost, spend_points
from spillway.plan.decision import (
    CostReport,
    Decision,
    HostedBackend,
    Ledger,
    Memory,
    OwnedPool,
    Problem,
    ScaleDecision,
    Settling,
    Workload,
)
from spillway.plan.hosted_keys import remember_keys, restored_keys
from spillway.plan.ledger import advance, settle
from spillway.plan.names import pool_name
from spillway.plan.observation import Observation
from spillway.plan.placement import MODE_REASONS, Choice, choose_accelerator, resolved_mode, tensor_parallel_size
from spillway.plan.rounding import usd
from spillway.plan.scale import scale
from spillway.plan.settings import PlanSettings
from spillway.plan.spill import plan_gateway, slots_in_use
from spillway.plan.validate import name_conflicts, resolve_backends

LOG_LENGTH = 10

BUDGET_SENTENCES = {
    Reason.BUDGET_EXCEEDED: "budget exceeded",
    Reason.PROJECTED_OVER_BUDGET: "budget: on course to be exceeded",
    Reason.WITHIN_BUDGET: "budget: within it again",
}


def decide(workload: Workload, seen: Observation, memory: Memory, now: datetime, settings: PlanSettings) -> tuple[Decision, Memory]:
    """Return what to do and what to remember.

    With problems, nothing is to be applied and what runs goes on running; money is counted all the same.
    """
    spec = workload.spec
    memory = _restored(workload, memory)
    resolved, unresolved = resolve_backends(spec, seen.catalogue)
    choice = choose_accelerator(workload.key.name, spec, seen.catalogue, seen.pools) if spec.owns else None
    problems = [*name_conflicts(seen.foreign_objects), *(unresolved if spec.rents else ())]
    if isinstance(choice, Problem):
        problems.append(choice)
    backends = resolved if spec.rents else ()
    memory = remember(memory, seen.signals, _measured_subject(workload, choice))
    memory = remember_keys(memory, spec, seen)

    pool = _pool(workload, seen, choice, memory, backends) if isinstance(choice, Choice) else None
    scaled: ScaleDecision | None = None
    if pool is not None and not problems:
        scaled, points = scale(
            workload=workload, seen=seen, pool=pool.name, capacity=pool.capacity, memory=memory, now=now, settings=settings
        )
        memory = replace(memory, demand=points, settling=_settling(memory, pool, scaled, now))
        pool = replace(pool, replicas=scaled.replicas)

    # Replicas that are on their way out, or that a spec with problems leaves alone, go on holding what they held.
    slots = pool.capacity.slots if pool is not None and not problems else slots_in_use(seen, memory.slots)
    memory = replace(memory, slots=slots)

    ledger, memory = _account(workload, seen, memory, now, settings)
    cost = report_cost(spec=spec, seen=seen, memory=memory, ledger=ledger, pool=pool, backends=backends, alternatives=resolved, now=now)
    decision = Decision(
        problems=tuple(problems),
        mode=resolved_mode(spec),
        mode_reason=MODE_REASONS[spec.placement.mode],
        pool=None if problems else pool,
        backends=() if problems else backends,
        gateway=plan_gateway(spec, seen, slots),
        scale=scaled,
        cost=cost,
        budget=judge_budget(spec, cost, memory.budget),
        key_trouble=memory.key_trouble,
        revisit_after=settings.tick,
    )
    return _logged(workload, decision, memory, now)


def _restored(workload: Workload, memory: Memory) -> Memory:
    """Return the memory of an operator that has just started, with what the status and its own writing still say."""
    if memory.placed is not None or not workload.previous_status:
        return memory
    try:
        status = InferenceWorkloadStatus.model_validate(workload.previous_status)
    except ValidationError:
        return memory  # written by something else; it is rebuilt
    placed = None
    if status.placement is not None:
        dedicated = status.dedicated
        placed = _placement_words(
            status.placement.mode,
            dedicated.accelerator_class if dedicated else None,
            dedicated.tensor_parallel_size if dedicated else None,
        )
    return replace(
        memory,
        placed=placed,
        decisions=memory.decisions or tuple(status.decisions),
        key_trouble=memory.key_trouble or restored_keys(workload, status),
        budget=memory.budget or _previous_budget(status),
    )


def _previous_budget(status: InferenceWorkloadStatus) -> Reason | None:
    said = next((each.reason for each in status.conditions if each.type == ConditionType.WITHIN_BUDGET), None)
    return next((reason for reason in BUDGET_SENTENCES if reason == said), None)


def _pool(workload: Workload, seen: Observation, choice: Choice, memory: Memory, backends: tuple[HostedBackend, ...]) -> OwnedPool:
    """Return the pool that should exist, with the default engine it runs already: a later default must not restart its replicas."""
    parallel = tensor_parallel_size(workload.spec)
    name = pool_name(workload.key.name, choice.name, parallel)
    running = next((each for each in seen.pools if each.name == name), None)
    return OwnedPool(
        name=name,
        accelerator_class=choice.name,
        accelerator=choice.accelerator,
        tensor_parallel_size=parallel,
        replicas=0,
        usd_per_replica_hour=usd_per_replica_hour(
            choice.accelerator.price, tensor_parallel_size=parallel, per_node=choice.accelerator.per_node
        ),
        capacity=size(workload.spec, choice.accelerator, memory),
        surge=not backends,
        engine_image=running.engine_image if running else None,
        engine_version=running.engine_version if running else None,
    )


def _measured_subject(workload: Workload, choice: Choice | Problem | None) -> tuple[str, Model, Engine] | None:
    """Return what engine measurements speak of; another class, model or engine setting makes them those of something else."""
    if not isinstance(choice, Choice) or workload.spec.dedicated is None:
        return None
    name = pool_name(workload.key.name, choice.name, tensor_parallel_size(workload.spec))
    return name, workload.spec.model, workload.spec.dedicated.engine


def _settling(memory: Memory, pool: OwnedPool, scaled: ScaleDecision, now: datetime) -> Settling | None:
    """Return what to trust while the new count is on its way to the API server and back."""
    last = memory.settling
    if last is not None and (last.pool, last.replicas) == (pool.name, scaled.replicas):
        return last
    return Settling(pool=pool.name, replicas=scaled.replicas, at=now)


def _account(workload: Workload, seen: Observation, memory: Memory, now: datetime, settings: PlanSettings) -> tuple[Ledger, Memory]:
    counted = advance(memory.ledger, workload=workload, seen=seen, now=now, settings=settings)
    ledger = settle(counted, seen.catalogue)
    if ledger.hosted_usd != counted.hosted_usd:
        memory = replace(memory, spend=())  # what was owed from before is no rate
    written = memory.numbers_written_at
    due = written is None or now - written >= settings.numbers_every
    return ledger, replace(
        memory,
        ledger=ledger,
        spend=spend_points(memory, ledger, seen, now, settings),
        numbers_written_at=now if due else written,
    )


def _logged(workload: Workload, decision: Decision, memory: Memory, now: datetime) -> tuple[Decision, Memory]:
    """Return both with this pass's changes written into the log. What did not change is not a decision."""
    taken: list[DecisionStatus] = []
    placed = memory.placed
    if not decision.problems:
        pool = decision.pool
        placed = _placement_words(decision.mode, pool.accelerator_class if pool else None, pool.tensor_parallel_size if pool else None)
        if placed != memory.placed:
            taken.append(_entry(now, placed, decision.mode_reason, _placement_why(decision), decision))
    scaled = decision.scale
    if scaled is not None and scaled.replicas != (scaled.previous or 0):
        what = f"replicas {scaled.previous or 0} -> {scaled.replicas}"
        if not _just_said(memory, what):
            taken.append(_entry(now, what, scaled.reason, scaled.why, decision))
    if decision.budget != memory.budget and _worth_saying(decision.budget, memory.budget):
        taken.append(_entry(now, BUDGET_SENTENCES[decision.budget], decision.budget, _budget_why(workload, decision.cost), decision))
    newest_first = tuple(reversed(taken))
    return (
        replace(decision, events=newest_first),
        replace(memory, placed=placed, budget=decision.budget, decisions=(*newest_first, *memory.decisions)[:LOG_LENGTH]),
    )


def _just_said(memory: Memory, what: str) -> bool:
    """Whether the last decision on the count was this very one: then it is still on its way, not taken again."""
    return next((entry.what for entry in memory.decisions if entry.what.startswith("replicas ")), None) == what


def _worth_saying(found: Reason, before: Reason | None) -> bool:
    if found is Reason.WITHIN_BUDGET:
        return before in (Reason.BUDGET_EXCEEDED, Reason.PROJECTED_OVER_BUDGET)
    return found in BUDGET_SENTENCES


def _entry(now: datetime, what: str, reason: Reason, why: str, decision: Decision) -> DecisionStatus:
    pool = decision.pool
    own = None if pool is None or pool.usd_per_replica_hour is None else pool.replicas * pool.usd_per_replica_hour
    return DecisionStatus(time=now.replace(microsecond=0), what=what, reason=reason, why=why, usd_per_hour=usd(own))


def _placement_words(mode: str, accelerator_class: str | None, parallel: int | None) -> str:
    return f"placement {mode}" if accelerator_class is None else f"placement {mode} on {parallel} x {accelerator_class} per replica"


def _placement_why(decision: Decision) -> str:
    parts = ["requested by placement.mode"]
    if decision.pool is not None:
        capacity = decision.pool.capacity
        parts.append(f"batch of {capacity.max_num_seqs} per replica ({capacity.basis.value.lower()})")
    if decision.backends:
        parts.append("hosted: " + ", ".join(backend.label for backend in decision.backends))
    return "; ".join(parts)


def _budget_why(workload: Workload, cost: CostReport) -> str:
    budget = workload.spec.budget.monthly_usd if workload.spec.budget else None
    return f"{usd(cost.month_to_date_usd)} USD spent this month, {usd(cost.projected_monthly_usd) or 'unknown'} projected, budget {budget}"
