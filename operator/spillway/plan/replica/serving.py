"""What a replica promises at a load: the wait for the first token, the pace of the next, and the largest load that keeps the SLO.

Continuous batching, in figures: of B running requests each gets a token per step; prompts of newcomers are computed in the same steps, so a
step carries (B-1)/output prompts beside one's own. Figures are those of the request at the SLO's attainment, not of the mean one:

* the pace at B counts the KV cache and the prompts of the others with a margin of z sqrt(1 + cv^2) / sqrt(B), cv being the spread of prompt
  lengths and z the normal quantile of the attainment: what a sum of B unlike requests exceeds that rarely;
* the batch met is the mean one plus z times its standard deviation (replica/first_token.py), never more than the engine's bound;
* the first token comes after the running step, the prompts of others, a place in the batch, and one's own prompt (replica/first_token.py).

A replica is looked at by itself. Many behind one gateway share their free places, and a long prompt delays one of them only: sixteen
simulated ones with a batch of 8 keep the targets at 1.75 times the rate each, with a batch of 40 at 1.25 times, with 200 at 1.1 times.

Prompt lengths are lognormal through their mean and 95th percentile; answers too where their p95 is stated, else they are of mean length.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist

from spillway.api.traffic import Slo
from spillway.plan.replica.first_token import FirstToken, Prompts, first_token
from spillway.plan.replica.roofline import StepModel
from spillway.plan.traffic.lengths import Lengths, length_at, length_slices, length_spread

STEP_OVERHEAD_MS = 1.5  # scheduling and sampling, which the calibration leaves out: 1 to 2 ms (its README)
REQUEST_OVERHEAD_MS = 15.0  # HTTP, tokenization and queueing of one request (BLIS: 15.6 ms)
DERATING = 0.85  # of the rate: the calibration asks for 15 to 20 % until measured
HIGHEST_PERCENT = 99.9  # what 100 % is taken as: no finite load promises more
DEFAULT_ATTAINMENT_PERCENT = 99
ANSWERS = 4096  # the operator asks the same of each workload every tick
PRECISION = 1e-4  # of the load that is looked for
NEARBY = 0.01  # of a batch: how far off its throughput is looked at, for the slope
LEAST_ELASTICITY = 0.01
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
    cache_places: float = math.inf  # requests of mean length that the KV cache has room for

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

    def promise(self, *, mean_batch: float, bound: int, spills: bool = False) -> Promise:
        """Return what is seen with so many running on average and at most `bound`; without `spills` waits at the bound have no end."""
        found = self.first_token(mean_batch=mean_batch, bound=bound, spills=spills)
        ttft = math.inf if found is None else found.at(self.late_share)
        pace = self.pace_ms(mean_batch=mean_batch, bound=bound)
        return Promise(
            requests_per_s=self.requests_per_s(mean_batch),
            ttft_ms=ttft,
            inter_token_ms=pace,
            end_to_end_ms=ttft + (self.long_answer - 1) * pace,
        )

    def keeps(self, slo: Slo, *, mean_batch: float, bound: int, spills: bool = False) -> bool:
        """Whether the promise there is within the targets of the first token and of the whole request."""
        found = self.first_token(mean_batch=mean_batch, bound=bound, spills=spills)
        within = math.inf if slo.time_to_first_token_ms is None else float(slo.time_to_first_token_ms)
        if slo.end_to_end_ms is not None:
            within = min(within, slo.end_to_end_ms - (self.long_answer - 1) * self.pace_ms(mean_batch=mean_batch, bound=bound))
        return found is not None and found.late_share(within) <= self.late_share

    def keeps_up(self, mean_batch: float) -> bool:
        """Whether prompts are computed as fast as they come with so many running. Those of short answers, a place each, may come faster."""
        return self._prompts(mean_batch).utilisation < 1

    def pace_ms(self, *, mean_batch: float, bound: int) -> float:
        """Return the mean gap of the request at the attainment, with so many running on average and at most `bound`."""
        prompts = self._prompts(mean_batch)
        if prompts.utilisation >= 1:
            return self.inter_token_ms(bound)
        swing = math.sqrt(mean_batch * prompts.swing / self._elasticity(mean_batch))
        return self.inter_token_ms(max(1.0, min(float(bound), mean_batch + self.z * swing)))

    def first_token(self, *, mean_batch: float, bound: int, spills: bool = False) -> FirstToken | None:
        """Return the time to the first token with so many running on average and at most `bound`; None where waits have no end.

        With `spills` a gateway's cap keeps the batch from overflowing: what finds no place is answered elsewhere.
        """
        prompts = self._prompts(mean_batch)
        return first_token(
            prompts,
            least_ms=REQUEST_OVERHEAD_MS + prompts.step_ms,
            running=mean_batch,
            places=bound,
            cache_places=self.cache_places,
            context_variety=self.lengths.context_variety,
            elasticity=self._elasticity(mean_batch),
            most_per_ms=self.requests_per_s(bound) / 1000,
            spills=spills,
        )

    @property
    def late_share(self) -> float:
        """The share of requests that may miss a target, above 0."""
        return 1 - min(self.attainment_percent, HIGHEST_PERCENT) / 100

    def _prompts(self, batch: float) -> Prompts:
        """Return how prompts load the steps of a replica with so many running on average."""
        step, room = self.step, max(1.0, self.step_tokens - batch)
        together = batch / self.lengths.output_mean * self.lengths.input_mean  # prompt tokens of a step, which reads an expert once for all
        touched = step.touched(batch + together)
        shared_ms = step.experts_ms * (touched - step.touched(batch))
        fixed_ms = STEP_OVERHEAD_MS + step.step_ms(sequences=batch, kv_tokens=batch * self.attended_tokens) + shared_ms
        works = []
        for share, tokens in length_slices(mean=self.lengths.input_mean, p95=self.lengths.input_p95, longest=self.longest_prompt_tokens):
            chunks = math.ceil(tokens / room)
            more_ms = chunks * step.experts_ms * max(0.0, step.touched(batch + tokens / chunks) - touched) if step.experts_ms else 0.0
            read_ms = step.prompt_ms * tokens + step.square_ms * tokens * tokens / 1e6
            works.append((share, read_ms + more_ms + (chunks - 1) * fixed_ms))
        return Prompts.of(works, step_ms=fixed_ms, requests_per_ms=self.requests_per_s(batch) / 1000)

    def _elasticity(self, batch: float) -> float:
        """Return by how many percent the throughput grows with one percent more running."""
        if not batch:
            return 1.0
        fewer, more = batch * (1 - NEARBY), batch * (1 + NEARBY)
        slope = (self.residence_ms(more) - self.residence_ms(fewer)) / (more - fewer)
        return max(LEAST_ELASTICITY, 1 - batch * slope / self.residence_ms(batch))

    def _step_ms(self, batch: float, spread: float) -> float:
        prompts = max(0.0, batch - 1) / self.lengths.output_mean * spread
        variety = math.exp(length_spread(self.lengths.input_mean, self.lengths.input_p95) ** 2)
        return STEP_OVERHEAD_MS + self.step.step_ms(
            sequences=batch,
            kv_tokens=batch * self.attended_tokens * spread,
            prompt_tokens=prompts * self.lengths.input_mean,
            prompt_squares=prompts * self.lengths.input_mean**2 * variety,
        )

    @property
    def long_answer(self) -> float:
        """The tokens of an answer of the attainment's length where its p95 is stated, of mean length where it is not."""
        if self.lengths.output_p95 is None:
            return self.lengths.output_mean
        return length_at(self.attainment_percent, mean=self.lengths.output_mean, p95=self.lengths.output_p95)


@lru_cache(maxsize=256)
def _quantile(percent: float) -> float:
    return max(0.0, NormalDist().inv_cdf(percent / 100))


@lru_cache(maxsize=ANSWERS)
def largest_batch(service: Service, slo: Slo | None, *, limit: int) -> int:
    """Return the most requests that may run together and keep the inter-token target; 0 where one alone misses it."""
    target = slo.inter_token_latency_ms if slo else None
    if target is None:
        return limit
    return largest_whole(lambda batch: service.inter_token_ms(batch) <= target, limit=limit)


def largest_whole(keeps: Callable[[int], bool], *, limit: int) -> int:
    """Return the largest whole number up to the limit that `keeps` what is asked, where all below it do; 0 where 1 does not."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if keeps(middle) else (low, middle - 1)
    return low


@lru_cache(maxsize=ANSWERS)
def sustained(service: Service, slo: Slo | None, *, bound: int, spills: bool = False) -> Promise:
    """Return the largest load that keeps every target, derated, and what is seen at it. `bound` is the largest batch, at least 1.

    With `spills` the overflow of the batch is answered elsewhere, so that a replica carries at least as much.

    What is seen is that of the batch derated as much, which is a little more than the derated rate keeps. Where even an empty replica
    misses a target, what it returns is next to no load, and its figures tell by how much it is missed.
    """
    most = _sustained_batch(service, slo, bound, spills)
    seen = service.promise(mean_batch=DERATING * most, bound=bound, spills=spills)
    found = replace(seen, requests_per_s=DERATING * service.requests_per_s(most))
    return _no_later(found, slo) if most and slo is not None else found


def _no_later(seen: Promise, slo: Slo) -> Promise:
    """Return what is seen below a load that keeps the targets: it keeps them too, though formulas have kinks (around a batch of one)."""
    first, whole = slo.time_to_first_token_ms, slo.end_to_end_ms
    return replace(
        seen,
        ttft_ms=seen.ttft_ms if first is None else min(seen.ttft_ms, float(first)),
        end_to_end_ms=seen.end_to_end_ms if whole is None else min(seen.end_to_end_ms, float(whole)),
    )


def sustained_rate(service: Service, slo: Slo | None, *, bound: int, derating: float, spills: bool) -> float:
    """Return the requests per second of `sustained` alone."""
    return derating * service.requests_per_s(_sustained_batch(service, slo, bound, spills))


@lru_cache(maxsize=ANSWERS)
def _sustained_batch(service: Service, slo: Slo | None, bound: int, spills: bool) -> float:  # noqa: FBT001  a cached function's key
    if slo is None or (slo.time_to_first_token_ms is None and slo.end_to_end_ms is None):
        return largest_load(service.keeps_up, bound=bound)
    return largest_load(lambda batch: service.keeps(slo, mean_batch=batch, bound=bound, spills=spills), bound=bound)


def largest_load(keeps: Callable[[float], bool], *, bound: int) -> float:
    """Return the most that may run on average and `keeps` what is asked, at most `bound`; 0 where next to nothing keeps it."""
    most = float(bound)
    if keeps(most):
        return most
    low, high = 0.0, most if keeps(NEXT_TO_NOTHING * most) else 0.0
    while high - low > PRECISION * high:
        middle = (low + high) / 2
        low, high = (middle, high) if keeps(middle) else (low, middle)
    return low
