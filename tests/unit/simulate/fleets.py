"""Small worlds to simulate, and the naive simulator that the kernel is held against: one step after another, lists and no arithmetic."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spillway.plan.replica.roofline import StepModel
from spillway.simulate.outcome import Prices
from spillway.simulate.policy import Seen
from spillway.simulate.run import Run
from spillway.simulate.setting import EngineModel, HostedModel, Rules, Targets
from spillway.simulate.simulate import run
from spillway.simulate.trace import Trace

STEP = StepModel(base_ms=10.0, experts_ms=0.0, expert_share=1.0, sequence_ms=1.0, kv_ms=0.5, prompt_ms=0.05, square_ms=0.1)
HOSTED = HostedModel(ttft_median_ms=500.0, ttft_p99_ms=2000.0, inter_token_ms=(10.0, 20.0))
TARGETS = Targets(ttft_ms=2000.0, inter_token_ms=50.0)


@dataclass(kw_only=True)
class Scripted:
    """Wants what a script of (from when, how many) says, and keeps what it has seen."""

    script: Sequence[tuple[float, int]]
    tick_s: float = 10.0
    window_s: float = 60.0
    seen: list[Seen] = field(default_factory=list)

    def replicas(self, seen: Seen) -> int:
        self.seen.append(seen)
        return next(count for begin, count in reversed(self.script) if begin <= seen.now_s)


def engine(**changes: Any) -> EngineModel:
    plain: dict[str, Any] = {
        "step": STEP,
        "kv_tokens": 20_000,
        "max_num_seqs": 8,
        "step_tokens": 512,
        "step_overhead_ms": 0.0,
        "start_up_s": 60.0,
        "start_up_cv": 0.0,
    }
    return EngineModel(**(plain | changes))


def trace(*requests: tuple[float, int, int], duration_s: float | None = None) -> Trace:
    """Return a trace of (arrival, prompt, answer)."""
    rows = np.array(requests, dtype=np.float64).reshape(-1, 3)
    last = float(rows[-1, 0]) if len(rows) else 0.0
    return Trace(
        name="made up",
        arrival_s=rows[:, 0],
        input_tokens=rows[:, 1].astype(np.int64),
        output_tokens=rows[:, 2].astype(np.int64),
        duration_s=last if duration_s is None else duration_s,
    )


def played(
    traffic: Trace,
    *script: tuple[float, int],
    hosted: HostedModel | None = HOSTED,
    model: EngineModel | None = None,
    policy: Any = None,
    initial: int | None = None,
    seed: int = 1,
    targets: Targets = TARGETS,
    prices: Prices | None = None,
    **rules: Any,
) -> Run:
    """Run a trace with so many replicas from when on; by default two, ready from the beginning."""
    scripted = policy or Scripted(script=script or ((0.0, 2),))
    return run(
        traffic,
        engine=model or engine(),
        rules=Rules(**({"spills": hosted is not None, "slots_per_replica": 12, "gateways": 1} | rules)),
        hosted=hosted,
        targets=targets,
        policy=scripted,
        name="scripted",
        seed=seed,
        initial_replicas=(script[0][1] if script else 2) if initial is None else initial,
        prices=prices,
    )


@dataclass
class _Going:
    number: int
    arrival_s: float
    prompt: int
    answer: int
    read: int = 0  # tokens in the cache
    made: int = 0
    decodes: bool = False
    first_s: float = math.nan

    @property
    def whole(self) -> int:
        """Tokens to have read before the next one is made."""
        return self.prompt + self.made


@dataclass(kw_only=True)
class _Naive:
    """A replica that makes one step after another."""

    model: EngineModel
    now_s: float = 0.0
    waiting: list[_Going] = field(default_factory=list)
    batch: list[_Going] = field(default_factory=list)
    done: dict[int, tuple[float, float]] = field(default_factory=dict)

    def step(self) -> None:
        preempted = self.make_room()
        going = [one for one in self.batch if one.decodes]
        chunks = self.chunks(budget=self.model.step_tokens - len(going), admitting=not preempted)
        self.now_s += self.step_s(going, chunks)
        for one in going:
            one.read += 1
            one.made += 1
        for one, taken in chunks:
            one.read += taken
            if one.read == one.whole:
                one.decodes = True
                one.made += 1
                one.first_s = self.now_s if one.made == 1 else one.first_s
        for one in [one for one in self.batch if one.made == one.answer]:
            self.batch.remove(one)
            self.done[one.number] = (one.first_s, self.now_s)

    def spoken_for(self) -> int:
        return sum(one.read + 1 if one.decodes else one.whole for one in self.batch)

    def make_room(self) -> bool:
        preempted = False
        while len(self.batch) > 1 and self.spoken_for() > self.model.kv_tokens:
            out = self.batch.pop()
            out.read, out.decodes = 0, False
            self.waiting.insert(0, out)
            preempted = True
        return preempted

    def chunks(self, *, budget: int, admitting: bool) -> list[tuple[_Going, int]]:
        found: list[tuple[_Going, int]] = []
        for one in self.batch:
            if not one.decodes:
                taken = min(budget, one.whole - one.read)
                budget -= taken
                found.append((one, taken))
        while admitting and self.waiting and len(self.batch) < self.model.max_num_seqs and budget > 0:
            if self.spoken_for() + self.waiting[0].whole > self.model.kv_tokens:
                break
            one = self.waiting.pop(0)
            self.batch.append(one)
            taken = min(budget, one.whole)
            budget -= taken
            found.append((one, taken))
        return [(one, taken) for one, taken in found if taken]

    def step_s(self, going: list[_Going], chunks: list[tuple[_Going, int]]) -> float:
        whole_ms = self.model.step.step_ms(
            sequences=len(going) + len(chunks),
            kv_tokens=sum(one.read for one in going),
            prompt_tokens=sum(taken for _, taken in chunks),
            prompt_squares=sum((one.read + taken) ** 2 - one.read**2 for one, taken in chunks),
        )
        return whole_ms / 1000


def step_by_step(traffic: Trace, model: EngineModel) -> list[tuple[float, float]]:
    """Return (first token, end) of each request on one replica that takes all of them."""
    columns = zip(traffic.arrival_s, traffic.input_tokens, traffic.output_tokens, strict=True)
    coming = [_Going(number, float(arrival), int(prompt), int(answer)) for number, (arrival, prompt, answer) in enumerate(columns)]
    replica = _Naive(model=model)
    while coming or replica.waiting or replica.batch:
        if not replica.waiting and not replica.batch:
            replica.now_s = max(replica.now_s, coming[0].arrival_s)
        while coming and coming[0].arrival_s <= replica.now_s:
            replica.waiting.append(coming.pop(0))
        replica.step()
    return [replica.done[number] for number in sorted(replica.done)]
