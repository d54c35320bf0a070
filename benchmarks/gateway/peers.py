"""Other gateways. vllm-router is installed beside us; others are run when an environment variable says how."""

import contextlib
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.gateway.processes import Target, await_answer, running
from tests.dataplane.process import free_port
from tests.e2e.cluster.cache import artifact

VLLM_ROUTER = "vllm-router 0.1.17"
# A command in which {listen} and {engine} stand for ports of loopback, or the URL of one that runs and asks the engine at ENGINE_PORT. What
# the URL has after the port goes before the paths; the same name with _PID says which process it is, to tell its CPU and memory.
NAMED = {"KubeAI": "SPILLWAY_BENCH_KUBEAI", "Envoy AI Gateway": "SPILLWAY_BENCH_ENVOY_AI_GATEWAY"}
ENGINE_PORT = "SPILLWAY_BENCH_ENGINE_PORT"

_REQUIREMENTS = Path(__file__).parent / "peers.txt"
# Its own start script asks for packages that only its other modes use.
_START = """
import argparse
from vllm_router.router import Router
from vllm_router.router_args import RouterArgs
parser = argparse.ArgumentParser()
RouterArgs.add_cli_args(parser)
Router.from_args(RouterArgs.from_cli_args(parser.parse_args())).start()
"""


@contextlib.contextmanager
def peers(scratch: Path, *, engine: int) -> Iterator[tuple[list[Target], dict[str, str]]]:
    """Run every peer that can be had; yield them, and why the others are not there, by name."""
    found: list[Target] = []
    absent: dict[str, str] = {}
    with ExitStack() as stack:
        try:
            found.append(stack.enter_context(_vllm_router(scratch, engine=engine)))
        except (SystemExit, subprocess.CalledProcessError, OSError) as missing:
            absent[VLLM_ROUTER] = f"could not be installed or started: {missing}"
        for name, variable in NAMED.items():
            said = os.environ.get(variable)
            if said is None:
                absent[name] = f"set {variable} to its command or URL"
                continue
            found.append(stack.enter_context(_named(name, said, scratch, engine=engine)))
        yield found, absent


@contextlib.contextmanager
def _vllm_router(scratch: Path, *, engine: int) -> Iterator[Target]:
    place = artifact("bench-peers", [_REQUIREMENTS, platform.machine(), platform.python_version()], _install)
    log, listen, metrics = scratch / "vllm-router.log", free_port(), free_port()
    # One engine, nothing to choose, nothing to log: as cheap as it can be.
    options = ["--host", "127.0.0.1", "--port", str(listen), "--policy", "round_robin", "--log-level", "error"]
    options += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(metrics), "--worker-urls", f"http://127.0.0.1:{engine}"]
    with running([str(place / "venv/bin/python"), "-c", _START, *options], log) as pid:
        target = Target(name=VLLM_ROUTER, port=listen, pid=pid)
        await_answer(target, log)
        yield target


def _install(folder: Path) -> None:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise SystemExit("its wheel is for Linux on x86_64")
    # An environment may be made under a name that it does not keep: its interpreter is called, never its scripts.
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", str(_REQUIREMENTS)]
    subprocess.run([str(folder / "venv/bin/python"), *install], check=True)


@contextlib.contextmanager
def _named(name: str, said: str, scratch: Path, *, engine: int) -> Iterator[Target]:
    if said.startswith("http://127.0.0.1:"):
        port, _, prefix = said.removeprefix("http://127.0.0.1:").rstrip("/").partition("/")
        process = os.environ.get(f"{NAMED[name]}_PID")
        target = Target(name=name, port=int(port), pid=int(process) if process else None, prefix=f"/{prefix}" if prefix else "")
        await_answer(target)
        yield target
        return
    listen, log = free_port(), scratch / f"{name}.log"
    with running(shlex.split(said.replace("{listen}", str(listen)).replace("{engine}", str(engine))), log) as pid:
        target = Target(name=name, port=listen, pid=pid)
        await_answer(target, log)
        yield target
