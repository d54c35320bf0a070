"""What became of a decision when it was applied."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyOutcome:
    """Objects that could not be applied, each in a short constant sentence that names the object. Empty: all of them were."""

    failures: tuple[str, ...] = ()
