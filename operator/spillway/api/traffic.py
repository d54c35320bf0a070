"""What is expected to arrive, and what is promised for it."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from spillway.api.base import ApiModel
from spillway.api.quantities import DecimalString

MOST_TOKENS = 10**7  # of a prompt or an answer, on average or at the 95th percentile


class LatencyNeed(StrEnum):
    """Who waits for an answer, and how long."""

    INTERACTIVE = "Interactive"
    BACKGROUND = "Background"
    OFFLINE = "Offline"


class TrafficPattern(StrEnum):
    """How the load moves around its mean."""

    STEADY = "Steady"
    BURSTY = "Bursty"


class Slo(ApiModel):
    """The promise: each request must meet every target given here; attainmentPercent of the requests must do so."""

    time_to_first_token_ms: Annotated[int | None, Field(ge=1, le=3_600_000, description="Maximum time to first token, milliseconds.")] = (
        None
    )
    inter_token_latency_ms: Annotated[
        int | None, Field(ge=1, le=60_000, description="Maximum mean inter-token latency of a request, milliseconds.")
    ] = None
    end_to_end_ms: Annotated[int | None, Field(ge=1, le=3_600_000, description="Maximum duration of a whole request, milliseconds.")] = None
    attainment_percent: Annotated[int, Field(ge=1, le=100, description="Share of requests that must meet every target.")] = 99


class RequestRate(ApiModel):
    """Requests per second, as decimal strings."""

    mean: Annotated[DecimalString, Field(description='Mean rate, for example "2.5".')]
    peak: Annotated[
        DecimalString | None,
        Field(
            description="Highest rate sustained for a minute. Default: the mean for a Steady pattern, four times the mean for a Bursty one."
        ),
    ] = None


class TokenLengths(ApiModel):
    """Tokens per request."""

    mean: Annotated[int, Field(ge=1, le=MOST_TOKENS, description="Mean number of tokens.")]
    p95: Annotated[int | None, Field(ge=1, le=MOST_TOKENS, description="95th percentile of the number of tokens.")] = None


class Traffic(ApiModel):
    """What is expected to arrive. It sizes the workload until there is observed traffic, which then counts instead."""

    requests_per_second: Annotated[RequestRate | None, Field(description="Expected rate. Set this or requestsPerMonth.")] = None
    requests_per_month: Annotated[int | None, Field(ge=0, le=10**12, description="Expected volume in 30 days.")] = None
    input_tokens: Annotated[TokenLengths | None, Field(description="Tokens of a prompt. Default: mean 1000.")] = None
    output_tokens: Annotated[TokenLengths | None, Field(description="Tokens of an answer. Default: mean 250.")] = None
    cached_input_percent: Annotated[
        int,
        Field(
            ge=0,
            le=100,
            description="Share of the prompt tokens that repeat the beginning of an earlier prompt. Hosted providers with a price for "
            "cached tokens bill them at it, which plans, status.cost.kappa and the replica count account for.",
        ),
    ] = 0
    latency: Annotated[
        LatencyNeed,
        Field(
            description="Interactive: a person waits for each answer. Background: a program waits and may retry. Offline: answers may "
            "take hours, so plans defer peaks, which the sending program must do, and consider hosted batch APIs. Only plans use "
            "it: gateways treat all requests alike."
        ),
    ] = LatencyNeed.INTERACTIVE
    pattern: Annotated[
        TrafficPattern,
        Field(
            description="How plans expect the load to vary. Steady: over the day. Bursty: within a minute, faster than a replica starts."
        ),
    ] = TrafficPattern.STEADY
