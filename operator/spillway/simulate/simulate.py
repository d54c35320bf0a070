"""One policy over one trace: the kernel runs from tick to tick, and the policy is asked at each."""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from spillway.simulate.fleet import RENTING, Fleet, stream
from spillway.simulate.layout import FAILED, HOSTED, OWNED
from spillway.simulate.outcome import Outcome, Prices
from spillway.simulate.policy import Policy, Schedule
from spillway.simulate.run import Run, inter_token_ms
from spillway.simulate.seeing import Watch
from spillway.simulate.setting import EngineModel, HostedModel, Rules, Targets
from spillway.simulate.trace import Floats, Trace

NORMAL_99 = 2.3263478740408408  # quantile of the standard normal distribution
TICKS_PER_REPORT = 100

Progress = Callable[[float], None]  # share of the run that is done, 0..1


def run(
    trace: Trace,
    *,
    engine: EngineModel,
    rules: Rules,
    hosted: HostedModel | None,
    targets: Targets,
    policy: Policy,
    name: str,
    seed: int,
    initial_replicas: int,
    prices: Prices | None = None,
    on_progress: Progress | None = None,
) -> Run:
    """Run a policy over a trace. The same values give the same run.

    It begins with `initial_replicas` ready. After the trace's end nobody scales and nothing is billed, but what was taken is still
    answered. `prices` matter only where a day's hosted budget is limited. A policy that sizes replicas has, any of them None while
    it does not know, the attributes `slots_per_replica`, `max_num_seqs` and `max_queued_requests`, which are read after each tick.

    Raises ValueError for a trace out of order, or a budget without prices.
    """
    if hosted is not None and hosted.most_usd_per_day is not None and prices is None:
        raise ValueError("a hosted budget per day needs prices; give run() the prices of the hosted backend")
    fleet = Fleet(trace=trace, engine=engine, rules=rules, hosted=hosted, prices=prices, seed=seed)
    fleet.begin_with(initial_replicas)
    decide_s = _drive(fleet, trace, rules, policy, initial_replicas, on_progress)
    fleet.advance(math.inf)
    return _written(fleet, trace, engine=engine, rules=rules, hosted=hosted, targets=targets, name=name, seed=seed, decide_s=decide_s)


def simulate(
    trace: Trace,
    *,
    engine: EngineModel,
    rules: Rules,
    hosted: HostedModel | None,
    targets: Targets,
    prices: Prices,
    policy: Policy,
    name: str,
    seed: int,
    initial_replicas: int,
    on_progress: Progress | None = None,
) -> Outcome:
    """Run a policy over a trace and return what it came to at these prices; see run()."""
    done = run(
        trace,
        engine=engine,
        rules=rules,
        hosted=hosted,
        targets=targets,
        policy=policy,
        name=name,
        seed=seed,
        initial_replicas=initial_replicas,
        prices=prices,
        on_progress=on_progress,
    )
    return done.outcome(prices)


def _drive(fleet: Fleet, trace: Trace, rules: Rules, policy: Policy, wanted: int, on_progress: Progress | None) -> float:
    """Run to the end of the trace; returns the wall time that the policy took."""
    watch, crashes = Watch(fleet, policy.window_s), sorted(rules.crashes_s, reverse=True)
    ticks, decide_s = int(trace.duration_s // policy.tick_s), 0.0
    for tick in range(ticks + 1):
        now_s = tick * policy.tick_s
        while crashes and crashes[-1] <= now_s:
            fleet.advance(crashes.pop())
            fleet.crash()
        fleet.advance(now_s)
        if isinstance(policy, Schedule):
            wanted = max(0, policy.replicas_at(now_s))
        else:
            seen = watch.look(wanted)
            began = time.perf_counter()
            wanted = max(0, policy.replicas(seen))
            decide_s += time.perf_counter() - began
        _take_limits(fleet, policy)
        fleet.resize(wanted)
        if on_progress is not None and tick % TICKS_PER_REPORT == 0:
            on_progress(tick / max(1, ticks))
    return decide_s


def _take_limits(fleet: Fleet, policy: Policy) -> None:
    sizing: Any = policy
    slots = getattr(sizing, "slots_per_replica", None)
    batch = getattr(sizing, "max_num_seqs", None)
    queued = getattr(sizing, "max_queued_requests", None)
    if slots is not None or batch is not None or queued is not None:
        fleet.limit(slots=slots, max_num_seqs=batch, max_queued_requests=queued)


def _written(
    fleet: Fleet,
    trace: Trace,
    *,
    engine: EngineModel,
    rules: Rules,
    hosted: HostedModel | None,
    targets: Targets,
    name: str,
    seed: int,
    decide_s: float,
) -> Run:
    requests = fleet.world.requests
    side = requests["side"].copy()
    ttft_ms, e2e_ms = requests["ttft_ms"].astype(np.float64), requests["e2e_ms"].astype(np.float64)
    ttft_ms[side == OWNED] += engine.request_overhead_ms
    e2e_ms[side == OWNED] += engine.request_overhead_ms
    if hosted is not None:
        _answer_hosted(hosted, side == HOSTED, trace, ttft_ms, e2e_ms, seed)
    ttft_ms[side == FAILED] = np.nan
    return Run(
        policy=name,
        trace=trace,
        targets=targets,
        side=side,
        ttft_ms=ttft_ms,
        inter_token_ms=inter_token_ms(ttft_ms, e2e_ms, trace.output_tokens, side),
        e2e_ms=e2e_ms,
        work_s=engine.trace_work_s(trace),
        lives=fleet.lives(),
        billing_increment_s=rules.billing_increment_s,
        preempted=int(fleet.world.totals[0]["preempted"]),
        decide_s=decide_s,
    )


def _answer_hosted(
    hosted: HostedModel, rented: np.ndarray[tuple[int], np.dtype[np.bool_]], trace: Trace, ttft_ms: Floats, e2e_ms: Floats, seed: int
) -> None:
    """Add what hosted takes to what passed until a request was sent there. One draw per request of the trace, rented or not."""
    first_ms, gap_ms = hosted_times_ms(hosted, trace.requests, stream(seed, RENTING))
    ttft_ms[rented] += first_ms[rented]
    e2e_ms[rented] = ttft_ms[rented] + gap_ms[rented] * (trace.output_tokens[rented] - 1)


def hosted_times_ms(hosted: HostedModel, requests: int, chance: np.random.Generator) -> tuple[Floats, Floats]:
    """Return times to the first token, and gaps between tokens, of so many requests on the hosted side."""
    sigma = math.log(hosted.ttft_p99_ms / hosted.ttft_median_ms) / NORMAL_99
    first_ms = chance.lognormal(math.log(hosted.ttft_median_ms), sigma, requests)
    return first_ms, chance.uniform(*hosted.inter_token_ms, requests)
