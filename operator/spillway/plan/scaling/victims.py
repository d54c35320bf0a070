"""Which replica goes when there are too many: one that does not serve yet, then the one with the least in flight."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from spillway.plan.decision import Decision
from spillway.plan.observation import Observation, ReplicaPod
from spillway.plan.readings import finite

NOT_SERVING = -1  # below any number of requests in flight
MOST = 2**31 - 1  # the annotation is a 32-bit integer


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionCost:
    """What one replica's end would cost, against its siblings': the lower, the sooner it goes."""

    pod: str
    uid: str
    cost: int  # requests in flight; NOT_SERVING where nothing is cut


def deletion_costs(seen: Observation, decision: Decision) -> tuple[DeletionCost, ...]:
    """Return the costs of a pool's replicas where the decision takes some of them away and leaves others; else nothing.

    Kubernetes asks not to update these costs often, so they are told at a scale-down only.
    """
    pool = decision.pool
    if pool is None or decision.scale is None or not 0 < pool.replicas < (decision.scale.previous or 0):
        return ()
    pods = [pod for pod in seen.replicas if pod.pool == pool.name and pod.stays]
    loads = {name: load for name, load in seen.signals.in_flight_by_pod.items() if finite(load) is not None}
    # A serving replica of which nothing is known may be the busiest.
    unknown = max((loads[pod.name] for pod in pods if pod.name in loads), default=0.0) + 1
    return tuple(DeletionCost(pod=pod.name, uid=pod.uid, cost=_cost(pod, loads, unknown)) for pod in pods)


def _cost(pod: ReplicaPod, loads: Mapping[str, float], unknown: float) -> int:
    return min(MOST, math.ceil(loads.get(pod.name, unknown))) if pod.ready else NOT_SERVING
