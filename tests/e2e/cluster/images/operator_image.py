"""The operator's image: the project's own Dockerfile, built by buildah on the local base instead of the public one."""

import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.e2e.cluster.cache import artifact, cache_dir, key_of
from tests.e2e.cluster.images import base
from tests.e2e.cluster.images.host_pip import host_pip
from tests.e2e.cluster.locks import only_one
from tests.e2e.cluster.packages import ensure_packages

ROOT = Path(__file__).parents[4]
LAST = "localhost/spillway/operator:last-build"  # one name in the build's store, so that tags of earlier edits do not pile up
# All that the Dockerfile copies, and so all that decides what is in the image.
INPUTS = ("Dockerfile", ".dockerignore", "requirements.txt", "requirements-build.txt", "pyproject.toml", "README.md", "LICENSE", "operator")


@cache
def content_key() -> str:
    """Hash the image's inputs, names and places of the files included."""
    return key_of([part for file in _files() for part in (str(file.relative_to(ROOT)), file)])


def image(reference: str) -> Path:
    """Return the image's archive; after an edit of the code only its last layer is made anew."""
    material = [*base.KEY, content_key(), reference, Path(__file__)]
    return artifact("image-operator", material, lambda folder: _build(folder, reference)) / "image.tar"


def _files() -> Iterator[Path]:
    for name in INPUTS:
        path = ROOT / name
        yield from sorted(p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts) if path.is_dir() else [path]


def _build(folder: Path, reference: str) -> None:
    ensure_packages("buildah")
    with only_one(cache_dir() / ".buildah.lock"), tempfile.TemporaryDirectory() as scratch:
        pip = host_pip(Path(scratch))
        mounts = [option for host, inside in pip.binds.items() for option in ("--volume", f"{host}:{inside}:ro")]
        # The base carries its content key, so that layers made on an older base are not taken for layers on this one.
        parent = f"{base.REFERENCE}-{base.base().name.rpartition('-')[2]}"
        if not _buildah("images", "--quiet", "--filter", f"reference={parent}").strip():
            _buildah("pull", "--quiet", f"docker-archive:{base.image()}")
            _buildah("tag", base.REFERENCE, parent)
        _buildah(
            "build",
            # No runc, no network of its own: this also works inside a container without privileges to make either.
            *("--isolation", "chroot", "--network", "host", "--pull-never"),
            *("--layers", "--build-arg", f"PYTHON_IMAGE={parent}", *mounts),
            *("--file", str(ROOT / "Dockerfile"), "--tag", LAST, str(ROOT)),
        )
        _buildah("push", "--quiet", LAST, f"docker-archive:{folder / 'image.tar'}:{reference}")


def _buildah(*arguments: str) -> str:
    storage = cache_dir() / "buildah"
    # A signature policy of our own, for Debian's package brings none and images come from this machine only.
    policy = storage / "policy.json"
    storage.mkdir(exist_ok=True)
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    command = ["buildah", "--root", str(storage / "root"), "--runroot", str(storage / "run"), arguments[0]]
    if arguments[0] in {"pull", "push", "build"}:
        command += ["--signature-policy", str(policy)]
    done = subprocess.run([*command, *arguments[1:]], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"`buildah {arguments[0]}` failed:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout
