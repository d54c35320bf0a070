"""What the engine's readings add to what is remembered: the learned step, and the lengths of requests.

A reading speaks of one pool, model and engine setting. For another one, learning starts anew.
"""

import hashlib
import json
import math
from dataclasses import dataclass, replace
from datetime import datetime

from spillway.api.catalogue import AcceleratorClassSpec
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.decision import Memory
from spillway.plan.model.models import known_model
from spillway.plan.observation import Missing, Pool, Signals
from spillway.plan.readings import number, positive
from spillway.plan.replica.capacity import BATCH_SLOPE, current_lengths, engine_limits, expected_service, kv_capacity_tokens
from spillway.plan.replica.kept_limits import NO_FIGURES
from spillway.plan.replica.learned_step import LearnedStep, MeasuredStep, StepLoad, learn
from spillway.plan.replica.roofline import StepModel
from spillway.plan.replica.serving import STEP_OVERHEAD_MS, Service
from spillway.plan.same import of_the_same
from spillway.plan.traffic.lengths import Lengths, length_spread
from spillway.plan.traffic.shape import declared_shape, seen_shape

_RESOLVED = {"stated_tensor_parallel_size"}  # the pool's name has it
NO_PREFIX_CACHE = "--no-enable-prefix-caching"  # vLLM's; its cache of prompts is on otherwise
VISIBLE_LENGTH = 0.2  # lengths must move by this share before they replace the remembered ones, or caps would never rest
VISIBLE_HIT = 0.05  # and the share of cached prompt tokens by so much


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What engine readings speak of."""

    pool: str
    spec: InferenceWorkloadSpec  # as it is served
    accelerator: AcceleratorClassSpec
    running: Pool | None  # as it exists
    mixed: bool = False  # replicas of another class, size or spec are in the readings

    @property
    def fingerprint(self) -> str:
        """The same for the same pool, model and engine settings; what has its default counts as left out."""
        return _fingerprint(self.pool, self.spec)


@of_the_same
def _fingerprint(pool: str, spec: InferenceWorkloadSpec) -> str:
    known = known_model(spec.model) is not None
    # Of a model that nothing knows, the place is all that says which one it is.
    without = NO_FIGURES if known else NO_FIGURES - {"source"}
    said = {
        "pool": pool,
        "model": spec.model.model_dump(mode="json", exclude=without, exclude_defaults=True),
        "known": known,  # a later catalogue may know it: then there is an estimate to begin with
        "engine": spec.own.engine.model_dump(mode="json", exclude=_RESOLVED, exclude_defaults=True),
    }
    return hashlib.blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=8).hexdigest()


def remember(memory: Memory, signals: Signals, subject: Measured | None, now: datetime) -> Memory:
    """Return the memory with the latest readings. What is Missing leaves what is remembered as it is."""
    # An engine that is told to keep no prompts tells of no hits either: those of before must not stay.
    off = subject is not None and NO_PREFIX_CACHE in subject.spec.own.engine.extra_args
    hit = None if off else _latest_hit(memory.prefix_hit_ratio, number(signals.prefix_hit_ratio))
    memory = memory if hit == memory.prefix_hit_ratio else replace(memory, prefix_hit_ratio=hit)
    if subject is None:
        return memory
    memory = _with_shape(memory, signals, subject, now)
    fingerprint = subject.fingerprint
    if fingerprint != memory.measured_for:
        before, memory = memory.measured_for, replace(memory, measured_for=fingerprint, step=None)
        if before is not None:
            return memory  # what was read until now is of what ran until now
    return _with_step(memory, signals, subject)


def _with_shape(memory: Memory, signals: Signals, subject: Measured, now: datetime) -> Memory:
    """Return the memory with what requests were like in this reading; before any, what was so before a restart, else what is declared.

    The lengths that caps are reckoned with are those of the last minutes, and move only when these moved visibly.
    """
    shape = memory.shape or declared_shape(current_lengths(subject.spec, memory), now.timestamp())
    arrivals = number(signals.arrivals_per_s)
    prompts, answers = positive(signals.input_tokens_mean), positive(signals.output_tokens_mean)
    if arrivals is None or prompts is None or answers is None:
        return memory if shape is memory.shape else replace(memory, shape=shape)
    shape = seen_shape(
        shape, per_s=arrivals, input_tokens=prompts, output_tokens=answers, now_s=now.timestamp(), longest_s=signals.window_s
    )
    return replace(
        memory,
        shape=shape,
        measured_input_tokens=_latest(memory.measured_input_tokens, shape.minutes.input_tokens),
        measured_output_tokens=_latest(memory.measured_output_tokens, shape.minutes.output_tokens),
    )


def _with_step(memory: Memory, signals: Signals, subject: Measured) -> Memory:
    """Return the memory with the step of the last window learned, where there was one, and of this pool's replicas alone."""
    took_ms, batch = positive(signals.step_time_ms), positive(signals.batch_mean)
    if subject.mixed or took_ms is None or batch is None or isinstance(signals.step_time_ms, Missing):
        return memory
    learned, at = memory.step, signals.step_time_ms.at
    if learned is not None and learned.knows(at):
        return memory  # another pass between two ticks
    spec, lengths = subject.spec, current_lengths(subject.spec, memory)
    service = expected_service(spec, subject.accelerator, lengths)
    told = subject.running.max_num_seqs if subject.running else None
    most = told or engine_limits(spec, subject.accelerator, subject.running).max_num_seqs
    found = MeasuredStep(
        load=_seen_load(signals, batch, service, lengths, planned_kv_tokens=kv_capacity_tokens(spec, subject.accelerator)),
        step_ms=took_ms,
        at=at,
        window_s=signals.window_s,
    )
    if not found.usable:
        return memory
    before = learned or LearnedStep(prior=service.step if service else _blind_prior(took_ms, batch))
    return replace(memory, step=learn(before, found, full=_full_load(most, service, lengths)))


def _seen_load(signals: Signals, batch: float, service: Service | None, lengths: Lengths, *, planned_kv_tokens: int | None) -> StepLoad:
    """Return what a mean step carried. The gap between two tokens of a request has the prompts of the others in it, not its own."""
    attended = lengths.context_mean if service is None else service.attended_tokens
    resident = positive(signals.kv_tokens_per_step)
    usage = positive(signals.kv_cache_usage_ratio)
    if resident is None and usage is not None and planned_kv_tokens:
        resident = usage * planned_kv_tokens
    prompts = number(signals.prompt_tokens_per_step)
    if prompts is None:
        prompts = batch / lengths.output_mean * lengths.input_mean
    others = max(0.0, batch - 1) / batch * prompts
    return StepLoad(
        batch=batch,
        kv_tokens=batch * attended if resident is None else resident * attended / lengths.context_mean,
        prompt_tokens=others,
        prompt_squares=others * _square_each(lengths),
    )


def _full_load(batch: int, service: Service | None, lengths: Lengths) -> StepLoad:
    prompts = max(0, batch - 1) / lengths.output_mean * lengths.input_mean
    attended = lengths.context_mean if service is None else service.attended_tokens
    return StepLoad(batch=batch, kv_tokens=batch * attended, prompt_tokens=prompts, prompt_squares=prompts * _square_each(lengths))


def _square_each(lengths: Lengths) -> float:
    """Return what one prompt token adds to the sum of squares: the mean square of prompts over their mean."""
    return lengths.input_mean * math.exp(length_spread(lengths.input_mean, lengths.input_p95) ** 2)


def _blind_prior(took_ms: float, batch: float) -> StepModel:
    """Return the line of the calibration's usual slope through a first measured step: of an unknown shape there is no other estimate.

    What cache and prompts cost is in it at the mix that is seen.
    """
    fixed_ms = took_ms / (1 + BATCH_SLOPE * batch)
    return StepModel(
        base_ms=fixed_ms - STEP_OVERHEAD_MS,
        experts_ms=0.0,
        expert_share=1.0,
        sequence_ms=BATCH_SLOPE * fixed_ms,
        kv_ms=0.0,
        prompt_ms=0.0,
        square_ms=0.0,
    )


def _latest(kept: float | None, found: float | None) -> float | None:
    """Return what was found where it differs visibly from what is kept."""
    if found is None or (kept is not None and abs(found - kept) <= VISIBLE_LENGTH * kept):
        return kept
    return found


def _latest_hit(kept: float | None, found: float | None) -> float | None:
    if found is None or (kept is not None and abs(found - kept) <= VISIBLE_HIT):
        return kept
    return min(1.0, found)
