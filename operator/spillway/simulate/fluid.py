"""A week in a second: work flows like water, for tuning with hindsight and for quick looks. What is reported is request-level.

What is approximated: work comes evenly within a slot and one replica does one replica-second of it a second; spill takes what exceeds
ready replicas, a mean sample of the requests; a policy is asked at most once a slot and its rates and means are those of the last
slot, whatever its window; replicas are alike and a removed one is gone at once, those on their way first; start-up takes the same
time every time; percentiles of latency are means. Batches follow from the use u of a replica: a step takes longer the fuller it is,
so b = u r / (1 - u (1 - r)) of the slots, r = step time when empty / when full (from throughput = batch / step time).
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from spillway.simulate.baselines.catalogue import Rule, Values
from spillway.simulate.baselines.facts import Facts
from spillway.simulate.demand import Demand
from spillway.simulate.policy import Policy, Seen, SeenReplica
from spillway.simulate.trace import Whole

PATIENCE_S = 2.0  # a request that waits longer counts as not served
SERVED_SHARE = 0.99  # what a tuned rule is to serve where nothing can be spilled


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """The replicas of a fluid run."""

    facts: Facts
    empty_step_ms: float
    full_step_ms: float  # at `facts.slots` requests
    start_up_s: float
    warm_replicas: int = 0

    def batch(self, use: float) -> float:
        """Return the requests in a replica's batch at that share of its full throughput."""
        ratio = self.empty_step_ms / self.full_step_ms
        return self.facts.slots * use * ratio / (1 - use * (1 - ratio))

    def step_ms(self, batch: float) -> float:
        """Return the time of a step."""
        return self.empty_step_ms + (self.full_step_ms - self.empty_step_ms) * batch / self.facts.slots


@dataclass(frozen=True, slots=True, kw_only=True)
class FluidRun:
    """What a fluid run came to; all in replica-seconds."""

    counts: Whole  # wanted replicas, per slot
    owned_s: float  # billed: on their way or ready
    work_s: float
    spilled_s: float
    late_s: float  # work that waited longer than PATIENCE_S
    starts: int

    @property
    def served_share(self) -> float:
        """Return the share of the work that was answered in time, by whom ever."""
        return 1 - self.late_s / self.work_s if self.work_s > 0 else 1.0

    def cost_s(self, kappa: float) -> float:
        """Return the cost in replica-seconds, where renting a replica-second of work costs `kappa` times owning it at full use."""
        return self.owned_s + kappa * self.spilled_s


def run(policy: Policy, demand: Demand, plant: Plant, *, spills: bool) -> FluidRun:
    """Run a policy over a demand; without spill, what exceeds the replicas waits."""
    pool = _Pool(plant=plant, ready=plant.warm_replicas, wanted=plant.warm_replicas)
    flow = _Flow(demand=demand, plant=plant, spills=spills)
    counts = np.empty(demand.slots, dtype=np.int64)
    asked_s = -math.inf
    for slot in range(demand.slots):
        now_s = slot * demand.slot_s
        if slot and now_s >= asked_s + policy.tick_s - 1e-9:
            asked_s = now_s
            pool.resize(policy.replicas(flow.seen(now_s, pool)), now_s)
        counts[slot] = pool.wanted
        flow.pass_slot(slot, pool.pass_slot(now_s, demand.slot_s))
    return FluidRun(
        counts=counts,
        owned_s=pool.owned_s,
        work_s=float(demand.work_s.sum()),
        spilled_s=flow.spilled_s,
        late_s=flow.late_s,
        starts=pool.starts,
    )


@dataclass(slots=True, kw_only=True)
class _Pool:
    plant: Plant
    ready: int
    wanted: int
    ready_at_s: deque[float] = field(default_factory=deque)  # of those on their way, ascending
    owned_s: float = 0.0
    starts: int = 0

    def resize(self, wanted: int, now_s: float) -> None:
        for _ in range(self.wanted, wanted):
            self.ready_at_s.append(now_s + self.plant.start_up_s)
            self.starts += 1
        for _ in range(wanted, self.wanted):
            if self.ready_at_s:
                self.ready_at_s.pop()
            else:
                self.ready -= 1
        self.wanted = wanted

    def pass_slot(self, now_s: float, slot_s: float) -> float:
        """Return the work that the slot has room for, in replica-seconds."""
        end_s = now_s + slot_s
        self.owned_s += self.wanted * slot_s
        room_s = self.ready * slot_s
        while self.ready_at_s and self.ready_at_s[0] < end_s:
            room_s += end_s - max(now_s, self.ready_at_s.popleft())
            self.ready += 1
        return room_s


class _Flow:
    """Work from slot to slot, and what it looked like in the last one."""

    def __init__(self, *, demand: Demand, plant: Plant, spills: bool) -> None:
        self._plant, self._spills, self._slot_s = plant, spills, demand.slot_s
        self._columns = tuple(each.tolist() for each in (demand.work_s, demand.requests, demand.input_tokens, demand.output_tokens))
        self.backlog_s = self.spilled_s = self.late_s = 0.0
        self._arrived = self._spilled = self._served = 0.0  # requests of the last slot
        self._input_tokens = self._output_tokens = self._work_each_s = 0.0  # their means
        self._use = self._wait_s = 0.0
        self._answered = [0.0, 0.0]  # since the start: owned, hosted

    def pass_slot(self, slot: int, room_s: float) -> None:
        work_s, requests, input_tokens, output_tokens = (each[slot] for each in self._columns)
        if requests:
            self._work_each_s = work_s / requests
            self._input_tokens, self._output_tokens = input_tokens / requests, output_tokens / requests
        before_s = self.backlog_s
        served_s = min(before_s + work_s, room_s)
        left_s = before_s + work_s - served_s
        spilled_s = left_s if self._spills else 0.0
        self.backlog_s = left_s - spilled_s
        self.spilled_s += spilled_s
        self._use = served_s / room_s if room_s > 0 else 0.0
        self.late_s += work_s * self._late_share(before_s, room_s / self._slot_s)
        each_s = self._work_each_s or 1.0
        self._arrived, self._spilled, self._served = requests, spilled_s / each_s, served_s / each_s
        self._answered[0] += self._served
        self._answered[1] += self._spilled

    def _late_share(self, before_s: float, replicas: float) -> float:
        """Return the share of a slot's arrivals that wait too long: the wait changes evenly from its begin to its end."""
        if replicas <= 0:
            self._wait_s = self._slot_s if self.backlog_s else 0.0
            return 1.0 if self.backlog_s else 0.0
        first_s, last_s = before_s / replicas, self.backlog_s / replicas
        self._wait_s = last_s
        if max(first_s, last_s) <= PATIENCE_S:
            return 0.0
        if min(first_s, last_s) >= PATIENCE_S:
            return 1.0
        return (max(first_s, last_s) - PATIENCE_S) / abs(last_s - first_s)

    def seen(self, now_s: float, pool: _Pool) -> Seen:
        """Return what the last slot shows."""
        facts, ready = self._plant.facts, pool.ready
        batch = self._plant.batch(self._use)
        step_ms = self._plant.step_ms(batch)
        waiting = self.backlog_s / (self._work_each_s or 1.0)
        worked = ready > 0 and self._served > 0
        kv_tokens = batch * (self._input_tokens + self._output_tokens / 2)
        ttft_ms = 1000 * (self._wait_s + self._input_tokens * facts.work_s_per_input_token) + step_ms
        shown = self._arrived > 0
        return Seen(
            now_s=now_s,
            window_s=self._slot_s,
            arrivals_per_s=self._arrived / self._slot_s,
            spilled_per_s=self._spilled / self._slot_s,
            refused_per_s=0.0,
            finished_per_s=self._served / self._slot_s,
            input_tokens_mean=self._input_tokens if shown else None,
            output_tokens_mean=self._output_tokens if shown else None,
            residence_s=(ttft_ms + self._output_tokens * step_ms) / 1000 if worked else None,
            wanted=pool.wanted,
            replicas=_alike(ready, pool.wanted - ready, round(batch), int(waiting / ready) if ready else 0),
            running=round(batch * ready),
            waiting=round(waiting),
            running_mean=batch * ready,
            waiting_mean=waiting,
            kv_usage_ratio=min(1.0, kv_tokens / facts.kv_tokens),
            busy_ratio=1 - math.exp(-batch),  # Poisson: no request is there for exp(-batch) of the time
            ttft_p90_ms=ttft_ms if worked else None,
            inter_token_p90_ms=step_ms if worked else None,
            step_ms=step_ms if worked else None,
            batch_mean=batch if worked else None,
            prompt_tokens_per_step=self._served * self._input_tokens / (1000 * self._slot_s * ready / step_ms) if worked else None,
            kv_tokens_mean=kv_tokens if worked else None,
            input_tokens=(self._answered[0] * self._input_tokens, self._answered[1] * self._input_tokens),
            output_tokens=(self._answered[0] * self._output_tokens, self._answered[1] * self._output_tokens),
            answered=(self._answered[0], self._answered[1]),
        )


@lru_cache(maxsize=4096)
def _alike(ready: int, starting: int, running: int, waiting: int) -> tuple[SeenReplica, ...]:
    up = tuple(
        SeenReplica(index=index, launched_s=0.0, ready_s=0.0, draining=False, running=running, waiting=waiting) for index in range(ready)
    )
    coming = tuple(
        SeenReplica(index=ready + index, launched_s=0.0, ready_s=None, draining=False, running=0, waiting=0) for index in range(starting)
    )
    return up + coming


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """The values of a rule that were best with hindsight."""

    values: Values
    run: FluidRun
    cost_s: float  # replica-seconds
    serves: bool  # at least SERVED_SHARE


def tune(rule: Rule, demand: Demand, plant: Plant, kappas: Sequence[float], *, spills: bool) -> dict[float, Tuned]:
    """Return the best values of a rule for every kappa: the cheapest that serve SERVED_SHARE, or else those that serve most.

    One run for each point of the rule's grid: no rule knows prices, so kappa only weighs what was spilled. With spill all is served.
    """
    runs = [(values, run(rule.policy(plant.facts, values), demand, plant, spills=spills)) for values in rule.grid or rule.defaults]
    return {kappa: _best(runs, kappa) for kappa in kappas}


def _best(runs: Sequence[tuple[Values, FluidRun]], kappa: float) -> Tuned:
    serving = [each for each in runs if each[1].served_share >= SERVED_SHARE]
    if serving:
        values, best = min(serving, key=lambda each: each[1].cost_s(kappa))
    else:
        values, best = max(runs, key=lambda each: each[1].served_share)
    return Tuned(values=values, run=best, cost_s=best.cost_s(kappa), serves=bool(serving))
