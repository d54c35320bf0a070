"""The operator as a process against the real API server: started, watched, stopped or killed."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from prometheus_client.parser import text_string_to_metric_families

from tests.apiserver.server import ApiServer

T = TypeVar("T")

LEASE = "spillway-operator"


@dataclass(kw_only=True)
class Operator:
    """One replica of the operator."""

    process: subprocess.Popen[bytes]
    log: Path
    name: str
    probe_port: int
    metrics_port: int

    def page(self) -> tuple[str, str]:
        """Return the content type of /metrics, and what it says."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as answer:
            return str(answer.headers["content-type"]), answer.read().decode()

    def metric(self, name: str, **labels: str) -> float | None:
        """Return a sample with these labels; None when there is none."""
        samples = (sample for family in text_string_to_metric_families(self.page()[1]) for sample in family.samples)
        return next((float(each.value) for each in samples if each.name == name and labels.items() <= each.labels.items()), None)

    def passes(self) -> float:
        """Return how many passes it has made without a failure."""
        return self.metric("spillway_passes_total", result="done") or 0

    def probe(self, path: str) -> int:
        """Return the code that a probe gets; 0 when nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.probe_port}{path}", timeout=2) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            return refused.code
        except OSError:
            return 0

    def kill(self) -> None:
        """End it as a node failure would."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """End it as the kubelet does; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def said(self) -> str:
        """Return its log."""
        return self.log.read_text()


@contextlib.contextmanager
def operator(
    server: ApiServer,
    *,
    namespace: str,
    name: str = "one",
    kubeconfig: Path | None = None,
    program: tuple[str, ...] = ("-m", "spillway", "operator"),
    **settings: str,
) -> Iterator[Operator]:
    """Start the operator with its Lease in `namespace`; show its log when the test fails. `program`: what Python is given to run.

    It looks at every workload each second, so that a test can wait for passes that change nothing.
    """
    log = server.folder / f"operator-{namespace}-{name}.log"
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("SPILLWAY_") or key == "SPILLWAY_CACHE"},
        "KUBECONFIG": str(kubeconfig or server.kubeconfig),
        "POD_NAMESPACE": namespace,
        "POD_NAME": name,
        "SPILLWAY_METRICS_PORT": "0",
        "SPILLWAY_PROBE_PORT": "0",
        "SPILLWAY_TICK_SECONDS": "1",
        **{f"SPILLWAY_{key.upper()}": value for key, value in settings.items()},
    }
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, *program], env=environment, stdout=output, stderr=output)
    try:
        probe_port, metrics_port = _port(log, process, "probes on port"), _port(log, process, "metrics on port")
        yield Operator(process=process, log=log, name=name, probe_port=probe_port, metrics_port=metrics_port)
    except BaseException:
        print(f"--- operator {name}\n{log.read_text()[-6000:]}", file=sys.stderr)
        raise
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def holder(server: ApiServer, namespace: str) -> str:
    """Return the name of the replica that holds the Lease."""
    answer = server.run_kubectl("get", "lease", LEASE, "-n", namespace, "-o", "jsonpath={.spec.holderIdentity}")
    return answer.out.rpartition("_")[0] if answer.code == 0 else ""


def acquired_at(server: ApiServer, namespace: str) -> float:
    """Return when the Lease got its holder, in seconds of this machine's clock."""
    return datetime.fromisoformat(get(server, "lease", namespace, LEASE)["spec"]["acquireTime"]).timestamp()


def get(server: ApiServer, kind: str, namespace: str, name: str) -> dict[str, Any]:
    """Return an object."""
    found: dict[str, Any] = json.loads(server.kubectl("get", kind, name, "-n", namespace, "-o", "json", "--show-managed-fields"))
    return found


def condition(server: ApiServer, namespace: str, name: str, kind: str) -> dict[str, Any]:
    """Return a workload's condition; empty while there is none."""
    conditions = get(server, "iw", namespace, name).get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == kind), {})


def eventually(check: Callable[[], T], what: str, *, within_s: float = 30) -> T:
    """Return the first true answer; fail with the last one."""
    deadline = time.monotonic() + within_s
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"after {within_s:g} s still not: {what}; last: {found!r}")
        time.sleep(0.1)


def _port(log: Path, process: subprocess.Popen[bytes], what: str) -> int:
    def said() -> int:
        if process.poll() is not None:
            return -1
        line = next((each for each in log.read_text().splitlines() if what in each), "")
        return int(line.rsplit(" ", 1)[1]) if line else 0

    # Its imports took more than a minute with 25 processes to a pair of cores.
    return eventually(said, f"the operator says: {what}", within_s=120)
