"""Conditions: statements of state with constant reasons. All of them on every pass, in one order, without live numbers in the messages.

What was not asked for (no hosted backend, no SLO, no budget) and what there is no evidence of yet is Unknown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from pydantic import ValidationError

from spillway.api.status import LONGEST_MESSAGE, Condition
from spillway.api.vocabulary import ConditionType, Reason

Verdict = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one condition says in this pass."""

    status: Verdict
    reason: Reason
    message: str


def yes(reason: Reason, message: str) -> Finding:
    """Say that it holds."""
    return Finding(status="True", reason=reason, message=message)


def no(reason: Reason, message: str) -> Finding:
    """Say that it does not hold."""
    return Finding(status="False", reason=reason, message=message)


def unknown(reason: Reason, message: str) -> Finding:
    """Say that it was not asked for, or that there is no evidence."""
    return Finding(status="Unknown", reason=reason, message=message)


def previous_conditions(status: Mapping[str, object]) -> dict[str, Condition]:
    """Return the conditions of a stored status by type; entries that are not conditions are left out."""
    stored = status.get("conditions")
    conditions: dict[str, Condition] = {}
    for raw in stored if isinstance(stored, Sequence) and not isinstance(stored, str) else ():
        try:
            condition = Condition.model_validate(raw)
        except ValidationError:
            continue
        conditions[condition.type] = condition
    return conditions


def merge(
    previous: Mapping[str, Condition], findings: Mapping[ConditionType, Finding], *, generation: int, now: datetime
) -> list[Condition]:
    """Return all conditions in display order. A transition time moves only when the status does."""
    merged: list[Condition] = []
    for kind in ConditionType:
        finding, before = _within_bounds(findings[kind]), previous.get(kind)
        if before is not None and _says(before, finding, generation):
            merged.append(before)
            continue
        unchanged = before is not None and before.status == finding.status
        merged.append(
            Condition(
                type=kind,
                status=finding.status,
                reason=finding.reason,
                message=finding.message,
                observed_generation=generation,
                last_transition_time=before.last_transition_time if before is not None and unchanged else now.replace(microsecond=0),
            )
        )
    return merged


def _within_bounds(finding: Finding) -> Finding:
    """Return a finding whose message the API server takes: the words of others, joined, may be longer than any condition's."""
    if len(finding.message) <= LONGEST_MESSAGE:
        return finding
    return replace(finding, message=f"{finding.message[: LONGEST_MESSAGE - 1]}…")


def _says(before: Condition, finding: Finding, generation: int) -> bool:
    """Whether a condition says all of this already."""
    said = (before.status, before.reason, before.message, before.observed_generation)
    return said == (finding.status, finding.reason, finding.message, generation)
