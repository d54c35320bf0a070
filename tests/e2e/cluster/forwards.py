"""Starting forwarders: a listening socket of 127.0.0.1 outside, connections inside the cluster's network namespace."""

import json
import socket
import subprocess
import sys
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


def start(register: Register, listener: socket.socket, *, netns: Path, cgroup_entry: Path, target: str) -> subprocess.Popen[bytes]:
    """Start a forwarder from the listener to `ADDRESS:PORT` in the namespace. It may be connected to at once."""
    port = listener.getsockname()[1]
    command = ["-m", "tests.e2e.cluster.forwarder", "--netns", str(netns), "--listener", str(listener.fileno()), "--to", target]
    return register.start(
        f"forward-{port}",
        [sys.executable, *command],
        place=Place(netns=None, cgroup_entry=cgroup_entry),
        environment={"PYTHONPATH": str(REPOSITORY)},
        pass_fds=[listener.fileno()],
    )


def resolve(host: str, get_service: str) -> str:
    """Return the cluster IP out of a Service's JSON; a headless Service has none to forward to."""
    address = json.loads(get_service)["spec"].get("clusterIP")
    if not isinstance(address, str) or address == "None":
        raise ValueError(f"Service {host} is headless: forward to a pod's IP instead")
    return address
