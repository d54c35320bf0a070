"""The status that a workload has, as read: a pass keeps from it what did not change and what no reading tells now."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from spillway.api.status import Condition, InferenceWorkloadStatus
from spillway.report.conditions import previous_conditions


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A stored status, read once for all the passes that find it unchanged."""

    raw: Mapping[str, object]
    status: InferenceWorkloadStatus  # an empty one when there is none or it was written by something else
    conditions: Mapping[str, Condition]  # by type

    def is_of(self, raw: Mapping[str, object]) -> bool:
        """Whether this is what that very object reads as; nobody changes one in place."""
        return self.raw is raw


def read_stored(raw: Mapping[str, object]) -> Stored:
    """Return a raw status as read. What in it is not a condition, or no status of ours, is left out."""
    try:
        status = InferenceWorkloadStatus.model_validate(raw)
    except ValidationError:
        return Stored(raw=raw, status=InferenceWorkloadStatus(), conditions=previous_conditions(raw))
    return Stored(raw=raw, status=status, conditions={each.type: each for each in status.conditions})
