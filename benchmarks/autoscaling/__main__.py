"""Run the grid of traces, prices and start-up times, every policy in each cell, and write a line per figure.

    python -m benchmarks.autoscaling run [--small] [--trace NAME ...] [--start-up S ...] [--kappa K ...] [--seeds N] [--days N] [--out FILE]
    python -m benchmarks.autoscaling table FILE [FILE ...]
    python -m benchmarks.autoscaling hard
    python -m benchmarks.autoscaling long [--trace NAME ...] [--kappa K ...] [--days N]

What is in the file already is not run again. `--small` is the grid of the tests: minutes on two cores. It exits 1 where ours is
far from the clairvoyant replay. It exits 3 when the traces are not there: 2 is what argparse says of a wrong command line.
"""

import argparse
import csv
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, fields
from pathlib import Path

from benchmarks.autoscaling.cells import KAPPAS, SOURCES, START_UPS_S, TRACES, source_named
from benchmarks.autoscaling.unit import Row, Unit, rows_of

OUT = Path("build/autoscaling.csv")
NO_TRACES = 3  # exit code


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.autoscaling", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    runner = commands.add_parser("run")
    runner.add_argument("--small", action="store_true", help="the tests' grid")
    runner.add_argument("--trace", action="append", choices=[each.name for each in SOURCES])
    runner.add_argument("--start-up", action="append", type=float)
    runner.add_argument("--kappa", action="append", type=float)
    runner.add_argument("--seeds", type=int, default=5)
    runner.add_argument("--days", type=float, default=7.0)
    runner.add_argument("--no-baselines", action="store_true")
    runner.add_argument("--jobs", type=int, default=os.cpu_count())
    runner.add_argument("--out", type=Path, default=OUT)
    commands.add_parser("hard", help="loads made to fool, and engines that are not as planned")
    long = commands.add_parser("long", help="long prompts kept and spilled, side by side")
    long.add_argument("--trace", action="append", choices=[each.name for each in SOURCES])
    long.add_argument("--kappa", action="append", type=float)
    long.add_argument("--days", type=float, default=2.0)
    table = commands.add_parser("table")
    table.add_argument("files", nargs="+", type=Path)
    parsed = parser.parse_args()
    if parsed.command == "table":
        from benchmarks.autoscaling.table import told

        print(told(read_rows(parsed.files)), end="")
        return 0
    if not TRACES.exists():
        print(f"no traces at {TRACES}: this benchmark needs the project's data folder beside the checkout", file=sys.stderr)
        return NO_TRACES
    if parsed.command == "hard":
        from benchmarks.autoscaling import hard

        print(hard.table(), end="")
        return 0
    if parsed.command == "long":
        from benchmarks.autoscaling import long as pairs

        print(pairs.HEAD, end="")
        for pair in pairs.pairs(parsed.trace or [each.name for each in SOURCES], parsed.kappa or pairs.KAPPAS, parsed.days):
            print(pairs.row(pair), flush=True)
        return 0
    units = _units(parsed)
    _run(units, parsed.out, parsed.jobs)
    if parsed.small:
        from benchmarks.autoscaling.table import lapses, told

        rows = read_rows([parsed.out])
        print(told(rows))
        problems = lapses(rows)
        print("\n".join(problems), file=sys.stderr)
        return 1 if problems else 0
    return 0


def _units(parsed: argparse.Namespace) -> list[Unit]:
    names = parsed.trace or [each.name for each in SOURCES]
    start_ups = parsed.start_up or START_UPS_S
    kappas = tuple(parsed.kappa or KAPPAS)
    seeds, days = parsed.seeds, parsed.days
    if parsed.small:
        names, start_ups, kappas, seeds, days = ["azure2023_conv", "servegen_r1"], (180.0,), (2.5,), 1, 0.25
    return [
        Unit(
            trace=name,
            start_up_s=start_up,
            seed=seed,
            days=min(days, source_named(name).days),
            kappas=kappas,
            baselines=not parsed.no_baselines,
        )
        for seed in range(1, seeds + 1)
        for name in names
        for start_up in start_ups
    ]


def _run(units: Sequence[Unit], out: Path, jobs: int) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    there = {(row.trace, row.start_up_s, row.seed, row.kappa) for row in read_rows([out])} if out.exists() else set()
    missing = [unit for unit in units if any((unit.trace, unit.start_up_s, unit.seed, kappa) not in there for kappa in unit.kappas)]
    began = time.perf_counter()
    with ProcessPoolExecutor(max_workers=jobs) as pool, out.open("a", newline="") as file:
        writer = csv.writer(file)
        if not there:
            writer.writerow([field.name for field in fields(Row)])
        for future in as_completed([pool.submit(_rows, unit) for unit in missing]):
            rows = future.result()
            writer.writerows([[_cell(value) for value in asdict(row).values()] for row in rows])
            file.flush()
            print(
                f"{time.perf_counter() - began:.0f} s: {rows[0].trace} D {rows[0].start_up_s:.0f} seed {rows[0].seed}: {len(rows)} rows",
                flush=True,
            )


def _rows(unit: Unit) -> list[Row]:
    return list(rows_of(unit))


def _cell(value: object) -> object:
    if isinstance(value, tuple):
        return " ".join(f"{each:g}" for each in value)
    return f"{value:.6g}" if isinstance(value, float) else "" if value is None else value


def read_rows(files: Sequence[Path]) -> list[Row]:
    """Return the rows of result files."""
    rows: list[Row] = []
    for path in files:
        with path.open(newline="") as file:
            rows.extend(_row(each) for each in csv.DictReader(file))
    return rows


def _row(said: dict[str, str]) -> Row:
    def number(name: str) -> float | None:
        return float(said[name]) if said[name] else None

    return Row(
        trace=said["trace"],
        policy=said["policy"],
        tuned=said["tuned"],
        spills=said["spills"] == "True",
        values=tuple(float(each) for each in said["values"].split()),
        attainment_percent=number("attainment_percent"),
        worst_5_min_percent=number("worst_5_min_percent"),
        spilled_percent=number("spilled_percent"),
        seed=int(said["seed"]),
        starts=int(said["starts"]),
        failed=int(said["failed"]),
        requests=int(said["requests"]),
        kappa=float(said["kappa"]),
        start_up_s=float(said["start_up_s"]),
        cost_usd=float(said["cost_usd"]),
        own_usd=float(said["own_usd"]),
        hosted_usd=float(said["hosted_usd"]),
        replica_hours=float(said["replica_hours"]),
        seconds=float(said["seconds"]),
    )


if __name__ == "__main__":
    sys.exit(main())
