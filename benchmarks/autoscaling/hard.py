"""Loads made to fool a forecast, and an engine that is not what the planner thinks: what each costs over who knows.

    python -m benchmarks.autoscaling hard

Adversarial: a square wave at twice the start-up time, a random walk, and waves that are the opposite of what three days have taught, so
that the forecast is upside down until it is distrusted. Each is held against the clairvoyant lower bound and its replay. (A forecast that
stays upside down is in tests/unit/plan/test_lazy.py.) Misfit: an engine half and twice as fast as planned; what is spent from the eleventh
minute on over what is spent by an operator that knew.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.autoscaling.unit import Bench, Unit
from spillway.plan.decision import Memory
from spillway.plan.scaling.forecast import BIN_S, DemandModel, learn
from spillway.simulate.run import Run
from spillway.simulate.spillway_policy import DEFAULT_START
from spillway.simulate.trace import Floats, Trace

HOURS = 8
KAPPA, START_UP_S = 2.5, 180.0
INPUT_TOKENS, OUTPUT_TOKENS = 1155, 211  # azure2023_conv's means
PER_REPLICA = 1.34  # requests per second of a full replica at these lengths
MEAN_REPLICAS, SWING, WAVE_MINUTES = 4.0, 3.5, 240  # six waves are a day: its shape has learned them
DAYS_LEARNED = 3
MISFIT_AFTER_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hard:
    """One hard case: what ours costs over the bound, the replay, or an operator that knew."""

    name: str
    over_bound: float | None
    over_replay: float | None
    over_known: float | None
    attainment_percent: float


def cases() -> Iterator[Hard]:
    """Yield all of them."""
    for name, rates in loads().items():
        yield _adversarial(name, _trace(name, rates), Memory())
    opposite = "waves opposite to three learned days"
    yield _adversarial(opposite, _trace(opposite, PER_REPLICA * waves(HOURS * 60, swing=-SWING)), Memory(demand_model=_taught_waves()))
    for factor in (0.5, 2.0):
        yield _misfit(factor)


def loads() -> dict[str, Floats]:
    """Return requests per second, minute by minute, of each load: 4 replicas' work on average."""
    minutes = np.arange(HOURS * 60)
    period = 2 * START_UP_S / 60
    chance = np.random.default_rng(1)
    walk = np.abs(4 + np.cumsum(chance.normal(0, 0.6, len(minutes))))
    return {
        "square wave, twice the start-up": PER_REPLICA * np.where((minutes // (period / 2)) % 2 < 1, 7.5, 0.5),
        "random walk": PER_REPLICA * walk * MEAN_REPLICAS / walk.mean(),
    }


def waves(minutes: int, *, swing: float) -> Floats:
    """Return the demand in replicas, minute by minute from a midnight on."""
    shape: Floats = np.sin(2 * math.pi * np.arange(minutes) / WAVE_MINUTES)
    return MEAN_REPLICAS + swing * shape


def _taught_waves() -> DemandModel | None:
    """Return what an operator has learned of days of waves up to where the simulations begin, at a midnight."""
    demands, model = waves(DAYS_LEARNED * 24 * 60, swing=SWING), None
    for before, demand in zip(range(len(demands), 0, -1), demands, strict=True):
        model = learn(model, float(demand), DEFAULT_START.timestamp() - (before - 0.5) * BIN_S)
    return model


def _trace(name: str, per_s: Floats) -> Trace:
    chance = np.random.default_rng(2)
    counts = chance.poisson(per_s * 60)
    arrival_s = np.concatenate([60.0 * minute + np.sort(chance.uniform(0, 60, count)) for minute, count in enumerate(counts)])
    lengths = np.maximum(1, np.rint(chance.lognormal(math.log(OUTPUT_TOKENS) - 0.32, 0.8, len(arrival_s)))).astype(np.int64)
    prompts = np.maximum(1, np.rint(chance.lognormal(math.log(INPUT_TOKENS) - 0.32, 0.8, len(arrival_s)))).astype(np.int64)
    return Trace(name=name, arrival_s=arrival_s, input_tokens=prompts, output_tokens=lengths, duration_s=60.0 * len(per_s))


def _bench(trace: Trace) -> Bench:
    return Bench(Unit(trace="azure2023_conv", start_up_s=START_UP_S, seed=1, days=1, kappas=(KAPPA,)), trace=trace)


def _adversarial(name: str, trace: Trace, memory: Memory) -> Hard:
    bench = _bench(trace)
    bound, (replay,) = bench.bound(KAPPA), tuple(bench.replay(KAPPA))
    ours = bench.ours_run(KAPPA, memory)[0].outcome(bench.cases[KAPPA].prices)
    return Hard(
        name=name,
        over_bound=ours.cost_usd / bound.cost_usd,
        over_replay=ours.cost_usd / replay.cost_usd,
        over_known=None,
        attainment_percent=ours.slo_attainment_percent or 0.0,
    )


def _misfit(factor: float) -> Hard:
    """Return what an engine that takes `factor` times as long as planned costs over an operator that has learned it before."""
    trace = _trace("steady", np.full(120, PER_REPLICA * MEAN_REPLICAS / factor))
    bench = _bench(trace)
    step = bench.case.engine.step
    slower = replace(
        step, **{name: getattr(step, name) * factor for name in ("base_ms", "experts_ms", "sequence_ms", "kv_ms", "prompt_ms", "square_ms")}
    )
    bench.case = replace(bench.case, engine=replace(bench.case.engine, step=slower))
    bench.cases = {KAPPA: replace(bench.cases[KAPPA], engine=bench.case.engine)}
    first, learned = bench.ours_run(KAPPA, Memory())
    known, _ = bench.ours_run(KAPPA, Memory(step=learned.step, measured_for=learned.measured_for))
    cost: Callable[[Run], float] = lambda run: bench.cost_from(run, KAPPA, MISFIT_AFTER_S)  # noqa: E731
    met = first.outcome(bench.cases[KAPPA].prices)
    return Hard(
        name=f"engine takes {factor:g} times as long as planned",
        over_bound=None,
        over_replay=None,
        over_known=cost(first) / cost(known),
        attainment_percent=met.slo_attainment_percent or 0.0,
    )


def table() -> str:
    """Return the figures as Markdown."""

    def told(value: float | None) -> str:
        return "" if value is None else f"{value:.3f}"

    lines = ["| case | / bound | / replay | / knew | SLO % |", "|---|---|---|---|---|"]
    lines += [
        f"| {each.name} | {told(each.over_bound)} | {told(each.over_replay)} | {told(each.over_known)} | {each.attainment_percent:.2f} |"
        for each in cases()
    ]
    return "\n".join(lines) + "\n"
