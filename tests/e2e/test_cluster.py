"""The tool that brings up the cluster: a crash halfway leaves nothing running that `down` does not remove."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.cluster import network
from tests.e2e.cluster.cgroups import ClusterCgroup
from tests.e2e.cluster.local import LocalCluster
from tests.e2e.cluster.processes import start_time
from tests.e2e.stack import Stack, eventually

pytestmark = pytest.mark.e2e
NAME = "crash"
TOOL = (sys.executable, "-m", "tests.e2e.cluster")


def test_down_removes_what_a_killed_up_left_running(stack: Stack) -> None:
    if not isinstance(stack.cluster, LocalCluster):
        pytest.skip("only the local provider starts processes and namespaces on this machine")
    cluster = LocalCluster(NAME)
    up = subprocess.Popen([*TOOL, "up", "--provider", "local", "--name", NAME], start_new_session=True)
    try:
        eventually(lambda: {"etcd", "containerd"} <= cluster.processes.keys(), within=120, what="a cluster that is half up")
    finally:
        os.killpg(up.pid, signal.SIGKILL)
        up.wait()
    left = set(cluster.processes.values())
    assert left, "what was started outlives its starter"
    subprocess.run([*TOOL, "down", "--provider", "local", "--name", NAME], check=True)
    assert not cluster.processes
    assert not [pid for pid in left if start_time(pid) is not None]
    assert not ClusterCgroup(cluster.context).exists()
    assert not network.exists(cluster.context)
    assert not cluster.layout.run.exists()
    assert str(cluster.layout.run) not in Path("/proc/mounts").read_text()
