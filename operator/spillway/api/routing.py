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
        description="With PrefixHash: how many leading bytes of a prompt, as JSON, select the replica. Set it beyond what all requests "
        f"share, or they all count as one prefix. Default: {DEFAULT_PREFIX_BYTES}.",
    ),
]
