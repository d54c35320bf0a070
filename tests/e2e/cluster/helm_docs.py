"""The charts' READMEs from their values: `python -m tests.e2e.cluster.helm_docs charts`."""

import subprocess
import sys
from pathlib import Path

from tests.e2e.cluster import binaries


def write(charts: Path) -> None:
    """Write README.md beside every README.md.gotmpl below `charts`; raise with helm-docs' own words when it fails."""
    command = [str(binaries.path("helm-docs")), f"--chart-search-root={charts}", "--sort-values-order=file", "--log-level=warning"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0 or done.stderr.strip():
        raise SystemExit(f"helm-docs failed: {done.stdout}{done.stderr}")


if __name__ == "__main__":
    for folder in sys.argv[1:] or ["charts"]:
        write(Path(folder))
