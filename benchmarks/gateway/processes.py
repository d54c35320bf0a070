"""Programs under measurement: started on loopback, watched by the kernel's own accounts, ended with the block."""

import contextlib
import http.client
import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.dataplane.client import CHAT, request
from tests.dataplane.process import binary

_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Something that answers on a port of loopback."""

    name: str
    port: int
    pid: int | None = None  # None: a process that is not ours to look at
    prefix: str = ""  # of its paths

    def cpu_us(self) -> float | None:
        """Return the CPU time of all its threads until now, as the scheduler has it."""
        if self.pid is None:
            return None
        total_ns = 0
        for each in Path(f"/proc/{self.pid}/task").glob("*/schedstat"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended since
                total_ns += int(each.read_text().split()[0])
        return total_ns / 1000

    def memory_mib(self) -> float | None:
        """Return the resident memory."""
        if self.pid is None:
            return None
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


def compiled(scratch: Path, source: Path) -> Path:
    """Return the program made of a C file."""
    program = scratch / source.stem
    subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-pthread", "-o", str(program), str(source)], check=True)
    return program


@contextlib.contextmanager
def running(command: list[str], log: Path, *, environment: dict[str, str] | None = None) -> Iterator[int]:
    """Run a program for the length of a block; yield its process id."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **(environment or {})})
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def envoy_process(folder: Path, config: dict[str, Any]) -> Iterator[int]:
    """Run one Envoy with one worker."""
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_text(json.dumps(config))
    command = [binary(), "-c", str(folder / "run.json"), "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    with running(command, folder / "log") as pid:
        yield pid


def await_answer(target: Target, log: Path | None = None) -> None:
    """Wait until the target answers a chat request; from what it says at the end of its log, why it never did."""
    deadline = time.monotonic() + _PATIENCE_S
    body, headers = json.dumps(request()), {"content-type": "application/json"}
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=5)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request("POST", target.prefix + CHAT, body=body, headers=headers)
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        time.sleep(0.1)
    said = log.read_text(errors="replace")[-500:] if log else ""
    raise SystemExit(f"{target.name} did not answer within {_PATIENCE_S:.0f} s; see why in its log: {said}")


def arrivals(port: int) -> list[int]:
    """Return when an engine's requests have come since it was last asked, in nanoseconds of the monotonic clock."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", "/arrivals")
        return [int(line) for line in connection.getresponse().read().split()]
