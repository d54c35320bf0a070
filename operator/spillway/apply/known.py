"""What is known of each object that was applied: enough to see that nothing needs to be sent."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from spillway.plan.decision import Key


class Ref(NamedTuple):
    """An object's identity."""

    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, kind: str, body: Mapping[str, Any]) -> "Ref":
        """Return the identity of an object of a kind, as the API server tells of it."""
        return cls(kind, body["metadata"].get("namespace", ""), body["metadata"]["name"])


@dataclass(slots=True)
class Record:
    """One object. `digest` is of what was applied last, "" when that is unknown or somebody else changed the object."""

    uid: str
    controller_uid: str | None
    token: str  # changes with what a user may change, not with every status
    version: int  # resourceVersion
    workload: Key | None
    digest: str = ""


class KnownObjects:
    """Records by object, fed by every answer to an apply, by the watches and by the census."""

    def __init__(self) -> None:
        self._records: dict[Ref, Record] = {}
        self._by_workload: dict[Key, set[Ref]] = {}
        self._concerned: dict[Ref, set[Key]] = {}  # the same by object: one that a workload finds in its way is another's
        self._changed: dict[Key, int] = {}  # counts what befell a workload's objects from outside
        self._sending: dict[Ref, set[str]] = {}  # uids of what went meanwhile

    @contextmanager
    def sending(self, ref: Ref) -> Iterator[None]:
        """Say that an object is being written: the watch's echo may come before the answer, and is no news.

        So may its end, after which the answer is none.
        """
        self._sending[ref] = set()
        try:
            yield
        finally:
            self._sending.pop(ref, None)

    def applied(self, ref: Ref, metadata: Mapping[str, Any], digest: str, workload: Key) -> None:
        """Note the answer to an apply."""
        if metadata.get("uid") in self._sending.get(ref, ()):
            self._touch(workload)
        else:
            self._store(ref, metadata, workload, digest)

    def seen(self, ref: Ref, metadata: Mapping[str, Any], workload: Key) -> bool:
        """Note an object as watched or listed. True when someone else made or changed it since."""
        if ref in self._sending:
            return False
        before = self._records.get(ref)
        if before is None:
            self._store(ref, metadata, workload, "")
            return True
        version, same = _version(metadata), before.uid == metadata.get("uid")
        if version < before.version or (same and (version == before.version or token(metadata) == before.token)):
            before.version = max(before.version, version)
            return False
        self._store(ref, metadata, workload, "")
        return True

    def is_echo(self, ref: Ref, metadata: Mapping[str, Any]) -> bool:
        """Tell whether an object as watched is just what was applied last, or is being applied."""
        record = self._records.get(ref)
        if record is None:
            return ref in self._sending
        return bool(record.digest) and (record.uid, record.version) == (metadata.get("uid"), _version(metadata))

    def replace(self, ref: Ref, metadata: Mapping[str, Any], workload: Key) -> None:
        """Note an object as just read: whatever was known of it no longer counts."""
        self._store(ref, metadata, workload, "")

    def gone(self, ref: Ref, uid: str | None = None) -> bool:
        """Note that an object is no more. False when that was known, or when a newer one of its name is there."""
        if uid is not None and ref in self._sending:
            self._sending[ref].add(uid)
        record = self._records.get(ref)
        if record is None or (uid is not None and record.uid != uid):
            return False
        del self._records[ref]
        for workload in self._concerned.pop(ref, ()):
            others = self._by_workload.get(workload, set())
            others.discard(ref)
            if not others:
                self._by_workload.pop(workload, None)
            self._touch(workload)
        return True

    def get(self, ref: Ref) -> Record | None:
        """Return an object's record."""
        return self._records.get(ref)

    def of(self, workload: Key) -> Iterator[tuple[Ref, Record]]:
        """Return a workload's objects; none of those that go while the others are looked at."""
        for ref in tuple(self._by_workload.get(workload, ())):
            record = self._records.get(ref)
            if record is not None:
                yield ref, record

    def of_kind(self, kind: str) -> dict[Ref, Record]:
        """Return all objects of a kind."""
        return {ref: record for ref, record in self._records.items() if ref.kind == kind}

    def changes(self, workload: Key) -> int:
        """Return a number that differs once anything befell the workload's objects from outside."""
        return self._changed.setdefault(workload, 0)

    def forget(self, workload: Key) -> None:
        """Drop a workload's count of changes; its objects are reported gone one by one."""
        self._changed.pop(workload, None)

    def _store(self, ref: Ref, metadata: Mapping[str, Any], workload: Key, digest: str) -> None:
        self._records[ref] = Record(
            uid=metadata.get("uid", ""),
            controller_uid=_controller_uid(metadata),
            token=token(metadata),
            version=_version(metadata),
            workload=workload,
            digest=digest,
        )
        self._by_workload.setdefault(workload, set()).add(ref)
        concerned = self._concerned.setdefault(ref, set())
        concerned.add(workload)
        if not digest:
            for each in concerned:
                self._touch(each)

    def _touch(self, workload: Key) -> None:
        if workload in self._changed:  # else nobody has asked
            self._changed[workload] += 1


def token(metadata: Mapping[str, Any]) -> str:
    """Return what changes when the object is edited: its version or, where its kind has one, its generation and what that leaves out."""
    generation = metadata.get("generation")
    if not generation:
        return f"v{metadata.get('resourceVersion')}"
    beside = {name: metadata.get(name) for name in ("labels", "ownerReferences")}
    return f"g{generation} {hashlib.blake2b(json.dumps(beside, sort_keys=True).encode(), digest_size=8).hexdigest()}"


def digest_of(obj: Mapping[str, Any]) -> str:
    """Return a fingerprint of a rendered object."""
    return hashlib.blake2b(json.dumps(obj, separators=(",", ":")).encode(), digest_size=16).hexdigest()


def _version(metadata: Mapping[str, Any]) -> int:
    text = str(metadata.get("resourceVersion", ""))
    return int(text) if text.isdecimal() else 0


def _controller_uid(metadata: Mapping[str, Any]) -> str | None:
    return next((each.get("uid") for each in metadata.get("ownerReferences") or [] if each.get("controller")), None)
