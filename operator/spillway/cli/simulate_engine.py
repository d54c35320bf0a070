"""`spillway simulate --engine FILE`: measured coefficients of a step, as JSON."""

import math

from spillway.cli.bad_input import BadInputError, read_json
from spillway.plan.replica.roofline import StepModel

COEFFICIENTS = ("a", "b", "c", "delta")
SHAPE = "a step of B sequences with KV tokens and P prompt tokens takes a + b B + c KV/1000 + delta P milliseconds"


def read_engine(file: str) -> StepModel:
    """Return the coefficients in a file: a, b, c, delta, and quad (per million of a prompt's tokens squared) where it is there."""
    malformed = f"give an object with a, b, c and delta: {SHAPE}"
    raw = read_json(file, unread="give the path of a file with --engine", malformed=malformed)
    found = {key: _number(raw, key) for key in (*COEFFICIENTS, "quad")}
    missing = [key for key in COEFFICIENTS if found[key] is None]
    if missing:
        raise BadInputError(f"{file}: has no number from 0 for {', '.join(missing)}; {SHAPE}")
    base_ms = found["a"] or 0.0
    if not base_ms:
        raise BadInputError(f"{file}: a is 0, and no step takes no time; {SHAPE}")
    return StepModel(
        base_ms=base_ms,
        experts_ms=0.0,
        expert_share=1.0,
        sequence_ms=found["b"] or 0.0,
        kv_ms=found["c"] or 0.0,
        prompt_ms=found["delta"] or 0.0,
        square_ms=found["quad"] or 0.0,
    )


def _number(raw: object, key: str) -> float | None:
    value = raw.get(key) if isinstance(raw, dict) else None
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if math.isfinite(value) and value >= 0 else None
