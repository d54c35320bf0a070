"""Image archives in the docker-archive format, written straight from folders: no daemon, no image store, no compression.

containerd and buildah both read this format. Small layers stay plain tar files. A large one is packed with zstd's fastest
setting: four seconds here, and the node writes a third as much on import, which is what an import waits for.
"""

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.cluster.packages import ensure_packages

LARGE = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What a container of the image starts with, unless the pod says otherwise."""

    entrypoint: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = "65532:65532"
    working_dir: str = "/"


def pack(root: Path, layer: Path, *members: str) -> Path:
    """Make a layer of these members of `root` (all of it by default), the same bytes for the same files.

    File times are kept to the second: Python compares them with those in its compiled files.
    """
    # One order and plain owners, so that the digest depends on the files alone; no access or change times (GNU format has none).
    options = ["--sort=name", "--numeric-owner", "--owner=0", "--group=0", "--format=gnu", "--one-file-system"]
    subprocess.run(["tar", "-C", str(root), *options, "-cf", str(layer), *(members or (".",))], check=True)
    return layer


def write(archive: Path, reference: str, layers: Sequence[Path], config: Config) -> None:
    """Write one image of these layers, lowest first, under the name `reference`; a large layer's file is used up by it."""
    digests = []
    for layer in layers:
        with layer.open("rb") as stream:
            digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
    container: dict[str, Any] = {
        "Env": [f"{name}={value}" for name, value in {"PATH": "/usr/local/bin:/usr/bin:/bin", **config.environment}.items()],
        "User": config.user,
        "WorkingDir": config.working_dir,
    }
    if config.entrypoint:
        container["Entrypoint"] = list(config.entrypoint)
    image = {
        "architecture": "amd64",
        "os": "linux",
        "config": container,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
        "history": [{"created_by": "spillway tests/e2e/cluster/images"} for _ in digests],
    }
    description = json.dumps(image, sort_keys=True).encode()
    name = f"{hashlib.sha256(description).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": [reference], "Layers": [f"{digest}.tar" for digest in digests]}]
    with tarfile.open(archive, "w") as tar:
        _add(tar, "manifest.json", json.dumps(manifest).encode())
        _add(tar, name, description)
        for layer, digest in zip(layers, digests, strict=True):
            tar.add(_packed(layer), arcname=f"{digest}.tar")


def _packed(layer: Path) -> Path:
    """Return the layer as it goes into the archive; its digest in the image is that of the plain tar file in any case."""
    if layer.stat().st_size < LARGE:
        return layer
    ensure_packages("zstd")
    subprocess.run(["zstd", "--quiet", "-1", "--threads=0", "--rm", str(layer)], check=True)
    return layer.with_name(f"{layer.name}.zst")


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
