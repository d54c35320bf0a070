"""Values that a JSON schema has no type for: money and rates travel as decimal strings, never as floats."""

import re
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

QUANTITY_PATTERN = r"^[0-9]{1,15}(\.[0-9]{1,9})?([KMGTPE]i|[mkMGTPE])?$"
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


def _text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


_FACTORS = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{name: Decimal(1000) ** power for power, name in enumerate(("k", "M", "G", "T", "P", "E"), start=1)},
    **{f"{name}i": Decimal(1024) ** power for power, name in enumerate(("K", "M", "G", "T", "P", "E"), start=1)},
}


def amount(quantity: str) -> Decimal:
    """Return the number that a Kubernetes quantity stands for: of memory, bytes. Raises ValueError for what is none."""
    number = quantity.rstrip("KMGTPEimk")
    if not re.fullmatch(QUANTITY_PATTERN, quantity):
        raise ValueError(f"{quantity!r} is not a quantity; write it like 4, 500m or 32Gi")
    return Decimal(number) * _FACTORS[quantity.removeprefix(number)]


Quantity = Annotated[
    str,
    BeforeValidator(_text),
    WithJsonSchema(
        {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": QUANTITY_PATTERN, "minimum": 0}
    ),
]
"""A Kubernetes quantity such as 4, "500m" or "32Gi"; a plain number may be written without quotes."""
