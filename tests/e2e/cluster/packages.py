"""Debian packages that a build or the node needs, installed only when they are missing."""

import os
import shutil
import subprocess
from collections.abc import Iterable

from tests.e2e.cluster.cache import cache_dir, say
from tests.e2e.cluster.locks import only_one

APT_TIMEOUT_S = 900  # a slow mirror takes minutes for buildah's dependencies; more than this is a mirror that hangs


def ensure_packages(*names: str) -> None:
    """Install the named Debian packages that are missing, from the mirrors that apt is configured with.

    Does nothing (and needs neither root nor apt) when all of them are installed.
    """
    if not _missing(names):
        return
    if not shutil.which("apt-get") or os.geteuid() != 0:
        wanted = " ".join(_missing(names))
        raise SystemExit(f"these system packages are missing: {wanted}; install them (this needs root and apt to do it by itself)")
    with only_one(cache_dir() / ".apt.lock"):
        missing = _missing(names)
        if not missing:
            return
        say(f"installing the Debian packages {' '.join(missing)} …")
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        # The lock of another apt on this machine (an unattended upgrade) is waited for instead of failing at once.
        apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
        _apt([*apt, "update"], environment)
        _apt([*apt, "install", "-y", "--no-install-recommends", *missing], environment)


def _missing(names: Iterable[str]) -> list[str]:
    """Return those of the packages that dpkg does not know as installed."""
    if not shutil.which("dpkg-query"):
        return list(names)
    missing = []
    for name in names:
        query = subprocess.run(["dpkg-query", "-W", "-f", "${Status}", name], capture_output=True, text=True, check=False)
        if "install ok installed" not in query.stdout:
            missing.append(name)
    return missing


def _apt(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=APT_TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise SystemExit(f"`{' '.join(command)}` failed; look at apt's sources and network:\n{done.stdout}{done.stderr}")
