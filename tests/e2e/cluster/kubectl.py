"""kubectl as a function."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.cluster import binaries

TIMEOUT_S = 330  # longer than any --timeout that tests give to kubectl, which says more than being ended does


class KubectlError(RuntimeError):
    """A kubectl command failed; the text has the command and what kubectl said."""


def kubectl(kubeconfig: Path, *arguments: str, stdin: str | None = None, timeout_s: float = TIMEOUT_S) -> str:
    """Run kubectl with this kubeconfig and return its standard output; raise KubectlError with its error output."""
    try:
        done = subprocess.run(command(kubeconfig, *arguments), input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as late:
        raise KubectlError(f"`kubectl {' '.join(arguments)}` did not end within {timeout_s:.0f} s") from late
    if done.returncode != 0:
        raise KubectlError(f"`kubectl {' '.join(arguments)}` failed: {done.stderr.strip()}")
    return done.stdout


def command(kubeconfig: Path, *arguments: str) -> Sequence[str]:
    """Return the command line of kubectl with this kubeconfig; nothing else is read from the caller's own configuration."""
    cache = kubeconfig.parent / "kubectl-cache"  # not the caller's own: every new cluster would leave a folder there
    return [str(binaries.kubectl()), f"--kubeconfig={kubeconfig}", f"--cache-dir={cache}", *arguments]
