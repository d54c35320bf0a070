"""What every provider of a cluster can do, so that tests and the demo do not know which one they run on."""

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.e2e.cluster.cache import cache_dir

NEEDED_IMAGES = ("pause", "coredns")
GPU_RESOURCE = "nvidia.com/gpu"
GPU_LABELS = {"nvidia.com/gpu.product": "NVIDIA-L4"}  # what NVIDIA's feature discovery would say of a node with L4s
STORAGE_CLASS = "spillway-static"
PORT_LIMIT = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A PersistentVolume backed by a folder of the machine that the cluster runs on."""

    name: str
    host_path: Path
    size: str
    access_modes: Sequence[str]


class Cluster(Protocol):
    """A cluster that can be brought up, used and taken down."""

    name: str

    @property
    def context(self) -> str:
        """The kubeconfig context; it starts with `spillway-` unless the user named another one."""

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig file; it exists once the cluster is up."""

    def up(self, images: Iterable[str] = NEEDED_IMAGES) -> None:
        """Bring the cluster up, with these images on its node; returns when the node is Ready and DNS answers. Idempotent."""

    def down(self) -> None:
        """Remove the cluster and everything that was started for it. Idempotent."""

    def status(self) -> str:
        """Describe the cluster in a few lines."""

    def is_up(self) -> bool:
        """Tell whether the API server answers."""

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl against the cluster and return its output; raise when it fails."""

    def load_images(self, archives: Mapping[str, Path]) -> None:
        """Put image archives on the node; an archive that is there already is not loaded again."""

    def forward(self, host: str, port: int, *, local: int = 0) -> tuple[int, subprocess.Popen[bytes]]:
        """Make a Service's or pod's address reachable on 127.0.0.1; return the local port and the process that forwards.

        `host` is an IP address or `service.namespace`. The process ends with `down`, or when the caller ends it.
        """

    def kill_pod(self, uid: str) -> None:
        """End a pod's processes with SIGKILL, as a failing node would. NotImplementedError where the node is out of reach."""

    def local_volume(self, name: str, host_path: Path, size: str, access_modes: Sequence[str] = ("ReadWriteMany",)) -> None:
        """Make a PersistentVolume of storage class `spillway-static` out of a folder; its claim binds to it by class and size."""


def run_folder(name: str) -> Path:
    """Return the folder of one cluster's run state."""
    return cache_dir() / "run" / name
