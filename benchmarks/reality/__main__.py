"""The simulator held against reality: one vLLM on this machine's CPU behind the real gateway, and the same minutes simulated.

    python -m benchmarks.reality [--minutes 4] [--write]
    python -m benchmarks.reality --gpu --keep FILE          # on a machine with an NVIDIA GPU and a vLLM of this Python (gpu.py)

Lone requests and a rehearsal fit the step model of that vLLM (fitting.py), then traffic of which about a quarter spills is replayed
through the gateway (traffic.py), then the very same requests are simulated with the fitted step, the same cap and limits, and the
distribution from which the hosted side draws its latencies (stage.py). Needs what `make test` needs, with --gpu a GPU instead.
--keep writes down what was measured, --again simulates that once more without measuring. Exits 1 when a bar is missed.
"""

import argparse
import asyncio
import importlib
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.machine import processor
from benchmarks.readme import write_results
from benchmarks.reality import figures, gpu, stage
from benchmarks.reality.client import Client
from benchmarks.reality.fitting import Fit, asked_alone, fitted, replayed, slowdown
from benchmarks.reality.lab import Engine, Lab, Limits
from benchmarks.reality.promise import STREAMS, Promise, drained, kept
from benchmarks.reality.session import Session, keep, restored
from benchmarks.reality.traffic import traffic
from spillway.simulate.policy import Seen
from spillway.simulate.run import Run
from spillway.simulate.setting import EngineModel, Rules
from spillway.simulate.simulate import run

README, GPU_README = (Path(__file__).parent / name for name in ("README.md", "GPU.md"))
CPU = "cpu"  # the lab of this machine's own cores
REHEARSAL = 1_000  # between the seeds of what is learned from and what is predicted


@dataclass(frozen=True, slots=True, kw_only=True)
class Always:
    """One replica, whatever comes."""

    tick_s: float = 60.0
    window_s: float = 60.0

    def replicas(self, seen: Seen) -> int:
        """Return the count, whatever is seen."""
        del seen
        return 1


def main() -> int:
    """Measure, simulate, print, and say by the exit status whether the bars are met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reality", description=__doc__)
    parser.add_argument("--gpu", action="store_true", help="measure on this machine's GPU instead of its CPU")
    parser.add_argument("--minutes", type=float, default=4.0, help="of traffic")
    parser.add_argument("--cell-seconds", type=float, default=7.0, help="of lone requests of each of four lengths")
    parser.add_argument("--rehearsal-minutes", type=float, default=3.0, help="of traffic that the step is fitted to")
    parser.add_argument("--promise-seconds", type=float, default=50.0, help="of traffic at the planned rate, where one is planned")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="rewrite the README's tables")
    parser.add_argument("--keep", type=Path, help="write what was measured to this file")
    parser.add_argument("--again", type=Path, help="simulate what was kept in this file")
    arguments = parser.parse_args()
    session = restored(arguments.again) if arguments.again else asyncio.run(measure(_lab(on_gpu=arguments.gpu), arguments))
    if arguments.keep:
        keep(session, arguments.keep)
    predicted = simulated(session, seed=arguments.seed)
    paced = simulated(session, seed=arguments.seed, slower=session.slowdown) if session.slowdown else None
    found = figures.compared(predicted, session.measured)
    told = report(session, found, figures.compared(paced, session.measured) if paced else None)
    print(told)
    if arguments.write:
        write_results(README if session.lab == CPU else GPU_README, told)
    return 0 if all(each.met is not False for each in found) else 1


def _lab(*, on_gpu: bool) -> Lab:
    """Return where to measure. The CPU's needs more of this repository than a machine with a GPU must have."""
    found: Lab = gpu.lab() if on_gpu else importlib.import_module("benchmarks.reality.cpu").LAB
    return found


async def measure(lab: Lab, arguments: argparse.Namespace) -> Session:
    """Fit, then replay."""
    date = datetime.now(UTC).date().isoformat()
    async with (
        stage.staged(lab, seed=arguments.seed) as staged,
        Client(staged.gateway.url, token_ids=lab.token_ids, seed=arguments.seed) as client,
    ):
        loads = [os.getloadavg()[0]]
        kv_tokens, lone = await staged.kv_tokens(), await asked_alone(staged, client, lab.lone, cell_s=arguments.cell_seconds)
        before_it = traffic(
            lab, engine(lone.rough, lab.limits, kv_tokens), duration_s=arguments.rehearsal_minutes * 60, seed=arguments.seed + REHEARSAL
        )
        _, windows = await replayed(staged, client, before_it)
        fit = fitted(lone.points, windows, request_overhead_ms=lone.overhead_ms)
        print(fitted_table(fit), file=sys.stderr)
        loads.append(os.getloadavg()[0])
        trace = traffic(lab, engine(fit, lab.limits, kv_tokens), duration_s=arguments.minutes * 60, seed=arguments.seed)
        measured, windows = await replayed(staged, client, trace)
        before, between, after = (*loads, os.getloadavg()[0])
        promise, whole = await _alone(lab, staged.engine, arguments) if lab.planned_requests_per_s else (None, None)
    return Session(
        fit=fit,
        lab=lab.name,
        limits=lab.limits,
        kv_tokens=kv_tokens,
        measured=measured,
        slowdown=slowdown(fit.step, windows),
        machine=f"{os.cpu_count()} x {processor()}",
        date=date,
        load=(before, between, after),
        promise=promise,
        drained=whole,
        learned=await _as_learned(fit, lab, arguments) if lab.planned_requests_per_s else None,
    )


async def _alone(lab: Lab, running: Engine, arguments: argparse.Namespace) -> tuple[Promise, int]:
    """Return what a replica by itself keeps of its plan, and how many streams it ends well when it is told to stop."""
    assert lab.planned_requests_per_s
    rate, seed = lab.planned_requests_per_s, arguments.seed + REHEARSAL + 1
    found = await kept(running.url, lab, requests_per_s=rate, duration_s=arguments.promise_seconds, seed=seed)
    print(found, file=sys.stderr, flush=True)
    return found, await drained(running.url, running.pid, lab, seed=seed)


async def _as_learned(fit: Fit, lab: Lab, arguments: argparse.Namespace) -> Promise:
    """Return what a new engine keeps at the batch and the rate that production's learner made of the plan."""
    capacity = gpu.learned(fit, lab.name)
    assert capacity.requests_per_s
    again = gpu.lab(max_num_seqs=capacity.batch)
    with tempfile.TemporaryDirectory() as folder, again.start(Path(folder)) as running:
        rate, seed = capacity.requests_per_s, arguments.seed + REHEARSAL + 2
        return await kept(running.url, again, requests_per_s=rate, duration_s=arguments.promise_seconds, seed=seed)


def engine(fit: Fit, limits: Limits, kv_tokens: int, *, slower: float = 1.0) -> EngineModel:
    """Return the engine as fitted, or so much slower, with the limits that it was started with."""
    step = fit.step
    return EngineModel(
        step=replace(
            step,
            base_ms=slower * step.base_ms,
            sequence_ms=slower * step.sequence_ms,
            kv_ms=slower * step.kv_ms,
            prompt_ms=slower * step.prompt_ms,
        ),
        kv_tokens=kv_tokens,
        max_num_seqs=limits.max_num_seqs,
        step_tokens=limits.step_tokens,
        step_overhead_ms=0.0,  # in the fitted base
        request_overhead_ms=fit.request_overhead_ms,
        start_up_s=0.0,
    )


def simulated(session: Session, *, seed: int, slower: float = 1.0) -> Run:
    """Return the same requests simulated."""
    limits = session.limits
    return run(
        session.measured.trace,
        engine=engine(session.fit, limits, session.kv_tokens, slower=slower),
        rules=Rules(spills=True, slots_per_replica=limits.slots, gateways=1, max_queued_requests=limits.max_queued_requests),
        hosted=limits.hosted,
        targets=limits.targets,
        policy=Always(),
        name="predicted",
        seed=seed,
        initial_replicas=1,
    )


def report(session: Session, found: Sequence[figures.Figure], paced: Sequence[figures.Figure] | None) -> str:
    """Return the tables with how they came about."""
    trace, targets = session.measured.trace, session.limits.targets
    loads = ", ".join(f"{each:.1f}" for each in session.load)
    where = session.machine if session.lab == CPU else f"one {session.lab}, {session.machine}"
    when = f"{session.date}, {where}; load average before the fit, before the replay and at its end: {loads}."
    what = (
        f"{trace.requests} requests in {trace.duration_s / 60:.1f} minutes, each sent at most {session.measured.late_s * 1e3:.0f} ms late."
    )
    pace = "" if session.slowdown is None else f" By the engine's own counters steps took {session.slowdown:.2f} times what the fit has."
    slo = f"SLO: first token within {targets.ttft_ms:.0f} ms, mean gap at most {targets.inter_token_ms:.0f} ms."
    told = [f"{when} {what} {slo}{pace}", figures.table(found, paced), fitted_table(session.fit)]
    return "\n\n".join(told if session.promise is None else [*told, promised_table(session)])


def promised_table(session: Session) -> str:
    """Return what a replica by itself kept of its plan, and of what was learned of it."""
    assert session.promise
    learned, limits = gpu.learned(session.fit, session.lab), session.limits
    rows = [_promised_row("its plan", limits.max_num_seqs, session.promise)]
    rows += [_promised_row("what was learned", learned.batch, session.learned)] if session.learned else []
    return (
        f"A replica by itself at the whole rate of its plan, and a new one at that which production's learner made of it after the "
        f"rehearsal's {len(session.fit.windows)} windows; the cache holds {session.kv_tokens:,} tokens. Sent SIGTERM, the first ended "
        f"{session.drained} of {STREAMS} streams whole.\n\n"
        "| by | at once | requests/s | counted, failed | first token p50, p95, p99 | mean gap p50, p95, p99 | both targets met |\n"
        "|---|---|---|---|---|---|---|\n" + "\n".join(rows)
    )


def _promised_row(by: str, at_once: int, found: Promise) -> str:
    first = f"{found.ttft_p50_ms:.0f}, {found.ttft_p95_ms:.0f}, {found.ttft_p99_ms:.0f} ms"
    gap = f"{found.gap_p50_ms:.1f}, {found.gap_p95_ms:.1f}, {found.gap_p99_ms:.1f} ms"
    counted = f"{found.requests}, {found.failed}"
    return f"| {by} | {at_once} | {found.requests_per_s:.1f} | {counted} | {first} | {gap} | {found.met_percent:.1f} % |"


def fitted_table(fit: Fit) -> str:
    """Return the fitted coefficients."""
    step = fit.step
    return (
        "| a, every step | b, per sequence | c, per 1000 tokens in the cache | delta, per prompt token | per request | median error "
        "of a step |\n|---|---|---|---|---|---|\n"
        f"| {step.base_ms:.2f} ms | {step.sequence_ms:.2f} ms | {step.kv_ms:.2f} ms | {step.prompt_ms:.4f} ms "
        f"| {fit.request_overhead_ms:.1f} ms | {fit.error * 100:.1f} % |"
    )


if __name__ == "__main__":
    sys.exit(main())
