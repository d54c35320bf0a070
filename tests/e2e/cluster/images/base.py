"""The base of the Python images: Debian bookworm with its Python 3.11, made by debootstrap from the mirror apt uses, if it is Debian's."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from tests.e2e.cluster.cache import artifact
from tests.e2e.cluster.images import archive, chroot
from tests.e2e.cluster.packages import ensure_packages

SUITE = "bookworm"
# libnuma1: vLLM's CPU kernels link it; for 80 kB one base serves every image.
INCLUDED = "python3,python3-venv,ca-certificates,libnuma1"
REFERENCE = "localhost/spillway/base:bookworm"
# Nothing of apt's state or Debian's documentation is wanted at run time; together they are a third of the tree.
UNWANTED = ("var/cache/apt", "var/lib/apt/lists", "var/log", "usr/share/doc", "usr/share/man", "usr/share/locale", "etc/apt/sources.list")
KEY: tuple[str | Path, ...] = (SUITE, INCLUDED, Path(__file__))  # and part of the key of whatever stands on it


@cache
def base() -> Path:
    """Return the folder with `root` (the tree), `layer.tar` and `image.tar` of the base."""
    return artifact("base", KEY, _build)


def root() -> Path:
    """Return the tree; it is shared, so copy it before changing anything."""
    return base() / "root"


def layer() -> Path:
    """Return the base as one layer, the same one in every image, so that a node unpacks it once."""
    return base() / "layer.tar"


def image() -> Path:
    """Return the base as an image of its own, for builds from a Dockerfile."""
    return base() / "image.tar"


def _build(folder: Path) -> None:
    ensure_packages("debootstrap", "util-linux", "mount")
    tree = folder / "root"
    options = ["--variant=minbase", f"--include={INCLUDED}"]
    # In a mount namespace of its own: debootstrap mounts /proc and /sys in the tree and a kill would leave them there.
    command = ["unshare", "--mount", "--propagation", "private", "debootstrap", *options, SUITE, str(tree), *mirror()]
    # A clean environment: Debian's packages compile Python's library on installation unless PYTHONDONTWRITEBYTECODE is set.
    environment = {"PATH": chroot.PATH, "HOME": str(folder), **chroot.proxies()}
    with (folder / "debootstrap.log").open("w") as log:
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment, check=False)
    if done.returncode != 0:
        raise SystemExit(f"debootstrap failed:\n{(folder / 'debootstrap.log').read_text()[-3000:]}")
    for name in UNWANTED:
        unwanted = tree / name
        if unwanted.is_dir():
            shutil.rmtree(unwanted)
            unwanted.mkdir()
        else:
            unwanted.unlink(missing_ok=True)
    for name in ("etc/resolv.conf", "etc/hostname"):  # copied from this machine by debootstrap; a pod brings its own
        (tree / name).write_text("")
    archive.pack(tree, folder / "layer.tar", "--exclude=./dev/*", "--exclude=./proc/*", "--exclude=./sys/*", ".")
    archive.write(folder / "image.tar", REFERENCE, [folder / "layer.tar"], archive.Config(user="0:0"))


def mirror() -> list[str]:
    """Return the Debian mirror that is named, else the one that apt is configured with; none, and debootstrap takes its own default."""
    if mirror := os.environ.get("SPILLWAY_DEBIAN_MIRROR"):
        return [mirror]
    query = ["apt-get", "indextargets", "--format", "$(SITE)|$(ORIGIN)|$(LABEL)|$(COMPONENT)", "Created-By: Packages"]
    listed = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    found = [line.partition("|")[0] for line in listed.splitlines() if line.partition("|")[2] == "Debian|Debian|main"]
    return found[:1]
