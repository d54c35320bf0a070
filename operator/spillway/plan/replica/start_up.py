"""How long a replica takes to start, learned from what pods really took, by accelerator class and model.

From its node to ready: pulling the image, loading weights, compiling, warming up. Apart from it, from creation to the node, where a pod had
to wait for one. Only pods whose whole start was watched count, and only those whose containers never restarted nor waited for somebody
to mend something.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from statistics import median

from spillway.api.status import Basis
from spillway.plan.observation import ReplicaPod

BLIND_START_UP_S = 180.0  # llm-d's KEDA script assumes it
# A measured 35B start: weights 142 s for 65 GiB, compiling 39 s and then warming up (route179.dev, 2026-06).
WEIGHTS_GIB_PER_S = 0.46
COMPILE_S = 60.0  # compiling and capturing graphs
IMAGE_S = 30.0  # 10 GiB at the 2 to 4 GiB a minute that registries in a cloud give, or nothing where the node has it: in between
KEPT = 20  # samples
TELLING = 3  # samples from which on the estimate has no voice any more
HIGH_QUANTILE = 0.9
NODE_WAIT_S = 10.0  # binding to a node that is there takes a second or two; longer means that one had to be found or made
# Cluster Autoscaler and Karpenter give up a node that has not come within 15 minutes. Who waited for longer than two of these waited for
# somebody else to go, or for quota, which says nothing of the next start.
LONGEST_NODE_WAIT_S = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StartUps:
    """The latest starts of one accelerator class and model, seconds, oldest first."""

    starts_s: tuple[float, ...] = ()  # from the node to ready
    node_waits_s: tuple[float, ...] = ()  # from creation to the node, of pods that waited for one


@dataclass(frozen=True, slots=True, kw_only=True)
class StartUp:
    """How long the next replica will take."""

    median_s: float  # from the node to ready
    high_s: float  # HIGH_QUANTILE of the same
    node_wait_s: float | None  # median wait for a node where one has to be found or made; None: none was ever waited for
    basis: Basis


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedStarts:
    """All starts learned from, and the pods that have been counted already."""

    by_kind: Mapping[str, StartUps] = field(default_factory=dict)  # key: kind_of
    counted: frozenset[str] = frozenset()  # uids, of pods that are still there; with those of whom nothing is to be learned


def kind_of(accelerator_class: str, tensor_parallel_size: int, model_id: str) -> str:
    """Return the key under which starts are alike: the same weights onto the same accelerators."""
    return f"{accelerator_class}/{tensor_parallel_size}/{model_id}"


def estimated_start_up_s(weights_gib: float | None) -> float:
    """Return how long a start should take: image, weights, compiling. None: the size of the weights is not known."""
    return BLIND_START_UP_S if weights_gib is None else IMAGE_S + weights_gib / WEIGHTS_GIB_PER_S + COMPILE_S


def learn_starts(learned: LearnedStarts, pods: Iterable[ReplicaPod], *, pool: str, kind: str, watched_since: datetime) -> LearnedStarts:
    """Return what is learned with the pods of a pool that have become ready since. Each counts once."""
    pods = tuple(pods)
    there = frozenset(pod.uid for pod in pods)
    starts = {pod.uid: _start(pod, watched_since) for pod in pods if pod.pool == pool and pod.uid not in learned.counted}
    fresh = {uid: found for uid, found in starts.items() if found is not None}
    counted = (learned.counted & there) | fresh.keys() | {pod.uid for pod in pods if pod.is_stuck}
    if not fresh:
        return learned if counted == learned.counted else replace(learned, counted=counted)
    known = learned.by_kind.get(kind, StartUps())
    found = sorted(fresh.values(), key=lambda each: (each.ready_at, each.took_s))
    waits = tuple(each.node_wait_s for each in found if NODE_WAIT_S <= each.node_wait_s <= LONGEST_NODE_WAIT_S)
    known = StartUps(
        starts_s=(*known.starts_s, *(each.took_s for each in found))[-KEPT:],
        node_waits_s=(*known.node_waits_s, *waits)[-KEPT:],
    )
    return LearnedStarts(by_kind={**learned.by_kind, kind: known}, counted=counted)


def start_up(known: StartUps | None, *, estimate_s: float) -> StartUp:
    """Return how long the next start will take. Until TELLING were seen, the estimate counts as one of them."""
    starts = known.starts_s if known else ()
    waits = [each for each in known.node_waits_s if each <= LONGEST_NODE_WAIT_S] if known else []  # versions before kept them all
    heard = starts if len(starts) >= TELLING else (*starts, estimate_s)
    return StartUp(
        median_s=median(heard),
        high_s=_quantile(heard, HIGH_QUANTILE),
        node_wait_s=median(waits) if waits else None,
        basis=Basis.MEASURED if starts else Basis.ESTIMATED,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Start:
    ready_at: datetime
    took_s: float
    node_wait_s: float


def _start(pod: ReplicaPod, watched_since: datetime) -> _Start | None:
    """Return a pod's start; None where not all of it was watched, or something other than starting happened in it."""
    created, bound, ready = pod.created_at, pod.bound_at, pod.ready_since
    if created is None or bound is None or ready is None or not pod.ready or pod.restarts:
        return None
    if not watched_since <= created <= bound <= ready:
        return None
    return _Start(ready_at=ready, took_s=(ready - bound).total_seconds(), node_wait_s=(bound - created).total_seconds())


def _quantile(numbers: Sequence[float], share: float) -> float:
    """Return the smallest number that at least this share does not exceed."""
    return sorted(numbers)[max(0, math.ceil(share * len(numbers)) - 1)]
