"""Why replicas that are asked for cannot be: no node takes them, the API server does not, or they do not start."""

import re
from collections.abc import Iterable

from spillway.plan.observation import Observation

# What the scheduler says behind its grounds is of what it might have done: preempted others, or since 1.34 deallocated claims of devices.
_BEHIND = re.compile(r"\. .*|\.? *preemption:.*", re.DOTALL)
_ALL_NODES = re.compile(r"^\d+/\d+ nodes are available: ")
_COUNTED = re.compile(r", (?=\d)")  # each of the scheduler's grounds begins with a number of nodes
_COUNT = re.compile(r"^\d+ ")


def unschedulable(seen: Observation, pool: str | None = None) -> str | None:
    """Return why no node takes a replica, in the scheduler's words without its live counts; None when all found a node.

    `pool`: the one whose replicas are meant, as those of one that is to go are not waited for; None: all there are.
    """
    return no_node(pod.unschedulable for pod in seen.replicas if pod.unschedulable and pod.stays and pool in {None, pod.pool})


def no_node(sentences: Iterable[str]) -> str | None:
    """Return the grounds in the scheduler's sentences about pods, without their live counts; None where there is no sentence."""
    grounds = {_COUNT.sub("", ground) for sentence in sentences for ground in _COUNTED.split(_ALL_NODES.sub("", _plain(sentence)))}
    return ", ".join(sorted(grounds)) or None


def refused(seen: Observation, pool: str | None = None) -> str | None:
    """Return why the API server takes no pod of a replica, in its words; None when it takes all. `pool`: see unschedulable."""
    return "; ".join(sorted({each.refused for each in seen.pools if each.refused and pool in {None, each.name}})) or None


def has_no_place(seen: Observation, pool: str | None) -> bool:
    """Whether some replica that is asked for cannot be: no node takes it, or the API server does not take its pod."""
    return unschedulable(seen, pool) is not None or refused(seen, pool) is not None


def cannot_start(seen: Observation, pool: str) -> bool:
    """Whether a replica cannot start, and none shows that others would: what keeps one from it (an image, an argument) then keeps all."""
    own = [pod for pod in seen.replicas if pod.pool == pool]
    return any(pod.is_stuck for pod in own) and not any(pod.ready and pod.stays for pod in own)


def _plain(sentence: str) -> str:
    return _BEHIND.sub("", sentence).strip().removesuffix(".")
