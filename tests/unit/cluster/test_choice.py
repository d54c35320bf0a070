"""A cluster is taken down by the provider that made it, whatever the machine has got since."""

import sys
from pathlib import Path

import pytest

from tests.e2e.cluster.__main__ import main
from tests.e2e.cluster.choice import choose
from tests.e2e.cluster.existing import CONTEXT_VARIABLE
from tests.e2e.cluster.kind import KindCluster
from tests.e2e.cluster.local import LocalCluster


@pytest.fixture(autouse=True)
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a Docker daemon answer, and a cache of the test's own."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 29.0.0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setenv("SPILLWAY_CACHE", str(tmp_path / "cache"))


def trace(folder: Path, name: str, what: str) -> Path:
    left = folder / "cache" / "run" / name / what
    left.parent.mkdir(parents=True)
    left.touch()
    return left


def test_auto_is_the_provider_of_the_cluster_that_is_there(tmp_path: Path) -> None:
    trace(tmp_path, "mine", "pids")
    trace(tmp_path, "yours", "kind.yaml")
    assert isinstance(choose("auto", "mine"), LocalCluster)
    assert isinstance(choose("auto", "yours"), KindCluster)
    assert isinstance(choose("auto", "new"), KindCluster)


def test_an_existing_cluster_is_taken_down_when_it_is_allowed_and_never_chosen_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = trace(tmp_path, "theirs", "existing.kubeconfig")
    assert isinstance(choose("auto", "theirs"), KindCluster)
    context = "{current-context: production, contexts: [{name: production, context: {cluster: c, user: u}}]}"
    (tmp_path / "kubeconfig").write_text(context)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.delenv(CONTEXT_VARIABLE, raising=False)
    monkeypatch.setattr(sys, "argv", ["cluster", "down", "--name", "theirs"])
    with pytest.raises(SystemExit, match="refusing to use context 'production'"):
        main()
    assert left.exists()


def test_taking_down_all_leaves_a_cluster_that_was_not_made_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = trace(tmp_path, "theirs", "existing.kubeconfig")
    monkeypatch.setattr(sys, "argv", ["cluster", "down", "--all"])
    assert main() == 0
    assert left.exists()


def test_the_kubeconfig_of_a_cluster_that_is_not_up_is_answered_by_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["cluster", "kubeconfig", "--provider", "local", "--name", "nope"])
    assert main() == 1
    assert capsys.readouterr().err == "error: cluster nope is not up; run `up` with the same --name first\n"
