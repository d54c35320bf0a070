"""How long `spillway plan` takes, and how well its load curve follows real traffic.

    python -m benchmarks.plan

Each command is a process of its own, started several times, so the figures are cold starts. The curve is compared with the per-minute
counts of the traces in ../shared/data/traces, where that folder is there. A bar is held by the best round, which other work on the
machine disturbs least. Exits 1 when one is missed.
"""

import csv
import gzip
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import yaml

from spillway.api.traffic import TrafficPattern
from spillway.plan.traffic.load import Load

TRACES = Path(__file__).parents[3] / "shared" / "data" / "traces"
EXAMPLE = Path("examples/hybrid-llama-8b-l40s.yaml")
ROUNDS = 7
PLAN_BAR_S = 1.0
SWEEP_BAR_S = 5.0
CAPACITIES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5)  # means of the load
TRACE_PATTERNS = {
    "azure2023_code_1h": TrafficPattern.BURSTY,
    "azure2023_conv_1h": TrafficPattern.STEADY,
    "azure2024_conv_7d_x40": TrafficPattern.STEADY,
    "servegen_mlarge_7d": TrafficPattern.STEADY,
    "servegen_r1_1d": TrafficPattern.STEADY,
}


def main() -> int:
    within = _speed()
    if TRACES.is_dir():
        _curves()
    else:
        print(f"no traces at {TRACES}: the load curve is not compared")
    return 0 if within else 1


def _speed() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        anywhere = Path(folder, "any-class.yaml")
        anywhere.write_text(yaml.safe_dump_all(_without_classes(EXAMPLE)))
        cases = (
            ("one workload, one class", ("-f", str(EXAMPLE)), PLAN_BAR_S),
            ("one workload, all 13 classes", ("-f", str(anywhere)), PLAN_BAR_S),
            ("200 points, all 13 classes", ("-f", str(anywhere), "--sweep", "requestsPerMonth=1M..30M", "--points", "200"), SWEEP_BAR_S),
        )
        print(f"| command | median s | best of {ROUNDS} s | CPU s | bar s |\n|---|---|---|---|---|")
        within = True
        for name, arguments, bar in cases:
            runs = [_timed(arguments) for _ in range(ROUNDS)]
            taken, busy = [each[0] for each in runs], [each[1] for each in runs]
            within &= min(taken) <= bar
            print(f"| {name} | {statistics.median(taken):.2f} | {min(taken):.2f} | {statistics.median(busy):.2f} | {bar:g} |")
    return within


def _timed(arguments: tuple[str, ...]) -> tuple[float, float]:
    """Return how long a command took, and how much of that it was computing, seconds."""
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "spillway", "plan", "-o", "json", *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - started, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _without_classes(file: Path) -> list[dict[str, object]]:
    documents = [each for each in yaml.safe_load_all(file.read_text()) if each["kind"] != "AcceleratorClass"]
    for each in documents:
        if each["kind"] == "InferenceWorkload":
            del each["spec"]["dedicated"]["accelerators"]
    return documents


def _curves() -> None:
    print("\n| trace | peak / mean | pattern | served above or below the trace, by capacity in means | worst |")
    print("|---|---|---|---|---|")
    for name, pattern in TRACE_PATTERNS.items():
        counts = _per_minute(TRACES / f"{name}.csv.gz")
        mean = statistics.fmean(counts)
        curve = Load(mean_per_s=1.0, peak_per_s=max(counts) / mean, pattern=pattern)
        errors = [
            curve.served_per_s(capacity) - statistics.fmean(min(count, mean * capacity) for count in counts) / mean
            for capacity in CAPACITIES
        ]
        shown = " ".join(f"{capacity:g}: {error:+.2f}" for capacity, error in zip(CAPACITIES, errors, strict=True))
        print(f"| {name} | {max(counts) / mean:.2f} | {pattern} | {shown} | {max(map(abs, errors)):.2f} |")


def _per_minute(file: Path) -> list[int]:
    with gzip.open(file, "rt") as text:
        minutes = Counter(int(float(row["arrival_s"]) // 60) for row in csv.DictReader(text))
    return [minutes.get(minute, 0) for minute in range(max(minutes) + 1)]


if __name__ == "__main__":
    sys.exit(main())
