"""Reaching an address of a cluster through `kubectl port-forward`, where there is no way into its network."""

import contextlib
import json
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.e2e.cluster import forwards
from tests.e2e.cluster.kubectl import command
from tests.e2e.cluster.processes import start_time, stop_and_wait
from tests.e2e.cluster.waiting import wait_until

Kubectl = Callable[..., str]
READY_TIMEOUT_S = 30


def resource_of(kubectl: Kubectl, host: str) -> tuple[str, str]:
    """Return the namespace and the `type/name` of what has this address: an IP of a Service or a pod, or `service.namespace`."""
    if not host.replace(".", "").isdigit():
        service, _, namespace = host.partition(".")
        return namespace or "default", f"service/{service}"
    for kind, field in (("service", ("spec", "clusterIP")), ("pod", ("status", "podIP"))):
        for item in json.loads(kubectl("get", kind, "-A", "-o", "json"))["items"]:
            if item[field[0]].get(field[1]) == host:
                return item["metadata"]["namespace"], f"{kind}/{item['metadata']['name']}"
    raise ValueError(f"no Service and no pod of this cluster has the address {host}")


def start(kubectl: Kubectl, kubeconfig: Path, *, host: str, port: int, local: int, records: Path) -> tuple[int, subprocess.Popen[bytes]]:
    """Start a port-forward and record its pid; returns when the local port takes connections."""
    namespace, resource = resource_of(kubectl, host)
    with contextlib.closing(forwards.listen(local)) as probe:
        local_port: int = probe.getsockname()[1]
    records.mkdir(parents=True, exist_ok=True)
    with (records / f"forward-{local_port}.log").open("wb") as log:
        process = subprocess.Popen(
            command(kubeconfig, "port-forward", "-n", namespace, resource, f"{local_port}:{port}"),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    (records / f"forward-{local_port}.pid").write_text(f"{process.pid} {start_time(process.pid)}")

    def settled() -> bool:
        return process.poll() is not None or _accepts(local_port)

    wait_until(settled, what=f"the port-forward to {resource}", timeout_s=READY_TIMEOUT_S)
    if process.poll() is not None:
        said = (records / f"forward-{local_port}.log").read_text()
        raise RuntimeError(f"`kubectl port-forward` to {resource} in namespace {namespace} ended: {said.strip()}")
    return local_port, process


def stop_all(records: Path) -> None:
    """End every recorded port-forward that still runs and forget them."""
    for file in records.glob("forward-*.pid"):
        pid, _, started = file.read_text().partition(" ")
        if start_time(int(pid)) == started:
            stop_and_wait([int(pid)])
        file.unlink()
        file.with_suffix(".log").unlink(missing_ok=True)


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
