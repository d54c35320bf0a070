"""Latency of the gateway's owned path, token counting included, as ratios to lesser Envoys measured in the same run."""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.gateway import targets
from tests.dataplane.client import request
from tests.dataplane.process import binary, port_of, reserved

HERE = Path(__file__).parent
BARS = {"plain": 1.35, "same filters": 1.25}
BACKENDS = {
    "closes": "answers early, a connection per request (how the bars were measured)",
    "keeps": "keeps its connections (as engines do)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One target's times."""

    p50_us: float  # median of the rounds' medians
    p99_us: float
    ratio: float  # gateway's p50 to this target's: median over the rounds, each of which measures all targets within seconds


def main() -> int:
    """Run, print, and say by the exit status whether the bars are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--requests", type=int, default=400, help="per target and round")
    parser.add_argument("--body-bytes", type=int, default=1000)
    parser.add_argument("--backend", choices=BACKENDS, nargs="+", default=list(BACKENDS))
    arguments = parser.parse_args()
    figures = {name: compare(name, arguments) for name in arguments.backend}
    print(json.dumps({"benchmark": "gateway", "bars": BARS, "cpus": os.cpu_count(), "arguments": vars(arguments), "backends": figures}))
    return 0 if all(each["met"] for each in figures.values()) else 1


def compare(backend: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure with one kind of backend, print the table and return the figures."""
    with tempfile.TemporaryDirectory() as scratch:
        times = measure(
            Path(scratch), backend=backend, rounds=arguments.rounds, requests=arguments.requests, body_bytes=arguments.body_bytes
        )
    results = {name: result(rounds, times["gateway"]) for name, rounds in times.items()}
    print(f"backend: {BACKENDS[backend]}\n{table(results)}\n")
    met = all(results[name].ratio <= bar for name, bar in BARS.items())
    return {"met": met, "targets": {name: figures_of(each) for name, each in results.items()}}


def measure(scratch: Path, *, backend: str, rounds: int, requests: int, body_bytes: int) -> dict[str, list[list[float]]]:
    """Return microseconds by target and round."""
    client = scratch / "client"
    subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-o", str(client), str(HERE / "client.c")], check=True)
    body = scratch / "body.json"
    body.write_text(json.dumps(request(prompt="x" * body_bytes)))
    with running(scratch, backend=backend) as ports:
        names = list(ports)
        for port in ports.values():
            once(client, port, requests=requests, body=body)  # connections, pools and caches are warm
        times: dict[str, list[list[float]]] = {name: [] for name in names}
        for number in range(rounds):
            shift = number % len(names)  # no target is always the first
            for name in names[shift:] + names[:shift]:
                times[name].append(once(client, ports[name], requests=requests, body=body))
    return times


def once(client: Path, port: int, *, requests: int, body: Path) -> list[float]:
    """Return the microseconds of each request."""
    done = subprocess.run([str(client), str(port), str(requests), str(body)], capture_output=True, text=True, check=True)
    return [int(line) / 1000 for line in done.stdout.split()]


@contextlib.contextmanager
def running(scratch: Path, *, backend: str) -> Iterator[dict[str, int]]:
    """Run the backend and the targets, one worker each; yield ports by target."""
    with contextlib.ExitStack() as stack:

        def free_port() -> int:
            return port_of(stack.enter_context(reserved()))

        upstream = free_port()
        ports = {name: free_port() for name in ("gateway", "same filters", "plain")}
        stack.enter_context(envoy_process(scratch / "backend", targets.backend(upstream, keep_alive=backend == "keeps")))
        for name, port in ports.items():
            folder = scratch / name.replace(" ", "-")
            folder.mkdir()
            config = targets.gateway(folder, listen=port, metrics=free_port(), backend=upstream)
            lesser = {"gateway": lambda same: same, "same filters": targets.single_tier, "plain": targets.plain}[name]
            stack.enter_context(envoy_process(folder, lesser(config)))
        for name, port in ports.items():
            await_owned(name, port)
        yield ports


@contextlib.contextmanager
def envoy_process(folder: Path, config: dict[str, Any]) -> Iterator[None]:
    """Run one Envoy."""
    folder.mkdir(exist_ok=True)
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    command = [binary(), "-c", str(folder / "run.yaml"), "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def await_owned(name: str, port: int) -> None:
    """Wait until the target answers from the backend."""
    data = json.dumps(request()).encode()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        sent = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/chat/completions", data=data, headers={"content-type": "application/json"}
        )
        try:
            with urllib.request.urlopen(sent, timeout=5) as answer:
                if json.load(answer) == targets.ANSWER:
                    return
        except (urllib.error.URLError, ConnectionError):
            pass
        time.sleep(0.1)
    raise SystemExit(f"{name} never answered")


def result(rounds: list[list[float]], gateway: list[list[float]]) -> Result:
    """Return the figures of one target."""
    everything = sorted(value for each in rounds for value in each)
    return Result(
        p50_us=statistics.median(statistics.median(each) for each in rounds),
        p99_us=everything[int(len(everything) * 0.99)],
        ratio=statistics.median(statistics.median(mine) / statistics.median(its) for mine, its in zip(gateway, rounds, strict=True)),
    )


def table(results: dict[str, Result]) -> str:
    """Return the figures for people."""
    lines = [f"{'target':<14}{'p50':>10}{'p99':>10}{'gateway is':>12}{'bar':>8}"]
    for name, each in results.items():
        bar = f"{BARS[name]:.2f}x" if name in BARS else ""
        lines.append(f"{name:<14}{each.p50_us:>7.0f} us{each.p99_us:>7.0f} us{each.ratio:>11.2f}x{bar:>8}")
    return "\n".join(lines)


def figures_of(each: Result) -> dict[str, float]:
    """Return the figures of one target for programs."""
    return {"p50_us": round(each.p50_us, 1), "p99_us": round(each.p99_us, 1), "gateway_ratio": round(each.ratio, 3)}


if __name__ == "__main__":
    sys.exit(main())
