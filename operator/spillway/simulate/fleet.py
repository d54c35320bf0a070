"""The kernel's world, made from a trace and a setting, and replicas launched, drained and lost in it."""

import math

import numpy as np

from spillway.simulate import kernel
from spillway.simulate.layout import (
    BUCKETS,
    DRAINING,
    EMPTY,
    ENDED,
    GATE,
    LINE,
    NEVER,
    NOBODY,
    READY,
    REPLICA,
    REQUEST,
    SITE,
    STARTING,
    TOTALS,
    Records,
    World,
)
from spillway.simulate.outcome import Prices
from spillway.simulate.policy import SeenReplica
from spillway.simulate.run import Lives
from spillway.simulate.setting import EngineModel, HostedModel, Rules
from spillway.simulate.trace import Floats, Trace

FIRST_PLACES = 8
LARGEST_TOKENS = 2**31 - 1
# Streams of chance, each of its own: what hosted takes for a request does not depend on how often a replica started.
ROUTING, RENTING, ERRORS, STARTING_UP, CRASHING = range(5)


def stream(seed: int, purpose: int) -> np.random.Generator:
    """Return the chance of one purpose."""
    return np.random.default_rng([seed, purpose])


def hosted_answers(trace: Trace, hosted: HostedModel, seed: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which requests hosted would answer when they come: one of two attempts must be neither an error nor refused."""
    chance = stream(seed, ERRORS)
    refused = np.full(trace.requests, hosted.error_share)
    for trouble in hosted.troubles:
        within = (trace.arrival_s >= trouble.begin_s) & (trace.arrival_s < trouble.end_s)
        refused[within] = 1 - (1 - refused[within]) * (1 - trouble.refused_share)
    return (chance.random(trace.requests) >= refused) | (chance.random(trace.requests) >= refused)


class Fleet:
    """Gateways and replicas at work on a trace. Time is seconds from its start."""

    def __init__(
        self, *, trace: Trace, engine: EngineModel, rules: Rules, hosted: HostedModel | None, prices: Prices | None, seed: int
    ) -> None:
        self._engine, self._rules = engine, rules
        self._start_ups, self._crashes = stream(seed, STARTING_UP), stream(seed, CRASHING)
        self._lives: list[tuple[float, float, float]] = []  # of those that are over their index; launched, ready, ended
        self._world = World(
            requests=_requests(trace, rules, hosted, prices, seed),
            replicas=np.zeros(FIRST_PLACES, dtype=REPLICA),
            gates=np.zeros(rules.gateways, dtype=GATE),
            lines=np.array([[(0, NOBODY, NOBODY)] * rules.gateways] * 2, dtype=LINE),
            site=np.zeros(1, dtype=SITE),
            totals=np.zeros(1, dtype=TOTALS),
            due_s=np.full(FIRST_PLACES, math.inf),
            batch=np.zeros((FIRST_PLACES, engine.max_num_seqs), dtype=np.int32),
            leaves=np.full((FIRST_PLACES, engine.max_num_seqs), NEVER, dtype=np.int64),
            open_at=np.zeros((rules.gateways, FIRST_PLACES), dtype=np.int32),
            latency=np.zeros((2, BUCKETS)),
            fixed_ms=engine.fixed_ms(engine.max_num_seqs),
        )
        _settle(self._world.site[0], engine, rules, hosted)

    @property
    def world(self) -> World:
        """Return what the kernel works on."""
        return self._world

    @property
    def now_s(self) -> float:
        """Return up to when everything has happened."""
        return float(self._world.site[0]["now_s"])

    def advance(self, until_s: float) -> None:
        """Let everything happen up to a moment; math.inf: until all requests are answered."""
        kernel.advance(self._world, until_s)
        for place in np.flatnonzero(self._world.replicas["state"] == ENDED):
            one = self._world.replicas[place]
            index = int(one["index"])
            self._lives[index] = (self._lives[index][0], self._lives[index][1], float(one["ended_s"]))
            one["state"] = EMPTY

    def seen(self) -> tuple[SeenReplica, ...]:
        """Return the replicas that are billed, by index."""
        columns = [self._world.replicas[name].tolist() for name in ("index", "state", "launched_s", "ready_s", "running", "waiting")]
        return tuple(
            SeenReplica(
                index=index,
                launched_s=launched_s,
                ready_s=None if state == STARTING else ready_s,
                draining=state == DRAINING,
                running=running,
                waiting=waiting,
            )
            for index, state, launched_s, ready_s, running, waiting in sorted(zip(*columns, strict=True))
            if state in (STARTING, READY, DRAINING)
        )

    def resize(self, wanted: int) -> None:
        """Launch or drain, until so many are ready or starting: those that start go first, the youngest, then the least loaded."""
        states = self._world.replicas["state"]
        counted = np.flatnonzero((states == STARTING) | (states == READY))
        if len(counted) == wanted:
            return
        for _ in range(len(counted), wanted):
            self._launch(self._draw_ready_s())

        def to_go(place: int) -> tuple[bool, int, int]:
            one = self._world.replicas[place]
            return bool(one["state"] == READY), int(one["running"]) + int(one["waiting"]), -int(one["index"])

        for place in sorted(counted.tolist(), key=to_go)[: max(0, len(counted) - wanted)]:
            kernel.drain(self._world, place, self.now_s)

    def begin_with(self, count: int) -> None:
        """Have replicas that are ready at once."""
        for _ in range(count):
            self._launch(self.now_s)
        self.advance(self.now_s)

    def limit(self, *, slots: int | None, max_num_seqs: int | None, max_queued_requests: int | None) -> None:
        """Change what replicas may hold, where it is given."""
        site = self._world.site[0]
        if max_num_seqs is not None and max_num_seqs != site["max_num_seqs"]:
            site["max_num_seqs"] = max_num_seqs
            self._grow(len(self._world.replicas), max(max_num_seqs, self._world.batch.shape[1]))
        if max_queued_requests is not None:
            site["max_queued"] = max_queued_requests
        if slots is not None and slots != site["slots"]:
            site["slots"] = slots
            kernel.set_cap(self._world, self.now_s)

    def crash(self) -> None:
        """Lose a ready replica with all it holds, if there is one."""
        ready = np.flatnonzero(self._world.replicas["state"] == READY)
        if len(ready):
            place = int(self._crashes.choice(ready))
            kernel.crash(self._world, place, self.now_s, self._draw_ready_s())
            self.advance(self.now_s)

    def lives(self) -> Lives:
        """Return all replicas that there were."""
        for one in self._world.replicas[self._world.replicas["state"] != EMPTY]:
            index = int(one["index"])
            self._lives[index] = (self._lives[index][0], self._lives[index][1], float(one["ended_s"]))
        launched, ready, ended = np.array(self._lives, dtype=np.float64).reshape(-1, 3).T
        return Lives(launched_s=launched, ready_s=np.where(ready < ended, ready, math.inf), ended_s=ended)

    def _draw_ready_s(self) -> float:
        """Return when a replica launched now is ready. A failed attempt takes as long as another and is followed by one."""
        ready_s = self.now_s
        while True:
            ready_s += self._draw_start_up_s()
            if self._start_ups.random() >= self._engine.start_failure_share:
                return ready_s

    def _draw_start_up_s(self) -> float:
        if not self._engine.start_up_s or not self._engine.start_up_cv:
            return self._engine.start_up_s
        variance = math.log1p(self._engine.start_up_cv**2)
        return float(self._start_ups.lognormal(math.log(self._engine.start_up_s) - variance / 2, math.sqrt(variance)))

    def _launch(self, ready_s: float) -> None:
        empty = np.flatnonzero(self._world.replicas["state"] == EMPTY)
        if not len(empty):
            self._grow(2 * len(self._world.replicas), self._world.batch.shape[1])
            empty = np.flatnonzero(self._world.replicas["state"] == EMPTY)
        kernel.launch(self._world, int(empty[0]), len(self._lives), self.now_s, ready_s)
        self._lives.append((self.now_s, ready_s, math.inf))

    def _grow(self, replicas: int, places: int) -> None:
        """Make room for more replicas, or for larger batches."""
        old = self._world
        count, width = old.batch.shape
        batch = np.zeros((replicas, places), dtype=np.int32)
        leaves = np.full((replicas, places), NEVER, dtype=np.int64)
        batch[:count, :width], leaves[:count, :width] = old.batch, old.leaves
        more = replicas - count
        self._world = old._replace(
            replicas=np.concatenate([old.replicas, np.zeros(more, dtype=REPLICA)]),
            due_s=np.concatenate([old.due_s, np.full(more, math.inf)]),
            batch=batch,
            leaves=leaves,
            open_at=np.concatenate([old.open_at, np.zeros((len(old.gates), more), dtype=np.int32)], axis=1),
            fixed_ms=self._engine.fixed_ms(places),
        )


def _settle(site: Records, engine: EngineModel, rules: Rules, hosted: HostedModel | None) -> None:
    limit = hosted.most_usd_per_day if hosted is not None else None
    spills = rules.spills and hosted is not None
    site["pause_s"], site["most_pausing"] = rules.pause_s, rules.most_pausing if spills else 0
    site["hold_s"], site["most_held"] = rules.hold_s + (rules.pause_s if spills else 0.0), rules.most_held
    site["kv_ms"], site["prompt_ms"], site["square_ms"] = engine.step.kv_ms, engine.step.prompt_ms, engine.step.square_ms
    site["most_usd_per_day"] = math.inf if limit is None else limit
    site["kv_limit"], site["max_num_seqs"], site["step_tokens"] = engine.kv_tokens, engine.max_num_seqs, engine.step_tokens
    site["slots"], site["max_queued"] = rules.slots_per_replica, rules.max_queued_requests
    site["longest_prompt"] = LARGEST_TOKENS if rules.longest_own_prompt_tokens is None else rules.longest_own_prompt_tokens
    site["spills"] = spills


def _requests(trace: Trace, rules: Rules, hosted: HostedModel | None, prices: Prices | None, seed: int) -> Records:
    """Return the trace as the kernel takes it. Raises ValueError for a trace that is not in order or has impossible lengths."""
    if trace.requests and (np.diff(trace.arrival_s) < 0).any():
        raise ValueError(f"arrivals of trace {trace.name!r} are not in order; sort its requests by arrival_s")
    lengths: tuple[Floats, ...] = (trace.input_tokens, trace.output_tokens)  # type: ignore[assignment]
    if any(len(each) and (each.min() < 1 or each.max() > LARGEST_TOKENS) for each in lengths):
        raise ValueError(
            f"trace {trace.name!r} has prompts or answers of less than 1 token or more than 2^31; correct or leave out those requests"
        )
    chance = stream(seed, ROUTING)
    found = np.zeros(trace.requests, dtype=REQUEST)
    found["arrival_s"] = trace.arrival_s
    found["input"] = found["left"] = trace.input_tokens
    found["output"] = trace.output_tokens
    found["next"] = NOBODY
    found["gateway"] = chance.integers(rules.gateways, size=trace.requests)
    found["chance"] = chance.integers(2**32, size=trace.requests, dtype=np.uint32)
    found["ttft_ms"] = np.nan
    if hosted is not None:
        found["hosted_answers"] = hosted_answers(trace, hosted, seed)
    if prices is not None:
        found["usd"] = prices.hosted_usd(trace.input_tokens, trace.output_tokens)
    return found
