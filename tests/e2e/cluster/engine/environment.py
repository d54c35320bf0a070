"""The engine's environment on this machine: the tree that the image is made of, and its programs as local processes."""

from functools import cache
from pathlib import Path

from tests.e2e.cluster.cache import artifact
from tests.e2e.cluster.engine import recipe
from tests.e2e.cluster.engine.recipe import COMMAND_INSIDE, ENVIRONMENT, HERE, LOCK, VERSION
from tests.e2e.cluster.images import chroot
from tests.e2e.cluster.images.host_pip import RESOLVER

__all__ = [
    "ARCHITECTURE",
    "COMMAND",
    "COMMAND_INSIDE",
    "DEFAULTS",
    "ENVIRONMENT",
    "HERE",
    "LOCK",
    "NOTES",
    "NOTES_INSIDE",
    "VERSION",
    "local",
    "notes",
    "root",
]
COMMAND = HERE / "vllm"
# What the image's environment holds; the process must not call home from a test.
DEFAULTS = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
# Debian's tree has this folder, and nothing in it: a read-only tree cannot grow a place to mount at.
NOTES_INSIDE = "srv"
NOTES = "modelinfos"  # as vLLM calls it in its cache
ARCHITECTURE = "LlamaForCausalLM"  # of every model that make_model.py makes
WRITE_NOTES = f"from vllm.model_executor.models import ModelRegistry; ModelRegistry.models[{ARCHITECTURE!r}].inspect_model_cls()"


@cache
def root() -> Path:
    """Return the tree, built on first use (about two minutes). It is shared: nothing may write to it."""
    return artifact("engine-root", recipe.KEY, recipe.build) / "root"


@cache
def notes() -> Path:
    """Return the folder with NOTES: what vLLM itself noted down in its cache about the class of our models, for any user to read.

    Without them each start finds it out in a process of its own that imports torch and vLLM once more: 11 of a start's 24 CPU seconds.
    """
    return artifact("engine-notes", [root().parent.name, WRITE_NOTES], _write_notes)


def _write_notes(folder: Path) -> None:
    python = f"/{ENVIRONMENT}/bin/python"
    variables = {"VLLM_CACHE_ROOT": f"/{NOTES_INSIDE}", "PYTHONDONTWRITEBYTECODE": "1", **DEFAULTS}
    chroot.run(root(), [python, "-c", WRITE_NOTES], binds={folder: f"/{NOTES_INSIDE}"}, environment=variables)
    written = list((folder / NOTES).glob("*.json"))
    if not written:  # vLLM only logs that it could not
        raise SystemExit(f"vLLM {VERSION} noted nothing down about {ARCHITECTURE}; see where its registry keeps {NOTES!r} now")
    for path in (folder, folder / NOTES, *written):
        path.chmod(0o755 if path.is_dir() else 0o644)


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
        # A kubelet gives a pod its hosts file and its resolver, too.
        binds={COMMAND: f"/{COMMAND_INSIDE}", notes(): f"/{NOTES_INSIDE}", **{Path(file): file for file in RESOLVER}, **(binds or {})},
        read_only=True,
        user=chroot.POD_USER,
    )
    return inside, {"PATH": chroot.PATH, "HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8", **DEFAULTS, **(environment or {})}
