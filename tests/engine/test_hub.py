"""Real vLLM downloads its model from the stand-in of the Hugging Face hub, over TLS that only the given CA vouches for."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from spillway.plan.model.architecture import architecture_of
from spillway.plan.model.told_shape import read_told
from spillway.render.told_config import LAST_WORDS, command
from tests.e2e.cluster.engine import environment, hub, model
from tests.e2e.cluster.stand_in import certificates
from tests.engine.engines import MODEL, started
from tests.unit.render.cases import dedicated

pytestmark = pytest.mark.engine
TOKEN = "hf_stand_in"


@dataclass(frozen=True)
class Running:
    """A hub and what a client needs to trust it."""

    url: str
    folder: Path


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    authority, leaf = certificates.make(["localhost"])
    trust = tmp_path / "trust"
    trust.mkdir()
    trust.chmod(0o755)
    (trust / "ca.crt").write_bytes(authority.certificate)
    for name, content in {"tls.crt": leaf.certificate, "tls.key": leaf.key}.items():
        (tmp_path / name).write_bytes(content)
    shutil.copytree(model.model_dir("tiny"), tmp_path / "models" / MODEL)
    server = hub.server(tmp_path / "models", 0, certificate=tmp_path / "tls.crt", key=tmp_path / "tls.key", token=TOKEN)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Running(f"https://localhost:{server.server_address[1]}", trust)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def variables(running: Running, token: str | None) -> dict[str, str]:
    trusted = dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"), "/certificates/ca.crt")
    return {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": running.url, **trusted, **({"HF_TOKEN": token} if token else {})}


def test_vllm_serves_a_model_that_it_downloaded_with_the_token(running: Running) -> None:
    with started("vllm", served=MODEL, binds={running.folder: "/certificates"}, variables=variables(running, TOKEN)) as engine:
        assert engine.complete().json()["usage"]["completion_tokens"] == 3


def test_without_the_token_the_engine_ends_and_says_why(running: Running) -> None:
    with started("vllm", served=MODEL, binds={running.folder: "/certificates"}, variables=variables(running, None), wait=False) as engine:
        assert engine.exited(120) not in {0, None}
        assert "restricted" in engine.log.read_text() or "gated" in engine.log.read_text()


def told(running: Running, token: str | None) -> str:
    """Return what a replica of a model that nothing else knows tells before its engine starts, in the engine's image."""
    replica = command(dedicated(model={"id": MODEL}).workload)
    assert replica[-1] == LAST_WORDS
    binds, asking = {running.folder: "/certificates"}, {**variables(running, token), "HF_HOME": "/tmp/huggingface"}
    arguments, around = environment.local([*replica[:-1], "/tmp/last-words"], binds=binds, environment=asking)
    done = subprocess.run(arguments, env=around, check=True, timeout=120, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_replica_tells_the_shape_of_its_model_with_the_token(running: Running) -> None:
    """The image's own `python3` lacks the hub's library: that of vLLM's interpreter is found."""
    config = json.loads((model.model_dir("tiny") / "config.json").read_text())
    assert read_told(told(running, TOKEN)) == architecture_of(config)


def test_without_the_token_a_replica_tells_that_its_model_is_restricted_and_ends_well(running: Running) -> None:
    assert "restricted" in json.loads(told(running, None))["problem"]
