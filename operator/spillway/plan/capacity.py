"""What one replica holds and sustains within the SLO.

Two kinds of figure come out of here, and they must not mix:

* What is written into the replica's pod template (the batch and the engine's own refusal limits) follows from the spec and the
  accelerator class alone. A measurement must not move it: that would restart GPU pods.
* What only the gateway and the scaler use (the queue at the cap, requests per second) takes measurements as soon as there are some.

The step-time model is T(B) = a + b * B milliseconds: a step reads the weights once, the KV cache of every running request, and in a
steady state computes the share of prompts that the batch brings with it. Its constants are fitted to shared calibration tables of
vLLM 0.14 to 0.24 (Llama 3.1 8B and 70B, Qwen3 32B on L40S, A100, H100, H200), named at each constant.
"""

import math
from dataclasses import dataclass, replace

from spillway.api.catalogue import AcceleratorClassSpec, AcceleratorPrice, PricePer
from spillway.api.status import Basis
from spillway.api.workload import Architecture, Engine, InferenceWorkloadSpec, Model, Quantization
from spillway.plan.decision import Capacity, Memory
from spillway.plan.observation import Signals
from spillway.plan.readings import positive

GIB = 1024**3
HOURS_PER_30_DAYS = 720
SECONDS_PER_30_DAYS = HOURS_PER_30_DAYS * 3600

DEFAULT_INPUT_TOKENS = 1000  # the API's documented defaults of traffic.inputTokens and outputTokens
DEFAULT_OUTPUT_TOKENS = 250
P95_OVER_MEAN = 3.0  # Azure 2023 and ServeGen traces: p90 is 2.4 to 2.8 times the mean

BYTES_PER_PARAMETER = {
    Quantization.BF16: 2.0,
    Quantization.FP16: 2.0,
    Quantization.FP8: 1.0,
    Quantization.INT8: 1.0,
    Quantization.AWQ: 0.6,  # 4 bits, plus scales, plus embeddings that stay in 16 bits
    Quantization.GPTQ: 0.6,
}
KV_BYTES_PER_VALUE = 2  # vLLM keeps the KV cache in 16 bits unless told otherwise
RESERVED_BYTES = 3.5 * GIB  # CUDA context, graphs, activations: 8B on L40S and on H100 both lack 3.5 GiB of the plain sum
RESERVED_SHARE = 0.1  # small accelerators reserve less

BANDWIDTH_EFFICIENCY = 0.75  # 8B bf16: L40S 0.84, H100 0.75, A100 0.70, H200 0.68; 70B on 4 H100 0.70
COMPUTE_EFFICIENCY = 0.6  # prefill of 8B on H100: 0.82 of the dense peak (BLIS), of 70B on 4 H100: 0.39 (Splitwise) to 0.71
STEP_OVERHEAD_MS = 1.5  # scheduler and sampling, which the calibration's operator sums leave out: 1 to 2 ms
SLO_DERATING = 0.85  # the calibration asks for 15 to 20 % until measured
KV_FILL = 0.9  # preemption starts when the last blocks go
BATCH_SLOPE = 0.015  # b/a where only one batch was measured: 8B 0.015 (H100) to 0.018 (L40S), 32B 0.008, 70B 0.006

DEFAULT_MAX_NUM_SEQS = 256  # vLLM's own
BLIND_MAX_NUM_SEQS = 32  # shape unknown: every calibrated pair of model and accelerator stays below 50 ms per step at this batch
BLIND_INTER_TOKEN_MS = 50.0
QUEUE_SHARE = 0.5  # of the time a target leaves: the mean wait at which the slowest percent of requests still meets it
QUEUE_BATCHES_SPILLING = 2  # a longer queue than two batches never pays when the overflow has somewhere to go
QUEUE_BATCHES_ALONE = 8  # with nowhere to go a late answer beats none
LEAST_REFUSAL_LIMIT = 64
LEAST_REPLICAS_REFUSED_AT = 16  # up to this many replicas the refusal limits do not depend on maxReplicas
CAP_MARGIN = 2  # the engine refuses at twice the gateways' whole cap: stale caps and one request per Envoy worker stay below

LEAST_TELLING_BATCH = 0.5  # a step with less than half the batch says little about a full one
MEASURED_STEP = 0.2  # a measurement must move by this share before it replaces the remembered one, or caps would never rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Tokens of one request."""

    input_mean: float
    input_p95: float
    output_mean: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """T(B) = a + b * B."""

    a_ms: float
    b_ms: float

    def at(self, batch: float) -> float:
        """Return the duration of one step with this many running requests, milliseconds."""
        return self.a_ms + self.b_ms * batch


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """What is rendered into the replica's arguments: a function of spec and accelerator class only."""

    max_num_seqs: int
    queue_bound: int  # the gateway's cap never counts on more waiting requests than this, measured or not
    max_queued_requests: int
    max_queued_tokens: int | None
    kv_tokens: int | None


def declared_lengths(spec: InferenceWorkloadSpec) -> Lengths:
    """Return the token lengths the spec declares, or the documented defaults."""
    prompt = spec.traffic.input_tokens if spec.traffic else None
    answer = spec.traffic.output_tokens if spec.traffic else None
    mean = float(prompt.mean) if prompt else float(DEFAULT_INPUT_TOKENS)
    p95 = float(prompt.p95) if prompt and prompt.p95 else mean * P95_OVER_MEAN
    return Lengths(input_mean=mean, input_p95=max(mean, p95), output_mean=float(answer.mean) if answer else float(DEFAULT_OUTPUT_TOKENS))


def current_lengths(spec: InferenceWorkloadSpec, memory: Memory) -> Lengths:
    """Return the lengths seen lately, else the declared ones."""
    declared = declared_lengths(spec)
    return Lengths(
        input_mean=memory.measured_input_tokens or declared.input_mean,
        input_p95=declared.input_p95,
        output_mean=max(1.0, memory.measured_output_tokens or declared.output_mean),
    )


def declared_rate(spec: InferenceWorkloadSpec) -> float | None:
    """Return the declared mean rate in requests per second, or None."""
    if spec.traffic is None:
        return None
    if spec.traffic.requests_per_second is not None:
        return float(spec.traffic.requests_per_second.mean)
    if spec.traffic.requests_per_month is not None:
        return spec.traffic.requests_per_month / SECONDS_PER_30_DAYS
    return None


def declared_peak(spec: InferenceWorkloadSpec) -> float | None:
    """Return the declared highest rate in requests per second, the mean where none is declared, or None."""
    declared = spec.traffic.requests_per_second if spec.traffic else None
    return float(declared.peak) if declared is not None and declared.peak is not None else declared_rate(spec)


def bytes_per_parameter(quantization: Quantization | None) -> float:
    """Return the bytes one parameter takes; bf16 when the spec does not say."""
    return BYTES_PER_PARAMETER[quantization or Quantization.BF16]


def weights_bytes(architecture: Architecture, quantization: Quantization | None) -> float:
    """Return the bytes of all weights."""
    return architecture.parameters * bytes_per_parameter(quantization)


def kv_bytes_per_token(architecture: Architecture, tensor_parallel_size: int) -> float:
    """Return the KV cache of one token over the whole replica; heads fewer than accelerators are kept on each of them."""
    heads = max(architecture.key_value_heads, tensor_parallel_size)
    return 2.0 * architecture.layers * heads * architecture.head_size * KV_BYTES_PER_VALUE


def usable_bytes(accelerator: AcceleratorClassSpec, *, tensor_parallel_size: int, utilization_percent: int) -> float:
    """Return the memory a replica has for weights and KV cache."""
    whole = accelerator.memory_gib * GIB
    return tensor_parallel_size * (whole * utilization_percent / 100 - min(RESERVED_BYTES, RESERVED_SHARE * whole))


def kv_capacity_tokens(spec: InferenceWorkloadSpec, accelerator: AcceleratorClassSpec) -> int | None:
    """Return how many tokens the KV cache of one replica holds, 0 when the weights alone do not fit; None for an unknown shape."""
    architecture = spec.model.architecture
    if architecture is None or spec.dedicated is None:
        return None
    engine = spec.dedicated.engine
    usable = usable_bytes(
        accelerator, tensor_parallel_size=engine.tensor_parallel_size, utilization_percent=engine.gpu_memory_utilization_percent
    )
    free = usable - weights_bytes(architecture, spec.model.quantization)
    return max(0, int(free // kv_bytes_per_token(architecture, engine.tensor_parallel_size)))


def least_kv_tokens(spec: InferenceWorkloadSpec) -> int:
    """Return the KV cache below which the engine cannot serve a single request of full length."""
    lengths = declared_lengths(spec)
    return spec.model.max_context_tokens or math.ceil(lengths.input_mean + lengths.output_mean)


def prefill_tokens_per_s(spec: InferenceWorkloadSpec, accelerator: AcceleratorClassSpec) -> float | None:
    """Return the estimated prompt tokens one replica computes per second; None for an unknown shape."""
    architecture = spec.model.architecture
    if architecture is None or spec.dedicated is None:
        return None
    fp8 = accelerator.tera_flops.fp8 if spec.model.quantization is Quantization.FP8 else None
    flops = (fp8 or accelerator.tera_flops.bf16) * 1e12 * spec.dedicated.engine.tensor_parallel_size * COMPUTE_EFFICIENCY
    return flops / (2.0 * (architecture.active_parameters or architecture.parameters))


def estimated_step_time(spec: InferenceWorkloadSpec, accelerator: AcceleratorClassSpec, lengths: Lengths) -> StepTime | None:
    """Return the roofline of one step from the accelerator's figures; None for an unknown shape."""
    architecture = spec.model.architecture
    prefill = prefill_tokens_per_s(spec, accelerator)
    if architecture is None or prefill is None or spec.dedicated is None:
        return None
    parallel = spec.dedicated.engine.tensor_parallel_size
    bytes_per_ms = accelerator.memory_bandwidth_gbps * 1e6 * parallel * BANDWIDTH_EFFICIENCY
    context = lengths.input_mean + lengths.output_mean / 2
    kv_ms = context * kv_bytes_per_token(architecture, parallel) / bytes_per_ms
    prompts_ms = (lengths.input_mean / lengths.output_mean) / prefill * 1000  # one prompt enters per request and per output_mean steps
    return StepTime(
        a_ms=weights_bytes(architecture, spec.model.quantization) / bytes_per_ms + STEP_OVERHEAD_MS,
        b_ms=kv_ms + prompts_ms,
    )


def measured_step_time(estimate: StepTime | None, memory: Memory) -> StepTime | None:
    """Return the step time through the measured point, with the estimate's shape or the calibration's usual slope; None when unmeasured."""
    if memory.measured_step_ms is None or memory.measured_batch is None:
        return None
    shape = estimate or StepTime(a_ms=1.0, b_ms=BATCH_SLOPE)
    factor = memory.measured_step_ms / shape.at(memory.measured_batch)
    return StepTime(a_ms=shape.a_ms * factor, b_ms=shape.b_ms * factor)


def engine_limits(spec: InferenceWorkloadSpec, accelerator: AcceleratorClassSpec) -> EngineLimits:
    """Return what the replica's arguments say. Nothing measured enters, so that nothing measured restarts a GPU pod.

    The refusal limits are those of LEAST_REPLICAS_REFUSED_AT replicas or, beyond that, of the next power of two: an edit of maxReplicas
    must not restart GPU pods.
    """
    lengths = declared_lengths(spec)
    kv_tokens = kv_capacity_tokens(spec, accelerator)
    batch = _batch(spec, accelerator, lengths, kv_tokens)
    bound = batch * (QUEUE_BATCHES_SPILLING if spec.rents else QUEUE_BATCHES_ALONE)
    most_replicas = spec.dedicated.scaling.max_replicas if spec.dedicated else 1
    whole_cap = max(LEAST_REPLICAS_REFUSED_AT, _power_of_two(most_replicas)) * (batch + bound)
    requests = max(LEAST_REFUSAL_LIMIT, _power_of_two(CAP_MARGIN * whole_cap))
    longest = spec.model.max_context_tokens
    return EngineLimits(
        max_num_seqs=batch,
        queue_bound=bound,
        max_queued_requests=requests,
        # Without a known longest prompt a limit could refuse a legal one for ever, so there is none.
        max_queued_tokens=None if longest is None else _power_of_two(math.ceil(max(longest, requests * lengths.input_p95))),
        kv_tokens=kv_tokens,
    )


def size(spec: InferenceWorkloadSpec, accelerator: AcceleratorClassSpec, memory: Memory) -> Capacity:
    """Return what one replica of this class sustains, measured where there are measurements."""
    limits = engine_limits(spec, accelerator)
    lengths = current_lengths(spec, memory)
    estimate = estimated_step_time(spec, accelerator, lengths)
    measured = measured_step_time(estimate, memory)
    step = measured or estimate
    prefill = prefill_tokens_per_s(spec, accelerator)
    prefill_s = lengths.input_mean / prefill if prefill else 0.0
    rate = None
    if step is not None:
        rate = limits.max_num_seqs / (lengths.output_mean * step.at(limits.max_num_seqs) / 1000 + prefill_s)
    return Capacity(
        max_num_seqs=limits.max_num_seqs,
        queue_per_replica=_queue(spec, limits, lengths, rate=rate, prefill_s=prefill_s),
        requests_per_s=rate,
        prefill_tokens_per_s=prefill,
        step_time_ms=None if step is None else step.at(limits.max_num_seqs),
        kv_tokens=limits.kv_tokens,
        max_queued_tokens=limits.max_queued_tokens,
        max_queued_requests=limits.max_queued_requests,
        basis=Basis.ESTIMATED if measured is None else Basis.MEASURED,
    )


def assumed_residence_s(spec: InferenceWorkloadSpec, capacity: Capacity, memory: Memory) -> float:
    """Return how long a request stays on a full replica, for where it was not seen: by Little, else at the inter-token target."""
    if capacity.requests_per_s:
        return capacity.max_num_seqs / capacity.requests_per_s
    return current_lengths(spec, memory).output_mean * _inter_token_ms(spec) / 1000


def remember(memory: Memory, signals: Signals, subject: tuple[str, Model, Engine] | None) -> Memory:
    """Return the memory with the last measurements of this pool, model and engine.

    They move only when they moved visibly, so that caps rest while nothing changes; and a step measured with a much smaller batch does
    not replace one measured near the limit, which says more about it.
    """
    if subject != memory.measured_for:
        memory = replace(memory, measured_for=subject, measured_step_ms=None, measured_batch=None)
    step, batch = positive(signals.step_time_ms), positive(signals.batch_mean)
    kept_step, kept_batch = memory.measured_step_ms, memory.measured_batch
    telling = step is not None and batch is not None and (kept_batch is None or batch >= LEAST_TELLING_BATCH * kept_batch)
    if subject is not None and telling and (_latest(kept_step, step) != kept_step or _latest(kept_batch, batch) != kept_batch):
        kept_step, kept_batch = step, batch
    return replace(
        memory,
        measured_step_ms=kept_step,
        measured_batch=kept_batch,
        measured_input_tokens=_latest(memory.measured_input_tokens, positive(signals.input_tokens_mean)),
        measured_output_tokens=_latest(memory.measured_output_tokens, positive(signals.output_tokens_mean)),
    )


def usd_per_replica_hour(price: AcceleratorPrice | None, *, tensor_parallel_size: int, per_node: int) -> float | None:
    """Return the price of one replica for an hour; a node's price is shared by the accelerators in it. None without a price."""
    if price is None:
        return None
    share = tensor_parallel_size / per_node if price.per is PricePer.NODE else tensor_parallel_size
    return float(price.on_demand_usd_per_hour) * share


def _batch(spec: InferenceWorkloadSpec, accelerator: AcceleratorClassSpec, lengths: Lengths, kv_tokens: int | None) -> int:
    if spec.dedicated is not None and spec.dedicated.engine.max_num_seqs is not None:
        return spec.dedicated.engine.max_num_seqs
    step = estimated_step_time(spec, accelerator, lengths)
    if step is None or kv_tokens is None:
        return max(1, min(BLIND_MAX_NUM_SEQS, int(BLIND_MAX_NUM_SEQS * _inter_token_ms(spec) / BLIND_INTER_TOKEN_MS)))
    by_memory = int(KV_FILL * kv_tokens / (lengths.input_mean + lengths.output_mean / 2))
    target = spec.slo.inter_token_latency_ms if spec.slo else None
    by_pace = DEFAULT_MAX_NUM_SEQS if target is None else int((target * SLO_DERATING - step.a_ms) / step.b_ms)
    return max(1, min(DEFAULT_MAX_NUM_SEQS, by_memory, by_pace))


def _queue(spec: InferenceWorkloadSpec, limits: EngineLimits, lengths: Lengths, *, rate: float | None, prefill_s: float) -> int:
    """Return how many may wait: what leaves the queue within the time the targets allow. With nowhere to spill, all that may."""
    if not spec.rents:
        return limits.queue_bound
    pace_s = lengths.output_mean * _inter_token_ms(spec) / 1000
    throughput = rate or limits.max_num_seqs / pace_s
    residence_s = limits.max_num_seqs / throughput
    waits: list[float] = []
    if spec.slo is not None and spec.slo.time_to_first_token_ms is not None:
        waits.append(QUEUE_SHARE * spec.slo.time_to_first_token_ms / 1000 - prefill_s)
    if spec.slo is not None and spec.slo.end_to_end_ms is not None:
        waits.append(QUEUE_SHARE * (spec.slo.end_to_end_ms / 1000 - residence_s))
    if not waits:
        return limits.max_num_seqs
    return max(0, min(limits.queue_bound, int(throughput * min(waits))))


def _inter_token_ms(spec: InferenceWorkloadSpec) -> float:
    if spec.slo is not None and spec.slo.inter_token_latency_ms is not None:
        return float(spec.slo.inter_token_latency_ms)
    return BLIND_INTER_TOKEN_MS


def _latest(kept: float | None, found: float | None) -> float | None:
    """Return what was found where it differs visibly from what is kept."""
    if found is None or (kept is not None and abs(found - kept) <= MEASURED_STEP * kept):
        return kept
    return found


def _power_of_two(at_least: int) -> int:
    return 1 << max(0, at_least - 1).bit_length()
