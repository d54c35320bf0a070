"""How long the simulation of a week takes: half a million requests, one policy, one core.

    python -m benchmarks.simulator [--copies N]

The trace is servegen_mlarge_7d from ../shared/data/traces, on an accelerator slow enough that it keeps about four replicas busy. A fixed
count is simulated, and Spillway with production's decide() every 30 s. The first simulation on a machine compiles the kernel, which is
told apart. Exits 1 when the bar is missed, which is of CPU seconds, since other work disturbs those least, and 2 when the trace is not
there.
"""

import argparse
import csv
import gzip
import resource
import sys
import time
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np

from spillway.api.catalogue import AcceleratorClassSpec, HostedProviderSpec
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.decision import Key, Workload
from spillway.plan.observation import Catalogue
from spillway.plan.settings import PlanSettings
from spillway.simulate.arrivals import poisson, superposed
from spillway.simulate.outcome import Prices
from spillway.simulate.policy import Policy, Seen
from spillway.simulate.run import Run
from spillway.simulate.setting import FAST, EngineModel, Rules, Targets, planned_engine
from spillway.simulate.simulate import run
from spillway.simulate.spillway_policy import DEFAULT_START, SpillwayPolicy
from spillway.simulate.trace import Trace

TRACE = Path(__file__).parents[3] / "shared/data/traces/servegen_mlarge_7d.csv.gz"
BAR_S = 60.0
TICK_S = 30.0
REPLICAS = 6
PRICES = Prices(usd_per_replica_hour=2.0, hosted_input_usd_per_million=1.0, hosted_output_usd_per_million=4.0)

# A fiftieth of an H100.
SLOW = AcceleratorClassSpec.model_validate(
    {
        "product": "slow",
        "memoryGiB": 80,
        "memoryBandwidthGBps": 67,
        "teraFLOPs": {"bf16": 20},
        "perNode": 8,
        "price": {"onDemandUSDPerHour": "2", "per": "Accelerator", "asOf": "2026-08-01", "source": "made up"},
    }
)
PROVIDER = HostedProviderSpec.model_validate(
    {
        "baseURL": "https://api.example.com/v1",
        "auth": {"secretRef": {"name": "key", "key": "token"}},
        "models": [{"name": "llama-8b", "inputUSDPerMillionTokens": "1", "outputUSDPerMillionTokens": "4"}],
        "prices": {"asOf": "2026-08-01", "source": "made up"},
    }
)
SPEC = InferenceWorkloadSpec.model_validate(
    {
        "model": {"id": "meta-llama/Llama-3.1-8B-Instruct", "maxContextTokens": 32768},
        "placement": {"mode": "Hybrid"},
        "slo": {"timeToFirstTokenMs": 10000, "interTokenLatencyMs": 600},
        "traffic": {"inputTokens": {"mean": 855, "p95": 3500}, "outputTokens": {"mean": 152, "p95": 560}},
        "dedicated": {"engine": {"maxNumSeqs": 16}, "scaling": {"minReplicas": 0, "maxReplicas": 64}},
        "hosted": {"backends": [{"providerRef": {"name": "acme"}, "model": "llama-8b"}]},
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """Always as many."""

    count: int
    tick_s: float = TICK_S
    window_s: float = 60.0

    def replicas(self, seen: Seen) -> int:
        """Return the count, whatever is seen."""
        del seen
        return self.count


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.simulator", description=__doc__)
    arguments.add_argument("--copies", type=int, default=1, help="of the trace, superposed")
    copies = arguments.parse_args().copies
    if not TRACE.exists():
        print(f"no trace at {TRACE}: this benchmark needs the project's data folder beside the checkout", file=sys.stderr)
        return 2
    engine = replace(planned_engine(SPEC, SLOW), start_up_s=180.0, start_failure_share=0.02)
    compile_s = _timed(poisson([(60.0, 1.0)], input_tokens=100, output_tokens=10, seed=1), engine, Fixed(count=1), "warm-up")[0]
    trace = _read(TRACE)
    trace = superposed(trace, copies=copies, seed=1) if copies > 1 else trace
    work_s = engine.trace_work_s(trace)
    load = work_s.sum() / trace.duration_s
    print(f"{trace.requests:,} requests in {trace.duration_s / 86400:.1f} days; load {load:.2f} replicas on average")
    print(f"first call of the kernel, compiled or read from its cache: {compile_s:.1f} s\n")
    print("| policy | wall s | CPU s | of it the policy s | us per request | spilled % | SLO % | replica-hours | starts |")
    print("|---|---|---|---|---|---|---|---|---|")
    slowest = 0.0
    for name, policy in (("fixed", Fixed(count=REPLICAS * copies)), ("spillway", _spillway())):
        wall_s, cpu_s, done = _timed(trace, engine, policy, name)
        found = done.outcome(PRICES)
        slowest = max(slowest, cpu_s)
        print(
            f"| {name} | {wall_s:.1f} | {cpu_s:.1f} | {done.decide_s:.1f} "
            f"| {wall_s / trace.requests * 1e6:.1f} | {found.spilled_percent:.1f} "
            f"| {found.slo_attainment_percent:.2f} | {found.replica_hours:.0f} | {found.starts} |"
        )
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    return 0 if slowest <= BAR_S or copies > 1 else 1


def _timed(trace: Trace, engine: EngineModel, policy: Policy, name: str) -> tuple[float, float, Run]:
    wall, cpu = time.perf_counter(), time.process_time()
    done = run(
        trace,
        engine=engine,
        rules=Rules(spills=True, slots_per_replica=engine.max_num_seqs + 4),
        hosted=FAST,
        targets=Targets(ttft_ms=10000.0, inter_token_ms=600.0),
        policy=policy,
        name=name,
        seed=1,
        initial_replicas=2,
    )
    return time.perf_counter() - wall, time.process_time() - cpu, done


def _spillway() -> SpillwayPolicy:
    workload = Workload(key=Key(namespace="ml", name="chat"), uid="uid", generation=1, created_at=DEFAULT_START, spec=SPEC)
    catalogue = Catalogue(accelerator_classes={"slow": SLOW}, providers={"acme": PROVIDER})
    return SpillwayPolicy(workload=workload, catalogue=catalogue, settings=PlanSettings(tick=timedelta(seconds=TICK_S)))


def _read(path: Path) -> Trace:
    with gzip.open(path, "rt") as text:
        rows = np.array([[float(cell) for cell in row] for row in list(csv.reader(text))[1:]])
    return Trace(
        name=path.name.removesuffix(".csv.gz"),
        arrival_s=rows[:, 0],
        input_tokens=np.maximum(1, rows[:, 1]).astype(np.int64),
        output_tokens=np.maximum(1, rows[:, 2]).astype(np.int64),
        duration_s=float(np.ceil(rows[-1, 0] / 3600) * 3600),
    )


if __name__ == "__main__":
    sys.exit(main())
