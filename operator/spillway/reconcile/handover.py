"""When what is not wanted any more may go: replicas of an old shape serve until something else is known to carry their load."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spillway.api.vocabulary import ANNOTATION_CONFIG_HASH
from spillway.apply.known import Ref
from spillway.plan.decision import Decision, OwnedPool, Workload
from spillway.plan.gateway.spill import hosted_serves
from spillway.plan.observation import Observation, Pool
from spillway.plan.scaling.no_place import has_no_place
from spillway.render import names
from spillway.render.objects import ChildRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """What is wanted, and what stays beside it for now."""

    wanted: frozenset[ChildRef]
    lingering: frozenset[ChildRef]

    def keeps(self, ref: Ref) -> bool:
        """Whether a child stays."""
        child = ChildRef(ref.kind, ref.name)
        return child in self.wanted or child in self.lingering


def hand_over(
    workload: Workload, seen: Observation, decision: Decision, *, wanted: frozenset[ChildRef], config_hash: str | None
) -> Handover:
    """Return what stays: while old replicas do, also what makes them reachable and protects them.

    A pool of which no replica serves or starts carries nothing, and may hold the accelerators that its successor waits for.
    """
    old = {ChildRef("Deployment", pool.name) for pool in seen.pools if _may_carry(pool, seen)} - wanted
    if not old or _carried(workload, seen, decision, config_hash=config_hash):
        return Handover(wanted=wanted, lingering=frozenset())
    name = workload.key.name
    around = {
        ChildRef("Service", names.replicas(name)),
        ChildRef("NetworkPolicy", names.engine(name)),
        ChildRef("PodDisruptionBudget", names.engine(name)),
    }
    return Handover(wanted=wanted, lingering=frozenset(old | around))


def config_hash_of(objects: Sequence[Mapping[str, Any]], workload: Workload) -> str | None:
    """Return the hash of the static configuration in the rendered gateway: what its pods carry once they run it."""
    name = names.gateway(workload.key.name)
    gateway = next(each for each in objects if each["kind"] == "Deployment" and each["metadata"]["name"] == name)
    found = gateway["spec"]["template"]["metadata"]["annotations"].get(ANNOTATION_CONFIG_HASH)
    return str(found) if found is not None else None


def _may_carry(pool: Pool, seen: Observation) -> bool:
    """Whether some replica of a pool serves, or may without anybody's help."""
    return any(pod.pool == pool.name and pod.stays and not pod.is_stuck and pod.unschedulable is None for pod in seen.replicas)


def _carried(workload: Workload, seen: Observation, decision: Decision, *, config_hash: str | None) -> bool:
    if not any(pod.ready for pod in seen.gateways) or any(pod.config_hash != config_hash for pod in seen.gateways):
        return False  # some gateway may still send everything to the old replicas; one that waits for a node, say, sends nothing anywhere
    pool = decision.pool
    if pool is not None and _takes_over(pool, seen, alone=decision.alone):
        return True
    if pool is not None and workload.spec.keeps_to_one_node and _has_node(pool, seen):
        return True  # nothing carries it; but the one that is to come waits for the volume of the one that is there
    if pool is not None and decision.alone:
        return False  # a hosted backend may be well, and a limit let nothing go there
    return hosted_serves(decision.backends, seen, decision.key_trouble)


def _takes_over(pool: OwnedPool, seen: Observation, *, alone: bool) -> bool:
    """Whether the replicas that are wanted carry the load. `alone`: nobody answers what they cannot take yet.

    Then all of them are waited for, but for those that may be waiting for the place of the old ones.
    """
    ready = sum(1 for pod in seen.replicas if pod.pool == pool.name and pod.ready and pod.stays)
    if not alone:
        return ready > 0
    return ready >= pool.replicas or (ready > 0 and has_no_place(seen, pool.name))


def _has_node(pool: OwnedPool, seen: Observation) -> bool:
    return any(pod.pool == pool.name and pod.bound_at is not None and pod.stays for pod in seen.replicas)
