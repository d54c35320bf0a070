"""How fast and how light the operator is with many workloads, against a real API server and without a kubelet.

    python -m benchmarks.operator [--workloads 500] [--idle-seconds 60]

1. The workloads are created and the operator started; the clock runs from the first creation until every object exists and every
   status is written.
2. A bare client with 32 connections applies the same workloads and the very same objects (read back from what the operator made) to a
   fresh API server; it writes no statuses. The bar is 1.5 times what it needs.
3. The operator is left alone; its core and memory are read from /proc. The bar is 0.1 core and 250 MiB.

Exits 1 when a bar is missed.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.operator import bare, fleet
from tests.apiserver.server import ApiServer

BAR_RATIO = 1.5
BAR_CORES = 0.1
BAR_MIB = 250
KINDS = {
    "serviceaccounts": "/api/v1",
    "configmaps": "/api/v1",
    "services": "/api/v1",
    "deployments.apps": "/apis/apps/v1",
    "poddisruptionbudgets.policy": "/apis/policy/v1",
    "networkpolicies.networking.k8s.io": "/apis/networking.k8s.io/v1",
}
PER_WORKLOAD = {
    "serviceaccounts": 1,
    "configmaps": 3,
    "services": 2,
    "deployments.apps": 2,
    "poddisruptionbudgets.policy": 2,
    "networkpolicies.networking.k8s.io": 2,
}
WORKLOADS = "/apis/spillway.dev/v1alpha1"
DEADLINE_S = 600
POLL_S = 1.0
QUIET_POLLS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a phase took."""

    wall_s: float
    cpu_s: float  # of all processes that take part
    client_cpu_s: float  # of these, the operator's or the bare client's own


def main() -> int:
    """Run the benchmark; print one line per figure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.operator")
    parser.add_argument("--workloads", type=int, default=500)
    parser.add_argument("--idle-seconds", type=int, default=60)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="spillway-bench-") as folder:
        requests = Path(folder) / "requests.jsonl"
        operator, cores, mib = measure_operator(given.workloads, given.idle_seconds, requests)
        alone = measure_bare(requests)
    ratio = operator.wall_s / alone.wall_s
    print(f"{given.workloads} workloads, {sum(PER_WORKLOAD.values()) * given.workloads} objects and {given.workloads} statuses")
    for name, cost in (("operator", operator), ("bare client", alone)):
        own, all_ms = (1000 * each / given.workloads for each in (cost.client_cpu_s, cost.cpu_s))
        print(f"{name:18} {cost.wall_s:7.1f} s   {cost.cpu_s:6.1f} s of cores; for a workload {all_ms:.1f} ms, of which {own:.1f} its own")
    print(f"ratio              {ratio:7.2f}     bar {BAR_RATIO}   {_verdict(ratio <= BAR_RATIO)}")
    print(f"ratio of cores     {operator.cpu_s / alone.cpu_s:7.2f}     (depends less on what else runs on the machine)")
    print(f"idle, cores        {cores:7.3f}     bar {BAR_CORES}   {_verdict(cores <= BAR_CORES)}   over {given.idle_seconds} s")
    print(f"idle, MiB resident {mib:7.0f}     bar {BAR_MIB}   {_verdict(mib <= BAR_MIB)}")
    return 0 if ratio <= BAR_RATIO and cores <= BAR_CORES and mib <= BAR_MIB else 1


def measure_operator(count: int, idle_s: int, requests: Path) -> tuple[Cost, float, float]:
    """Return what it took until all is there, and cores and MiB afterwards. Writes the requests a bare client would have to send."""
    with ApiServer.started() as server, _operator(server) as operator:
        _prepare(server)
        _wait(lambda: server.run_kubectl("get", "lease", "-n", "default", "bench").code == 0, "the operator to lead")
        creations = [_request("inferenceworkloads", WORKLOADS, each) for each in fleet.workloads(count)]
        found = Fleet(server)
        servers_s, own_s, started = sum(map(_cpu_s, server.pids.values())), _cpu_s(operator.pid), time.monotonic()
        _send(server, creations)
        _wait(lambda: found.complete(count), "all objects and every status")
        wall_s, own_s = time.monotonic() - started, _cpu_s(operator.pid) - own_s
        took = Cost(wall_s=wall_s, cpu_s=sum(map(_cpu_s, server.pids.values())) - servers_s + own_s, client_cpu_s=own_s)
        children = [_request(plural.partition(".")[0], prefix, each) for plural, prefix in KINDS.items() for each in _made(server, plural)]
        requests.write_text("\n".join(json.dumps(each) for each in [*creations, *children]))
        _wait(found.quiet, "the last Event")
        time.sleep(10)  # the last workers of the watches end
        before_s, before = _cpu_s(operator.pid), time.monotonic()
        time.sleep(idle_s)
        cores = (_cpu_s(operator.pid) - before_s) / (time.monotonic() - before)
        return took, cores, _resident_mib(operator.pid)


def measure_bare(requests: Path) -> Cost:
    """Return what a bare client needs, in a process of its own, on a fresh API server."""
    with ApiServer.started() as server:
        _prepare(server)
        command = [sys.executable, "-m", "benchmarks.operator.bare", str(server.kubeconfig), str(requests)]
        cpu_s = sum(map(_cpu_s, server.pids.values()))
        done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        servers_s = sum(map(_cpu_s, server.pids.values())) - cpu_s
        return Cost(wall_s=done["wall_s"], cpu_s=done["cpu_s"] + servers_s, client_cpu_s=done["cpu_s"])


class Fleet:
    """Counts what is there at next to no cost to the API server, whose cores the operator needs.

    Objects are counted by etcd (a list of one, which says how many remain). Only once they are all there, statuses are: by the table that
    kubectl would print, without the objects.
    """

    def __init__(self, server: ApiServer) -> None:
        self._url, self._context = bare.access(server.kubeconfig)
        self._missing = list(PER_WORKLOAD)
        self._events: list[int] = []

    def complete(self, count: int) -> bool:
        """Tell whether every object exists and every status is written, by the verdict in its Ready column."""
        while self._missing:
            if self._objects(KINDS[self._missing[-1]], self._missing[-1].partition(".")[0]) < PER_WORKLOAD[self._missing[-1]] * count:
                return False
            self._missing.pop()
        accept = "application/json;as=Table;g=meta.k8s.io;v=v1"
        workloads = self._get(f"{WORKLOADS}/namespaces/{fleet.NAMESPACE}/inferenceworkloads?includeObject=None&resourceVersion=0", accept)
        ready = next(place for place, column in enumerate(workloads["columnDefinitions"]) if column["name"] == "Ready")
        return sum(1 for row in workloads["rows"] or () if row["cells"][ready]) >= count

    def quiet(self) -> bool:
        """Tell whether no Event came the last times that this was asked."""
        self._events = [*self._events[-QUIET_POLLS:], self._objects("/apis/events.k8s.io/v1", "events")]
        return len(self._events) > QUIET_POLLS and len(set(self._events)) == 1

    def _objects(self, prefix: str, plural: str) -> int:
        found = self._get(f"{prefix}/namespaces/{fleet.NAMESPACE}/{plural}?limit=1", "application/json")
        return len(found["items"]) + int(found["metadata"].get("remainingItemCount", 0))

    def _get(self, path: str, accept: str) -> dict[str, Any]:
        request = urllib.request.Request(f"{self._url}{path}", headers={"Accept": accept})
        with urllib.request.urlopen(request, context=self._context, timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


def _prepare(server: ApiServer) -> None:
    server.install_crds()
    server.kubectl("create", "namespace", fleet.NAMESPACE)
    for each in fleet.catalogue():
        answer = server.apply(each)
        if answer.code != 0:
            raise RuntimeError(answer.err)


@contextlib.contextmanager
def _operator(server: ApiServer) -> Iterator[subprocess.Popen[bytes]]:
    log = server.folder / "operator.log"
    environment = {**os.environ, "KUBECONFIG": str(server.kubeconfig), "SPILLWAY_LEASE_NAME": "bench"}
    server.install_crds()
    with log.open("wb") as output:
        command = [sys.executable, "-m", "spillway", "operator", "--namespace=default", "--metrics-port=0", "--probe-port=0"]
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        yield process
    except BaseException:
        print(log.read_text()[-4000:], file=sys.stderr)
        raise
    finally:
        process.terminate()
        process.wait(30)


def _request(plural: str, prefix: str, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    name = body["metadata"]["name"]
    return f"{prefix}/namespaces/{fleet.NAMESPACE}/{plural}/{name}?fieldManager=bench&force=true", body


def _send(server: ApiServer, requests: list[tuple[str, dict[str, Any]]]) -> None:
    asyncio.run(bare.apply_all(server.kubeconfig, [(path, json.dumps(body).encode()) for path, body in requests]))


def _made(server: ApiServer, plural: str) -> list[dict[str, Any]]:
    """Return what the operator made, as it would be applied by somebody else."""
    made = json.loads(server.kubectl("get", plural, "-n", fleet.NAMESPACE, "-l", "spillway.dev/workload", "-o", "json"))["items"]
    for each in made:
        each.pop("status", None)
        for name in ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"):
            each["metadata"].pop(name, None)
        for name in ("clusterIP", "clusterIPs", "secrets"):
            if each.get("spec", {}).get(name) not in ("None", ["None"]):
                each.get("spec", {}).pop(name, None)
    return list(made)


def _wait(check: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not check():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {DEADLINE_S} s for {what}")
        time.sleep(POLL_S)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_mib(pid: int) -> float:
    line = next(each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def _verdict(met: bool) -> str:  # noqa: FBT001
    return "met" if met else "MISSED"


if __name__ == "__main__":
    sys.exit(main())
