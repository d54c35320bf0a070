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
            "bodies are bounded by maxMiB, and by the gateway's memory.",
        ),
    ] = 256
    max_mib: Annotated[
        int | None,
        Field(
            alias="maxMiB",
            ge=1,
            le=65_536,
            description="Most MiB of bodies that wait at a time, in equal parts over the gateway's pods and the two threads of each; one "
            "more is refused at once, unless none waits in its part. Default: only the gateway's memory bounds them.",
        ),
    ] = None
    low_priority_percent: Annotated[
        int | None,
        Field(
            ge=0,
            le=99,
            description="Share of maxRequests and of maxMiB above which requests with the header x-spillway-priority: low do not wait, "
            "even if they have. 0: they never wait. Default: the header means nothing.",
        ),
    ] = None
