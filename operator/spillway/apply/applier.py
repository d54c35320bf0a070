"""The only writer of a workload's objects: server-side apply with one field manager, and never over what is not ours.

That is safe without asking first. An object that is not known to exist is posted, which costs the API server half of what an apply of a
new object does, and is refused as a conflict when there is something of that name. An object that is known is applied with its uid, which
the API server refuses when another one has taken its name.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spillway.api.vocabulary import API_VERSION, FIELD_MANAGER
from spillway.apply.connection import APPLY_PATCH, CONFLICT, INVALID, JSON, JSON_PATCH, METADATA, NOT_FOUND, ApiError, Connection, path
from spillway.apply.encoded import Encoded, encode
from spillway.apply.known import KnownObjects, Record, Ref
from spillway.apply.ownership import as_applied, is_posted, left_over
from spillway.plan.decision import Key, Workload

Object = Mapping[str, Any]
Status = Mapping[str, object]

_APPLY_QUERY = {"fieldManager": FIELD_MANAGER, "force": "true"}
_POST_QUERY = {"fieldManager": FIELD_MANAGER}
# Replicas and gateways start only once everything else is there and nobody else's.
_LAST_KINDS = frozenset({"Deployment"})
LAST_S = 0.4  # of the time there is, kept for them where something else is not answered
# Pauses before what was refused (a quota, an admission webhook) is sent again as it is; each is twice the one before.
FIRST_PAUSE_S, LAST_PAUSE_S = 5.0, 300.0
_NO_REFUSALS = (401, NOT_FOUND, CONFLICT, 429)  # below 500; they say nothing of the object itself


class NotLeadingError(Exception):
    """This process may not write: it does not hold the Lease, or is no longer sure of it."""


class _StillRefusedError(Exception):
    """What was refused, and is not sent again yet."""


class _NotOursError(Exception):
    """The name is taken by an object with another controller or none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refusal:
    """An object that was refused as it is, by the spec as it is, with nothing having befallen the workload's objects since."""

    sent: tuple[str, int, int]
    problem: str
    pause_s: float
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What became of applying."""

    failures: tuple[str, ...] = ()
    paused: frozenset[str] = frozenset()  # of the failures, those of what was refused before and was not sent again yet
    foreign: tuple[Ref, ...] = ()
    undone: frozenset[Ref] = frozenset()  # what failed, and what waits for that
    requests: int = 0


class Applier:
    """Applies, prunes and writes status. `fence` raises NotLeadingError when nothing may be written."""

    def __init__(
        self, connection: Connection, known: KnownObjects, fence: Callable[[], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._connection = connection
        self._known = known
        self._fence = fence
        self._clock = clock
        self._refusals: dict[Key, dict[Ref, _Refusal]] = {}
        self._settled: dict[Key, tuple[object, int]] = {}
        self._statuses: dict[Key, tuple[str, Status]] = {}
        self._unkept: dict[Key, dict[Ref, str]] = {}
        self.requests = 0

    async def apply(self, workload: Workload, objects: Sequence[Object], *, by: float | None = None) -> Applied:
        """Make the objects so. Nothing is sent for those that are so already. Raises ApiError where the namespace ends.

        `by`: when the event loop's clock says so, what has not been answered has failed.
        """
        settled = (objects, self._known.changes(workload.key))
        before = self._settled.get(workload.key)
        if before is not None and before[0] is objects and before[1] == settled[1]:
            return Applied()
        sent = self.requests
        first = [each for each in objects if each["kind"] not in _LAST_KINDS]
        last = [each for each in objects if each["kind"] in _LAST_KINDS]
        failed, foreign, paused = await self._apply_all(workload, first, None if by is None else by - LAST_S)
        # Pods that start before their configuration is there run the one of before, under the hash of the new one, and keep it.
        waiting = {_ref(each) for each in last if foreign or _mounted(each) & failed.keys()}
        more, taken, later = await self._apply_all(workload, [each for each in last if _ref(each) not in waiting], by)
        failed |= more
        foreign += taken
        paused |= later
        if not failed and not foreign:
            self._settled[workload.key] = settled
        undone = frozenset(failed.keys() | waiting)
        return Applied(
            failures=tuple(failed.values()),
            paused=frozenset(paused),
            foreign=tuple(foreign),
            undone=undone,
            requests=self.requests - sent,
        )

    async def prune(self, workload: Workload, keep: Callable[[Ref], bool]) -> tuple[str, ...]:
        """Delete this very workload's children that nothing wants any more; return what failed."""
        failures = []
        for ref, record in self._known.of(workload.key):
            if record.controller_uid != workload.uid or keep(ref):
                continue
            options = {"propagationPolicy": "Background", "preconditions": {"uid": record.uid}}
            try:
                await self._send("DELETE", path(ref.kind, ref.namespace, ref.name), options)
            except ApiError as problem:
                if problem.status not in (NOT_FOUND, CONFLICT):
                    failures.append(f"delete {ref.kind} {ref.name}: {problem}")
                    continue
            self._known.gone(ref, record.uid)
        return tuple(failures)

    async def recheck(self, workload: Workload, refs: Iterable[Ref]) -> None:
        """Look again at objects that were in the way: nobody watches those without our label."""
        for ref in refs:
            try:
                found = await self._connection.request("GET", path(ref.kind, ref.namespace, ref.name), accept=METADATA)
            except ApiError as problem:
                if problem.status != NOT_FOUND:
                    raise
                self._known.gone(ref)
            else:
                self._known.replace(ref, found["metadata"], workload.key)

    async def apply_one(self, workload: Workload, obj: Object) -> None:
        """Apply one object; raise ApiError when that fails, also when the name is not ours."""
        try:
            await self._apply(workload, obj)
        except _NotOursError as problem:
            raise ApiError(CONFLICT, str(problem)) from problem

    async def keep(self, workload: Workload, obj: Object) -> None:
        """Apply what is written down after the status. Why it could not be is remembered, to be told with the next one."""
        ref = _ref(obj)
        try:
            await self.apply_one(workload, obj)
        except ApiError as problem:
            self._unkept.setdefault(workload.key, {})[ref] = f"{ref.kind} {ref.name}: {problem}"
            raise
        self._unkept.get(workload.key, {}).pop(ref, None)

    def unkept(self, key: Key) -> tuple[str, ...]:
        """Return why what was to be written down last could not be."""
        return tuple(self._unkept.get(key, {}).values())

    async def write_status(self, workload: Workload, status: Status) -> bool:
        """Write the status unless it is so already. Return whether it was written."""
        return await self.write_raw_status(workload.key, workload.uid, workload.previous_status, status)

    async def write_raw_status(self, key: Key, uid: str, seen: Status, status: Status) -> bool:
        """Write the status of a workload that may be unreadable. `seen` may be older than what was written last."""
        before = self._statuses.get(key, (uid, seen))
        if before == (uid, status):
            return False
        body = {
            "apiVersion": API_VERSION,
            "kind": "InferenceWorkload",
            "metadata": {"name": key.name, "namespace": key.namespace, "uid": uid},
            "status": status,
        }
        where = path("InferenceWorkload", key.namespace, key.name, subresource="status", query=_APPLY_QUERY)
        self._statuses.pop(key, None)
        try:
            await self._send("PATCH", where, body, content_type=APPLY_PATCH)
        except ApiError as problem:
            if problem.status == NOT_FOUND:
                return False  # deleted meanwhile; its event is on the way
            raise
        self._statuses[key] = (uid, status)
        return True

    def last_status(self, key: Key, uid: str) -> Status | None:
        """Return the status written last, which the watch may not have shown yet."""
        of, status = self._statuses.get(key, ("", {}))
        return status if of == uid else None

    def forget(self, key: Key) -> None:
        """Drop what is remembered of a workload that is no more."""
        self._settled.pop(key, None)
        self._statuses.pop(key, None)
        self._unkept.pop(key, None)
        self._refusals.pop(key, None)
        self._known.forget(key)

    async def _apply_all(
        self, workload: Workload, objects: Sequence[Object], by: float | None
    ) -> tuple[dict[Ref, str], list[Ref], set[str]]:
        results = await asyncio.gather(*(self._apply_by(workload, each, by) for each in objects), return_exceptions=True)
        failed: dict[Ref, str] = {}
        foreign: list[Ref] = []
        paused: set[str] = set()
        for obj, result in zip(objects, results, strict=True):
            told = f"{obj['kind']} {obj['metadata']['name']}: {result}"
            match result:
                case None:
                    pass
                case _NotOursError():
                    foreign.append(_ref(obj))
                case _StillRefusedError():
                    failed[_ref(obj)] = told
                    paused.add(told)
                case ApiError(namespace_ends=False):
                    failed[_ref(obj)] = told
                case _:
                    raise result
        return failed, foreign, paused

    async def _apply_by(self, workload: Workload, obj: Object, by: float | None) -> None:
        try:
            async with asyncio.timeout_at(by):
                await self._apply_unless_refused(workload, obj)
        except TimeoutError as problem:
            raise ApiError(0, "no answer from the API server, or one of its webhooks, in time") from problem

    async def _apply_unless_refused(self, workload: Workload, obj: Object) -> None:
        """Apply an object, unless it was refused just so a while ago: then only after a pause that grows."""
        ref, refusals = _ref(obj), self._refusals.setdefault(workload.key, {})
        digest, before = encode(obj).digest, refusals.get(ref)
        known = before is not None and before.sent == (digest, workload.generation, self._known.changes(workload.key))
        if before is not None and known and self._clock() < before.until:
            raise _StillRefusedError(before.problem)
        try:
            await self._apply(workload, obj)
        except ApiError as problem:
            if problem.status and problem.status not in _NO_REFUSALS and not problem.namespace_ends:
                pause_s = min(2 * before.pause_s, LAST_PAUSE_S) if before is not None and known else FIRST_PAUSE_S
                sent = (digest, workload.generation, self._known.changes(workload.key))
                refusals[ref] = _Refusal(sent=sent, problem=str(problem), pause_s=pause_s, until=self._clock() + pause_s)
            raise
        refusals.pop(ref, None)

    async def _apply(self, workload: Workload, obj: Object) -> None:
        ref, encoded = _ref(obj), encode(obj)
        record = self._known.get(ref)
        if record is not None and record.controller_uid == workload.uid and record.digest == encoded.digest:
            return
        try:
            await self._apply_known(workload, ref, encoded)
        except ApiError as problem:
            # Somebody was faster: it exists after all, or the one that was known is no more. Look, and try once more.
            if problem.status not in (CONFLICT, NOT_FOUND) and not (problem.status == INVALID and "metadata.uid" in str(problem)):
                raise
            await self.recheck(workload, (ref,))
            await self._apply_known(workload, ref, encoded)

    async def _apply_known(self, workload: Workload, ref: Ref, encoded: Encoded) -> None:
        record = self._known.get(ref)
        if record is not None and record.controller_uid != workload.uid:
            raise _NotOursError(f"{ref.kind} {ref.name} exists and does not belong to this workload")
        with self._known.sending(ref):
            metadata = await self._post_or_apply(ref, encoded, record)
            self._known.applied(ref, metadata, encoded.digest, workload.key)

    async def _post_or_apply(self, ref: Ref, encoded: Encoded, record: Record | None) -> Object:
        """Return the metadata of an object as it now is."""
        if record is None:
            where = path(ref.kind, ref.namespace, query=_POST_QUERY)
            return _metadata(await self._send("POST", where, encoded.body({})))
        body = encoded.body({"uid": record.uid})
        where = path(ref.kind, ref.namespace, ref.name, query=_APPLY_QUERY)
        try:
            metadata = _metadata(await self._send("PATCH", where, body, content_type=APPLY_PATCH))
        except ApiError as problem:
            # What was posted is still there beside what is applied, and may not be: an emptyDir beside the claim that takes its place.
            if problem.status != INVALID:
                raise
            metadata = _metadata(await self._connection.send("GET", path(ref.kind, ref.namespace, ref.name), accept=METADATA))
            if metadata["uid"] != record.uid or not is_posted(metadata.get("managedFields") or ()):
                raise
        else:
            if not left_over(metadata.get("managedFields") or ()):
                return metadata
        changes = [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},  # else it is a conflict
            {"op": "replace", "path": "/metadata/managedFields", "value": as_applied(metadata["managedFields"])},
        ]
        await self._send("PATCH", path(ref.kind, ref.namespace, ref.name), changes, content_type=JSON_PATCH)
        return _metadata(await self._send("PATCH", where, body, content_type=APPLY_PATCH))

    async def _send(self, method: str, where: str, body: Object | Sequence[Object] | bytes, *, content_type: str = JSON) -> bytes:
        self._fence()
        self.requests += 1
        return await self._connection.send(method, where, body, content_type=content_type, accept=METADATA)


def _metadata(answer: bytes) -> Object:
    found: Object = json.loads(answer)["metadata"]
    return found


def _mounted(deployment: Object) -> set[Ref]:
    """Return the ConfigMaps that a Deployment's pods have as files."""
    volumes = deployment["spec"]["template"]["spec"].get("volumes") or []
    sources = [source for volume in volumes for source in (volume, *volume.get("projected", {}).get("sources", ()))]
    namespace = deployment["metadata"]["namespace"]
    return {Ref("ConfigMap", namespace, source["configMap"]["name"]) for source in sources if "configMap" in source}


def _ref(obj: Object) -> Ref:
    return Ref.of(obj["kind"], obj)
