"""The roofline's constants, fitted: what makes it least wrong over the rows it is given.

The loss is the sum of |log(predicted/measured)| of four figures per row (a step with one sequence, what each of 64 adds, prompts of 1000
and of 8000 tokens), none counting more than LOUDEST: a kernel that is slow for a reason data sheets do not know must not bend the rest.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache

from spillway.plan.replica.calibration import FULL_BATCH, FULL_BATCH_CONTEXT_TOKENS, CalibrationRow
from spillway.plan.replica.memory import attended_tokens
from spillway.plan.replica.roofline import FITTED, Efficiency, StepModel
from spillway.plan.replica.speed import row_architecture, row_estimate, row_model, row_value_bytes

PROMPT_TOKENS = 1000
LONG_PROMPT_TOKENS = 8000
NAMES = ("base_ms", "slope_ms", "prompt_ms", "long_prompt_ms")
LOUDEST = 0.25  # of 0.15, 0.2, 0.25, 0.3, 0.5 and 1 the bars are met up to 0.3; no single row decides
FIRST_STEP = 0.3
LAST_STEP = 0.004
START = Efficiency(
    weights=0.9,
    cache=0.9,
    layer_ms=0.05,
    link=0.5,
    decode=1.0,
    prompt=0.8,
    prompt_fp8=0.7,
    prompt_experts=0.7,
    attention=0.4,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What is compared, predicted or measured."""

    base_ms: float  # a step with one sequence of 2048 tokens
    slope_ms: float  # what each of 64 sequences of 2048 tokens adds to it
    prompt_ms: float  # a prompt of 1000 tokens in an empty engine
    long_prompt_ms: float  # of 8000 tokens: measured as the row's own fit continues


@cache
def measured(row: CalibrationRow) -> Figures:
    """Return the raw points of a row."""
    slope = (row.full_batch_ms - row.one_sequence_ms) / (FULL_BATCH - 1)
    long_prompt = _prompt_ms(row_model(row, row_architecture(row), row_value_bytes(row)), LONG_PROMPT_TOKENS)
    return Figures(base_ms=row.one_sequence_ms, slope_ms=slope, prompt_ms=row.prompt_1000_ms, long_prompt_ms=long_prompt)


def predicted(step: StepModel, attended: float) -> Figures:
    """Return the same figures of a step model."""
    one, full = (step.step_ms(sequences=batch, kv_tokens=batch * attended) for batch in (1, FULL_BATCH))
    return Figures(
        base_ms=one,
        slope_ms=(full - one) / (FULL_BATCH - 1),
        prompt_ms=_prompt_ms(step, PROMPT_TOKENS),
        long_prompt_ms=_prompt_ms(step, LONG_PROMPT_TOKENS),
    )


def figures(row: CalibrationRow, efficiency: Efficiency) -> Figures:
    """Return what the roofline predicts of a row."""
    return predicted(row_estimate(row, efficiency), _attended(row))


@cache
def _attended(row: CalibrationRow) -> float:
    return attended_tokens(row_architecture(row), FULL_BATCH_CONTEXT_TOKENS)


def fit(rows: Sequence[CalibrationRow]) -> Efficiency:
    """Return the constants that fit the rows, by steps along one constant at a time that halve when none helps."""
    best, constants, step = loss(rows, START), START, FIRST_STEP
    while step > LAST_STEP:
        improved = False
        for field in fields(Efficiency):
            for factor in (1 + step, 1 / (1 + step)):
                changed = replace(constants, **{field.name: getattr(constants, field.name) * factor})
                found = loss(rows, changed)
                if found < best:
                    best, constants, improved = found, changed, True
        if not improved:
            step /= 2
    return constants


def loss(rows: Sequence[CalibrationRow], efficiency: Efficiency) -> float:
    """Return how wrong the constants are over the rows."""
    total = 0.0
    for row in rows:
        seen, told = measured(row), figures(row, efficiency)
        for name in NAMES:
            total += min(LOUDEST, abs(math.log(getattr(told, name) / getattr(seen, name))))
    return total


def _prompt_ms(step: StepModel, tokens: int) -> float:
    return step.step_ms(sequences=0, kv_tokens=0, prompt_tokens=tokens, prompt_squares=float(tokens) ** 2)


def drifted(efficiency: Efficiency) -> list[str]:
    """Return which constants of plan/replica/roofline.py are no longer those of a fit."""
    return [
        f"{field.name}: fitted {getattr(efficiency, field.name):.3g}, written {getattr(FITTED, field.name):.3g}"
        for field in fields(Efficiency)
        if abs(getattr(efficiency, field.name) / getattr(FITTED, field.name) - 1) > 0.05
    ]
