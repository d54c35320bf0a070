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
            description='Most that hosted backends may cost in a day (UTC), for example "25". A request counts at its longest answer until '
            "it is done.",
        ),
    ] = None
    max_share_percent: Annotated[
        int | None,
        Field(
            ge=1, le=100, description="Largest share of a day's (UTC) answers that hosted backends may give, of those so far; ten are free."
        ),
    ] = None
    when_exceeded: Annotated[
        LimitAction,
        Field(
            description="What a request gets that own replicas cannot take and no limit lets go. Refuse: 429 with Retry-After. Wait: "
            "some seconds for room on own replicas, or with gateway.hold as long as that says, then 503 with Retry-After."
        ),
    ] = LimitAction.REFUSE
    max_wait_ms: Annotated[
        int | None,
        Field(
            ge=0,
            le=5000,
            description="Longest wait for a slot, milliseconds, of a request that finds own replicas full, before it is spilled. At most "
            "256 wait at a gateway; the others are spilled at once. Part of the time to the first token, whoever answers then. Default: 0, "
            "it is spilled at once.",
        ),
    ] = None

    long_prompts: Annotated[
        LongPrompts,
        Field(
            description="Where a streamed request goes first whose prompt no own replica reads within slo.timeToFirstTokenMs. Keep: to own "
            "replicas, as any other. Spill: to a hosted backend, and to own replicas where none takes it. The gateway judges by the bytes "
            "of the body, four a token, and cannot know what of a prompt is in a replica's cache: for prompts that are long because a chat "
            "goes on, Keep is cheaper."
        ),
    ] = LongPrompts.KEEP
    long_prompt_tokens: Annotated[
        int | None,
        Field(
            ge=256,
            le=10**7,
            description="With longPrompts Spill: the longest prompt, in tokens, that goes to own replicas first. Default: the longest that "
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
    overflow: Annotated[Overflow | None, Field(description="When requests go to hosted backends, and limits on that.")] = None
