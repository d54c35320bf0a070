"""How far predictions are off, for models and accelerators that the fit has not seen."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.capacity.fitting import NAMES, figures, fit, measured
from benchmarks.capacity.measured import (
    BLIS,
    NOMINAL_MEMORY_GIB,
    SPLITWISE,
    SPLITWISE_BATCH,
    SPLITWISE_CONTEXT_TOKENS,
    SPLITWISE_MODELS,
    SplitwiseRow,
)
from spillway.api.catalogue import AcceleratorClassSpec, TeraFlops
from spillway.api.dedicated import Engine
from spillway.api.model import Model
from spillway.api.traffic import Slo
from spillway.plan.model.models import known_model
from spillway.plan.replica.calibration import HARDWARE, CalibrationRow
from spillway.plan.replica.memory import kv_tokens, memory
from spillway.plan.replica.roofline import Efficiency, StepModel, roofline
from spillway.plan.replica.serving import STEP_OVERHEAD_MS, largest_batch, sustained
from spillway.plan.replica.sizing import service_of
from spillway.plan.replica.speed import carried, row_architecture, row_estimate, row_model, row_quantization, row_value_bytes, rows_of
from spillway.plan.traffic.lengths import Lengths

CHAT = Lengths(input_mean=1000, input_p95=3000, output_mean=250)
CHAT_SLO = Slo(inter_token_latency_ms=60, time_to_first_token_ms=3000)
CHAT_BATCH = 128
STEP_TOKENS = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One row's prediction over its measurement, minus one, by figure; None where there is nothing to compare."""

    row: CalibrationRow
    held_out: str
    told: dict[str, float]
    seen: dict[str, float]

    def error(self, name: str) -> float | None:
        """Return the relative error."""
        return self.told[name] / self.seen[name] - 1 if self.seen.get(name) else None


def leave_one_out(rows: Sequence[CalibrationRow], group: Callable[[CalibrationRow], str]) -> list[Compared]:
    """Return every row as predicted by constants fitted without its group."""
    found: list[Compared] = []
    for held_out in sorted({group(row) for row in rows}):
        constants = fit([row for row in rows if group(row) != held_out])
        found += [compare(row, constants, held_out) for row in rows if group(row) == held_out]
    return found


def compare(row: CalibrationRow, constants: Efficiency, held_out: str) -> Compared:
    """Return one row's figures as predicted and as measured, with the requests per second that follow from either."""
    told, seen = figures(row, constants), measured(row)
    architecture = row_architecture(row)
    return Compared(
        row=row,
        held_out=held_out,
        told={name: getattr(told, name) for name in NAMES} | {"rate": _rate(row, row_estimate(row, constants))},
        seen={name: getattr(seen, name) for name in NAMES} | {"rate": _rate(row, row_model(row, architecture, row_value_bytes(row)))},
    )


def elsewhere(rows: Sequence[CalibrationRow]) -> list[tuple[CalibrationRow, float, float]]:
    """Return (row, error, error) in requests per second by the roofline, and by it corrected by the model's rows on other accelerators."""
    found = []
    for row in rows:
        others = tuple(each for each in rows_of(row_architecture(row), row_quantization(row)) if each.accelerator != row.accelerator)
        seen = _rate(row, row_model(row, row_architecture(row), row_value_bytes(row)))
        if others and seen:
            told = row_estimate(row)
            found.append((row, _rate(row, told) / seen - 1, _rate(row, carried(told, others)) / seen - 1))
    return found


def kv_capacity(rows: Sequence[CalibrationRow]) -> list[Compared]:
    """Return the KV tokens of every row, counted as its table does: nominal memory, and windows like full attention."""
    found: list[Compared] = []
    for row in rows:
        whole = row_architecture(row).model_copy(update={"sliding_window_layers": None, "sliding_window_tokens": None})
        taken = memory(
            whole,
            quantization=row_quantization(row),
            accelerator=_accelerator(row),
            tensor_parallel_size=row.tensor_parallel_size,
            engine=Engine(),
        )
        tokens = kv_tokens(whole, taken, row.tensor_parallel_size, context_tokens=2048, value_bytes=row_value_bytes(row))
        found.append(Compared(row=row, held_out="", told={"kv_tokens": tokens}, seen={"kv_tokens": row.kv_tokens}))
    return found


def splitwise() -> list[tuple[SplitwiseRow, dict[str, float], dict[str, float]]]:
    """Return each row of 2023 with what today's constants predict of it."""
    found = []
    for row in SPLITWISE:
        step = roofline(
            SPLITWISE_MODELS[row.model],
            quantization=None,
            hardware=HARDWARE[row.accelerator],
            tensor_parallel_size=row.tensor_parallel_size,
        )
        one, full = (step.step_ms(sequences=batch, kv_tokens=batch * SPLITWISE_CONTEXT_TOKENS) for batch in (1, SPLITWISE_BATCH))
        told = {
            "base_ms": one,
            "slope_ms": (full - one) / (SPLITWISE_BATCH - 1),
            "prompt_ms": step.step_ms(sequences=0, kv_tokens=0, prompt_tokens=1000, prompt_squares=1e6),
        }
        seen = {
            "base_ms": row.one_sequence_ms,
            "slope_ms": (row.full_batch_ms - row.one_sequence_ms) / (SPLITWISE_BATCH - 1),
            "prompt_ms": row.prompt_1000_ms,
        }
        found.append((row, told, seen))
    return found


def blis() -> list[tuple[str, float, float]]:
    """Return (model, error of the base step, error of the prompt rate) against real runs, with what the planner adds to a step."""
    found = []
    for model_id, base_ms, prompt_us in BLIS:
        known = known_model(Model(id=model_id))
        if known is None:
            raise LookupError(f"the catalogue of models lacks {model_id}")
        step = roofline(known.architecture, quantization=None, hardware=HARDWARE["h100_sxm"], tensor_parallel_size=1)
        found.append((model_id, (step.base_ms + STEP_OVERHEAD_MS) / base_ms - 1, step.prompt_ms * 1000 / prompt_us - 1))
    return found


def median(errors: Iterable[float | None]) -> float:
    """Return the median of the absolute errors, percent."""
    return 100 * statistics.median([abs(each) for each in errors if each is not None])


def ninth_of_ten(errors: Iterable[float | None]) -> float:
    """Return the absolute error that nine of ten stay below, percent."""
    found = sorted(abs(each) for each in errors if each is not None)
    return 100 * found[min(len(found) - 1, int(0.9 * len(found)))]


def _rate(row: CalibrationRow, step: StepModel) -> float:
    service = service_of(row_architecture(row), step, lengths=CHAT, slo=CHAT_SLO, step_tokens=STEP_TOKENS, max_context_tokens=16_384)
    batch = largest_batch(service, CHAT_SLO, limit=CHAT_BATCH)
    return sustained(service, CHAT_SLO, bound=batch).requests_per_s if batch else 0.0


def _accelerator(row: CalibrationRow) -> AcceleratorClassSpec:
    facts = HARDWARE[row.accelerator]
    return AcceleratorClassSpec(
        product=row.accelerator,
        memory_gib=NOMINAL_MEMORY_GIB[row.accelerator],
        memory_bandwidth_gbps=int(facts.bandwidth_gbps),
        tera_flops=TeraFlops(bf16=int(facts.bf16_tflops), fp8=int(facts.fp8_tflops)),
        per_node=8,
    )
