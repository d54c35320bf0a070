"""Values that a JSON schema has no type for: money and rates travel as decimal strings, never as floats."""

from decimal import Decimal
from typing import Annotated

from pydantic import Field, PlainSerializer, WithJsonSchema

DECIMAL_PATTERN = r"^[0-9]{1,12}(\.[0-9]{1,9})?$"


def _plain(value: Decimal) -> str:
    return format(value, "f")


DecimalString = Annotated[
    Decimal,
    Field(ge=0),
    PlainSerializer(_plain, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": DECIMAL_PATTERN, "maxLength": 22}),
]
"""A non-negative decimal number written as a string, such as "0.59"."""
