"""The models that tests and demo serve: random weights made on this machine, so no hub and no licence is needed."""

from pathlib import Path
from typing import Literal

from tests.e2e.cluster.cache import artifact
from tests.e2e.cluster.engine import environment
from tests.e2e.cluster.images import chroot

Size = Literal["tiny", "med"]
MAKER = Path(__file__).parent / "make_model.py"
# layers, hidden, inner, heads, KV heads
SHAPES: dict[Size, tuple[int, int, int, int, int]] = {
    "tiny": (2, 64, 128, 2, 2),  # 148 thousand parameters, 336 kB, 5 ms a request: for everything about the API
    "med": (12, 512, 1376, 8, 2),  # 34 million parameters, 65 MB, 12 ms a token: for a real queue with few clients
}


def model_dir(size: Size) -> Path:
    """Return the folder of a model, readable by any user: config, weights, tokenizer and chat template."""
    return artifact(f"model-{size}", [str(SHAPES[size]), environment.LOCK, MAKER], lambda folder: _make(size, folder))


def _make(size: Size, folder: Path) -> None:
    python = f"/{environment.ENVIRONMENT}/bin/python"
    shape = [str(number) for number in SHAPES[size]]
    binds = {MAKER: "/mnt/make_model.py", folder: "/models"}
    offline = {"HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    chroot.run(environment.root(), [python, "/mnt/make_model.py", "/models", *shape], binds=binds, environment=offline)
    folder.chmod(0o755)
    for file in folder.iterdir():
        file.chmod(0o644)
