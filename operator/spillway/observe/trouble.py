"""What keeps the containers of a pod from running, in the kubelet's words without what changes from pod to pod."""

import re
from dataclasses import dataclass

from spillway.observe.body import Body, moment, part
from spillway.plan.observation import CRASH_LOOP, NOT_PULLED

# A container that is being made has no trouble yet.
_STARTING = frozenset({"ContainerCreating", "PodInitializing"})
# The kubelet says in turns that it could not pull an image and that it will try again.
_IN_TURNS = {"ErrImagePull": NOT_PULLED, "RegistryUnavailable": NOT_PULLED}
# Of what it says the pod's name and ids change with each pod or attempt.
_CHANGING = re.compile(r" *\(pod: .*\)$|\b[0-9a-f]{12,}\b")
_LONGEST_WORDS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What keeps a container of a pod from running."""

    reason: str | None = None  # None: nothing does
    words: str | None = None
    last_words: str | None = None


def trouble_of(status: Body, ready: Body, own: str) -> Trouble:
    """Return what keeps a pod's first such container from running; `own` is the one that is ours.

    One that ends before it has served is in a loop also while it runs again: a large model may take minutes to its next end, and what is
    said of it must not change back and forth meanwhile.
    """
    for each in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        waiting = part(part(each, "state"), "waiting")
        said = str(waiting.get("reason") or "")
        reason = _IN_TURNS.get(said, said)
        ended = _last_end(each)
        if reason == CRASH_LOOP or (ended and _never_served(each, ended, ready)):
            by = "" if each.get("name") == own else f"container {each.get('name')}, "
            last_words = ended.get("message") if each.get("name") == own else None
            return Trouble(reason=CRASH_LOOP, words=f"{by}{_end(ended)}" if ended else None, last_words=last_words)
        if reason == NOT_PULLED:
            return Trouble(reason=reason, words=f"image {each['image']}" if each.get("image") else None)
        if reason and reason not in _STARTING:
            return Trouble(reason=reason, words=_steady(waiting.get("message")))
    return Trouble()


def _last_end(container: Body) -> Body:
    """Return how a container ended last; nothing for one that has not, and for one that has done its work."""
    now = part(part(container, "state"), "terminated")
    return {} if now and not now.get("exitCode") else now or part(part(container, "lastState"), "terminated")


def _never_served(container: Body, ended: Body, ready: Body) -> bool:
    """Whether the pod has not been ready since the run of a container that ended began."""
    if container.get("ready") or ready.get("status") != "False":
        return False
    began, unready_since = moment(ended.get("startedAt")), moment(ready.get("lastTransitionTime"))
    return began is not None and unready_since is not None and unready_since <= began


def _end(ended: Body) -> str:
    """Return how a container ended, in the kubelet's words where a runtime could not start it."""
    reason, code = ended.get("reason"), ended.get("exitCode")
    if reason in {"StartError", "ContainerCannotRun"}:
        return f"{reason}: {_steady(ended.get('message'))}"
    return f"exit code {code}" if reason in {"Error", "Completed", None} else str(reason)


def ended_words(status: Body) -> str | None:
    """Return why a kubelet evicted or refused a pod, without amounts: they stand behind the first sentence, or what was asked."""
    reason = status.get("reason")
    if status.get("phase") != "Failed" or not reason:
        return None
    message = str(status.get("message") or "").removeprefix("Pod was rejected: ").strip()
    said = message.partition(". ")[0].partition(", requested:")[0].removesuffix(".")
    return f"{reason}: {_steady(said)}" if said else str(reason)


def _steady(message: str | None) -> str | None:
    """Return the kubelet's sentence without what changes from pod to pod and from start to start."""
    return _CHANGING.sub(lambda found: "" if "(" in found[0] else "…", message)[:_LONGEST_WORDS] if message else None
