"""Pods and Deployments as facts."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from spillway.api.vocabulary import (
    ANNOTATION_ACCELERATOR_CLASS,
    ANNOTATION_CONFIG_HASH,
    ANNOTATION_ENGINE_IMAGE,
    ANNOTATION_ENGINE_LIMITS,
    ANNOTATION_ENGINE_VERSION,
    ANNOTATION_GATEWAY_SHARE,
    ANNOTATION_TENSOR_PARALLEL,
    COMPONENT_ENGINE,
    COMPONENT_GATEWAY,
    CONTAINER_CONFIG,
    LABEL_POOL,
    VARIABLE_MODEL,
)
from spillway.observe.body import Body, conditions_of, moment, part, whole
from spillway.observe.trouble import Trouble, ended_words, trouble_of
from spillway.plan.observation import CRASH_LOOP, EngineLimits, GatewayPod, Pool, ReplicaPod, ToldConfig
from spillway.render.envoy.share import share_told

# Why a pod has no node: the scheduler found none, could not bind it to one (a volume that cannot be made), or is not to look yet.
_NO_NODE = frozenset({"Unschedulable", "SchedulerError", "SchedulingGated"})
_NO_POD = re.compile(r'^pods? "[^"]*" is (forbidden|invalid): ', re.IGNORECASE)


def replica_pod(body: Body) -> ReplicaPod:
    """Return an engine pod's facts."""
    metadata, spec, status = body["metadata"], part(body, "spec"), part(body, "status")
    annotations = metadata.get("annotations") or {}
    conditions = conditions_of(status)
    containers = status.get("containerStatuses") or []
    ready, scheduled = conditions.get("Ready", {}), conditions.get("PodScheduled", {})
    trouble = trouble_of(status, ready, COMPONENT_ENGINE)
    return ReplicaPod(
        uid=metadata.get("uid", ""),
        name=metadata["name"],
        pool=(metadata.get("labels") or {}).get(LABEL_POOL, ""),
        accelerator_class=annotations.get(ANNOTATION_ACCELERATOR_CLASS),
        tensor_parallel_size=whole(annotations.get(ANNOTATION_TENSOR_PARALLEL), 1),
        ready=ready.get("status") == "True",
        terminating="deletionTimestamp" in metadata,
        bound_at=_bound_at(spec, status, scheduled),
        ready_since=ready_since(body),
        ended_at=_ended_at(status, containers, ready),
        waiting_reason=trouble.reason,
        waiting_words=trouble.words,
        last_words=trouble.last_words,
        ended_words=ended_words(status),
        fell_silent=_fell_silent(containers, ready),
        preparing_since=_preparing_since(spec, conditions),
        unschedulable=_unschedulable(spec, scheduled),
        template=(metadata.get("labels") or {}).get("pod-template-hash"),
        created_at=moment(metadata.get("creationTimestamp")),
        restarts=_restarts(status, COMPONENT_ENGINE),
        max_num_seqs=_max_num_seqs(spec),
        told_config=_told_config(spec, status),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SharingPod:
    """What there is to know of a gateway pod to share the cap with it. No part of a pass: shares move between passes."""

    address: str | None  # None: it has not started
    leaving: bool
    told: int | None  # its share; None: nobody has told it one


def sharing_pod(body: Body) -> SharingPod | None:
    """Return a gateway pod's part in sharing the cap; None for one whose template knows of no shares."""
    metadata = body["metadata"]
    annotation = (metadata.get("annotations") or {}).get(ANNOTATION_GATEWAY_SHARE)
    if annotation is None:
        return None
    address = part(body, "status").get("podIP") or None
    return SharingPod(address=address, leaving="deletionTimestamp" in metadata, told=share_told(annotation))


def gateway_pod(body: Body) -> GatewayPod:
    """Return a gateway pod's facts."""
    metadata, spec, status = body["metadata"], part(body, "spec"), part(body, "status")
    conditions = conditions_of(status)
    ready, scheduled = conditions.get("Ready", {}), conditions.get("PodScheduled", {})
    trouble = trouble_of(status, ready, COMPONENT_GATEWAY)
    leaves = "deletionTimestamp" in metadata
    return GatewayPod(
        uid=metadata.get("uid", ""),
        name=metadata["name"],
        ready=ready.get("status") == "True" and not leaves,
        config_mounted_problem=_gateway_problem(trouble),
        config_hash=(metadata.get("annotations") or {}).get(ANNOTATION_CONFIG_HASH),
        created_at=moment(metadata.get("creationTimestamp")),
        restarts=_restarts(status, COMPONENT_GATEWAY),
        unschedulable=None if leaves else _unschedulable(spec, scheduled),
        ends_by=moment(metadata.get("deletionTimestamp")),
        preparing_since=None if leaves else _preparing_since(spec, conditions),
    )


def pool(body: Body) -> Pool:
    """Return an engine Deployment's facts."""
    metadata, spec, status = body["metadata"], part(body, "spec"), part(body, "status")
    annotations = metadata.get("annotations") or {}
    progressing = conditions_of(status).get("Progressing", {})
    stuck = progressing.get("status") == "False" and progressing.get("reason") == "ProgressDeadlineExceeded"
    pods = part(part(spec, "template"), "spec")
    return Pool(
        name=metadata["name"],
        replicas=whole(spec.get("replicas"), 1),
        ready_replicas=whole(status.get("readyReplicas"), 0),
        engine_image=annotations.get(ANNOTATION_ENGINE_IMAGE),
        engine_version=annotations.get(ANNOTATION_ENGINE_VERSION),
        rollout_blocked=(progressing.get("message") or "the rollout makes no progress") if stuck else None,
        refused=refused(body),
        is_rolling=_is_rolling(metadata, status),
        max_num_seqs=_max_num_seqs(pods),
        limits=_limits(annotations.get(ANNOTATION_ENGINE_LIMITS)),
        tells_config=_telling(pods) is not None,
        start_up_budget_s=_start_up_budget_s(pods),
    )


def _unschedulable(spec: Body, scheduled: Body) -> str | None:
    """Return why a pod has no node yet; None: it has one, or nobody has looked."""
    reason = scheduled.get("reason")
    if reason not in _NO_NODE or scheduled.get("status") == "True":
        return None
    if reason != "SchedulingGated":
        return scheduled.get("message")
    gates = sorted(str(each.get("name")) for each in spec.get("schedulingGates") or [])
    return f"held back by scheduling gate {' and '.join(gates)}"


def _restarts(status: Body, container: str) -> int:
    """Return the restarts of our own container; a sidecar's, which a mesh may have put beside it, say nothing."""
    return sum(whole(each.get("restartCount"), 0) for each in status.get("containerStatuses") or [] if each.get("name") == container)


def _is_rolling(metadata: Body, status: Body) -> bool:
    unseen = whole(status.get("observedGeneration"), 0) < whole(metadata.get("generation"), 0)
    return unseen or whole(status.get("updatedReplicas"), 0) < whole(status.get("replicas"), 0)


def refused(body: Body) -> str | None:
    """Return why the API server takes no pod of a Deployment, in its words without the name that the pod would have had; None: it does."""
    failure = conditions_of(part(body, "status")).get("ReplicaFailure", {})
    if failure.get("status") != "True":
        return None
    return _NO_POD.sub("", str(failure.get("message") or "")).strip().rstrip(".") or str(failure.get("reason"))


def has_ended(body: Body) -> bool:
    """Whether a pod will not run again: evicted, or done."""
    return part(body, "status").get("phase") in ("Succeeded", "Failed")


def ready_since(body: Body) -> datetime | None:
    """Return since when a pod is ready; None when it is not."""
    ready = conditions_of(part(body, "status")).get("Ready", {})
    return moment(ready.get("lastTransitionTime")) if ready.get("status") == "True" else None


def _limits(text: str | None) -> EngineLimits | None:
    """Return the limits that were written down; None where nobody has, or where they cannot be read any more."""
    try:
        found = json.loads(text or "")
        queued = found["maxQueuedTokens"]
        return EngineLimits(
            sized_for=str(found["sizedFor"]),
            max_num_seqs=int(found["maxNumSeqs"]),
            max_queued_requests=int(found["maxQueuedRequests"]),
            max_queued_tokens=None if queued is None else int(queued),
        )
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
        return None


def _max_num_seqs(spec: Body) -> int | None:
    """Return the batch in the engine's command."""
    for container in spec.get("containers") or []:
        words = container.get("command") or []
        if "--max-num-seqs" in words[:-1]:
            return whole(words[words.index("--max-num-seqs") + 1], 0) or None
    return None


def _start_up_budget_s(spec: Body) -> int | None:
    """Return how long the engine may take to serve: its start-up probe asks every second."""
    for container in spec.get("containers") or []:
        probe = part(container, "startupProbe")
        if container.get("name") == COMPONENT_ENGINE and probe.get("periodSeconds") == 1:
            return whole(probe.get("failureThreshold"), 0) or None
    return None


def _telling(spec: Body) -> Body | None:
    """Return the container of a pod that tells its model's config.json."""
    return next((each for each in spec.get("initContainers") or [] if each.get("name") == CONTAINER_CONFIG), None)


def _told_config(spec: Body, status: Body) -> ToldConfig | None:
    """Return the last words of the container that reads the model's config.json, once it has ended."""
    asked = _telling(spec)
    model = next((each.get("value") for each in (asked or {}).get("env") or [] if each.get("name") == VARIABLE_MODEL), None)
    ended = next((part(part(each, "state"), "terminated") for each in status.get("initContainerStatuses") or [] if _is_config(each)), {})
    return ToldConfig(model=model, text=str(ended.get("message") or "")) if model and ended else None


def _is_config(container: Body) -> bool:
    return bool(container.get("name") == CONTAINER_CONFIG)


def _bound_at(spec: Body, status: Body, scheduled: Body) -> datetime | None:
    """Return since when a pod has its node, and accelerators with it; None where it never had them: its node refused it."""
    refused_by_node = status.get("phase") == "Failed" and not status.get("containerStatuses")
    if not spec.get("nodeName") or refused_by_node:
        return None
    bound = moment(scheduled.get("lastTransitionTime")) if scheduled.get("status") == "True" else None
    return bound or moment(status.get("startTime"))


def _ended_at(status: Body, containers: list[Body], ready: Body) -> datetime | None:
    if status.get("phase") not in ("Succeeded", "Failed"):
        return None
    ends = [moment((each.get("state") or {}).get("terminated", {}).get("finishedAt")) for each in containers]
    known = [end for end in ends if end is not None]
    return max(known) if known else moment(ready.get("lastTransitionTime")) or moment(status.get("startTime"))


def _fell_silent(containers: list[Body], ready: Body) -> bool:
    """Whether a pod has been ready since its engine began to run, and is not any more: its node is lost, say."""
    engine = next((each for each in containers if each.get("name") == COMPONENT_ENGINE), {})
    began, changed = moment(part(part(engine, "state"), "running").get("startedAt")), moment(ready.get("lastTransitionTime"))
    return ready.get("status") == "False" and began is not None and changed is not None and began < changed


def _preparing_since(spec: Body, conditions: Mapping[str, Body]) -> datetime | None:
    """Return since when a pod's node has no sandbox for it: it makes one once the volumes are there, and pulls images only then."""
    sandbox = conditions.get("PodReadyToStartContainers", {})
    return moment(sandbox.get("lastTransitionTime")) if spec.get("nodeName") and sandbox.get("status") == "False" else None


def _gateway_problem(trouble: Trouble) -> str | None:
    if trouble.reason == CRASH_LOOP:
        ended = f" ({trouble.words})" if trouble.words else ""
        return f"{CRASH_LOOP}: see its log (kubectl logs){ended}"
    return f"{trouble.reason}: {trouble.words}" if trouble.reason and trouble.words else trouble.reason
