"""What a scaler is shown at a tick and what it answers: the one seam at which policies differ in a simulation."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenReplica:
    """One replica that is billed: starting, ready or draining."""

    index: int  # never used again
    launched_s: float  # billed from here on
    ready_s: float | None  # None: still starting
    draining: bool
    running: int
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a scaler may know. Rates and means are over `window_s` up to `now_s`; None: nothing to measure happened in it."""

    now_s: float
    window_s: float
    arrivals_per_s: float  # at the gateway: spilled and refused requests count
    spilled_per_s: float  # sent to the hosted side
    refused_per_s: float  # nobody answered
    finished_per_s: float  # by own replicas
    input_tokens_mean: float | None  # of what arrived, as its answers told
    output_tokens_mean: float | None
    residence_s: float | None  # mean time of a finished request on own replicas, waiting included
    wanted: int  # replicas asked for last: ready and starting, without those that drain
    replicas: tuple[SeenReplica, ...]
    running: int  # requests in a batch now, over all replicas
    waiting: int  # requests in engines' queues now
    running_mean: float  # the same over the window
    waiting_mean: float
    kv_usage_ratio: float  # mean over ready replicas now, 0..1
    busy_ratio: float  # share of the window in which ready replicas were in a step: what GPU utilisation shows
    ttft_p90_ms: float | None  # own side
    inter_token_p90_ms: float | None  # own side, of requests' mean gaps
    step_ms: float | None  # mean engine step
    batch_mean: float | None  # decoding requests per step
    prompt_tokens_per_step: float | None
    kv_tokens_mean: float | None  # resident per replica while in a step
    input_tokens: tuple[float, float]  # counters since the start: answered by own replicas, by hosted
    output_tokens: tuple[float, float]
    answered: tuple[float, float]
    token_gap_ms: float | None = None  # mean gap between tokens: the mean step of those that decode in it
    held: int = 0  # requests that gateways keep waiting, since they may not spill
    long_per_s: float = 0.0  # part of spilled_per_s: prompts that went to hosted first, since no replica reads them in time
    long_input_tokens_per_s: float = 0.0
    long_output_tokens_per_s: float = 0.0

    @property
    def ready(self) -> int:
        """Return how many replicas take requests."""
        return sum(1 for each in self.replicas if each.ready_s is not None and not each.draining)

    @property
    def starting(self) -> int:
        """Return how many replicas are on their way up."""
        return sum(1 for each in self.replicas if each.ready_s is None and not each.draining)

    @property
    def awaits_first(self) -> bool:
        """Return whether a request finds no replica, or one is on its way for it: an activator keeps that request until there is."""
        return not self.ready and (self.wanted > 0 or self.arrivals_per_s > 0)


class Policy(Protocol):
    """A scaler. One object serves one run and may keep state."""

    @property
    def tick_s(self) -> float:
        """How often it is asked."""
        ...

    @property
    def window_s(self) -> float:
        """Over which time it wants rates and means."""
        ...

    def replicas(self, seen: Seen) -> int:
        """Return how many replicas should run or be starting."""
        ...


@runtime_checkable
class Schedule(Policy, Protocol):
    """A policy that knows beforehand what it wants when: it is not shown anything, which would take most of its run's time."""

    def replicas_at(self, now_s: float) -> int:
        """Return how many replicas should run or be starting then."""
        ...
