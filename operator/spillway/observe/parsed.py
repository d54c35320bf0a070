"""Objects that users write, read: their specs, or why these cannot be read."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from pydantic import ValidationError

from spillway.api.base import first_error
from spillway.api.catalogue import AcceleratorClassSpec, HostedProviderSpec
from spillway.api.workload import InferenceWorkloadSpec
from spillway.observe.body import Body, moment, version
from spillway.plan.decision import Key, Workload

Spec = TypeVar("Spec", InferenceWorkloadSpec, AcceleratorClassSpec, HostedProviderSpec)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed(Generic[Spec]):
    """A spec, or why it cannot be read. Parsed once per generation."""

    uid: str
    generation: int
    version: int  # the object's when this was parsed
    spec: Spec | None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenWorkload:
    """An InferenceWorkload as last seen."""

    key: Key
    created_at: datetime
    parsed: Parsed[InferenceWorkloadSpec]
    status: Mapping[str, object]
    terminating: bool
    seen_since: datetime  # by this process

    def as_workload(self) -> Workload | None:
        """Return it for planning; None when its spec cannot be read."""
        if self.parsed.spec is None:
            return None
        return Workload(
            key=self.key,
            uid=self.parsed.uid,
            generation=self.parsed.generation,
            created_at=self.created_at,
            spec=self.parsed.spec,
            previous_status=self.status,
        )


def seen_workload(key: Key, body: Body, before: SeenWorkload | None, now: datetime) -> SeenWorkload:
    """Return an InferenceWorkload as it is seen now, after it was seen so `before`."""
    metadata = body["metadata"]
    parsed = parse(InferenceWorkloadSpec, body, before.parsed if before else None)
    same = before is not None and before.parsed.uid == parsed.uid
    return SeenWorkload(
        key=key,
        created_at=moment(metadata.get("creationTimestamp")) or now,
        parsed=parsed,
        status=body.get("status") or {},
        terminating="deletionTimestamp" in metadata,
        seen_since=before.seen_since if before is not None and same else now,
    )


def parse(model: type[Spec], body: Body, before: Parsed[Spec] | None) -> Parsed[Spec]:
    """Return an object's spec: that of `before` where it is of the same generation."""
    metadata = body["metadata"]
    uid, generation = metadata.get("uid", ""), metadata.get("generation", 0)
    if before is not None and (before.uid, before.generation) == (uid, generation):
        return before
    try:
        return Parsed(uid=uid, generation=generation, version=version(body), spec=model.model_validate(body.get("spec") or {}))
    except ValidationError as problem:
        return Parsed(uid=uid, generation=generation, version=version(body), spec=None, problem=f"spec.{first_error(problem)}")
