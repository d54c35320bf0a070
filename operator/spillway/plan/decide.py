"""The one entry: workload + what is seen + what is remembered + now → what to do, and what to remember."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from pydantic import ValidationError

from spillway.api.status import DecisionStatus, InferenceWorkloadStatus
from spillway.api.vocabulary import ConditionType, Reason
from spillway.api.workload import InferenceWorkloadSpec, PlacementMode
from spillway.plan.clock import elapsed
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
from spillway.plan.gateway.hosted_keys import remember_keys, restored_keys
from spillway.plan.gateway.permit import keep_permit, plan_permit
from spillway.plan.gateway.spill import plan_gateway, slots_in_use, slots_of
from spillway.plan.model.models import known_model
from spillway.plan.model.told_shape import ToldShape, as_stated, listen, tells_config, with_told
from spillway.plan.money.cost import billed_replicas, judge_budget, report_cost, spend_points
from spillway.plan.money.ledger import advance, settle
from spillway.plan.names import pool_name
from spillway.plan.observation import Observation, Pool
from spillway.plan.place.placed import Placing
from spillway.plan.place.placement import Choice
from spillway.plan.place.placing import Told, resolve
from spillway.plan.place.restoring import restored_placing
from spillway.plan.replica.capacity import size, usd_per_replica_hour
from spillway.plan.replica.kept_limits import is_as_made
from spillway.plan.replica.long_prompts import longest_own_prompt_tokens, without_long_prompts
from spillway.plan.replica.measuring import Measured, remember
from spillway.plan.replica.memory import GIB, weights_bytes
from spillway.plan.replica.start_up import StartUp, estimated_start_up_s, kind_of, learn_starts, start_up
from spillway.plan.rounding import usd
from spillway.plan.scaling.recommending import scale_or_recommend
from spillway.plan.scaling.scaling_log import owned_usd_per_hour, scaling_entries
from spillway.plan.scaling.stakes import is_alone, stakes_of
from spillway.plan.settings import PlanSettings
from spillway.plan.validate import name_conflicts, resolve_backends

LOG_LENGTH = 10
REQUESTED = (Reason.MODE_DEDICATED, Reason.MODE_HOSTED, Reason.MODE_HYBRID)

BUDGET_SENTENCES = {
    Reason.BUDGET_EXCEEDED: "budget exceeded",
    Reason.PROJECTED_OVER_BUDGET: "budget projected to be exceeded",
    Reason.WITHIN_BUDGET: "budget met again",
}


def decide(workload: Workload, seen: Observation, memory: Memory, now: datetime, settings: PlanSettings) -> tuple[Decision, Memory]:
    """Return what to do and what to remember.

    With problems, nothing is to be applied and what runs goes on running; money is counted all the same.
    """
    memory = _restored(workload, memory)
    asked, (memory, told) = workload, _informed(workload, seen, memory)
    found = resolve(_as_told(workload, memory), seen, memory, now, settings)
    spec = as_stated(found.spec)  # pods, and the limits they are held to, follow what is written and what is measured
    workload = replace(workload, spec=spec)
    problems = [*name_conflicts(seen.foreign_objects), *found.problems]
    resolved, _ = resolve_backends(spec, seen.catalogue)
    backends = resolved if spec.rents else ()
    choice = found.choice
    for_replicas = replace(seen, signals=without_long_prompts(seen.signals))
    memory = remember(memory, for_replicas.signals, None if choice is None else _measured(workload, seen, choice, now), now)
    memory = memory if choice is None else _with_starts(memory, workload, seen, choice)
    memory = remember_keys(memory, spec, seen)
    ledger, memory = _account(workload, seen, memory, now, settings)
    ledger = _permitted(spec, backends, problems, seen=seen, ledger=ledger, now=now)
    memory = memory if ledger is memory.ledger else replace(memory, ledger=ledger)

    alone = is_alone(spec, seen, memory, backends, now)
    moves = asked.spec.placement.mode is PlacementMode.AUTO
    pool = None if choice is None else _pool(workload, seen, choice, memory, alone=alone, moves=moves)
    scaled: ScaleDecision | None = None
    if pool is not None and not problems:
        scaled, memory = scale_or_recommend(
            workload=workload,
            seen=for_replicas,
            pool=pool,
            stakes=stakes_of(workload, seen, memory, pool, backends, now),
            alone=alone,
            memory=memory,
            now=now,
            settings=settings,
        )
        pool = replace(pool, replicas=scaled.replicas)

    # Replicas that are on their way out, or that a spec with problems leaves alone, go on holding what they held.
    slots = slots_of(pool, seen, memory.slots) if pool is not None and not problems else slots_in_use(seen, memory.slots)
    memory = memory if slots == memory.slots else replace(memory, slots=slots)

    cost = report_cost(spec=spec, seen=seen, memory=memory, ledger=ledger, pool=pool, backends=backends, alternatives=resolved, now=now)
    decision = Decision(
        problems=tuple(problems),
        mode=spec.placement.mode,
        mode_reason=found.reason,
        spec=spec,
        placing=_kept(found.placing, memory.placing, problems),
        pool=None if problems else pool,
        backends=() if problems else backends,
        gateway=replace(
            plan_gateway(spec, seen, slots),
            permit=ledger.permit,
            longest_own_prompt_tokens=None if pool is None or problems else longest_own_prompt_tokens(spec, pool.accelerator),
        ),
        alone=alone,
        scale=scaled,
        cost=cost,
        budget=judge_budget(spec, cost, memory.budget),
        key_trouble=memory.key_trouble,
        revisit_after=settings.tick,
    )
    return _logged(workload, decision, (*told, *found.told), memory, now)


def _informed(workload: Workload, seen: Observation, memory: Memory) -> tuple[Memory, tuple[Told, ...]]:
    """Return the memory with what replicas told of a model whose shape neither the spec nor the catalogue knows, and what of it is new."""
    model = workload.spec.model
    if known_model(model) is not None:
        return memory if memory.told_shape is None else replace(memory, told_shape=None), ()
    heard = listen(memory.told_shape, model, seen.replicas)
    told = () if heard is None or heard == memory.told_shape else (_of_shape(heard),)
    return memory if heard is memory.told_shape else replace(memory, told_shape=heard), told


def _as_told(workload: Workload, memory: Memory) -> Workload:
    """Return the workload to plan for: with the shape that its replicas told, where nothing else knows it."""
    spec = with_told(workload.spec, memory.told_shape)
    return workload if spec is workload.spec else replace(workload, spec=spec)


def _of_shape(heard: ToldShape) -> Told:
    shape = heard.architecture
    if shape is None:
        return Told(what="model shape unknown", reason=Reason.MODEL_UNREADABLE, why=f"{heard.model}: {heard.problem}")
    count = f"{shape.parameters / 1e9:.1f}B" if shape.parameters >= 1e9 else f"{shape.parameters / 1e6:.0f}M"  # noqa: PLR2004
    size = f"{count} parameters, {shape.layers} layers, {shape.key_value_heads} key-value heads of {shape.head_size}"
    return Told(what="model shape read", reason=Reason.MODEL_TOLD, why=f"{heard.model}, config.json read by a replica: {size}")


def _restored(workload: Workload, memory: Memory) -> Memory:
    """Return the memory of an operator that has just started, with what the status and its own writing still say."""
    if memory.placing is not None or not workload.previous_status:
        return memory
    try:
        status = InferenceWorkloadStatus.model_validate(workload.previous_status)
    except ValidationError:
        return memory  # written by something else; it is rebuilt
    return replace(
        memory,
        placing=restored_placing(status),
        decisions=memory.decisions or tuple(status.decisions),
        key_trouble=memory.key_trouble or restored_keys(workload, status),
        budget=memory.budget or _previous_budget(status),
        recommended_replicas=status.dedicated.recommended_replicas if status.dedicated is not None else None,
    )


def _previous_budget(status: InferenceWorkloadStatus) -> Reason | None:
    said = next((each.reason for each in status.conditions if each.type == ConditionType.WITHIN_BUDGET), None)
    return next((reason for reason in BUDGET_SENTENCES if reason == said), None)


def _kept(found: Placing, before: Placing | None, problems: Sequence[Problem]) -> Placing:
    """Return what is remembered of the placement: with problems nothing was moved, whatever was decided."""
    if not problems:
        return found
    last = before or Placing()
    return replace(found, placed=last.placed, destination=last.destination, saving_since=last.saving_since)


def _pool(workload: Workload, seen: Observation, choice: Choice, memory: Memory, *, alone: bool, moves: bool) -> OwnedPool:
    """Return the pool that should exist, with the default engine and limits it has already: later ones must not restart replicas."""
    parallel = choice.tensor_parallel_size
    name = pool_name(workload.key.name, choice.name, parallel)
    running = _running(seen, name)
    capacity = size(workload.spec, choice.accelerator, memory, running, steady=moves)
    unknown = known_model(workload.spec.model) is None
    return OwnedPool(
        name=name,
        accelerator_class=choice.name,
        accelerator=choice.accelerator,
        tensor_parallel_size=parallel,
        replicas=0,
        usd_per_replica_hour=usd_per_replica_hour(
            choice.accelerator.price, tensor_parallel_size=parallel, per_node=choice.accelerator.per_node
        ),
        capacity=capacity,
        start_up=_start_up(memory, workload, choice),
        surge=alone and not workload.spec.keeps_to_one_node,
        tells_config=tells_config(workload.spec.model, running, sized_for=capacity.sized_for, unknown=unknown),
        start_up_budget_s=running.start_up_budget_s if running and is_as_made(running, capacity.sized_for) else None,
        engine_image=running.engine_image if running else None,
        engine_version=running.engine_version if running else None,
    )


def _measured(workload: Workload, seen: Observation, choice: Choice, now: datetime) -> Measured:
    """Return what engine readings speak of; another class, model or engine setting makes them those of something else.

    They are sums over all replicas, those of the pool or the spec before included until they have been gone for a window.
    """
    name = pool_name(workload.key.name, choice.name, choice.tensor_parallel_size)
    running, window, scraped = _running(seen, name), timedelta(seconds=seen.signals.window_s), seen.signals.in_flight_by_pod
    read = [pod for pod in seen.replicas if (pod.ready or pod.name in scraped if pod.ended_at is None else now - pod.ended_at <= window)]
    mixed = any(pod.pool != name for pod in read) or len({pod.template for pod in read}) > 1
    rolling = running is not None and running.is_rolling
    return Measured(pool=name, spec=workload.spec, accelerator=choice.accelerator, running=running, mixed=mixed or rolling)


def _with_starts(memory: Memory, workload: Workload, seen: Observation, choice: Choice) -> Memory:
    name = pool_name(workload.key.name, choice.name, choice.tensor_parallel_size)
    starts = learn_starts(memory.starts, seen.replicas, pool=name, kind=_kind(workload, choice), watched_since=seen.watched_since)
    return memory if starts is memory.starts else replace(memory, starts=starts)


def _start_up(memory: Memory, workload: Workload, choice: Choice) -> StartUp:
    known = known_model(workload.spec.model)
    weights_gib = None if known is None else weights_bytes(known.architecture, known.quantization) / GIB
    return start_up(memory.starts.by_kind.get(_kind(workload, choice)), estimate_s=estimated_start_up_s(weights_gib))


def _kind(workload: Workload, choice: Choice) -> str:
    return kind_of(choice.name, choice.tensor_parallel_size, workload.spec.model.id)


def _running(seen: Observation, name: str) -> Pool | None:
    return next((each for each in seen.pools if each.name == name), None)


def _settling(decision: Decision, last: Settling | None, now: datetime) -> Settling | None:
    """Return what to trust while the new count is on its way to the API server and back."""
    pool, scaled = decision.pool, decision.scale
    if pool is None or scaled is None:
        return last
    if last is not None and (last.pool, last.replicas) == (pool.name, scaled.replicas):
        return last
    return Settling(pool=pool.name, replicas=scaled.replicas, at=now)


def _account(workload: Workload, seen: Observation, memory: Memory, now: datetime, settings: PlanSettings) -> tuple[Ledger, Memory]:
    counted = advance(memory.ledger, workload=workload, seen=seen, now=now, settings=settings)
    ledger = settle(counted, seen.catalogue)
    if ledger.hosted_usd != counted.hosted_usd:
        memory = replace(memory, spend=())  # what was owed from before is no rate
    written, billed = memory.numbers_written_at, len(billed_replicas(seen, committed=0))
    # A replica that came or went changes what an hour costs: who has just seen it scale is not told the price of before.
    due = written is None or billed != memory.numbers_replicas or elapsed(written, now) >= settings.numbers_every
    return ledger, replace(
        memory,
        ledger=ledger,
        spend=spend_points(memory, ledger, seen, now, settings),
        numbers_written_at=now if due else written,
        numbers_replicas=billed,
    )


def _permitted(
    spec: InferenceWorkloadSpec,
    backends: tuple[HostedBackend, ...],
    problems: Sequence[Problem],
    *,
    seen: Observation,
    ledger: Ledger,
    now: datetime,
) -> Ledger:
    """Return the ledger with the permit in force: with problems that of gateways which go on sending where they did."""
    if problems and ledger.permit is not None and ledger.permit.allowances:
        return keep_permit(spec, ledger.permit, seen=seen, ledger=ledger, now=now)
    return plan_permit(spec, backends, seen=seen, ledger=ledger, now=now)


def _logged(workload: Workload, decision: Decision, told: Sequence[Told], memory: Memory, now: datetime) -> tuple[Decision, Memory]:
    """Return both with this pass's changes written into the log. What did not change is not a decision."""
    before = memory.placing.placed if memory.placing is not None else None
    taken: list[DecisionStatus] = []
    if decision.mode_reason in REQUESTED and not decision.problems and decision.placing.placed != before:
        taken.append(_entry(now, f"placement {decision.placing.placed}", decision.mode_reason, _placement_why(decision), decision))
    advice = [each for each in told if not decision.problems or each.reason is Reason.NOTHING_FEASIBLE]
    taken.extend(_entry(now, each.what, each.reason, each.why, decision) for each in advice)
    taken.extend(scaling_entries(decision, memory, now))
    if decision.budget != memory.budget and _worth_saying(decision.budget, memory.budget):
        taken.append(_entry(now, BUDGET_SENTENCES[decision.budget], decision.budget, _budget_why(workload, decision.cost), decision))
    newest_first = tuple(reversed(taken))
    return (
        replace(decision, events=newest_first),
        replace(
            memory,
            placing=decision.placing,
            settling=_settling(decision, memory.settling, now),
            # A month that cannot be judged for a while is no other verdict.
            budget=memory.budget if decision.budget is Reason.NO_PRICES else decision.budget,
            decisions=(*newest_first, *memory.decisions)[:LOG_LENGTH],
            recommended_replicas=decision.scale.recommended if decision.scale is not None else memory.recommended_replicas,
        ),
    )


def _worth_saying(found: Reason, before: Reason | None) -> bool:
    if found is Reason.WITHIN_BUDGET:
        return before in (Reason.BUDGET_EXCEEDED, Reason.PROJECTED_OVER_BUDGET)
    return found in BUDGET_SENTENCES


def _entry(now: datetime, what: str, reason: Reason, why: str, decision: Decision) -> DecisionStatus:
    own = owned_usd_per_hour(decision, decision.pool.replicas) if decision.pool is not None else None
    return DecisionStatus(time=now.replace(microsecond=0), what=what, reason=reason, why=why, usd_per_hour=usd(own))


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
