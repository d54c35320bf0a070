"""What one replica holds and sustains within the SLO, as the operator decides on it.

Two kinds of figure come out of here, and they must not mix:

* What is written into the replica's pod template (the batch and the engine's own refusal limits) follows from the spec and the
  accelerator class alone. A measurement must not move it: that would restart GPU pods.
* What only the gateway and the scaler use (batch and queue at the cap, requests per second, a request's work) takes the step that was
  learned (replica/measuring.py, replica/learned_step.py) as soon as there is one.

Where the model's shape is known, from the spec or the catalogue, the figures are those of replica/sizing.py, as `spillway plan` gives them.
Where it is not, a step is taken to last a + b * B milliseconds, beginning with the calibration's usual slope, as soon as one was measured.
"""

import math
from dataclasses import dataclass, replace

from spillway.api.catalogue import AcceleratorClassSpec, AcceleratorPrice
from spillway.api.status import Basis
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.decision import Capacity, Memory, OwnedPool
from spillway.plan.model.models import KnownModel, known_model
from spillway.plan.money.economics import replica_price
from spillway.plan.observation import EngineLimits, Pool
from spillway.plan.replica.kept_limits import kept, sized_for
from spillway.plan.replica.memory import kv_tokens, kv_value_bytes, step_tokens
from spillway.plan.replica.memory import memory as accelerator_memory
from spillway.plan.replica.queue_pace import queue_pace
from spillway.plan.replica.roofline import StepModel
from spillway.plan.replica.serving import DERATING, STEP_OVERHEAD_MS, Service, largest_batch, sustained_rate
from spillway.plan.replica.sizing import batch_in_memory, places_in_memory, service_of
from spillway.plan.replica.speed import step_model
from spillway.plan.replica.work import Work
from spillway.plan.same import of_the_same
from spillway.plan.traffic.lengths import Lengths, declared_lengths, length_spread
from spillway.plan.traffic.load import HOURS_PER_MONTH, SECONDS_PER_MONTH, declared_load

HOURS_PER_30_DAYS = HOURS_PER_MONTH
SECONDS_PER_30_DAYS = SECONDS_PER_MONTH

BATCH_SLOPE = 0.015  # b/a where only one batch was measured: 8B 0.015 (H100) to 0.018 (L40S), 32B 0.008, 70B 0.006

BLIND_MAX_NUM_SEQS = 32  # shape unknown: every calibrated pair of model and accelerator stays below 50 ms per step at this batch
BLIND_INTER_TOKEN_MS = 50.0
QUEUE_SHARE = 0.3  # of the time a target leaves: in bursts of long prompts (azure2023_code, five draws) half of it keeps 98.8 %, this 99.7
QUEUE_BATCHES_SPILLING = 2  # a longer queue than two batches never pays when the overflow has somewhere to go
QUEUE_BATCHES_ALONE = 8  # with nowhere to go a late answer beats none
LEAST_REFUSAL_LIMIT = 64
LEAST_REPLICAS_REFUSED_AT = 16  # up to this many replicas the refusal limits do not depend on maxReplicas
CAP_MARGIN = 2  # the engine refuses at twice the gateways' whole cap: stale caps and one request per Envoy worker stay below


def current_lengths(spec: InferenceWorkloadSpec, memory: Memory) -> Lengths:
    """Return the lengths seen lately, else the declared ones."""
    declared = declared_lengths(spec)
    return Lengths(
        input_mean=memory.measured_input_tokens or declared.input_mean,
        input_p95=declared.input_p95,
        output_mean=max(1.0, memory.measured_output_tokens or declared.output_mean),
        output_p95=declared.output_p95,
    )


def declared_rate(spec: InferenceWorkloadSpec) -> float | None:
    """Return the declared mean rate in requests per second, or None."""
    load = declared_load(spec)
    return None if load is None else load.mean_per_s


def declared_peak(spec: InferenceWorkloadSpec) -> float | None:
    """Return the declared highest rate in requests per second, the mean where none is declared, or None."""
    load = declared_load(spec)
    return None if load is None else load.peak_per_s


@of_the_same
def kv_capacity_tokens(spec: InferenceWorkloadSpec, accelerator: AcceleratorClassSpec) -> int | None:
    """Return how many tokens the KV cache of one replica holds, 0 when the weights alone do not fit; None for an unknown shape."""
    known = known_model(spec.model)
    if known is None or spec.dedicated is None:
        return None
    parallel, engine = spec.dedicated.engine.tensor_parallel_size, spec.dedicated.engine
    found = accelerator_memory(
        known.architecture, quantization=known.quantization, accelerator=accelerator, tensor_parallel_size=parallel, engine=engine
    )
    return kv_tokens(known.architecture, found, parallel, context_tokens=max(1, least_kv_tokens(spec)), value_bytes=kv_value_bytes(engine))


def least_kv_tokens(spec: InferenceWorkloadSpec) -> int:
    """Return the KV cache below which the engine cannot serve a single request of full length."""
    lengths = declared_lengths(spec)
    return spec.model.max_context_tokens or math.ceil(lengths.input_mean + lengths.output_mean)


@of_the_same
def expected_service(spec: InferenceWorkloadSpec, accelerator: AcceleratorClassSpec, lengths: Lengths) -> Service | None:
    """Return a replica at work as the calibration and data sheets have it; None for an unknown shape."""
    known = known_model(spec.model)
    if known is None or spec.dedicated is None:
        return None
    engine, parallel = spec.dedicated.engine, spec.dedicated.engine.tensor_parallel_size
    speed = step_model(
        known.architecture,
        quantization=known.quantization,
        accelerator=accelerator,
        tensor_parallel_size=parallel,
        value_bytes=kv_value_bytes(engine),
    )
    found = accelerator_memory(
        known.architecture, quantization=known.quantization, accelerator=accelerator, tensor_parallel_size=parallel, engine=engine
    )
    return service_of(
        known.architecture,
        speed.step,
        lengths=lengths,
        slo=spec.slo,
        step_tokens=step_tokens(engine, accelerator),
        max_context_tokens=spec.model.max_context_tokens,
        cache_places=places_in_memory(known.architecture, found, parallel, lengths=lengths, engine=engine),
    )


def engine_limits(
    spec: InferenceWorkloadSpec, accelerator: AcceleratorClassSpec, pool: Pool | None = None, *, steady: bool = False
) -> EngineLimits:
    """Return what the replica's arguments say: what those of the pool were made with, while it was for the same inputs.

    Nothing measured enters, so that nothing measured restarts a GPU pod. The refusal limits are those of LEAST_REPLICAS_REFUSED_AT
    replicas or, beyond that, of the next power of two: an edit of maxReplicas must not restart GPU pods. `steady`: the mode may change
    without an edit, and a move between Hybrid and Dedicated must not restart the replicas that it was made for; so the limits are those
    of Dedicated, which are the higher ones, whatever the mode is now.
    """
    lengths, alone = declared_lengths(spec), steady or not spec.rents
    most_replicas = max(LEAST_REPLICAS_REFUSED_AT, _power_of_two(spec.own.scaling.max_replicas))
    fingerprint = sized_for(spec, accelerator, alone=alone, most_replicas=most_replicas)
    if (made := kept(pool, fingerprint)) is not None:
        return made
    batch = _batch(spec, accelerator, lengths, known_model(spec.model))
    whole_cap = most_replicas * (batch + _queue_bound(batch, alone=alone))
    requests = max(LEAST_REFUSAL_LIMIT, _power_of_two(CAP_MARGIN * whole_cap))
    longest = spec.model.max_context_tokens
    return EngineLimits(
        sized_for=fingerprint,
        max_num_seqs=batch,
        max_queued_requests=requests,
        # Without a known longest prompt a limit could refuse a legal one for ever, so there is none.
        max_queued_tokens=None if longest is None else _power_of_two(math.ceil(max(longest, requests * lengths.input_p95))),
    )


def size(
    spec: InferenceWorkloadSpec,
    accelerator: AcceleratorClassSpec,
    memory: Memory,
    pool: Pool | None = None,
    *,
    steady: bool = False,
) -> Capacity:
    """Return what one replica of this class sustains, measured where there are measurements. `pool` and `steady`: see engine_limits."""
    limits = engine_limits(spec, accelerator, pool, steady=steady)
    lengths = current_lengths(spec, memory)
    expected = expected_service(spec, accelerator, lengths)
    learned = _learned(memory)
    told = memory.step is not None and memory.step.tells_of(limits.max_num_seqs)
    pace = (
        _blind_pace(spec, limits, lengths, learned, memory)
        if expected is None
        else _known_pace(spec, limits, expected, learned, memory, told=told)
    )
    prompt_s = 0.0 if pace.prefill_tokens_per_s is None else lengths.input_mean / pace.prefill_tokens_per_s
    return Capacity(
        max_num_seqs=limits.max_num_seqs,
        batch=pace.batch,
        queue_per_replica=_queue(spec, pace.batch, limits, lengths, rate=pace.queue_requests_per_s, prefill_s=prompt_s),
        requests_per_s=pace.requests_per_s,
        prefill_tokens_per_s=pace.prefill_tokens_per_s,
        step_time_ms=pace.step_ms,
        kv_tokens=kv_capacity_tokens(spec, accelerator),
        max_queued_tokens=limits.max_queued_tokens,
        max_queued_requests=limits.max_queued_requests,
        sized_for=limits.sized_for,
        basis=Basis.ESTIMATED if learned is None else Basis.MEASURED,
        work=pace.work,
    )


def requests_per_s_alone(spec: InferenceWorkloadSpec, pool: OwnedPool, memory: Memory, lengths: Lengths) -> float | None:
    """Return what a replica sustains where nothing is rented, so that requests wait for a place; not more than where its overflow is."""
    capacity, learned = pool.capacity, _learned(memory)
    expected = expected_service(spec, pool.accelerator, lengths) if spec.rents else None
    if expected is None or capacity.requests_per_s is None:
        return capacity.requests_per_s
    service = expected if learned is None else replace(expected, step=learned)
    told = memory.step is not None and memory.step.tells_of(capacity.max_num_seqs)
    alone = sustained_rate(service, spec.slo, bound=capacity.batch, derating=1.0 if told else DERATING, spills=False)
    return min(capacity.requests_per_s, alone or service.requests_per_s(1))


def _learned(memory: Memory) -> StepModel | None:
    return memory.step.step if memory.step is not None and memory.step.evidence else None


def blind_batch(spec: InferenceWorkloadSpec) -> int:
    """Return the batch of a replica that was made without knowing the model's shape, or that the spec states."""
    engine = spec.own.engine
    most = engine.most_num_seqs or BLIND_MAX_NUM_SEQS
    if engine.max_num_seqs is not None:
        return most
    return max(1, min(BLIND_MAX_NUM_SEQS, most, int(BLIND_MAX_NUM_SEQS * _inter_token_ms(spec) / BLIND_INTER_TOKEN_MS)))


def assumed_residence_s(spec: InferenceWorkloadSpec, capacity: Capacity, memory: Memory) -> float:
    """Return how long a request stays on a full replica, for where it was not seen: its answer's steps, else at the inter-token target."""
    return current_lengths(spec, memory).output_mean * (capacity.step_time_ms or _inter_token_ms(spec)) / 1000


def usd_per_replica_hour(price: AcceleratorPrice | None, *, tensor_parallel_size: int, per_node: int) -> float | None:
    """Return the price of one replica for an hour; a node's price is shared by the accelerators in it. None without a price."""
    found = replica_price(price, tensor_parallel_size=tensor_parallel_size, per_node=per_node)
    return None if found is None else found.on_demand


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pace:
    """How fast a replica works with its full batch; None where nothing says so."""

    batch: int  # the largest that keeps the inter-token target
    requests_per_s: float | None  # of a replica by itself, that keeps the SLO; where it rents, its overflow spills
    queue_requests_per_s: float | None  # at which a queue behind its batch empties (replica/queue_pace.py)
    step_ms: float | None
    prefill_tokens_per_s: float | None
    work: Work | None


def _known_pace(
    spec: InferenceWorkloadSpec, limits: EngineLimits, expected: Service, learned: StepModel | None, memory: Memory, *, told: bool
) -> _Pace:
    """Return the pace of a known shape: the load that keeps the SLO, derated until steps have `told` how fast a full replica is."""
    service = expected if learned is None else replace(expected, step=learned)
    most = limits.max_num_seqs
    batch = most if learned is None else max(1, largest_batch(service, spec.slo, limit=most))
    derating = 1.0 if told else DERATING
    return _Pace(
        batch=batch,
        requests_per_s=sustained_rate(service, spec.slo, bound=batch, derating=derating, spills=spec.rents) or service.requests_per_s(1),
        queue_requests_per_s=derating * queue_pace(service, spec.slo, bound=batch) or service.requests_per_s(1),
        step_ms=service.step_ms(batch),
        prefill_tokens_per_s=1000 / service.step.prompt_ms if service.step.prompt_ms else None,
        work=_work(service.step, batch, service.lengths, memory, attended_share=service.attended_tokens / service.lengths.context_mean),
    )


def _blind_pace(spec: InferenceWorkloadSpec, limits: EngineLimits, lengths: Lengths, step: StepModel | None, memory: Memory) -> _Pace:
    """Return the pace of an unknown shape: nothing, or what was learned of a step, in which prompts are at the mix that is seen."""
    most = limits.max_num_seqs
    if step is None:
        return _Pace(batch=most, requests_per_s=None, queue_requests_per_s=None, step_ms=None, prefill_tokens_per_s=None, work=None)
    fixed_ms, target_ms = STEP_OVERHEAD_MS + step.base_ms, spec.slo.inter_token_latency_ms if spec.slo else None
    batch = most if target_ms is None else max(1, min(most, int((target_ms - fixed_ms) / step.sequence_ms)))
    step_ms = fixed_ms + step.sequence_ms * batch
    rate = batch / (lengths.output_mean * step_ms / 1000)
    return _Pace(
        batch=batch,
        requests_per_s=rate,
        queue_requests_per_s=rate,
        step_ms=step_ms,
        prefill_tokens_per_s=None,
        work=_work(step, batch, lengths, memory, attended_share=1.0),
    )


def _work(step: StepModel, batch: int, lengths: Lengths, memory: Memory, *, attended_share: float) -> Work:
    return Work(
        step=step,
        batch=batch,
        attended_share=attended_share,
        prefix_hit_ratio=memory.prefix_hit_ratio or 0.0,  # not told: nothing is taken off
        mean_input_tokens=lengths.input_mean,
        mean_output_tokens=lengths.output_mean,
        prompt_variety=math.exp(length_spread(lengths.input_mean, lengths.input_p95) ** 2),
    )


def _batch(spec: InferenceWorkloadSpec, accelerator: AcceleratorClassSpec, lengths: Lengths, known: KnownModel | None) -> int:
    if spec.dedicated is not None and spec.dedicated.engine.max_num_seqs is not None:
        return blind_batch(spec)
    expected = expected_service(spec, accelerator, lengths)
    if expected is None or known is None or spec.dedicated is None:
        return blind_batch(spec)
    parallel, engine = spec.dedicated.engine.tensor_parallel_size, spec.dedicated.engine
    found = accelerator_memory(
        known.architecture, quantization=known.quantization, accelerator=accelerator, tensor_parallel_size=parallel, engine=engine
    )
    limit = batch_in_memory(known.architecture, found, parallel, lengths=lengths, engine=engine)
    return max(1, largest_batch(expected, spec.slo, limit=limit))


def _queue(spec: InferenceWorkloadSpec, batch: int, limits: EngineLimits, lengths: Lengths, *, rate: float | None, prefill_s: float) -> int:
    """Return how many may wait: what leaves the queue within the time the targets allow. With nowhere to spill, all that may."""
    bound = _queue_bound(batch if spec.rents else limits.max_num_seqs, alone=not spec.rents)
    if not spec.rents:
        return bound
    pace_s = lengths.output_mean * _inter_token_ms(spec) / 1000
    throughput = rate or batch / pace_s
    residence_s = batch / throughput
    waits: list[float] = []
    if spec.slo is not None and spec.slo.time_to_first_token_ms is not None:
        waits.append(QUEUE_SHARE * spec.slo.time_to_first_token_ms / 1000 - prefill_s)
    if spec.slo is not None and spec.slo.end_to_end_ms is not None:
        waits.append(QUEUE_SHARE * (spec.slo.end_to_end_ms / 1000 - residence_s))
    if not waits:
        return batch
    return max(0, min(bound, int(throughput * min(waits))))


def _queue_bound(batch: int, *, alone: bool) -> int:
    """Return how many waiting requests of one replica the gateway's cap never counts beyond, measured or not."""
    return batch * (QUEUE_BATCHES_ALONE if alone else QUEUE_BATCHES_SPILLING)


def _inter_token_ms(spec: InferenceWorkloadSpec) -> float:
    if spec.slo is not None and spec.slo.inter_token_latency_ms is not None:
        return float(spec.slo.inter_token_latency_ms)
    return BLIND_INTER_TOKEN_MS


def _power_of_two(at_least: int) -> int:
    return 1 << max(0, at_least - 1).bit_length()
