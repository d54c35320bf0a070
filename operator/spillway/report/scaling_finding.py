"""ScalingLimited: what keeps replicas from being as many as are wanted, and what to do about it."""

import re
from collections.abc import Sequence

from spillway.api.vocabulary import Reason
from spillway.plan.scaling.no_place import refused, unschedulable
from spillway.report.conditions import Finding, no, unknown, yes
from spillway.report.passed import Pass

_INSUFFICIENT = re.compile(r"\bInsufficient ([^\s,]+)")
_GATED = re.compile(r"\bscheduling gate\b")  # observe/pods.py
_VOLUME = re.compile(r"volume|\bpvc|\bfree storage", re.IGNORECASE)  # as the scheduler's plugins for volumes put it, 1.30 to 1.36
_CLAIMS = re.compile(r"\bcannot allocate all claims\b")  # an extended resource, where a DRA driver offers it (on by default since 1.36)
_FULL = re.compile(r"\bToo many pods\b")


def scaling_limited(this: Pass) -> Finding:  # noqa: PLR0911  one return per state
    """ScalingLimited: demand asks for another count than is allowed or possible."""
    scaled = this.decision.scale
    if not this.workload.spec.owns:
        return no(Reason.NOT_REQUESTED, "Mode Hosted has no replicas to scale.")
    if scaled is None:
        return unknown(Reason.PENDING, "The replica count is undecided while the spec has problems, see SpecValid and PlacementResolved.")
    match scaled.limited:
        case None:
            return no(Reason.NOT_LIMITED, "Nothing limits the replica count.")
        case Reason.UNSCHEDULABLE:
            return yes(Reason.UNSCHEDULABLE, no_place(this, meanwhile=scaled.reason is not Reason.EXTERNAL))
        case Reason.CRASH_LOOP:
            return yes(
                Reason.CRASH_LOOP, "No more replicas are requested while one cannot start and none of its kind is ready, see ReplicasReady."
            )
        case Reason.AT_MIN_REPLICAS:
            return yes(Reason.AT_MIN_REPLICAS, "Fewer replicas are requested than scaling.minReplicas allows.")
        case limit:
            return yes(limit, "More replicas are needed than scaling.maxReplicas allows.")


def no_place(this: Pass, *, meanwhile: bool = False) -> str:
    """Return which resource of which class no node has left for a replica, and what to do; `meanwhile`: also what happens until then."""
    until = "; no more are requested meanwhile" if meanwhile else ""
    grounds = unschedulable(this.seen, this.pool_name)
    if grounds is None:
        words = refused(this.seen, this.pool_name) or "no reason is given"
        return (
            f"The API server rejects replica pods ({words}){until}. Change what it names: the namespace's quotas and limits, "
            "dedicated.podTemplate, or the AcceleratorClass."
        )
    resources = list(dict.fromkeys(_INSUFFICIENT.findall(grounds)))
    lack = f"No node has enough {' and '.join(resources)} for" if resources else "No node accepts"
    return f"{lack} a replica{_on_class(this)} ({grounds}){until}. {_remedy(grounds, resources)}"


def _on_class(this: Pass) -> str:
    waiting = {pod.accelerator_class for pod in this.replicas if pod.unschedulable and pod.stays}
    names = " or ".join(f"'{name}'" for name in sorted(name for name in waiting if name))
    return f" on accelerator class {names}" if names else ""


def _remedy(grounds: str, resources: Sequence[str]) -> str:
    told = []
    if _GATED.search(grounds):
        told.append("Whoever set the gate removes it: Kueue, for example, once its ClusterQueue has quota.")
    if any("/" in each for each in resources) or _CLAIMS.search(grounds):  # an extended resource, as device plugins offer accelerators
        told.append("Add nodes of that class, add another class to dedicated.accelerators, or lower dedicated.scaling.maxReplicas.")
    elif resources or _FULL.search(grounds):
        told.append("Add nodes, lower dedicated.podTemplate.resources.requests, or lower dedicated.scaling.maxReplicas.")
    if _VOLUME.search(grounds):
        told.append(
            "The claim of dedicated.modelCache or model.source must exist, be bound, and be reachable from such nodes "
            "(kubectl describe pvc)."
        )
    if not told:
        told.append(
            "Compare the nodes' labels and taints with nodeSelector and tolerations of the AcceleratorClass and dedicated.podTemplate. "
            "Cordoned and NotReady nodes accept no pods; a cluster autoscaler must know the labels of the nodes it can add."
        )
    return " ".join(told)
