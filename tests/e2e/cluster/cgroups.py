"""One cgroup per cluster, so that everything it ever started can be found again, whoever started it.

Layout: `/spillway-<name>/system` holds the control plane, containerd and its shims, `/spillway-<name>/kubepods` is the
kubelet's. On cgroup v1 the tree is repeated in every hierarchy; the control plane joins the one that tracks pids only.
"""

import contextlib
import os
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
# "unified" is the v2 tree that a hybrid host mounts beside v1; runc uses it as well.
V1_CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "pids", "devices", "freezer", "blkio", "hugetlb", "systemd", "unified")


class ClusterCgroup:
    """The cgroup of one cluster, on v1 or v2."""

    def __init__(self, name: str) -> None:
        self.path = f"/{name}"

    def create(self) -> None:
        """Make the tree; a tree that is there already is kept."""
        for top in _hierarchies():
            folder = top / self.path.lstrip("/")
            if _is_v2():
                _delegate(ROOT)
            folder.mkdir(exist_ok=True)
            if _is_v2():
                _delegate(folder)
            _copy_cpuset(top, folder)
        self._system().mkdir(exist_ok=True)

    def entry(self) -> Path:
        """Return the file that a process writes its own pid into, to be counted as the cluster's from its first moment."""
        return self._system() / "cgroup.procs"

    def pids(self) -> set[int]:
        """Return every process in the tree, in any hierarchy, except the caller."""
        return _pids_in(self._folders())

    def pod_pids(self, uid: str = "") -> set[int]:
        """Return the processes of pods: all of the tree but the control plane's, containerd's and its shims'; or those of one pod."""
        pods = [folder for folder in self._folders() if "kubepods" in folder.parts]
        return _pids_in([folder for folder in pods if uid in str(folder)])

    def remove(self) -> None:
        """Remove the tree, leaves first. Raises OSError (busy) while a process is still in it."""
        for folder in self._folders():
            folder.rmdir()

    def exists(self) -> bool:
        """Tell whether any part of the tree is there."""
        return bool(self._folders())

    def _system(self) -> Path:
        tracking = ROOT if _is_v2() else ROOT / "pids"
        return tracking / self.path.lstrip("/") / "system"

    def _folders(self) -> list[Path]:
        """Return the folders of the tree in all hierarchies, children before parents."""
        tops = [top / self.path.lstrip("/") for top in _hierarchies()]
        return [Path(folder) for top in tops for folder, _, _ in os.walk(top, topdown=False)]


def _pids_in(folders: list[Path]) -> set[int]:
    found: set[int] = set()
    for folder in folders:
        with contextlib.suppress(OSError):  # a pod's cgroup may vanish while it is read
            found.update(int(line) for line in (folder / "cgroup.procs").read_text().split())
    return found - {os.getpid()}


def _is_v2() -> bool:
    return (ROOT / "cgroup.controllers").exists()


def _hierarchies() -> list[Path]:
    if _is_v2():
        return [ROOT]
    # Two names may be one hierarchy (cpu and cpuacct, joined by a symbolic link): each is visited once.
    return sorted({(ROOT / name).resolve() for name in V1_CONTROLLERS if (ROOT / name).is_dir()})


def _delegate(folder: Path) -> None:
    """Let the children of a v2 cgroup have the controllers that it has itself; those that refuse are left out."""
    for controller in (folder / "cgroup.controllers").read_text().split():
        with contextlib.suppress(OSError):
            (folder / "cgroup.subtree_control").write_text(f"+{controller}")


def _copy_cpuset(top: Path, folder: Path) -> None:
    """Give a new v1 cpuset its parent's processors and memory nodes: an empty one takes no process."""
    if _is_v2() or not (folder / "cpuset.cpus").exists():
        return
    for field in ("cpuset.cpus", "cpuset.mems"):
        if not (folder / field).read_text().strip():
            (folder / field).write_text((top / field).read_text())
