"""The coefficients of a step on a class of accelerators: calibrated where the model and size were measured on it, else the roofline."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache

from spillway.api.catalogue import AcceleratorClassSpec
from spillway.api.model import Architecture, Model, Quantization
from spillway.plan.model.models import known_model
from spillway.plan.replica.calibration import FULL_BATCH, FULL_BATCH_CONTEXT_TOKENS, HARDWARE, ROWS, CalibrationRow, Hardware, usable
from spillway.plan.replica.memory import BYTES_PER_PARAMETER, EMBEDDING_BYTES, FP8_KV_BYTES_PER_VALUE, KV_BYTES_PER_VALUE, attended_tokens
from spillway.plan.replica.roofline import FITTED, Efficiency, StepModel, computes_in_eight_bits, roofline

NVLINK_GBPS = 600  # where a class does not say: the slowest NVLink of an SXM or NVL product, the A100's
PCIE_GBPS = 64  # PCIe 4.0 x16
SAME_FACTS = 0.02  # data sheets of one product differ by so much (362 or 366 TFLOPs for the L40S)
SAME_PARAMETERS = 0.03
MOST_CARRIED = 2.0  # times: the one row beyond it (Qwen3 fp8 on L40S, 4 times) says nothing of other accelerators


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """A step's coefficients, and whether they were measured."""

    step: StepModel
    calibrated: bool


def step_model(
    model: Architecture,
    *,
    quantization: Quantization | None,
    accelerator: AcceleratorClassSpec,
    tensor_parallel_size: int,
    value_bytes: int = KV_BYTES_PER_VALUE,
) -> Speed:
    """Return the coefficients of a step on a class of accelerators.

    Of experts and of 8 bits the roofline is corrected by what it is off for this model elsewhere: a kernel that costs more than its bytes
    and operations does so on every accelerator (benchmarks/capacity; dense models in 16 bits it predicts no worse without).

    A calibrated row stands for its own accelerator, and bounds the roofline for others: a class that is at least as good in everything is
    never slower than it, one at most as good never faster. So a better class never looks worse because a worse one was measured.
    """
    return _speed(
        model,
        quantization,
        hardware_of(accelerator),
        tensor_parallel_size,
        linked=tensor_parallel_size > 1 and accelerator.interconnect_gbps is not None,
        value_bytes=value_bytes,
    )


# Few models on few classes, asked for several times in each pass of each workload.
@lru_cache(maxsize=1024)
def _speed(
    model: Architecture, quantization: Quantization | None, found: Hardware, tensor_parallel_size: int, *, linked: bool, value_bytes: int
) -> Speed:
    estimate = roofline(
        model, quantization=quantization, hardware=found, tensor_parallel_size=tensor_parallel_size, value_bytes=value_bytes
    )
    if estimate.expert_share < 1 or computes_in_eight_bits(model, quantization):
        estimate = carried(estimate, rows_of(model, quantization))
    telling = _telling_facts(linked=linked, eight=computes_in_eight_bits(model, quantization))
    rows = _calibrated(model, quantization, tensor_parallel_size, value_bytes, telling)
    no_better = [row for hardware, row in rows if _at_least(found, hardware, telling)]
    no_worse = [row for hardware, row in rows if _at_least(hardware, found, telling)]
    return Speed(step=_between(estimate, slowest=no_better, fastest=no_worse), calibrated=any(row in no_worse for row in no_better))


def hardware_of(accelerator: AcceleratorClassSpec) -> Hardware:
    """Return what decides the speed of a class; figures within 2 % of a calibrated data sheet are taken as that one's."""
    bf16 = _snapped(accelerator.tera_flops.bf16, "bf16_tflops")
    fp8 = accelerator.tera_flops.fp8
    joined = "SXM" in accelerator.product.upper() or "NVL" in accelerator.product.upper()
    return Hardware(
        bandwidth_gbps=_snapped(accelerator.memory_bandwidth_gbps, "bandwidth_gbps"),
        bf16_tflops=bf16,
        fp8_tflops=bf16 if fp8 is None else max(bf16, _snapped(fp8, "fp8_tflops")),
        link_gbps=float(accelerator.interconnect_gbps or (NVLINK_GBPS if joined else PCIE_GBPS)),
    )


def row_model(row: CalibrationRow, architecture: Architecture, value_bytes: int) -> StepModel:
    """Return the coefficients that reproduce a calibrated row, for a cache of that many bytes per value.

    A dense model's are the fit's own. A mixture of experts fits no straight line, so base and experts are solved from the raw steps with
    one and with 64 sequences instead, and the prompt's share from the raw prompt.
    """
    attended = attended_tokens(architecture, FULL_BATCH_CONTEXT_TOKENS) / FULL_BATCH_CONTEXT_TOKENS
    kv_ms = row.c_ms_per_thousand_kv_tokens / attended * value_bytes / row_value_bytes(row)
    estimate = roofline(
        architecture,
        quantization=row_quantization(row),
        hardware=HARDWARE[row.accelerator],
        tensor_parallel_size=row.tensor_parallel_size,
    )
    if estimate.expert_share >= 1:
        return StepModel(
            base_ms=row.a_ms,
            experts_ms=0.0,
            expert_share=1.0,
            sequence_ms=row.b_ms_per_sequence,
            kv_ms=kv_ms,
            prompt_ms=row.delta_us_per_prompt_token / 1e3,
            square_ms=row.quad_ms_per_million_squared_tokens,
        )
    each = estimate.sequence_ms + row.c_ms_per_thousand_kv_tokens * FULL_BATCH_CONTEXT_TOKENS / 1e3
    one, full = row.one_sequence_ms - each, row.full_batch_ms - FULL_BATCH * each
    experts = max(0.0, (full - one) / (estimate.touched(FULL_BATCH) - estimate.touched(1)))
    base = max(0.0, one - experts * estimate.touched(1))
    prompt = max(0.0, row.prompt_1000_ms - base - experts - row.quad_ms_per_million_squared_tokens) / 1e3
    return StepModel(
        base_ms=base,
        experts_ms=experts,
        expert_share=estimate.expert_share,
        sequence_ms=estimate.sequence_ms,
        kv_ms=kv_ms,
        prompt_ms=prompt,
        square_ms=row.quad_ms_per_million_squared_tokens,
    )


@cache
def residuals(rows: tuple[CalibrationRow, ...]) -> tuple[float, ...]:
    """Return how much longer than its roofline each part of a step was, in the middle of the rows; 1 where a part is nothing."""
    ratios = [
        [
            measured / told if measured > 0 and told > 0 else 1.0
            for measured, told in zip(
                _parts(row_model(row, row_architecture(row), row_value_bytes(row))), _parts(row_estimate(row)), strict=True
            )
        ]
        for row in rows
    ]
    return tuple(min(MOST_CARRIED, max(1 / MOST_CARRIED, statistics.median(part))) for part in zip(*ratios, strict=True))


def carried(estimate: StepModel, rows: tuple[CalibrationRow, ...]) -> StepModel:
    """Return an estimate corrected by what the roofline was off in these rows of the same model."""
    if not rows:
        return estimate
    parts = tuple(part * ratio for part, ratio in zip(_parts(estimate), residuals(rows), strict=True))
    return _from_parts(parts, estimate.expert_share)


def row_estimate(row: CalibrationRow, efficiency: Efficiency = FITTED) -> StepModel:
    """Return the roofline for a row's model, accelerator and size."""
    return roofline(
        row_architecture(row),
        quantization=row_quantization(row),
        hardware=HARDWARE[row.accelerator],
        tensor_parallel_size=row.tensor_parallel_size,
        value_bytes=row_value_bytes(row),
        efficiency=efficiency,
    )


def row_quantization(row: CalibrationRow) -> Quantization | None:
    """Return how the row's weights are stored: fp8 where its name says so, else as published."""
    return Quantization.FP8 if "fp8" in row.model.lower() else None


def row_value_bytes(row: CalibrationRow) -> int:
    """Return the bytes per value of the row's KV cache: fp8 weights were measured with an fp8 cache."""
    return FP8_KV_BYTES_PER_VALUE if row_quantization(row) is Quantization.FP8 else KV_BYTES_PER_VALUE


@cache
def row_architecture(row: CalibrationRow) -> Architecture:
    """Return the shape of the row's model. Raises LookupError when the catalogue lacks it."""
    found = known_model(Model(id=row.model))
    if found is None:
        raise LookupError(f"the catalogue of models lacks {row.model}, which replica/calibration.py has")
    return found.architecture


@cache
def rows_of(model: Architecture, quantization: Quantization | None) -> tuple[CalibrationRow, ...]:
    """Return the usable rows of this shape and storage."""
    return tuple(row for row in ROWS if usable(row) and _same_model(row, model, quantization))


@cache
def _calibrated(
    model: Architecture,
    quantization: Quantization | None,
    tensor_parallel_size: int,
    value_bytes: int,
    telling: tuple[str, ...],
) -> tuple[tuple[Hardware, StepModel], ...]:
    """Return the rows of this model and size. Where a better accelerator measured slower, the worse one's figure counts for both."""
    rows = [
        (HARDWARE[row.accelerator], row_model(row, row_architecture(row), value_bytes))
        for row in rows_of(model, quantization)
        if row.tensor_parallel_size == tensor_parallel_size
    ]
    return tuple(
        (hardware, _between(step, slowest=[other for worse, other in rows if _at_least(hardware, worse, telling)], fastest=[]))
        for hardware, step in rows
    )


def _same_model(row: CalibrationRow, model: Architecture, quantization: Quantization | None) -> bool:
    """Whether a row speaks of this shape, whatever its name: fine-tuned weights take as long as those they came from."""
    other = row_architecture(row)
    shapes = [(each.layers, each.attention_heads, each.key_value_heads, each.head_size, each.latent_size) for each in (model, other)]
    sizes = [(each.parameters, each.active_parameters or each.parameters) for each in (model, other)]
    alike = all(abs(one - two) <= SAME_PARAMETERS * two for one, two in zip(*sizes, strict=True))
    return shapes[0] == shapes[1] and alike and _storage(model, quantization) == _storage(other, row_quantization(row))


def _storage(model: Architecture, quantization: Quantization | None) -> str:
    if quantization is None:
        return "16 bits" if model.weight_bytes is None else "as published"
    return "16 bits" if BYTES_PER_PARAMETER[quantization] == EMBEDDING_BYTES else quantization.value


def _between(step: StepModel, *, slowest: Iterable[StepModel], fastest: Iterable[StepModel]) -> StepModel:
    """Return the step, each part of it no longer than the least of `slowest` and no shorter than the most of `fastest`."""
    upper, lower = [_parts(each) for each in slowest], [_parts(each) for each in fastest]

    def bounded(index: int, own: float) -> float:
        value = min([own, *(each[index] for each in upper)])
        return max([value, *(each[index] for each in lower)])

    return _from_parts(tuple(bounded(index, own) for index, own in enumerate(_parts(step))), step.expert_share)


def _from_parts(parts: tuple[float, ...], share: float) -> StepModel:
    one_ms, rest_ms, sequence_ms, kv_ms, prompt_ms, square_ms = parts
    experts_ms = rest_ms / (1 - share) if share < 1 else 0.0
    return StepModel(
        base_ms=one_ms - experts_ms * share,  # one token touches its share of the experts
        experts_ms=experts_ms,
        expert_share=share,
        sequence_ms=sequence_ms,
        kv_ms=kv_ms,
        prompt_ms=prompt_ms,
        square_ms=square_ms,
    )


def _parts(step: StepModel) -> tuple[float, ...]:
    """Return what can be compared: one token's step and what all other experts add, since base and experts only count together."""
    one_ms = step.base_ms + step.experts_ms * step.touched(1)
    rest_ms = step.experts_ms * (1 - step.touched(1))
    return one_ms, rest_ms, step.sequence_ms, step.kv_ms, step.prompt_ms, step.square_ms


def _telling_facts(*, linked: bool, eight: bool) -> tuple[str, ...]:
    """Return the facts that decide: fp8 where it computes so, the interconnect where accelerators talk and the class states it."""
    return ("bandwidth_gbps", "bf16_tflops", *(["fp8_tflops"] if eight else []), *(["link_gbps"] if linked else []))


def _at_least(one: Hardware, other: Hardware, telling: tuple[str, ...]) -> bool:
    """Whether the first is as good as the other in every fact that decides."""
    return all(getattr(one, fact) >= getattr(other, fact) for fact in telling)


def _snapped(stated: float, name: str) -> float:
    known = [getattr(each, name) for each in HARDWARE.values()]
    near = [each for each in known if abs(stated - each) <= SAME_FACTS * each]
    return float(min(near, key=lambda each: abs(stated - each), default=stated))
