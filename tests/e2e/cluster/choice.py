"""Which provider: the one asked for, the one of the cluster that is there, or the best one that this machine has."""

import os
import shutil
import subprocess
from collections.abc import Callable

from tests.e2e.cluster.existing import ExistingCluster
from tests.e2e.cluster.kind import KindCluster
from tests.e2e.cluster.local import LocalCluster
from tests.e2e.cluster.provider import Cluster, run_folder

PROVIDERS = ("kind", "local", "existing")
DOCKER_TIMEOUT_S = 10
# In the run folder of a cluster that is there, or half there.
TRACES = {"kind": "kind.yaml", "local": "pids", "existing": "existing.kubeconfig"}


def choose(provider: str, name: str, *, any_context: bool = False) -> Cluster:
    """Return the cluster of this name by a provider; `auto` is that of the cluster that is there, else kind or local: see `detect`.

    `any_context` allows `existing` to use a context that does not look like ours.
    """
    makers: dict[str, Callable[[], Cluster]] = {
        "kind": lambda: KindCluster(name),
        "local": lambda: LocalCluster(name),
        "existing": lambda: ExistingCluster(name, any_context=any_context),
    }
    if provider == "auto":
        found = made_by(name)
        provider = detect() if found in {None, "existing"} else str(found)  # somebody else's is never taken unasked
    return makers[provider]()


def made_by(name: str) -> str | None:
    """Return the provider of the cluster of this name that is in use; None where none is. It need not be what `detect` would say now."""
    return next((provider for provider, trace in TRACES.items() if (run_folder(name) / trace).exists()), None)


def detect() -> str:
    """Return the provider of a new cluster: kind where a Docker daemon answers, else local for root on Linux."""
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
