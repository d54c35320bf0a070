"""Which provider: the one asked for, or the best one that this machine has."""

import os
import shutil
import subprocess
from collections.abc import Callable

from tests.e2e.cluster.existing import ExistingCluster
from tests.e2e.cluster.kind import KindCluster
from tests.e2e.cluster.local import LocalCluster
from tests.e2e.cluster.provider import Cluster

PROVIDERS = ("kind", "local", "existing")
DOCKER_TIMEOUT_S = 10


def choose(provider: str, name: str, *, any_context: bool = False) -> Cluster:
    """Return the cluster of this name by a provider; `auto` is kind where a Docker daemon answers, else local for root on Linux.

    `any_context` allows `existing` to use a context that does not look like ours.
    """
    makers: dict[str, Callable[[], Cluster]] = {
        "kind": lambda: KindCluster(name),
        "local": lambda: LocalCluster(name),
        "existing": lambda: ExistingCluster(name, any_context=any_context),
    }
    return makers[detect() if provider == "auto" else provider]()


def detect() -> str:
    """Return the provider that `auto` means here."""
    if _docker_answers():
        return "kind"
    if os.uname().sysname == "Linux" and os.geteuid() == 0:
        return "local"
    raise SystemExit(
        "no cluster can be made here: no Docker daemon answers (for kind) and this is not root on Linux (for the local provider); "
        "start Docker, run as root, or use your own cluster with --provider existing"
    )


def _docker_answers() -> bool:
    if not shutil.which("docker"):
        return False
    try:
        done = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, timeout=DOCKER_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
