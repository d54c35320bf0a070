"""The engine's images: vLLM for CPU, and the simulator under the same command."""

import shutil
from pathlib import Path

from tests.e2e.cluster.cache import artifact, key_of
from tests.e2e.cluster.engine import environment
from tests.e2e.cluster.images import archive, base

HERE = Path(__file__)
SIMULATOR = environment.HERE / "sim"
SIMULATOR_INSIDE = "opt/sim"  # as a package on the path of the command below
START_SIMULATOR = """#!/bin/sh
PYTHONPATH=/opt exec python3 -m sim "$@"
"""


def image(reference: str) -> Path:
    """Return the archive of the image with real vLLM."""
    made = [environment.root().parent.name, environment.notes().name]
    material: list[str | bytes | Path] = [*made, environment.COMMAND, str(environment.DEFAULTS), reference, HERE]
    return artifact("image-engine", material, lambda folder: _build(folder, reference)) / "image.tar"


def simulator_image(reference: str) -> Path:
    """Return the archive of the image with the simulator."""
    material = [*base.KEY, key_of(sorted(SIMULATOR.glob("*.py"))), reference, HERE]
    return artifact("image-engine-sim", material, lambda folder: _simulator(folder, reference)) / "image.tar"


def _build(folder: Path, reference: str) -> None:
    layers = [
        archive.pack(environment.root(), folder / "environment.tar", environment.ENVIRONMENT),
        _notes(folder),
        _command(folder, environment.COMMAND.read_text()),
    ]
    config = archive.Config(entrypoint=["vllm", "serve"], environment=environment.DEFAULTS)
    archive.write(folder / "image.tar", reference, [base.layer(), *layers], config)
    for scratch in folder.glob("*.tar*"):
        if scratch.name != "image.tar":
            scratch.unlink()


def _simulator(folder: Path, reference: str) -> None:
    package = folder / "root" / SIMULATOR_INSIDE
    package.mkdir(parents=True)
    for source in sorted(SIMULATOR.glob("*.py")):
        shutil.copy(source, package)
    layers = [archive.pack(folder / "root", folder / "sim.tar", SIMULATOR_INSIDE), _command(folder, START_SIMULATOR)]
    archive.write(folder / "image.tar", reference, [base.layer(), *layers], archive.Config(entrypoint=["vllm", "serve"]))
    for layer in layers:
        layer.unlink()


def _notes(folder: Path) -> Path:
    tree = folder / "notes"
    shutil.copytree(environment.notes() / environment.NOTES, tree / environment.NOTES_INSIDE / environment.NOTES)
    layer = archive.pack(tree, folder / "notes.tar", f"{environment.NOTES_INSIDE}/{environment.NOTES}")
    shutil.rmtree(tree)
    return layer


def _command(folder: Path, text: str) -> Path:
    tree = folder / "command"
    program = tree / environment.COMMAND_INSIDE
    program.parent.mkdir(parents=True)
    program.write_text(text)
    program.chmod(0o755)
    layer = archive.pack(tree, folder / "command.tar", environment.COMMAND_INSIDE)
    shutil.rmtree(tree)
    return layer
