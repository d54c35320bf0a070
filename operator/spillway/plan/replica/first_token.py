"""How long the first token takes at a load: a prompt waits for the step that runs, for other prompts, and for a place in the batch.

**Prompts wait for prompts.** An engine computes all prompts that came during a step in the next one, as far as its budget of tokens goes.
That is an M/G/1 queue with a gate and a fixed switch-over: a cycle takes F, the step without prompts, and the work S of those that came in
the cycle before it. With l arrivals per millisecond and r = l E[S], the stationary cycle C = F + S_1 + … + S_Poisson(lC) has the moments

    E[C] = F / (1 - r)      Var C = l E[S^2] E[C] / (1 - r^2)      k3(C) = (l E[S^3] E[C] + 3 r l E[S^2] Var C) / (1 - r^3)

(gated M/G/1 queues with vacations: Takagi, Queueing Analysis 1, 1991, chapter 2.) A request comes at any moment of a cycle C' that is met
by its length, waits for the rest R of it, and then, since a step tells all its tokens when it ends, for the prompts of all others who came
in C': W = R + S_1 + … + S_Poisson(l C'), so

    E[W] = (1/2 + r) E[C^2] / E[C]      E[W^2] = (1/3 + r + r^2) E[C^3] / E[C] + l E[S^2] E[C^2] / E[C]

Its first token comes after W + F + S with its own S. W is taken as lognormal through both moments. A prompt beyond the budget takes several
steps, each with F: they count as its work.

**Requests wait for places.** The number N in a replica fluctuates about the load's n as a linear-noise (diffusion) approximation says. Its
drift back is e l/n per request, e being the elasticity of the throughput X(n), below 1 since steps grow with the batch. An arrival adds
itself and the requests that are not answered while its prompt is computed, 1 + l S / (1 - r); departures add as much noise as Poisson ones:

    Var N = n/e (1 + r / (1 - r) + r^2 (E[S^2]/E[S]^2) / (2 (1 - r)^2))

Prompts of r = 0.4 so make the batch swing two to three times as much as arrivals alone. A full batch is met as often as Erlang's C says of
Poisson numbers in units of Var N / n, and who meets it waits 1/(X(bound) - l) on average, exponentially. A full KV cache keeps requests
waiting as well: it has room for so many requests of mean length, and since lengths differ, their units are larger by (sd / mean)^2 of what
a request holds. Whichever of both is met more often counts.

benchmarks/capacity compares all of it with the simulated engine.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

REMAINS = 1e-6  # share of requests below which nobody is said to meet a full batch
PRECISION = 1e-3  # of a time that is looked for
NOTHING = 1e-17  # of a sum: below what it can hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """How prompts load a replica's steps. Times are milliseconds."""

    step_ms: float  # a step without any
    works: Sequence[tuple[float, float]]  # share of requests, and what a prompt adds to its step, later steps of it included
    requests_per_ms: float
    moments: tuple[float, float, float]  # mean, mean square and mean cube of those works

    @classmethod
    def of(cls, works: Sequence[tuple[float, float]], *, step_ms: float, requests_per_ms: float) -> Self:
        """Return the load of so many requests."""
        mean = square = cube = 0.0
        for share, work in works:
            mean += share * work
            square += share * work * work
            cube += share * work * work * work
        return cls(step_ms=step_ms, works=works, requests_per_ms=requests_per_ms, moments=(mean, square, cube))

    @property
    def utilisation(self) -> float:
        """Return the share of the time in which prompts are computed; from 1 on they pile up."""
        return self.requests_per_ms * self.moments[0]

    @property
    def swing(self) -> float:
        """Return by what factor prompts make the number in the batch vary more than arrivals alone do. Utilisation must be below 1."""
        used, (mean, square, _) = self.utilisation, self.moments
        if not mean:
            return 1.0
        ratio = used / (1 - used)
        return 1 + ratio + ratio**2 * square / mean**2 / 2

    def wait(self, running: float) -> tuple[float, float]:
        """Return mean and mean square of the wait for the running step and for others' prompts. Utilisation must be below 1.

        Nobody waits in a replica that is idle; with so many running on average, exp(-running) of the arrivals find it so.
        """
        used, rate, (_, square, cube) = self.utilisation, self.requests_per_ms, self.moments
        cycle = self.step_ms / (1 - used)
        variance = rate * square * cycle / (1 - used**2)
        third = (rate * cube * cycle + 3 * used * rate * square * variance) / (1 - used**3)
        two = variance + cycle**2
        three = third + 3 * cycle * variance + cycle**3
        busy = -math.expm1(-running)
        return busy * (0.5 + used) * two / cycle, busy * ((1 / 3 + used + used**2) * three + rate * square * two) / cycle


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """A lognormal time through its mean and mean square, milliseconds."""

    mean: float
    square: float

    def late_share(self, within_ms: float, works: Sequence[tuple[float, float]]) -> float:
        """Return the share of requests that take longer, each with its own work (share of requests, work) on top."""
        spread = math.log(self.square / self.mean**2) if self.mean > 0 else 0.0
        if spread <= 0:
            return sum(share for share, work in works if work + self.mean > within_ms)
        middle, width, late = math.log(self.mean) - spread / 2, math.sqrt(2 * spread), 0.0
        for share, work in works:
            left = within_ms - work
            late += share if left <= 0 else share * 0.5 * math.erfc((math.log(left) - middle) / width)
        return late


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstToken:
    """The time to the first token as a distribution, milliseconds."""

    least_ms: float  # nobody has it sooner
    works: Sequence[tuple[float, float]]  # share of requests, and what their own prompt takes beyond that
    wait: Delay  # of who finds a place
    full_share: float  # of those who find none
    full_wait: Delay  # theirs

    def late_share(self, within_ms: float) -> float:
        """Return the share of requests whose first token comes later than that."""
        late = self.wait.late_share(within_ms - self.least_ms, self.works)
        if self.full_share < REMAINS:
            return late
        return (1 - self.full_share) * late + self.full_share * self.full_wait.late_share(within_ms - self.least_ms, self.works)

    def at(self, late_share: float) -> float:
        """Return the time after which only that share of requests, above 0, has no first token yet."""
        low, high = self.least_ms, 2 * self.least_ms + self.wait.mean
        while self.late_share(high) > late_share:
            low, high = high, 2 * high
        while high - low > PRECISION * high:
            middle = (low + high) / 2
            low, high = (middle, high) if self.late_share(middle) > late_share else (low, middle)
        return high


def first_token(
    prompts: Prompts,
    *,
    least_ms: float,
    running: float,
    places: int,
    cache_places: float,
    context_variety: float,
    elasticity: float,
    most_per_ms: float,
    spills: bool = False,
) -> FirstToken | None:
    """Return the time to the first token with so many running on average; None where waits have no end.

    `most_per_ms` is the throughput of a full batch of `places`, `elasticity` by how many percent throughput grows with a percent more
    running. The cache has room for `cache_places` requests of mean length, and `context_variety` is the variance of what they hold over the
    square of its mean. With `spills` who finds no place is answered elsewhere, and nobody waits for one.
    """
    if spills:
        if prompts.utilisation >= 1:
            return None
        mean, square = prompts.wait(running)
        alone = Delay(mean=mean, square=square)
        return FirstToken(least_ms=least_ms, works=prompts.works, wait=alone, full_share=0.0, full_wait=alone)
    if running >= min(places, cache_places) or most_per_ms <= prompts.requests_per_ms or prompts.utilisation >= 1:
        return None
    mean, square = prompts.wait(running)
    units = prompts.swing / elasticity
    wider = units + context_variety
    full_ms = 1 / (most_per_ms - prompts.requests_per_ms)
    full_share = erlang_c(places / units, running / units)
    if cache_places < math.inf:
        full_share = max(full_share, erlang_c(cache_places / wider, running / wider))
    return FirstToken(
        least_ms=least_ms,
        works=prompts.works,
        wait=Delay(mean=mean, square=square),
        full_share=full_share,
        full_wait=Delay(mean=mean + full_ms, square=square + 2 * mean * full_ms + 2 * full_ms**2),
    )


def erlang_c(places: float, load: float) -> float:
    """Return the share of arrivals that find all places taken, for a load below the number of places (Erlang's C formula).

    For a part of a place Erlang's B formula is taken as geometric between its values for none and for one.
    """
    if load <= 0:
        return 0.0
    whole = int(places)
    # Erlang's B formula place by place, 1/B(n) = 1 + n/a * 1/B(n-1), written out from the last place on: of a million places the terms of
    # some thousands count.
    product, total = 1.0, 1.0
    for taken in range(whole):
        product *= (places - taken) / load
        total += product
        if product < NOTHING * total or total == math.inf:
            break
    else:
        total += product * (((1 + load) / load) ** (places - whole) - 1)
    blocked = 1 / total
    return blocked / (1 - load / places * (1 - blocked))
