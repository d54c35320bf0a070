"""Scaling that is only told: with placement.apply Recommend the count is decided as ever, and the replicas are left as they are."""

from dataclasses import replace
from datetime import datetime

from spillway.api.dedicated import ScalingMode
from spillway.api.workload import ApplyMode, InferenceWorkloadSpec
from spillway.plan.decision import Memory, OwnedPool, ScaleDecision, Workload
from spillway.plan.observation import Observation
from spillway.plan.scaling.scale import lower_bound, replicas_before, scale
from spillway.plan.scaling.worth import Stakes
from spillway.plan.settings import PlanSettings


def only_recommends(spec: InferenceWorkloadSpec) -> bool:
    """Whether the replica count is told and not set. External scaling is somebody else's decision already."""
    dedicated = spec.dedicated
    return spec.placement.apply is ApplyMode.RECOMMEND and (dedicated is None or dedicated.scaling.mode is ScalingMode.SPILLWAY)


def scale_or_recommend(
    *,
    workload: Workload,
    seen: Observation,
    pool: OwnedPool,
    stakes: Stakes | None,
    alone: bool,
    memory: Memory,
    now: datetime,
    settings: PlanSettings,
) -> tuple[ScaleDecision, Memory]:
    """Return the replica count and what to remember. Where it is only told, `replicas` is what there is.

    What is told goes on from what was told before, as if that had been followed: it then moves no more often than replicas would.
    """
    acts = not only_recommends(workload.spec)
    believed, remembered = (seen, memory) if acts else (_as_told(seen, pool.name, memory), replace(memory, settling=None))
    decided, remembered = scale(
        workload=workload, seen=believed, pool=pool, stakes=stakes, alone=alone, memory=remembered, now=now, settings=settings
    )
    if acts:
        return decided, remembered
    shown = next((each.replicas for each in seen.pools if each.name == pool.name), None)
    there = (replicas_before(seen, memory) or lower_bound(workload.spec)) if shown is None else shown
    found = replace(decided, replicas=there, previous=shown, recommended=decided.replicas)
    return found, replace(remembered, settling=memory.settling)


def _as_told(seen: Observation, pool: str, memory: Memory) -> Observation:
    told = memory.recommended_replicas
    if told is None:
        return seen
    return replace(seen, pools=tuple(replace(each, replicas=told) if each.name == pool else each for each in seen.pools))
