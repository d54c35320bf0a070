"""What is measured of each target. Targets take turns within seconds, so that whatever else the machine does hits all of them alike."""

import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.gateway.processes import Target, arrivals
from benchmarks.gateway.stage import Stage
from tests.dataplane.client import request

STREAMS = 256
_EVENTS = 8
_PROMPT = "x" * 1000  # a small chat request


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run of the load generator saw."""

    total_us: list[float]
    first_us: list[float]  # to the first byte of each answer's body
    served: list[str]  # o: owned, h: hosted, -: not said
    lag_us: list[float]  # of each event of a stream
    together: int  # events that came with a later one of their stream
    wall_s: float
    cpu_us: float | None  # of the target


@dataclass(slots=True, kw_only=True)
class Figures:
    """One target's figures, a value for each round."""

    p50_us: list[float] = field(default_factory=list)
    all_us: list[float] = field(default_factory=list)  # every request of every round
    first_us: list[float] = field(default_factory=list)
    lag_us: list[float] = field(default_factory=list)  # every event
    together: int = 0
    per_s: dict[int, list[float]] = field(default_factory=dict)  # by connections
    cpu_us: dict[int, list[float]] = field(default_factory=dict)  # per request, by connections
    memory_mib: float | None = None

    def p99_us(self) -> float:
        """Return the 99th percentile over all rounds."""
        return percentile(self.all_us, 0.99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is measured."""

    rounds: int
    requests: int  # per target and round
    load_rounds: int
    load_s: float


def percentile(values: Iterable[float], share: float) -> float:
    """Return the value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def paired(mine: Sequence[float], other: Sequence[float], compare: Callable[[float, float], float]) -> float:
    """Return the median over the rounds of a comparison within a round."""
    return statistics.median(compare(a, b) for a, b in zip(mine, other, strict=True))


def measure(stage: Stage, effort: Effort, scratch: Path) -> dict[str, Figures]:
    """Return the figures by target."""
    load = partial(run_load, stage.client, scratch)
    figures = {each.name: Figures() for each in stage.targets}
    for target in stage.targets:
        load(target, most=effort.requests)  # connections, pools and caches are warm
    for target in _turns(stage.targets, effort.rounds):
        run, of = load(target, most=effort.requests), figures[target.name]
        of.p50_us.append(statistics.median(run.total_us))
        of.all_us += run.total_us
        of.first_us.append(statistics.median(load(target, most=max(20, effort.requests // 8), events=1).first_us))
    for connections in (16, STREAMS):
        for target in _turns(stage.targets, effort.load_rounds):
            run, of = load(target, connections=connections, seconds=effort.load_s), figures[target.name]
            of.per_s.setdefault(connections, []).append(len(run.total_us) / run.wall_s)
            if run.cpu_us is not None:
                of.cpu_us.setdefault(connections, []).append(run.cpu_us / len(run.total_us))
    for target in _turns(stage.targets, max(1, effort.load_rounds // 2)):
        run, of = load(target, connections=STREAMS, most=STREAMS, events=_EVENTS), figures[target.name]
        of.lag_us += run.lag_us
        of.together += run.together
    for target in stage.targets:
        figures[target.name].memory_mib = target.memory_mib()
    return figures


def burst_filled(stage: Stage, scratch: Path, *, slots: int) -> float:
    """Return which share of the slots had an owned request when the first one reached the provider."""
    own, rented = stage.held
    arrivals(own), arrivals(rented)
    run = run_load(stage.client, scratch, stage.burst, connections=STREAMS, most=STREAMS, events=2)
    owned, hosted = sorted(arrivals(own)), sorted(arrivals(rented))
    if not hosted or run.served.count("o") != len(owned):
        raise SystemExit(f"a burst of {STREAMS} on {slots} slots made {len(owned)} owned and {len(hosted)} hosted requests")
    return sum(each < hosted[0] for each in owned) / slots


def _turns(targets: Sequence[Target], rounds: int) -> Iterable[Target]:
    for number in range(rounds):
        shift = number % len(targets)  # no target is always the first
        yield from (*targets[shift:], *targets[:shift])


def run_load(
    client: Path, scratch: Path, target: Target, *, connections: int = 1, most: int = 0, seconds: float = 0, events: int = 0
) -> Run:
    """Ask a target over so many connections until `most` answers or `seconds` are over; for streams of `events` events, or plain at 0."""
    stream = {"stream": True, "max_tokens": events} if events else {}
    body = scratch / f"body-{events}.json"
    body.write_text(json.dumps(request(messages=[{"role": "user", "content": _PROMPT}], **stream)))
    command = [str(client), str(target.port), str(connections), str(most), str(seconds), str(body), target.prefix]
    before, started = target.cpu_us(), time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wall_s, after = time.monotonic() - started, target.cpu_us()
    if done.returncode:
        raise SystemExit(f"{target.name}, {connections} connections: {done.stderr[:300]}")
    lines = [line.split() for line in done.stdout.splitlines()]
    answers, chunks = ([each for each in lines if each[0] == kind] for kind in "RC")
    return Run(
        total_us=[int(each[1]) / 1000 for each in answers],
        first_us=[int(each[2]) / 1000 for each in answers],
        served=[each[3] for each in answers],
        lag_us=[int(each[1]) / 1000 for each in chunks],
        together=sum(each[2] == "1" for each in chunks),
        wall_s=wall_s,
        cpu_us=None if before is None or after is None else after - before,
    )
