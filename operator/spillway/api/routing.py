"""Which replica a request goes to: `gateway.routing`. docs/gateway.md tells what each choice does."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

DEFAULT_PREFIX_BYTES = 1024  # some 250 tokens, 16 blocks of vLLM's cache: what is shorter is soon computed again


class Routing(StrEnum):
    """How a replica is chosen."""

    LEAST_LOAD = "LeastLoad"
    PREFIX_HASH = "PrefixHash"


PrefixBytes = Annotated[
    int,
    Field(
        ge=64,
        le=16_384,
        description="With PrefixHash: how many bytes of a prompt, as JSON, must be the same for the same replica. Set it beyond what all "
        f"requests begin with, or they are all one prefix. Default: {DEFAULT_PREFIX_BYTES}.",
    ),
]
