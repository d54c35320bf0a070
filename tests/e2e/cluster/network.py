"""The network namespace of one cluster: its node, pod and Service addresses exist only in there."""

import contextlib
import re
import shutil
import subprocess
from pathlib import Path

NODE_ADDRESS = "10.99.0.1"
GATEWAY_ADDRESS = "10.99.0.254"  # nobody has it: a default route is needed for Service addresses to be routable at all
POD_CIDR = "10.244.0.0/16"
NODE_POD_CIDR = "10.244.0.0/20"  # this node's share: room for more pods than a node may have
SERVICE_CIDR = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"
DNS_ADDRESS = "10.96.0.10"
API_PORT = 6443

_NODE_LINK = "node0"


def netns_file(netns: str) -> Path:
    """Return the file by which the namespace is entered."""
    return Path("/run/netns") / netns


def create(netns: str) -> None:
    """Make the namespace, with the node's address on an interface of its own and forwarding on; undoes a half-made one first."""
    delete(netns)
    _run("ip", "netns", "add", netns)
    inside = ("ip", "-n", netns)
    _run(*inside, "link", "set", "lo", "up")
    # A bridge without ports: the smallest kind of interface every kernel has ("dummy" is a module that may be missing).
    _run(*inside, "link", "add", _NODE_LINK, "type", "bridge")
    _run(*inside, "addr", "add", f"{NODE_ADDRESS}/24", "dev", _NODE_LINK)
    _run(*inside, "link", "set", _NODE_LINK, "up")
    _run(*inside, "route", "add", "default", "via", GATEWAY_ADDRESS, "dev", _NODE_LINK)
    settings = ("net/ipv4/ip_forward=1", "net/ipv4/conf/all/route_localnet=1")
    writes = "; ".join(f"echo {value} > /proc/sys/{key}" for key, value in (setting.split("=") for setting in settings))
    _run("nsenter", f"--net={netns_file(netns)}", "--", "sh", "-c", f"set -e; {writes}")


def bridges_pass_netfilter(netns: str) -> bool:
    """Tell whether the kernel shows bridged packets to netfilter in this namespace (loads the module for it where it can)."""
    if shutil.which("modprobe"):
        subprocess.run(["modprobe", "br_netfilter"], capture_output=True, check=False)
    probe = ["nsenter", f"--net={netns_file(netns)}", "--", "cat", "/proc/sys/net/bridge/bridge-nf-call-iptables"]
    return subprocess.run(probe, capture_output=True, text=True, check=False).stdout.strip() == "1"


def delete(netns: str) -> None:
    """Remove the namespace; its interfaces, routes and nftables rules go with it. Does nothing when there is none."""
    if exists(netns):
        _run("ip", "netns", "delete", netns)


def exists(netns: str) -> bool:
    """Tell whether the namespace (or the file a crash left of it) is there."""
    return netns_file(netns).exists()


def remove_cni_records(network: str) -> None:
    """Remove what libcni remembers of this network's pods; it keeps that outside the run folder, in a place of its own choice.

    The loopback interfaces' records are named by the pod's sandbox only, so they are found through the network's own.
    """
    folder = Path("/var/lib/cni/results")
    own = re.compile(rf"{re.escape(network)}-([0-9a-f]{{64}})-eth0")
    for file in folder.glob(f"{network}-*"):
        match = own.fullmatch(file.name)
        if match:
            (folder / f"cni-loopback-{match.group(1)}-lo").unlink(missing_ok=True)
            file.unlink(missing_ok=True)
    for empty in (folder, folder.parent):
        with contextlib.suppress(OSError):  # not there, or another network's
            empty.rmdir()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"`{' '.join(command)}` failed: {done.stderr.strip()}; this needs root and iproute2")
