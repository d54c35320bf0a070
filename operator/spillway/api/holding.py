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
            description="Maximum wait, then 503 with Retry-After. With minReplicas 0, set it to more than a replica's start takes. Counts "
            "towards gateway.maxRequestSeconds.",
        ),
    ]
    max_requests: Annotated[
        int,
        Field(
            ge=1,
            le=10_000,
            description="Maximum requests waiting at a time, split evenly over the gateway's pods; more are refused immediately. Their "
            "bodies are bounded by maxMiB, and by the gateway's memory.",
        ),
    ] = 256
    max_mib: Annotated[
        int | None,
        Field(
            alias="maxMiB",
            ge=1,
            le=65_536,
            description="Maximum MiB of waiting bodies, split evenly over the gateway's pods and the two threads of each; more are refused "
            "immediately, unless none waits in its part. Default: only the gateway's memory bounds them.",
        ),
    ] = None
    low_priority_percent: Annotated[
        int | None,
        Field(
            ge=0,
            le=99,
            description="Share of maxRequests and maxMiB above which requests with the header x-spillway-priority: low do not wait, "
            "or stop waiting. 0: they never wait. Default: the header is ignored.",
        ),
    ] = None
