"""What a workload rents, and the limits of that."""
# ruff: noqa: RUF012 - pydantic copies a default; ruff sees only that the base class is not its own

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from spillway.api.base import ApiModel, NamedRef
from spillway.api.quantities import DecimalString


class HostedBackendRef(ApiModel):
    """One model of one provider."""

    provider_ref: Annotated[NamedRef, Field(description="HostedProvider in the workload's namespace.")]
    model: Annotated[str, Field(min_length=1, max_length=200, description="Model name at the provider; must be listed in its models[].")]


class LimitAction(StrEnum):
    """What becomes of a request that would go to a hosted backend when a limit does not let it."""

    REFUSE = "Refuse"
    WAIT = "Wait"


class LongPrompts(StrEnum):
    """Where a prompt goes first that no own replica reads within the time to the first token."""

    KEEP = "Keep"
    SPILL = "Spill"


class Overflow(ApiModel):
    """When requests go to hosted backends, and limits on what these may serve and cost.

    Gateways keep the limits even while the operator is down: then nothing is spilled.
    """

    max_usd_per_day: Annotated[
        DecimalString | None,
        Field(
            alias="maxUSDPerDay",
            description='Maximum cost of hosted backends per day (UTC), for example "25". A request counts with its longest possible '
            "answer until it is done.",
        ),
    ] = None
    max_share_percent: Annotated[
        int | None,
        Field(ge=1, le=100, description="Maximum share of the day's (UTC) answers so far that hosted backends may give; ten are exempt."),
    ] = None
    when_exceeded: Annotated[
        LimitAction,
        Field(
            description="What happens to a request that replicas cannot take and a limit keeps from hosted backends. Refuse: 429 with "
            "Retry-After. Wait: some seconds for a replica, or gateway.hold.seconds, then 503 with Retry-After."
        ),
    ] = LimitAction.REFUSE
    max_wait_ms: Annotated[
        int | None,
        Field(
            ge=0,
            le=5000,
            description="How long a request that finds all replicas full waits for a slot before it is spilled, milliseconds. At most "
            "256 wait per gateway; others are spilled immediately. Counts towards the time to first token. Default: 0, spill "
            "immediately.",
        ),
    ] = None

    long_prompts: Annotated[
        LongPrompts,
        Field(
            description="Where a streamed request goes first if no replica can read its prompt within slo.timeToFirstTokenMs. Keep: to "
            "replicas, like any other. Spill: to a hosted backend, and to replicas if none takes it. The gateway estimates a token as four "
            "bytes of the body and cannot know what a replica has cached: for long chats, Keep is cheaper."
        ),
    ] = LongPrompts.KEEP
    long_prompt_tokens: Annotated[
        int | None,
        Field(
            ge=256,
            le=10**7,
            description="With longPrompts Spill: the longest prompt, in tokens, that goes to replicas first. Default: the longest that "
            "a replica of the accelerator class is estimated to read within half of slo.timeToFirstTokenMs.",
        ),
    ] = None

    @property
    def limits(self) -> bool:
        """Whether it limits what is spilled, or says what becomes of what may not be."""
        return self.max_usd_per_day is not None or self.max_share_percent is not None or self.when_exceeded is LimitAction.WAIT


class Hosted(ApiModel):
    """What is rented."""

    backends: Annotated[list[HostedBackendRef], Field(max_length=4, description="Hosted backends in order of preference.")] = []
    overflow: Annotated[Overflow | None, Field(description="When requests go to hosted backends, and how many may.")] = None
