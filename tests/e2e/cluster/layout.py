"""Where the files of one local cluster are."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.cluster.cache import cache_dir
from tests.e2e.cluster.provider import run_folder

NAME = re.compile(r"[a-z]([-a-z0-9]{0,18}[a-z0-9])?")
SOCKET_PATH_LIMIT = 107  # bytes of a unix socket's path, by the kernel


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of the cluster with this name; everything is under the run folder except the node's image store."""

    name: str

    @property
    def run(self) -> Path:
        """The run folder, removed by `down`."""
        return run_folder(self.name)

    @property
    def image_store(self) -> Path:
        """The content and snapshots of containerd: kept between runs, since unpacking the engine's image takes long."""
        return cache_dir() / "containerd" / self.name

    @property
    def lock(self) -> Path:
        """The lock that `up` and `down` of this cluster hold."""
        folder = cache_dir() / "run"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f".{self.name}.lock"

    @property
    def context(self) -> str:
        """The name by which the machine knows the cluster: netns, cgroup, node, kubeconfig context."""
        return f"spillway-{self.name}"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig, with the forwarded address."""
        return self.run / "kubeconfig"

    @property
    def containerd_socket(self) -> Path:
        """The socket of containerd."""
        return self.run / "containerd.sock"

    @property
    def shim_sockets(self) -> Path:
        """The folder of the shims' sockets: containerd wants a path of at most 42 characters, which the run folder's is not."""
        return Path("/run") / self.context

    @property
    def certificates(self) -> Path:
        """The folder of certificates and keys."""
        return self.run / "pki"

    @property
    def key(self) -> Path:
        """The file that says what the running cluster was made from; written last, so it marks a complete `up`."""
        return self.run / "key"

    def check(self) -> None:
        """Refuse a name that cannot name a node, and a cache folder so deep that a socket's path would not fit."""
        if not NAME.fullmatch(self.name):
            raise SystemExit(f"--name {self.name!r} cannot name a node: take up to 20 small letters, digits and dashes, a letter first")
        longest = self.run / "containerd.sock.ttrpc"
        if len(str(longest).encode()) > SOCKET_PATH_LIMIT:
            raise SystemExit(f"{longest} is too long for a unix socket; set SPILLWAY_CACHE to a shorter path or take a shorter --name")
