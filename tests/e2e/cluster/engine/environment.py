"""The engine's environment on this machine: the tree that the image is made of, and its programs as local processes."""

from functools import cache
from pathlib import Path

from tests.e2e.cluster.cache import artifact
from tests.e2e.cluster.engine import recipe
from tests.e2e.cluster.engine.recipe import COMMAND_INSIDE, ENVIRONMENT, HERE, LOCK, VERSION
from tests.e2e.cluster.images import chroot
from tests.e2e.cluster.images.host_pip import RESOLVER

__all__ = ["COMMAND", "COMMAND_INSIDE", "DEFAULTS", "ENVIRONMENT", "HERE", "LOCK", "VERSION", "local", "root"]
COMMAND = HERE / "vllm"
# What the image's environment holds; the process must not call home from a test.
DEFAULTS = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}


@cache
def root() -> Path:
    """Return the tree, built on first use (about two minutes). It is shared: nothing may write to it."""
    return artifact("engine-root", recipe.KEY, recipe.build) / "root"


def local(
    arguments: list[str], *, binds: dict[Path, str] | None = None, environment: dict[str, str] | None = None
) -> tuple[list[str], dict[str, str]]:
    """Return the command and the environment that run a program of the image on this machine, as hardened as a pod.

    Not root, nothing writable but /tmp, none of this process's environment. `subprocess.Popen(command, env=environment)`
    gives a process whose pid is the program's own.
    """
    inside = chroot.inside(
        root(),
        arguments,
        # A kubelet gives a pod its hosts file and its resolver, too.
        binds={COMMAND: f"/{COMMAND_INSIDE}", **{Path(file): file for file in RESOLVER}, **(binds or {})},
        read_only=True,
        user=chroot.POD_USER,
    )
    return inside, {"PATH": chroot.PATH, "HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8", **DEFAULTS, **(environment or {})}
