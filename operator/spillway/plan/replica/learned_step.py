"""How long an engine step takes, learned from the engine's counters: recursive least squares that start at the planner's estimate.

A step that carries B sequences, KV tokens in the cache and P prompt tokens takes a + b * B + c * KV/1000 + delta * P milliseconds.
What is learned are four factors, of a, b, c and delta, on the coefficients that the planner expects; so the parts of a step that no
coefficient is fitted for (experts, the square of long prompts) keep their place, and a factor of 1 is the estimate.

* The factors begin at 1, known to within SHARED_SPREAD together and OWN_SPREAD each: an accelerator is far more often slower in all it does
  than in one thing. So what one load tells moves all four alike, and only unlike loads tell them apart.
* A step with one or two requests is nearly all base, and often shorter than its estimate. While nothing else was seen, the other three are
  taken to be no shorter than theirs: how fast a full replica is does not follow from an idle one. Long prompts fill steps, too.
* What was seen is kept apart for each range of batches (powers of two), and only what is seen in a range fades what was seen in it before.
  A quiet night neither forgets the busy day nor makes the fit forget how sure it was.
* A reading that is further off than the fit can explain is left out. When all of them are for longer than events blur windows, the
  engine is another one: what was seen is dropped, and learning starts anew around that reading, as wide as at first.
* The factors in use follow the fitted ones only when a step would visibly differ, so that caps which are reckoned with them rest.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spillway.plan.replica.roofline import StepModel
from spillway.plan.replica.serving import STEP_OVERHEAD_MS

Vector = NDArray[np.floating[Any]]
Factors = tuple[float, float, float, float]  # of what every step takes, of sequences, of the KV cache, of prompts

MOST_FACTOR = 20.0  # of the estimate, up or down: a step beyond that was misread
SHARED_SPREAD = 1.0  # standard deviation of all factors together: half and twice the estimate are no surprise
OWN_SPREAD = 0.4  # and of each beside the others: the calibration's rows and the roofline differ by up to so much in single coefficients
NOISE = 0.05  # of a step, averaged over a window: what means hide of the loads within it
GATE = 7.378  # squared innovation over its variance: the 97.5 % quantile of chi-squared with 2 degrees, as WVA's filter has it (§4.1)
PATIENCE_WINDOWS = 2.0  # overlapping windows show one event for one window, and two may follow each other; more is another engine
REMEMBERED_WINDOWS = 20.0  # whole windows that a range of batches remembers
DUST = 1e-6  # share by which rounding may make a sum of squares negative
TELLING_OCTAVE = 2  # batches from four on tell of more than the base
TELLING_BASE = 0.75  # and smaller ones whose steps are no more than so much of it
SET_BACK = timedelta(minutes=2)  # of a clock, from which on a reading of before the last is a new one
VISIBLE = 0.05  # share by which a step must differ before the factors in use follow

_AT_ESTIMATE: Factors = (1.0, 1.0, 1.0, 1.0)
_TERMS = len(_AT_ESTIMATE)
_UPPER = np.triu_indices(_TERMS)
_PRIOR_INFORMATION: Vector = np.linalg.inv(SHARED_SPREAD**2 * np.ones((_TERMS, _TERMS)) + OWN_SPREAD**2 * np.eye(_TERMS))


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLoad:
    """What a mean step carries on one replica."""

    batch: float  # running sequences
    kv_tokens: float  # that they have in the cache, in tokens of full attention
    prompt_tokens: float = 0.0  # computed in the step, cached ones not counted
    prompt_squares: float = 0.0  # sum of each prompt's tokens times those of its step


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredStep:
    """The mean step of a window in which the engine was busy."""

    load: StepLoad
    step_ms: float
    at: datetime
    window_s: float

    @property
    def usable(self) -> bool:
        """Whether it is a step at all."""
        load = self.load
        numbers = (self.step_ms, load.batch, load.kv_tokens, load.prompt_tokens, load.prompt_squares)
        return all(math.isfinite(each) and each >= 0 for each in numbers) and self.step_ms > 0 and load.batch > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What steps with batches of 2^octave to twice that have told: sums of the normal equations, weighted by certainty."""

    octave: int
    information: tuple[float, ...]  # upper triangle of the sum of h h'
    pull: tuple[float, ...]  # sum of h y

    def tells(self, octave: int) -> bool:
        """Whether these steps had batches of an octave or above, or a quarter or more of what they took was for their requests."""
        if self.octave >= octave:
            return True
        summed = _symmetric(self.information).sum(axis=0)  # each h has a sum of 1, so this is the weighted sum of h
        return bool(summed[0] <= TELLING_BASE * summed.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedStep:
    """The fit so far. `prior` is the estimate that the factors are of; it stays the one that learning began with."""

    prior: StepModel
    factors: Factors = _AT_ESTIMATE  # as fitted
    used: Factors = _AT_ESTIMATE  # as last followed
    centre: float = 1.0  # what all factors were taken for when learning last started
    evidence: tuple[Evidence, ...] = ()  # by octave
    measured_at: datetime | None = None  # the latest reading taken in or left out
    rejected_windows: float = 0.0  # how much of news was left out in a row

    def knows(self, at: datetime) -> bool:
        """Whether a reading of then is not newer than the last. One of long before it is: the clock was ahead."""
        last = self.measured_at
        return last is not None and last - SET_BACK <= at <= last

    @property
    def step(self) -> StepModel:
        """The coefficients to reckon with, milliseconds; STEP_OVERHEAD_MS is not in them, as in the planner's."""
        return _model(self.prior, self.used)

    def tells_of(self, batch: int) -> bool:
        """Whether steps were seen that carried enough to tell how fast a replica with so many requests is: half of them, four, or much."""
        return any(each.tells(min(TELLING_OCTAVE, _octave(batch) - 1)) for each in self.evidence)

    @property
    def telling(self) -> bool:
        """Whether steps were seen that tell more than the base."""
        return any(each.tells(TELLING_OCTAVE) for each in self.evidence)

    @property
    def sound(self) -> bool:
        """Whether a fit can have led here: for what was read back from where others may write."""
        used = (*self.factors, *self.used, self.centre)
        if not all(1 / MOST_FACTOR <= each <= MOST_FACTOR for each in used):
            return False
        if any(len(each.information) != len(_UPPER[0]) or len(each.pull) != _TERMS for each in self.evidence):
            return False
        prior = self.prior
        if prior.base_ms <= -STEP_OVERHEAD_MS or prior.sequence_ms <= 0 or not 0 < prior.expert_share <= 1:
            return False
        if min(prior.experts_ms, prior.kv_ms, prior.prompt_ms, prior.square_ms) < 0:
            return False
        least = [(float(np.linalg.eigvalsh(_symmetric(each.information)).min()), max(each.information)) for each in self.evidence]
        return all(found >= -DUST * most for found, most in least)

    @property
    def fitted(self) -> StepModel:
        """The coefficients as fitted, before they are followed."""
        return _model(self.prior, self.factors)


def learn(learned: LearnedStep, found: MeasuredStep, *, full: StepLoad) -> LearnedStep:
    """Return the fit with one more reading; the same fit for one that is not newer than the last. `full`: a step with the full batch."""
    if not found.usable or learned.knows(found.at):
        return learned
    shares, ratio = _normalized(learned.prior, found)
    expected = float(shares @ np.array(learned.factors))
    # Windows that overlap tell the same twice: a reading counts for the part of its window that is new.
    last = learned.measured_at
    news = 1.0 if last is None or found.at < last else min(1.0, (found.at - last).total_seconds() / found.window_s)
    noise = (NOISE * expected) ** 2 / news
    learned = replace(learned, measured_at=found.at)
    if (ratio - expected) ** 2 > GATE * (_variance(learned, shares) + noise):
        rejected = learned.rejected_windows + news
        if rejected < PATIENCE_WINDOWS:
            return replace(learned, rejected_windows=rejected)
        learned, noise = replace(learned, evidence=(), centre=ratio), (NOISE * ratio) ** 2 / news
    evidence = _with(learned.evidence, _octave(found.load.batch), shares, ratio, news=news, certainty=1 / noise)
    fitted = replace(learned, evidence=evidence, rejected_windows=0.0)
    return _followed(replace(fitted, factors=_solve(fitted)), (found.load, full), first=not learned.evidence)


def step_ms(step: StepModel, load: StepLoad) -> float:
    """Return how long a step with this load takes in all, milliseconds."""
    return STEP_OVERHEAD_MS + step.step_ms(
        sequences=load.batch, kv_tokens=load.kv_tokens, prompt_tokens=load.prompt_tokens, prompt_squares=load.prompt_squares
    )


def _followed(learned: LearnedStep, loads: Iterable[StepLoad], *, first: bool) -> LearnedStep:
    """Return it with the fitted factors in use where they make a visible difference at one of these loads."""
    in_use, fitted = learned.step, learned.fitted
    if first or any(abs(step_ms(fitted, load) / step_ms(in_use, load) - 1) > VISIBLE for load in loads):
        return replace(learned, used=learned.factors)
    return learned


def _normalized(prior: StepModel, found: MeasuredStep) -> tuple[Vector, float]:
    """Return the shares that the four terms have in the expected step, and the measured step in units of it."""
    load = found.load
    terms = np.array(
        [
            STEP_OVERHEAD_MS + prior.base_ms + prior.experts_ms * prior.touched(load.batch + load.prompt_tokens),
            prior.sequence_ms * load.batch,
            prior.kv_ms * load.kv_tokens / 1e3,
            prior.prompt_ms * load.prompt_tokens + prior.square_ms * load.prompt_squares / 1e6,
        ]
    )
    whole = float(terms.sum())
    return terms / whole, min(MOST_FACTOR, max(1 / MOST_FACTOR, found.step_ms / whole))


def _model(prior: StepModel, factors: Factors) -> StepModel:
    """Return the coefficients. The overhead is learned as a part of the base and taken out again, so the base alone may be negative."""
    base, sequences, cache, prompts = factors
    return StepModel(
        base_ms=base * (prior.base_ms + STEP_OVERHEAD_MS) - STEP_OVERHEAD_MS,
        experts_ms=base * prior.experts_ms,
        expert_share=prior.expert_share,
        sequence_ms=sequences * prior.sequence_ms,
        kv_ms=cache * prior.kv_ms,
        prompt_ms=prompts * prior.prompt_ms,
        square_ms=prompts * prior.square_ms,
    )


def _octave(batch: float) -> int:
    return int(math.log2(max(1.0, batch)))


def _with(
    evidence: Sequence[Evidence], octave: int, shares: Vector, ratio: float, *, news: float, certainty: float
) -> tuple[Evidence, ...]:
    """Return the evidence with a reading added to its range, where older ones fade by as much as it is news."""
    kept = 1 - news / REMEMBERED_WINDOWS
    before = next((each for each in evidence if each.octave == octave), None)
    information = certainty * np.outer(shares, shares)[_UPPER]
    pull = certainty * ratio * shares
    if before is not None:
        information = information + kept * np.array(before.information)
        pull = pull + kept * np.array(before.pull)
    added = Evidence(octave=octave, information=tuple(map(float, information)), pull=tuple(map(float, pull)))
    return tuple(sorted([*(each for each in evidence if each.octave != octave), added], key=lambda each: each.octave))


def _information(learned: LearnedStep) -> Vector:
    """Return the inverse covariance of the factors: never less than that at the start, so that it cannot wind up."""
    information: Vector = _PRIOR_INFORMATION / learned.centre**2
    for each in learned.evidence:
        information = information + _symmetric(each.information)
    return information


def _symmetric(upper: Sequence[float]) -> Vector:
    whole = np.empty((_TERMS, _TERMS))
    whole[_UPPER] = upper
    whole.T[_UPPER] = upper
    return whole


def _variance(learned: LearnedStep, shares: Vector) -> float:
    """Return the variance of what the fit expects of a step with these shares."""
    return float(shares @ np.linalg.solve(_information(learned), shares))


def _solve(learned: LearnedStep) -> Factors:
    """Return the likeliest factors within the bounds: those that leave them are held there, and the others found anew."""
    least = np.full(_TERMS, 1 / MOST_FACTOR)
    if not learned.telling:
        least[1:] = 1.0
    information = _information(learned)
    pull: Vector = _PRIOR_INFORMATION.sum(axis=1) / learned.centre
    for each in learned.evidence:
        pull = pull + np.array(each.pull)
    factors, free = np.ones(_TERMS), np.ones(_TERMS, dtype=bool)
    while free.any():
        rest = pull[free] - information[np.ix_(free, ~free)] @ factors[~free]
        factors[free] = np.linalg.solve(information[np.ix_(free, free)], rest)
        outside = free & ((factors < least) | (factors > MOST_FACTOR))
        factors = np.clip(factors, least, MOST_FACTOR)
        if not outside.any():
            break
        free &= ~outside
    base, sequences, cache, prompts = map(float, factors)
    return base, sequences, cache, prompts
