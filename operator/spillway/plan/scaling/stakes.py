"""What a replica of this pool is weighed against: the prices of owning and renting the same work, as they are known now."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from spillway.api.vocabulary import Reason
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.decision import HostedBackend, Ledger, Memory, OwnedPool, Workload
from spillway.plan.gateway.permit import is_nearly_spent, metered, why_stopped
from spillway.plan.gateway.spill import is_held_from_hosted
from spillway.plan.money.cost import usd_of
from spillway.plan.observation import Observation
from spillway.plan.readings import positive, value
from spillway.plan.replica.capacity import assumed_residence_s
from spillway.plan.scaling.worth import Stakes


def stakes_of(
    workload: Workload, seen: Observation, memory: Memory, pool: OwnedPool, backends: Sequence[HostedBackend], now: datetime
) -> Stakes | None:
    """Return what there is to win and lose; None where owning and renting cannot be compared.

    That is where nothing hosted takes what own replicas do not (none allowed, all of them known to be down, a limit on them reached, or
    requests wait at the gateway that none of them took), where a price is not known, and where it is not known yet how much of a replica a
    request takes.
    """
    spec, capacity = workload.spec, pool.capacity
    work, usd, shape = capacity.work, pool.usd_per_replica_hour, memory.shape
    serving = [each for each in backends if not _down(each, seen, memory.key_trouble)]
    if not spec.rents or not serving or _is_stopped(spec, memory.ledger, now) or work is None or not usd or shape is None:
        return None
    if is_held_from_hosted(spec, seen):
        return None
    mean = shape.hours
    work_s = work.mean_seconds(input_tokens=mean.input_tokens, output_tokens=mean.output_tokens)
    hosted = usd_of(spec, serving[0], input_tokens=mean.input_tokens, output_tokens=mean.output_tokens)
    if not work_s:
        return None
    start, price = pool.start_up, pool.accelerator.price
    least_s, increment_s = (price.minimum_seconds, price.billing_increment_seconds) if price is not None else (0, 1)
    drain_s = positive(seen.signals.residence_s) or assumed_residence_s(spec, capacity, memory)
    return Stakes(
        usd_per_replica_hour=usd,
        hosted_usd_per_replica_hour=hosted / work_s * 3600,
        start_up_s=start.median_s + (start.node_wait_s or 0.0),
        entry_s=max(start.median_s, least_s),
        exit_s=drain_s + increment_s / 2,  # of a rounded-up end, half an increment is waste on average
        batch=capacity.batch,
        slots=capacity.slots,
        committed=spec.own.committed_replicas,
    )


def is_alone(spec: InferenceWorkloadSpec, seen: Observation, memory: Memory, backends: Sequence[HostedBackend], now: datetime) -> bool:
    """Whether nothing hosted takes what own replicas do not: none allowed, all known to be down, or a limit on them reached."""
    return not spec.rents or all(_down(each, seen, memory.key_trouble) for each in backends) or _is_stopped(spec, memory.ledger, now)


def _is_stopped(spec: InferenceWorkloadSpec, ledger: Ledger | None, now: datetime) -> bool:
    """Whether limits keep gateways from sending hosted backends what own replicas do not take, or soon will."""
    if ledger is None:
        return metered(spec)
    return why_stopped(spec, ledger.permit, now) is not None or is_nearly_spent(spec, ledger)


def _down(backend: HostedBackend, seen: Observation, key_trouble: Mapping[str, Reason]) -> bool:
    """Whether a backend is known not to answer. What is not known is hoped for: requests find out."""
    health = seen.signals.hosted_healthy.get(backend.label)
    return backend.label in key_trouble or (health is not None and value(health) is False)
