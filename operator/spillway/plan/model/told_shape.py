"""The shape of a model that neither the spec nor the catalogue knows, as its own replica tells it.

The first container of such a replica reads the model's config.json and leaves it as its last words (render/told_config.py); the same
reader makes a shape of it as of a file given to `spillway plan`. It is planned with: what else could serve the workload, and whether owning
pays. What a pod was made with never follows from it, which would restart the pod; nor do caps and replica counts, which go by what is
measured and had no estimate before.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field

from spillway.api.model import Architecture, Model
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.model.architecture import Unreadable, architecture_of
from spillway.plan.observation import Pool, ReplicaPod, ToldConfig
from spillway.plan.same import of_the_same

MOST_SHOWN = 300  # characters of what a pod says, in a condition: whoever writes the model's files writes them
LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldShape:
    """What a replica told of its model: a shape, or why there is none."""

    model: str  # which model, as `named` has it
    architecture: Architecture | None = None
    problem: str | None = None
    at: datetime = field(default=LONG_AGO, compare=False)  # when the pod that told it was made


class ToldModel(Model):
    """A model as the spec has it, and what was told of its shape. Only this package makes it; it is neither written nor read."""

    told: Annotated[ToldShape, Field(exclude=True)]


def named(model: Model) -> str:
    """Return which files are meant: two specs that name the same ones have one shape."""
    source = model.source
    if source is not None and source.persistent_volume_claim is not None:
        return f"{source.persistent_volume_claim.claim_name}:{source.persistent_volume_claim.path}"
    hub = source.hugging_face if source is not None else None
    return f"{(hub.repo if hub else None) or model.id}@{(hub.revision if hub else None) or 'main'}"


def listen(before: ToldShape | None, model: Model, replicas: Iterable[ReplicaPod]) -> ToldShape | None:
    """Return what is known of this very model's shape after what its replicas told; the newest counts, and no news forgets nothing."""
    wanted = named(model)
    known = before if before is not None and before.model == wanted else None
    heard = [
        (pod.created_at or LONG_AGO, pod.uid, pod.told_config)
        for pod in replicas
        if pod.told_config is not None and pod.told_config.model == wanted
    ]
    if not heard:
        return known
    at, _, newest = max(heard, key=lambda each: each[:2])
    if known is not None and (at < known.at or (at == known.at and known.architecture is not None)):
        return known
    found = _shape(newest, at)
    return replace(known, at=at) if known is not None and known.architecture is not None and found.architecture is None else found


def with_told(spec: InferenceWorkloadSpec, told: ToldShape | None) -> InferenceWorkloadSpec:
    """Return the spec with what was told of its model."""
    return spec if told is None else _telling_spec(spec, told)


@of_the_same
def _telling_spec(spec: InferenceWorkloadSpec, told: ToldShape) -> InferenceWorkloadSpec:
    model = ToldModel.model_construct(**{name: getattr(spec.model, name) for name in Model.model_fields}, told=told)
    return spec.model_copy(update={"model": model})


def as_stated(spec: InferenceWorkloadSpec) -> InferenceWorkloadSpec:
    """Return the spec without what was told."""
    return _silent_spec(spec) if isinstance(spec.model, ToldModel) else spec


@of_the_same
def _silent_spec(spec: InferenceWorkloadSpec) -> InferenceWorkloadSpec:
    model = Model.model_construct(**{name: getattr(spec.model, name) for name in Model.model_fields})
    return spec.model_copy(update={"model": model})


def told_architecture(model: Model) -> Architecture | None:
    """Return the shape that replicas told; None where they told none."""
    return model.told.architecture if isinstance(model, ToldModel) else None


def why_untold(model: Model) -> str | None:
    """Return why the replicas' config.json gave no shape; None where none was asked for, or it did."""
    return model.told.problem if isinstance(model, ToldModel) else None


def tells_config(model: Model, pool: Pool | None, *, sized_for: str, unknown: bool) -> bool:
    """Whether the pool's pods should tell their config.json: `unknown`, neither the spec nor the catalogue knows the shape.

    A pool goes on as it was made, whatever a later catalogue knows, until the spec or the class says something else; so does one that a
    version made which did not ask.
    """
    if model.architecture is not None:
        return False
    if pool is not None and (pool.limits is None or pool.limits.sized_for == sized_for):
        return pool.tells_config
    return unknown


def read_told(text: str) -> Architecture | Unreadable:
    """Return the shape in a container's last words, or why there is none. Any text will do: whoever makes the model makes it."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return Unreadable(message=f"its first container wrote no JSON ({_shown(text) or 'nothing at all'})")
    config, problem = (said.get("config"), said.get("problem")) if isinstance(said, dict) else (None, None)
    if isinstance(config, dict):
        found = architecture_of(config)
        return Unreadable(message=_shown(found.message)) if isinstance(found, Unreadable) else found
    return Unreadable(message=_shown(problem if isinstance(problem, str) else text))


def _shape(told: ToldConfig, at: datetime) -> ToldShape:
    found = read_told(told.text)
    if isinstance(found, Unreadable):
        return ToldShape(model=told.model, problem=found.message, at=at)
    return ToldShape(model=told.model, architecture=found, at=at)


def _shown(text: str) -> str:
    """Return a line that a terminal survives."""
    line = "".join(each if each.isprintable() else " " for each in text[: 4 * MOST_SHOWN])
    return " ".join(line.split())[:MOST_SHOWN]
