"""When the gateway sends a request elsewhere: the concurrency that own replicas may hold."""

import math
from collections.abc import Iterable, Mapping

from spillway.api.vocabulary import Reason
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.decision import GatewayPlan, HostedBackend, OwnedPool
from spillway.plan.observation import Observation, ReplicaPod
from spillway.plan.readings import positive, value


def ready_replicas(seen: Observation) -> int:
    """Return how many replicas take requests: ready, and not on their way out."""
    return len(_serving(seen))


def _serving(seen: Observation) -> list[ReplicaPod]:
    return [pod for pod in seen.replicas if pod.ready and pod.stays]


def hosted_serves(backends: Iterable[HostedBackend], seen: Observation, key_trouble: Mapping[str, Reason]) -> bool:
    """Return whether a hosted backend is known to answer, and not known to lack or refuse its key. What is not known carries nothing."""
    wanted = {backend.label for backend in backends} - key_trouble.keys()
    health: list[bool | None] = [value(reading) for label, reading in seen.signals.hosted_healthy.items() if label in wanted]
    return any(health)


def is_held_from_hosted(spec: InferenceWorkloadSpec, seen: Observation) -> bool:
    """Whether requests wait at the gateway that no hosted backend took, whatever the limit was or the trouble."""
    return spec.rents and spec.holds and bool(positive(seen.signals.held_at_gateway))


def slots_in_use(seen: Observation, remembered: int | None) -> int | None:
    """Return how many requests each replica that there is may hold, where nothing new is decided: as before, or at least its batch."""
    told = (*(pool.max_num_seqs for pool in seen.pools), *(pod.max_num_seqs for pod in _serving(seen)))
    return remembered or min((batch for batch in told if batch is not None), default=None)


def slots_of(pool: OwnedPool, seen: Observation, remembered: int | None) -> int:
    """Return how many requests each replica may hold: one of another class or batch what it held, until those that are to be serve alone.

    While both serve it is the least of both, since requests are spread evenly over them.
    """
    batch, slots = pool.capacity.max_num_seqs, pool.capacity.slots
    serving = [pod.pool == pool.name and pod.max_num_seqs in {None, batch} for pod in _serving(seen)]
    if all(serving):
        return slots
    held = slots_in_use(seen, remembered) or slots
    return min(held, slots) if any(serving) else held


def plan_gateway(spec: InferenceWorkloadSpec, seen: Observation, slots: int | None) -> GatewayPlan:
    """Return the gateway's shape and its cap. No ready replica, no cap: every request then goes to hosted, or is told that none serves."""
    ready = ready_replicas(seen)
    cap = ready * (slots or 0)
    gateways = sum(1 for pod in seen.gateways if pod.ready) or spec.gateway.replicas
    return GatewayPlan(
        replicas=spec.gateway.replicas,
        cap_total=cap,
        cap_per_gateway=math.ceil(cap / gateways),
        ttft_edge_ms=spec.slo.time_to_first_token_ms if spec.slo else None,
        end_to_end_edge_ms=spec.slo.end_to_end_ms if spec.slo else None,
        inter_token_edge_ms=spec.slo.inter_token_latency_ms if spec.slo else None,
        cap_known=slots is not None or not ready,
    )
