"""What was learned of a workload, as it is written down: a restart must not make an operator guess what it knew.

One JSON document with a version. What speaks of an engine carries the fingerprint of pool, model and engine settings
(replica/measuring.py), and counts only while that is the same. What cannot be read is learned anew.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from spillway.api.model import Architecture
from spillway.plan.decision import Counted, Memory
from spillway.plan.model.told_shape import LONG_AGO, ToldShape
from spillway.plan.readings import moment_if_written, written_number
from spillway.plan.replica.learned_step import Evidence, Factors, LearnedStep
from spillway.plan.replica.roofline import StepModel
from spillway.plan.replica.start_up import KEPT, LearnedStarts, StartUps
from spillway.plan.scaling import lazy_state
from spillway.plan.scaling.demand_state import dump, load
from spillway.plan.scaling.forecast import DemandModel
from spillway.plan.scaling.lazy import Lazy

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """The part of a Memory that is learned."""

    measured_for: str | None = None
    step: LearnedStep | None = None
    measured_input_tokens: float | None = None
    measured_output_tokens: float | None = None
    prefix_hit_ratio: float | None = None
    starts: Mapping[str, StartUps] = field(default_factory=dict)
    demand: DemandModel | None = None
    lazy: Lazy | None = None  # how far to trust it
    counted: Counted | None = None  # in what replicas the demand is
    slots: int | None = None  # requests that each replica may hold, should a new operator find a spec that it cannot decide about
    told_shape: ToldShape | None = None

    @classmethod
    def of(cls, memory: Memory) -> "Learned | None":
        """Return what a memory has learned; None when that is nothing."""
        found = cls(
            measured_for=None if memory.step is None else memory.measured_for,
            step=memory.step,
            measured_input_tokens=memory.measured_input_tokens,
            measured_output_tokens=memory.measured_output_tokens,
            prefix_hit_ratio=memory.prefix_hit_ratio,
            starts=memory.starts.by_kind,
            demand=memory.demand_model,
            lazy=memory.lazy,
            counted=None if memory.demand_model is None else memory.counted,
            told_shape=memory.told_shape,
        )
        return None if found == cls() else replace(found, slots=memory.slots)

    def into(self, memory: Memory) -> Memory:
        """Return the memory with all of this in it."""
        return replace(
            memory,
            measured_for=self.measured_for,
            step=self.step,
            measured_input_tokens=self.measured_input_tokens,
            measured_output_tokens=self.measured_output_tokens,
            prefix_hit_ratio=self.prefix_hit_ratio,
            starts=LearnedStarts(by_kind=self.starts),
            demand_model=self.demand,
            lazy=self.lazy,
            counted=self.counted,
            slots=self.slots,
            told_shape=self.told_shape,
        )


def to_json(learned: Learned) -> str:
    """Return the text for its ConfigMap; stable for equal values."""
    demand = None if learned.demand is None else dump(learned.demand)
    lazy = None if learned.lazy is None else lazy_state.dump(learned.lazy)
    told = None if learned.told_shape is None else _dump_told(learned.told_shape)
    plain = asdict(replace(learned, demand=None, lazy=None, told_shape=None))
    document = {"version": VERSION, **plain, "demand": demand, "lazy": lazy, "told_shape": told}
    return json.dumps(document, default=lambda moment: moment.isoformat(), sort_keys=True, separators=(",", ":"))


def from_json(text: str) -> Learned:
    """Return what `to_json` wrote. Unknown fields are ignored; raises ValueError on another version and on anything else."""
    try:
        stored = json.loads(text)
        if stored.get("version") != VERSION:
            message = f"version {stored.get('version')!r} is not one that this operator reads ({VERSION})"
            raise ValueError(message)
        return Learned(
            measured_for=stored.get("measured_for"),
            step=None if stored.get("step") is None else _step(stored["step"]),
            measured_input_tokens=_number(stored.get("measured_input_tokens")),
            measured_output_tokens=_number(stored.get("measured_output_tokens")),
            prefix_hit_ratio=_number(stored.get("prefix_hit_ratio")),
            starts={kind: _starts(found) for kind, found in stored.get("starts", {}).items()},
            demand=load(stored.get("demand")),
            lazy=lazy_state.load(stored.get("lazy")),
            counted=None if stored.get("counted") is None else _counted(stored["counted"]),
            slots=_slots(stored.get("slots")),
            told_shape=None if stored.get("told_shape") is None else _load_told(stored["told_shape"]),
        )
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        message = f"not what was learned: {error!r}"
        raise ValueError(message) from error


def _step(stored: Mapping[str, Any]) -> LearnedStep:
    prior = StepModel(**{each.name: written_number(stored["prior"][each.name]) for each in fields(StepModel)})
    evidence = tuple(
        Evidence(octave=int(each["octave"]), information=_numbers(each["information"]), pull=_numbers(each["pull"]))
        for each in stored["evidence"]
    )
    found = LearnedStep(
        prior=prior,
        factors=_factors(stored["factors"]),
        used=_factors(stored["used"]),
        centre=written_number(stored["centre"]),
        evidence=evidence,
        measured_at=moment_if_written(stored.get("measured_at")),
        rejected_windows=written_number(stored["rejected_windows"]),
    )
    if not found.sound:
        message = "the learned step has figures that no fit gives"
        raise ValueError(message)
    return found


def _dump_told(told: ToldShape) -> Mapping[str, Any]:
    shape = None if told.architecture is None else told.architecture.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return {"model": told.model, "architecture": shape, "problem": told.problem, "at": told.at.isoformat()}


def _load_told(stored: Mapping[str, Any]) -> ToldShape:
    """Return what was told. Raises ValueError on a shape that no model has."""
    shape = stored.get("architecture")
    return ToldShape(
        model=str(stored["model"]),
        architecture=None if shape is None else Architecture.model_validate(shape),
        problem=stored.get("problem"),
        at=moment_if_written(stored.get("at")) or LONG_AGO,
    )


def _counted(stored: Mapping[str, Any]) -> Counted:
    found = Counted(pool=str(stored["pool"]), work_s=written_number(stored["work_s"]), measured_for=stored.get("measured_for"))
    if found.work_s <= 0:
        message = f"{found.work_s:g} s is no work"
        raise ValueError(message)
    return found


def _slots(stored: Any) -> int | None:
    found = None if stored is None else int(stored)
    if found is not None and found < 1:
        message = f"{found} requests are none"
        raise ValueError(message)
    return found


def _starts(stored: Mapping[str, Any]) -> StartUps:
    return StartUps(starts_s=_numbers(stored["starts_s"])[-KEPT:], node_waits_s=_numbers(stored["node_waits_s"])[-KEPT:])


def _factors(stored: Any) -> Factors:
    base, sequences, cache, prompts = _numbers(stored)
    return base, sequences, cache, prompts


def _numbers(stored: Any) -> tuple[float, ...]:
    return tuple(written_number(each) for each in stored)


def _number(stored: Any) -> float | None:
    return None if stored is None else written_number(stored)
