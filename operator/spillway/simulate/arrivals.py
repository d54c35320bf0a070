"""Traffic to replay. The same seed gives the same traffic."""

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request of a trace."""

    arrival_s: float
    input_tokens: int
    output_tokens: int


def poisson(phases: Sequence[tuple[float, float]], *, input_tokens: int, output_tokens: int, seed: int) -> tuple[Request, ...]:
    """Return Poisson arrivals over phases of (seconds, requests per second), with exponentially spread answer lengths."""
    chance = random.Random(seed)  # noqa: S311  traffic, not a secret
    requests: list[Request] = []
    begin = 0.0
    for seconds, rate in phases:
        now = begin
        while rate > 0 and (now := now + chance.expovariate(rate)) < begin + seconds:
            length = max(1, round(chance.expovariate(1 / output_tokens)))
            requests.append(Request(arrival_s=now, input_tokens=input_tokens, output_tokens=length))
        begin += seconds
    return tuple(requests)
