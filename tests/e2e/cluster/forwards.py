"""Starting forwarders: a listening socket of 127.0.0.1 outside, connections inside the cluster's network namespace."""

import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.e2e.cluster.forwarder import BACKLOG
from tests.e2e.cluster.processes import Place, Register

REPOSITORY = Path(__file__).parents[3]


def listen(port: int) -> socket.socket:
    """Return a socket that listens on 127.0.0.1, on a free port when the port is 0."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as taken:
        listener.close()
        raise OSError(taken.errno, f"cannot listen on 127.0.0.1:{port}: {taken.strerror}; take another --local port") from taken
    listener.listen(BACKLOG)
    return listener


def start(
    kubectl: Callable[..., str], register: Register, *, netns: Path, cgroup_entry: Path | None, host: str, port: int, local: int
) -> tuple[int, subprocess.Popen[bytes]]:
    """Start a forwarder from a local port to a host and port as the namespace sees them. It may be connected to at once."""
    address = _address(kubectl, host)
    with contextlib.closing(listen(local)) as listener:
        found: int = listener.getsockname()[1]
        command = ["-m", "tests.e2e.cluster.forwarder", "--netns", str(netns), "--listener", str(listener.fileno())]
        process = register.start(
            f"forward-{found}",
            [sys.executable, *command, "--to", f"{address}:{port}"],
            place=Place(netns=None, cgroup_entry=cgroup_entry),
            environment={"PYTHONPATH": str(REPOSITORY)},
            pass_fds=[listener.fileno()],
        )
        return found, process


def _address(kubectl: Callable[..., str], host: str) -> str:
    """Return an IP address as it is, and the cluster IP of `service.namespace`; a headless Service has none to forward to."""
    if host.replace(".", "").isdigit():
        return host
    service, _, namespace = host.partition(".")
    address = json.loads(kubectl("get", "service", service, "-n", namespace or "default", "-o", "json"))["spec"].get("clusterIP")
    if not isinstance(address, str) or address == "None":
        raise ValueError(f"Service {host} is headless: forward to a pod's IP instead")
    return address
