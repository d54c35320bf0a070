"""Images of one static program each, from scratch: Prometheus, CoreDNS and the pause container."""

import shutil
import subprocess
from pathlib import Path

from tests.e2e.cluster import binaries
from tests.e2e.cluster.cache import artifact, cache_dir
from tests.e2e.cluster.images import archive
from tests.e2e.cluster.packages import ensure_packages

PAUSE = Path(__file__).parent / "pause.c"


def program(name: str, reference: str, *, user: str) -> Path:
    """Return the image of a Go program, at /bin/<name> and as the entrypoint, as in its public image."""

    def build(folder: Path) -> None:
        target = folder / "root" / "bin" / name
        target.parent.mkdir(parents=True)
        shutil.copy2(binaries.path(name), target)
        (folder / "root" / "tmp").mkdir(mode=0o1777)
        _finish(folder, reference, archive.Config(entrypoint=[f"/bin/{name}"], user=user))

    # The program's own cache key is in its path; the hundred megabytes need not be hashed again.
    material: list[str | bytes | Path] = [str(binaries.path(name).relative_to(cache_dir())), reference, user, Path(__file__)]
    return artifact(f"image-{name}", material, build) / "image.tar"


def pause(reference: str) -> Path:
    """Return the image of the pause container, compiled here."""

    def build(folder: Path) -> None:
        ensure_packages("gcc", "libc6-dev")
        (folder / "root").mkdir()
        subprocess.run(["gcc", "-Os", "-Wall", "-Werror", "-static", "-s", "-o", str(folder / "root" / "pause"), str(PAUSE)], check=True)
        _finish(folder, reference, archive.Config(entrypoint=["/pause"], user="65535:65535"))

    return artifact("image-pause", [PAUSE, reference, Path(__file__)], build) / "image.tar"


def _finish(folder: Path, reference: str, config: archive.Config) -> None:
    layer = archive.pack(folder / "root", folder / "layer.tar")
    archive.write(folder / "image.tar", reference, [layer], config)
    layer.unlink()
    shutil.rmtree(folder / "root")
