"""Readings as plain numbers where they are numbers: what is Missing or not finite is None, and never zero."""

import math
from datetime import datetime
from typing import Any, TypeVar

from spillway.plan.observation import Missing, Reading

T = TypeVar("T")


def value(reading: Reading[T]) -> T | None:
    """Return what was read, or None when it is Missing."""
    return None if isinstance(reading, Missing) else reading.value


def number(reading: Reading[float]) -> float | None:
    """Return a number that was read; None when it is Missing, not finite or negative (a rate over no events is NaN in PromQL)."""
    return finite(value(reading))


def positive(reading: Reading[float]) -> float | None:
    """Return a number above zero that was read, else None."""
    found = number(reading)
    return found or None


def written_moment(text: str) -> datetime:
    """Return a moment as it was written down. Raises ValueError where it has no time zone: it could be compared with none that has."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        message = f"{text!r} has no time zone"
        raise ValueError(message)
    return found


def moment_if_written(text: str | None) -> datetime | None:
    """Return the same, or None where none was."""
    return None if text is None else written_moment(text)


def written_number(stored: Any) -> float:
    """Return a number as it was written down. Raises ValueError on NaN and Infinity, which JSON as Python reads it has."""
    found = float(stored)
    if not math.isfinite(found):
        message = f"{stored!r} is no number"
        raise ValueError(message)
    return found


def finite(found: float | None) -> float | None:
    """Return the number when it is one and not below zero, else None."""
    if found is None or not math.isfinite(found) or found < 0:
        return None
    return float(found)
