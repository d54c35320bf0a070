"""How long requests are: what the spec declares, or the API's documented defaults."""

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

from spillway.api.workload import InferenceWorkloadSpec

DEFAULT_INPUT_TOKENS = 1000  # the API's documented defaults of traffic.inputTokens and outputTokens
DEFAULT_OUTPUT_TOKENS = 250
P95_OVER_MEAN = 3.0  # Azure 2023 and ServeGen traces: p90 is 2.4 to 2.8 times the mean
Z95 = NormalDist().inv_cdf(0.95)
SLICES = 20  # of a distribution of lengths; with 64 the wait for a first token comes to within 4 % of what it comes to with these
SLICED = (-2.6, 4.0)  # normal quantiles between which they are cut, even in these: one prompt in 30,000 is longer than the last begins


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Tokens of one request."""

    input_mean: float
    input_p95: float
    output_mean: float
    output_p95: float | None = None  # None: not stated, and answers are taken to be of mean length

    @property
    def context_mean(self) -> float:
        """Tokens that a running request holds on average: its prompt and half of its answer, of which long ones run longer than others."""
        longer = 1.0 if self.output_p95 is None else math.exp(length_spread(self.output_mean, self.output_p95) ** 2)  # 1 + cv^2
        return self.input_mean + self.output_mean * longer / 2

    @property
    def context_variety(self) -> float:
        """Variance of what a running request holds over the square of its mean: prompts vary, and answers are anywhere from none to all."""
        prompts = self.input_mean**2 * math.expm1(length_spread(self.input_mean, self.input_p95) ** 2)
        answers = (self.context_mean - self.input_mean) ** 2 / 3
        return (prompts + answers) / self.context_mean**2


def declared_lengths(spec: InferenceWorkloadSpec) -> Lengths:
    """Return the token lengths the spec declares, or the documented defaults."""
    prompt = spec.traffic.input_tokens if spec.traffic else None
    answer = spec.traffic.output_tokens if spec.traffic else None
    mean = float(prompt.mean) if prompt else float(DEFAULT_INPUT_TOKENS)
    p95 = float(prompt.p95) if prompt and prompt.p95 else mean * P95_OVER_MEAN
    output_mean = float(answer.mean) if answer else float(DEFAULT_OUTPUT_TOKENS)
    return Lengths(
        input_mean=mean,
        input_p95=max(mean, p95),
        output_mean=output_mean,
        output_p95=max(output_mean, float(answer.p95)) if answer and answer.p95 else None,
    )


@lru_cache(maxsize=1024)
def length_spread(mean: float, p95: float) -> float:
    """Return sigma of the lognormal distribution with this mean and 95th percentile; 0 where every request is alike.

    ln(p95/mean) = 1.645 sigma - sigma^2/2. Its largest value is reached at sigma = 1.645 (p95 3.9 times the mean); more is taken as that.
    """
    ratio = math.log(max(1.0, p95 / mean))
    return Z95 - math.sqrt(max(0.0, Z95 * Z95 - 2 * ratio))


@lru_cache(maxsize=1024)
def length_at(percent: float, *, mean: float, p95: float) -> float:
    """Return the length that this percentage of requests does not exceed; never less than the mean."""
    sigma = length_spread(mean, p95)
    return max(mean, mean * math.exp(NormalDist().inv_cdf(min(percent, 99.9) / 100) * sigma - sigma * sigma / 2))


@lru_cache(maxsize=1024)
def length_slices(*, mean: float, p95: float, longest: float | None) -> tuple[tuple[float, float], ...]:
    """Return (share of requests, tokens) of prompts that stand for all: slices of the lognormal, none longer than `longest`."""
    sigma = length_spread(mean, p95)
    if not sigma:
        return ((1.0, mean),)
    normal, (lowest, highest) = NormalDist(), SLICED
    width = (highest - lowest) / SLICES
    below = [0.0, *(normal.cdf(lowest + width * each) for each in range(1, SLICES)), 1.0]
    tokens = [mean * math.exp(sigma * (lowest + width * (each + 0.5)) - sigma * sigma / 2) for each in range(SLICES)]
    most = math.inf if longest is None else max(mean, longest)
    return tuple((below[each + 1] - below[each], min(most, tokens[each])) for each in range(SLICES))
