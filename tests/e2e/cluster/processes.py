"""Long-running processes that outlive the command which started them, known by pid and start time."""

import contextlib
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.cluster.waiting import wait_until

KILL_TIMEOUT_S = 20


_STARTED: list[subprocess.Popen[bytes]] = []  # kept, since they outlive their starter on purpose and a collected Popen warns of that


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a process is put: a network namespace and the cgroup file it enters before anything else (None: the caller's)."""

    netns: Path | None
    cgroup_entry: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """The processes of one cluster: a file per process with its pid and start time, and a log per process."""

    pids: Path
    logs: Path

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        place: Place,
        environment: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> subprocess.Popen[bytes]:
        """Start a process in its own session, with its output in the logs, and record it.

        The process enters its cgroup before it becomes the program: a crash of the caller at any moment leaves nothing
        that `ClusterCgroup.pids` does not find. `nsenter` enters the network namespace only; `ip netns exec` would remount
        /sys and hide the cgroups.
        """
        self.pids.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        inside = [] if place.netns is None else ["nsenter", f"--net={place.netns}", "--"]
        enter = [] if place.cgroup_entry is None else ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(place.cgroup_entry)]
        with (self.logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*enter, *inside, *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | dict(environment or {}),
                start_new_session=True,
                pass_fds=pass_fds,
            )
        _STARTED.append(process)
        started = start_time(process.pid)
        if started is not None:
            (self.pids / name).write_text(f"{process.pid} {started}")
        return process

    def running(self) -> dict[str, int]:
        """Return name → pid of the recorded processes that still run (the same process, not a later one with its pid)."""
        found = {}
        for file in sorted(self.pids.glob("*")) if self.pids.is_dir() else []:
            pid, _, started = file.read_text().partition(" ")
            if started and start_time(int(pid)) == started:
                found[file.name] = int(pid)
        return found

    def log_tail(self, name: str, *, lines: int = 15) -> str:
        """Return the end of a process's log, for an error message."""
        file = self.logs / f"{name}.log"
        text = file.read_text(errors="replace") if file.exists() else ""
        return f"the end of {file}:\n" + "\n".join(text.splitlines()[-lines:])


def start_time(pid: int) -> str | None:
    """Return when a process started, as an opaque text unique to this boot; None when there is no such live process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else f"{fields[19]}@{boot}"


def stop(pids: Iterable[int], *, sig: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to each process; one that is gone already is no error."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sig)


def stop_and_wait(pids: Iterable[int], *, grace_s: float = 0) -> None:
    """End processes: SIGTERM and the grace time when one is given, then SIGKILL; returns when none of them runs."""
    left = {pid: started for pid in pids if (started := start_time(pid)) is not None}

    def still() -> list[int]:
        _reap(left)
        return [pid for pid, started in left.items() if start_time(pid) == started]

    if grace_s > 0:
        stop(still(), sig=signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: not still(), what="processes to end", timeout_s=max(0.0, deadline - time.monotonic()))
    stop(still())
    wait_until(lambda: not still(), what="killed processes to be gone", timeout_s=KILL_TIMEOUT_S, hint=lambda: f"still there: {still()}")


def _reap(pids: Iterable[int]) -> None:
    """Collect those that are this process's own children; as zombies they would hold their cgroup."""
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def raise_open_files_limit() -> None:
    """Let this process and those it starts open as many files as the machine allows; the usual 1024 is a few hundred streams."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
