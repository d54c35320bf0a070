"""A cluster that somebody else made is touched only when it was named."""

import json
from pathlib import Path

import pytest
import yaml

from tests.e2e.cluster.existing import CONTEXT_VARIABLE, ExistingCluster
from tests.e2e.stack import Stack


@pytest.fixture(autouse=True)
def production(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make `production` the current context, of a server that nobody can reach."""
    context = {"name": "production", "context": {"cluster": "c", "user": "u"}}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "production",
        "contexts": [context],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "none"}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(path))
    monkeypatch.setenv("SPILLWAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(CONTEXT_VARIABLE, raising=False)
    return "production"


def test_another_context_is_refused_before_anything_is_asked_of_it() -> None:
    with pytest.raises(SystemExit, match=r"refusing to use context 'production'.*--yes-this-context"):
        ExistingCluster("spillway").up()


def test_a_context_that_the_caller_names_is_used() -> None:
    with pytest.raises(RuntimeError, match="refused"):
        ExistingCluster("spillway", any_context=True).up()


def test_a_context_that_the_environment_names_is_used(production: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONTEXT_VARIABLE, production)
    with pytest.raises(RuntimeError, match="refused"):
        ExistingCluster("spillway").up()


def test_taking_down_what_was_never_used_touches_nothing() -> None:
    ExistingCluster("spillway").down()


class Other(ExistingCluster):
    """A cluster on which somebody else has made every namespace there is asked for."""

    def __init__(self) -> None:
        super().__init__("spillway", any_context=True)
        self.asked: list[str] = []

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Answer as kubectl would; nothing is ever applied."""
        assert stdin is None, arguments
        self.asked.append(arguments[0])
        return json.dumps({"metadata": {"name": arguments[2], "labels": {"kubernetes.io/metadata.name": arguments[2]}}})


def test_an_installation_that_is_there_already_is_neither_changed_nor_deleted_in_the_end() -> None:
    cluster = Other()
    with pytest.raises(SystemExit, match=r"spillway-system is there already"):
        Stack(cluster).install()
    assert cluster.asked == ["get"]
