"""Removing a local cluster completely, whatever state a crash left it in."""

import contextlib
import shutil
import subprocess
from pathlib import Path

from tests.e2e.cluster import images_on_node, network
from tests.e2e.cluster.cache import say
from tests.e2e.cluster.cgroups import ClusterCgroup
from tests.e2e.cluster.layout import Layout
from tests.e2e.cluster.processes import Register, stop_and_wait
from tests.e2e.cluster.waiting import wait_until

CGROUP_TIMEOUT_S = 20
KILL_ROUNDS = 5  # a process may fork between the walk over the cgroup and the signal


def tear_down(layout: Layout, register: Register, cgroup: ClusterCgroup) -> None:
    """End every process of the cluster, then remove its mounts, network namespace, cgroups and run folder.

    Each step does nothing when there is nothing to do, so this is right after a complete run, half a one, or none.
    The image store is kept only when containerd could be emptied in an orderly way.
    """
    running = register.running()
    orderly = _empty_containerd(layout, register, cgroup, running)
    if register.pids.is_dir():
        stop_and_wait(register.running().values())
    for _ in range(KILL_ROUNDS):
        stop_and_wait(cgroup.pids())
        if not cgroup.pids():
            break
    _unmount(layout.run)
    _unmount(layout.image_store)
    network.delete(layout.context)
    network.remove_cni_records(layout.context)
    _remove_traces(layout)
    if cgroup.exists():
        _remove_cgroup(cgroup)
    shutil.rmtree(layout.run, ignore_errors=True)
    if layout.run.exists():
        shutil.rmtree(layout.run)  # once more, for the error to be seen: a file that the first pass raced with is gone by now
    if not orderly:
        shutil.rmtree(layout.image_store, ignore_errors=True)


def _empty_containerd(layout: Layout, register: Register, cgroup: ClusterCgroup, running: dict[str, int]) -> bool:
    """Stop the kubelet and the pods and delete their containers; tell whether the image store is fit for use again."""
    stop_and_wait(running[name] for name in ("kubelet", "kube-controller-manager", "kube-scheduler") if name in running)
    if "containerd" not in running:
        return not layout.run.exists()
    stop_and_wait(cgroup.pod_pids())
    try:
        images_on_node.remove_containers(layout)
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as trouble:
        say(f"containerd could not be emptied; its image store is removed too ({trouble})")
        return False
    stop_and_wait([pid for name, pid in register.running().items() if name == "containerd"], grace_s=10)
    return True


def _unmount(folder: Path) -> None:
    """Unmount everything at or under a folder, the innermost first."""
    prefix = f"{folder}/"
    points = [line.split()[4].encode().decode("unicode_escape") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in reversed([point for point in points if f"{point}/".startswith(prefix)]):
        done = subprocess.run(["umount", point], capture_output=True, check=False)
        if done.returncode != 0:  # busy for a reason nobody waits for: detach it now, the kernel frees it when it can
            subprocess.run(["umount", "--lazy", point], capture_output=True, check=False)


def _remove_traces(layout: Layout) -> None:
    """Remove what lies outside of the run folder: shims' sockets, the kubelet's links to pods' logs and its device plugins' socket."""
    shutil.rmtree(layout.shim_sockets, ignore_errors=True)
    for link in Path("/var/log/containers").glob("*.log"):
        if link.is_symlink() and link.readlink().is_relative_to(layout.run):
            link.unlink()
    others = [run for run in layout.run.parent.iterdir() if run.is_dir() and run != layout.run]
    if layout.run.exists() and not others:  # the folder is shared by all kubelets of a machine, so the last one clears it
        plugins = Path("/var/lib/kubelet/device-plugins")
        (plugins / "kubelet.sock").unlink(missing_ok=True)
        for folder in (plugins, plugins.parent):
            with contextlib.suppress(OSError):  # not empty: somebody else's
                folder.rmdir()


def _remove_cgroup(cgroup: ClusterCgroup) -> None:
    """Remove the cgroup once the kernel has let go of the processes that were in it."""

    def removed() -> bool:
        with contextlib.suppress(OSError):
            cgroup.remove()
        return not cgroup.exists()

    wait_until(removed, what=f"cgroup {cgroup.path} to be empty", timeout_s=CGROUP_TIMEOUT_S, hint=lambda: f"processes: {cgroup.pids()}")
