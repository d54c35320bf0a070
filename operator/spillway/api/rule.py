"""One rule of a CRD in CEL, and what several of them say alike."""

from dataclasses import dataclass
from typing import Any

from spillway.api.quantities import DECIMAL_PATTERN

NAME_LIMIT = 40
OWN_SUFFIX = 23  # what may be added to a workload's name; 40 + 23 = 63, the longest Service name and label value


# Parts of rules: that a text is a decimal, and a regular expression for a port.
DECIMAL = f"matches('{DECIMAL_PATTERN.replace(chr(92), chr(92) * 2)}')"
PORT = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One CEL rule: where it hangs, what must hold, what the user reads when it does not."""

    name: str
    model: str  # name of the model class; "InferenceWorkload" and "HostedProvider" are the whole objects
    field: str | None = None  # a field of the model, as it is written; None: the model itself
    each_item: bool = False  # the rule holds for each item of the field
    rule: str
    message: str
    message_expression: str | None = None  # when the message names what was written
    reason: str = "FieldValueInvalid"  # with FieldValueDuplicate the server would not print the message
    at: str | None = None  # fieldPath: which field below is the one to change

    def as_validation(self) -> dict[str, Any]:
        """Return the entry of `x-kubernetes-validations`."""
        entry = {"rule": self.rule, "message": self.message}
        if self.message_expression:
            entry["messageExpression"] = self.message_expression
        entry["reason"] = self.reason
        if self.at:
            entry["fieldPath"] = self.at
        return entry
