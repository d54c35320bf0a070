"""The preStop hook, run as the kubelet runs it: a process beside the engine's, which may be loading, serving or dead."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spillway.render import drain
from tests.dataplane.process import port_of, reserved

# An engine in its three states. It ignores SIGTERM, as vLLM does while it loads; "serving" answers like vLLM and runs requests for a while.
ENGINE = """
import http.server, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
state, port, busy_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
started = time.monotonic()

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        running = float(time.monotonic() - started < busy_s)
        metrics = '# TYPE vllm:num_requests_running gauge\\n'
        metrics += f'vllm:num_requests_running{{engine="0"}} {running}\\nvllm:num_requests_waiting{{engine="0"}} 0.0\\n'
        body = metrics.encode() if self.path == "/metrics" else b""
        self.send_response(503 if state == "dead" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass

server = http.server.HTTPServer(("127.0.0.1", port), Handler) if state != "loading" else None
print("up", flush=True)
server.serve_forever() if server else time.sleep(60)
"""


class Container:
    """One engine and a view of /proc in which it is the only process: nothing else on this machine can be killed."""

    def __init__(self, engine: "subprocess.Popen[str]", port: int, proc: Path) -> None:
        self.engine, self.port, self.proc = engine, port, proc

    def stop(self, *, settle_s: int = 0, budget_s: int = 10) -> float:
        """Run the hook to its end; return how long it took."""
        command = [sys.executable if each == "python3" else each for each in drain.command(port=self.port, max_request_seconds=budget_s)]
        assert command[-2] == str(drain.SETTLE_S)
        command[-2] = str(settle_s)
        started = time.monotonic()
        subprocess.run([*command, str(self.proc)], check=True, timeout=30)
        return time.monotonic() - started

    @property
    def killed(self) -> bool:
        """Whether the engine is gone, by SIGKILL."""
        return self.engine.wait(timeout=5) == -signal.SIGKILL

    @property
    def alive(self) -> bool:
        """Whether the engine still runs."""
        return self.engine.poll() is None


@contextmanager
def container(tmp_path: Path, state: str, *, busy_s: float = 0) -> Iterator[Container]:
    held = reserved()
    port = port_of(held)
    command = [sys.executable, "-c", ENGINE, state, str(port), str(busy_s)]
    with held, subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as engine:
        try:
            assert engine.stdout is not None
            assert engine.stdout.readline() == "up\n"
            (tmp_path / "self").symlink_to("/proc/self")
            (tmp_path / str(engine.pid)).symlink_to(f"/proc/{engine.pid}")
            yield Container(engine, port, tmp_path)
        finally:
            engine.kill()


def test_an_engine_that_loads_and_ignores_sigterm_is_killed_at_once(tmp_path: Path) -> None:
    with container(tmp_path, "loading") as loading:
        assert loading.stop(settle_s=20) < 5
        assert loading.killed


def test_an_engine_whose_core_died_is_killed_at_once(tmp_path: Path) -> None:
    with container(tmp_path, "dead") as dead:
        assert dead.stop(settle_s=20) < 5
        assert dead.killed


def test_an_idle_engine_serves_on_until_routing_has_dropped_it(tmp_path: Path) -> None:
    with container(tmp_path, "serving") as idle:
        assert 1 <= idle.stop(settle_s=1) < 5
        assert idle.alive


def test_requests_in_flight_are_waited_for(tmp_path: Path) -> None:
    with container(tmp_path, "serving", busy_s=2) as busy:
        assert 1 < busy.stop() < 8
        assert busy.alive


def test_waiting_ends_with_the_longest_request(tmp_path: Path) -> None:
    with container(tmp_path, "serving", busy_s=60) as busy:
        assert 1 <= busy.stop(budget_s=1) < 6
        assert busy.alive


def test_processes_of_another_container_of_the_pod_live(tmp_path: Path) -> None:
    """A sidecar shares the process namespace; its cgroup is another."""
    with container(tmp_path, "loading") as loading, subprocess.Popen(["sleep", "60"]) as sidecar:
        (tmp_path / str(sidecar.pid)).mkdir()
        (tmp_path / str(sidecar.pid) / "cgroup").write_text("0::/../sidecar\n")
        loading.stop()
        assert loading.killed
        assert sidecar.poll() is None
        sidecar.kill()
