"""What becomes of requests that nobody can take now: `gateway.hold`. docs/gateway.md tells what clients see."""

from typing import Annotated

from pydantic import Field

from spillway.api.base import ApiModel

LONGEST_HOLD_S = 3600


class Hold(ApiModel):
    """Requests wait at the gateway instead of being refused: while the first replica starts, and while all replicas are full."""

    seconds: Annotated[
        int,
        Field(
            ge=2,
            le=LONGEST_HOLD_S,
            description="Longest wait, then 503 with Retry-After. To serve from minReplicas 0, longer than a replica takes to start. Part "
            "of gateway.maxRequestSeconds.",
        ),
    ]
    max_requests: Annotated[
        int,
        Field(
            ge=1,
            le=10_000,
            description="Most requests that wait at a time, in equal parts over the gateway's pods; one more is refused at once. Their "
            "bodies are bounded by the gateway's memory.",
        ),
    ] = 256
