"""What a replica promises at a load: the wait for the first token, the pace of the next, and the largest load that keeps the SLO.

Continuous batching, in figures: of B running requests each gets a token per step; prompts of newcomers are computed in the same steps, so a
step carries (B-1)/output prompts beside one's own. Figures are those of the request at the SLO's attainment, not of the mean one:

* the pace at B counts the KV cache and the prompts of the others with a margin of z sqrt(1 + cv^2) / sqrt(B), cv being the spread of prompt
  lengths and z the normal quantile of the attainment: what a sum of B unlike requests exceeds that rarely;
* the batch met is the mean one plus z times its square root (arrivals are Poisson), never more than the engine's bound;
* the wait for a place in the batch is that of an M/M/B queue (Erlang C);
* the first token comes after the longer of: the attainment's longest prompt and a mean wait, a mean prompt and the longest wait.

A replica is looked at by itself. Many behind one gateway share their free places: of replicas with a batch of 8 a pool of sixteen carries
twice as much each, with a batch of 40 a tenth more, with hundreds nothing.

Prompt lengths are lognormal through their mean and 95th percentile; answers too where their p95 is stated, else they are of mean length.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist

from spillway.api.workload import Slo
from spillway.plan.lengths import Lengths, length_at, length_spread
from spillway.plan.roofline import StepModel

STEP_OVERHEAD_MS = 1.5  # scheduling and sampling, which the calibration leaves out: 1 to 2 ms (its README)
REQUEST_OVERHEAD_MS = 15.0  # HTTP, tokenization and queueing of one request (BLIS: 15.6 ms)
DERATING = 0.85  # of the rate: the calibration asks for 15 to 20 % until measured
HIGHEST_PERCENT = 99.9  # what 100 % is taken as: no finite load promises more
DEFAULT_ATTAINMENT_PERCENT = 99
ANSWERS = 4096  # the operator asks the same of each workload every tick
PRECISION = 1e-4  # of the load that is looked for
NEXT_TO_NOTHING = 1e-5  # of a full batch: what misses a target at this load misses it at any


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What the request at the SLO's attainment sees at a load, milliseconds, and the load."""

    requests_per_s: float
    ttft_ms: float
    inter_token_ms: float
    end_to_end_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One replica at work on requests of these lengths."""

    step: StepModel
    lengths: Lengths
    attended_tokens: float  # what a running request's cache costs to read, in tokens of full attention
    step_tokens: int  # prompts are computed in chunks of so many
    longest_prompt_tokens: float | None  # model.maxContextTokens; None: only the lengths' distribution bounds it
    attainment_percent: float

    @property
    def z(self) -> float:
        """The normal quantile of the attainment, never below that of the mean."""
        return _quantile(min(self.attainment_percent, HIGHEST_PERCENT))

    def step_ms(self, batch: float) -> float:
        """Return the mean step with so many running requests: also the mean gap between a request's tokens."""
        return self._step_ms(batch, 1.0)

    def inter_token_ms(self, batch: float) -> float:
        """Return the mean gap of the request at the attainment, while so many run."""
        spread = math.exp(length_spread(self.lengths.input_mean, self.lengths.input_p95) ** 2)  # 1 + cv^2 of a lognormal
        return self._step_ms(batch, 1.0 + self.z * math.sqrt(spread / max(1.0, batch)))

    def first_token_ms(self, batch: float, prompt_tokens: float) -> float:
        """Return the time from a place in the batch to the first token: the prompt's chunks, each in a step with the others."""
        chunks = max(1, math.ceil(prompt_tokens / self.step_tokens))
        whole = self.step.step_ms(
            sequences=chunks * max(0.0, batch - 1),
            kv_tokens=chunks * max(0.0, batch - 1) * self.attended_tokens,
            prompt_tokens=prompt_tokens,
            prompt_squares=prompt_tokens**2,
        )
        experts = self.step.experts_ms * self.step.touched(max(batch, prompt_tokens / chunks))
        return REQUEST_OVERHEAD_MS + chunks * STEP_OVERHEAD_MS + whole + (chunks - 1) * (self.step.base_ms + experts)

    def residence_ms(self, batch: float) -> float:
        """Return how long a request stays in the batch."""
        return self.first_token_ms(batch, self.lengths.input_mean) + (self.lengths.output_mean - 1) * self.step_ms(batch)

    def requests_per_s(self, batch: float) -> float:
        """Return the rate that keeps so many requests in the batch on average (Little)."""
        return 1000 * batch / self.residence_ms(batch)

    def promise(self, *, mean_batch: float, bound: int) -> Promise:
        """Return what is seen with so many running on average and at most `bound`; endless waits at the bound itself."""
        met = max(1.0, min(float(bound), mean_batch + self.z * math.sqrt(mean_batch)))
        mean_wait, long_wait = self._waits_ms(mean_batch, bound)
        ttft = max(self.first_token_ms(met, self._long_prompt()) + mean_wait, self.first_token_ms(met, self.lengths.input_mean) + long_wait)
        pace = self.inter_token_ms(met)
        return Promise(
            requests_per_s=self.requests_per_s(mean_batch),
            ttft_ms=ttft,
            inter_token_ms=pace,
            end_to_end_ms=ttft + (self._long_answer() - 1) * pace,
        )

    def _step_ms(self, batch: float, spread: float) -> float:
        prompts = max(0.0, batch - 1) / self.lengths.output_mean * spread
        variety = math.exp(length_spread(self.lengths.input_mean, self.lengths.input_p95) ** 2)
        return STEP_OVERHEAD_MS + self.step.step_ms(
            sequences=batch,
            kv_tokens=batch * self.attended_tokens * spread,
            prompt_tokens=prompts * self.lengths.input_mean,
            prompt_squares=prompts * self.lengths.input_mean**2 * variety,
        )

    def _waits_ms(self, mean_batch: float, bound: int) -> tuple[float, float]:
        """Return the mean wait for a place, and the one at the attainment, of an M/M/bound queue."""
        if mean_batch >= bound:
            return math.inf, math.inf
        waiting = erlang_c(bound, mean_batch)
        each_ms = self.residence_ms(mean_batch) / (bound - mean_batch)
        late = 1 - min(self.attainment_percent, HIGHEST_PERCENT) / 100
        return waiting * each_ms, each_ms * math.log(waiting / late) if waiting > late else 0.0

    def _long_prompt(self) -> float:
        longest = length_at(self.attainment_percent, mean=self.lengths.input_mean, p95=self.lengths.input_p95)
        return longest if self.longest_prompt_tokens is None else max(self.lengths.input_mean, min(longest, self.longest_prompt_tokens))

    def _long_answer(self) -> float:
        if self.lengths.output_p95 is None:
            return self.lengths.output_mean
        return length_at(self.attainment_percent, mean=self.lengths.output_mean, p95=self.lengths.output_p95)


@lru_cache(maxsize=256)
def _quantile(percent: float) -> float:
    return max(0.0, NormalDist().inv_cdf(percent / 100))


def erlang_c(places: int, load: float) -> float:
    """Return the share of arrivals that find all places taken, for a load below the number of places (Erlang's C formula)."""
    blocked = 1.0
    for place in range(1, places + 1):
        blocked = load * blocked / (place + load * blocked)  # Erlang's B formula, place by place
    return blocked / (1 - load / places * (1 - blocked))


@lru_cache(maxsize=ANSWERS)
def largest_batch(service: Service, slo: Slo | None, *, limit: int) -> int:
    """Return the most requests that may run together and keep the inter-token target; 0 where one alone misses it."""
    target = slo.inter_token_latency_ms if slo else None
    if target is None:
        return limit
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if service.inter_token_ms(middle) <= target else (low, middle - 1)
    return low


@lru_cache(maxsize=ANSWERS)
def sustained(service: Service, slo: Slo | None, *, bound: int, derating: float = DERATING) -> Promise:
    """Return the largest load that keeps every target, derated, and what is seen at it. `bound` is the largest batch, at least 1.

    What is seen is that of the batch derated as much, which is a little more than the derated rate keeps. Where even an empty replica
    misses a target, what it returns is next to no load, and its figures tell by how much it is missed.
    """
    most = float(bound)
    low, high = 0.0, most if _keeps(slo, service, bound, NEXT_TO_NOTHING * most) else 0.0
    if _keeps(slo, service, bound, most):
        low = most
    while high - low > PRECISION * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _keeps(slo, service, bound, middle) else (low, middle)
    seen = service.promise(mean_batch=derating * low, bound=bound)
    return replace(seen, requests_per_s=derating * service.requests_per_s(low))


def _keeps(slo: Slo | None, service: Service, bound: int, mean_batch: float) -> bool:
    if slo is None or (slo.time_to_first_token_ms is None and slo.end_to_end_ms is None):
        return True
    seen = service.promise(mean_batch=mean_batch, bound=bound)
    first, whole = slo.time_to_first_token_ms, slo.end_to_end_ms
    return (first is None or seen.ttft_ms <= first) and (whole is None or seen.end_to_end_ms <= whole)
