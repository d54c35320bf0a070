"""Latency, throughput and cost of the gateway beside lesser Envoys and other gateways, measured by turns in one run."""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.gateway import parts, report
from benchmarks.gateway.measures import Effort, Figures, burst_filled, measure, percentile
from benchmarks.gateway.stage import BURST_SLOTS, HERE, SPILLED, set_up
from benchmarks.readme import write_results

WHOLE = Effort(rounds=41, requests=200, load_rounds=5, load_s=1.0)
QUICK = Effort(rounds=11, requests=100, load_rounds=2, load_s=0.5)


def main() -> int:
    """Run, print, and say by the exit status whether all bars are met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything, under a minute")
    parser.add_argument("--parts", action="store_true", help="instead: what each part of the configuration costs")
    parser.add_argument("--write", action="store_true", help="put the results into this folder's README.md")
    arguments = parser.parse_args()
    effort = QUICK if arguments.quick else WHOLE
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.parts:
            print(parts.table(Path(scratch), rounds=2 * effort.rounds, requests=effort.requests // 2))
            print(f"\n{report.circumstances(_command())}")
            return 0
        return _compare(Path(scratch), effort, write=arguments.write)


def _compare(scratch: Path, effort: Effort, *, write: bool) -> int:
    with set_up(scratch) as stage:
        for name, why in stage.absent.items():
            print(f"{name} is not run: {why}", file=sys.stderr)
        names = [each.name for each in stage.targets]
        figures = measure(stage, effort, scratch)
        burst = burst_filled(stage, scratch, slots=BURST_SLOTS)
    peers = names[names.index(SPILLED) + 1 :]
    bars = report.bars(figures, peers=peers, absent=stage.absent, burst=burst)
    text = f"{report.table(figures)}\n\n{report.bar_table(bars)}\n\n{report.circumstances(_command())}"
    print(text)
    if write:
        write_results(HERE / "README.md", text)
    print(json.dumps({"benchmark": "gateway", "cpus": os.cpu_count(), "figures": {name: _numbers(each) for name, each in figures.items()}}))
    return 0 if all(each.met for each in bars) else 1


def _command() -> str:
    return " ".join(["python -m benchmarks.gateway", *sys.argv[1:]])


def _numbers(of: Figures) -> dict[str, object]:
    return {
        "p50_us": round(statistics.median(of.p50_us), 1),
        "p99_us": round(of.p99_us(), 1),
        "first_byte_us": round(statistics.median(of.first_us), 1),
        "event_delay_us": {name: round(percentile(of.lag_us, share), 1) for name, share in (("p50", 0.5), ("p99", 0.99))},
        "requests_per_s": {str(at): round(statistics.median(each)) for at, each in of.per_s.items()},
        "cpu_us_per_request": {str(at): round(statistics.median(each), 1) for at, each in of.cpu_us.items()},
        "memory_mib": None if of.memory_mib is None else round(of.memory_mib, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
