"""The grid: which traces, prices and start-ups are simulated, and what a cell needs to run."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from spillway.api.hosted import LongPrompts, Overflow
from spillway.cli.manifests import read_manifests
from spillway.cli.prices import PriceLists
from spillway.cli.questions import question_for
from spillway.cli.simulate_case import Case, Wanted, make_case
from spillway.cli.trace_file import read_trace
from spillway.plan.decision import Memory
from spillway.plan.replica.capacity import size
from spillway.simulate.arrivals import superposed
from spillway.simulate.shaping import first_days, scaled, that_fit
from spillway.simulate.trace import Trace, busiest_minute

TRACES = Path(__file__).parents[3] / "shared/data/traces"
WORKLOAD = Path(__file__).with_name("workload.yaml")

KAPPAS = (0.8, 1.25, 1.5, 2.5, 5.0, 10.0)
START_UPS_S = (30.0, 60.0, 180.0, 420.0)
MEAN_REPLICAS = 4.0
START_UP_CV = 0.2
START_FAILURE_SHARE = 0.02
LONGEST_TOKENS = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One trace, how much of it is run, and whether parameters were chosen on it."""

    name: str
    file: str
    days: float  # from its start
    chosen_on: bool  # False: held out
    ttft_ms: int = 3000


SOURCES = (
    Source(name="azure2023_code", file="azure2023_code_1h", days=1, chosen_on=True),
    Source(name="azure2023_conv", file="azure2023_conv_1h", days=1, chosen_on=True),
    Source(name="azure2024_conv", file="azure2024_conv_7d_x40", days=7, chosen_on=True),
    Source(name="servegen_mlarge", file="servegen_mlarge_7d", days=7, chosen_on=False),
    Source(name="servegen_r1", file="servegen_r1_1d", days=1, chosen_on=False, ttft_ms=10000),
)


def source_named(name: str) -> Source:
    """Return the source of that name. Raises KeyError."""
    return {each.name: each for each in SOURCES}[name]


@lru_cache(maxsize=1)
def traffic(name: str, seed: int, days: float) -> Trace:
    """Return a trace scaled to a mean of MEAN_REPLICAS replicas: other seeds draw other seconds within two minutes, and other thinning."""
    source = source_named(name)
    whole = read_trace(str(TRACES / f"{source.file}.csv.gz"), stated={}, skip_bad=False).trace
    whole, _ = that_fit(first_days(whole, min(days, source.days)), LONGEST_TOKENS)
    engine = _case(whole, source, kappa=1.0, start_up_s=180.0).engine
    work_s = engine.trace_work_s(whole)
    factor = MEAN_REPLICAS / (float(work_s.sum()) / whole.duration_s)
    return _seeded(whole, factor, seed)


def _seeded(whole: Trace, factor: float, seed: int) -> Trace:
    """Return the trace `factor` times as heavy; one that needs no copies is moved by up to two minutes per request all the same."""
    if factor > 1:
        return scaled(whole, factor, seed=seed)
    moved = superposed(whole, copies=2, seed=seed)
    return scaled(moved, factor / 2, seed=seed)


def case_of(trace: Trace, name: str, *, kappa: float, start_up_s: float) -> Case:
    """Return what a cell simulates."""
    case = _case(trace, source_named(name), kappa=kappa, start_up_s=start_up_s)
    return replace(case, engine=replace(case.engine, start_up_cv=START_UP_CV, start_failure_share=START_FAILURE_SHARE))


def _case(trace: Trace, source: Source, *, kappa: float, start_up_s: float) -> Case:
    manifests = read_manifests([str(WORKLOAD)])
    question = question_for(manifests.workloads[0], manifests, PriceLists(), {})
    slo = question.spec.slo
    if slo is None:
        raise ValueError(f"{WORKLOAD.name} states no slo")
    spec = question.spec.model_copy(update={"slo": slo.model_copy(update={"time_to_first_token_ms": source.ttft_ms})})
    return make_case(replace(question, spec=spec), trace, Wanted(start_up_s=start_up_s, kappa=kappa), file=WORKLOAD.name)


def spilling_long_prompts(case: Case) -> Case:
    """Return the cell with `hosted.overflow.longPrompts: Spill`."""
    if case.spec.hosted is None:
        raise ValueError(f"{WORKLOAD.name} has no hosted side")
    hosted = case.spec.hosted.model_copy(update={"overflow": Overflow(long_prompts=LongPrompts.SPILL)})
    return replace(case, spec=case.spec.model_copy(update={"hosted": hosted}))


def slots_of(case: Case) -> int:
    """Return the requests that a replica holds at the gateway's cap, as planned."""
    return size(case.spec, case.accelerator, Memory()).slots


def busiest_replicas(case: Case, trace: Trace) -> int:
    """Return how many replicas the work of the busiest minute fills."""
    return math.ceil(busiest_minute(trace, case.engine.trace_work_s(trace)))
