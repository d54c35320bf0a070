"""A kind cluster is used and deleted only where this tool made it."""

from pathlib import Path

import pytest

from tests.e2e.cluster.kind import KindCluster

NAME = "spillway"
KIND = f"""#!/bin/sh
echo "$*" >> "$KIND_ASKED"
[ "$1 $2" != "get clusters" ] || echo {NAME}
"""


@pytest.fixture(autouse=True)
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a kind on PATH that has one cluster and notes down what it is asked for, in front of an empty cache."""
    program = tmp_path / "bin" / "kind"
    program.parent.mkdir()
    program.write_text(KIND)
    program.chmod(0o755)
    notes = tmp_path / "asked"
    notes.touch()
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setenv("KIND_ASKED", str(notes))
    monkeypatch.setenv("SPILLWAY_CACHE", str(tmp_path / "cache"))
    return notes


def test_one_that_somebody_else_made_is_neither_used_nor_deleted(asked: Path) -> None:
    refused = "did not make; take another --name"
    with pytest.raises(SystemExit, match=refused):
        KindCluster(NAME).up(())
    with pytest.raises(SystemExit, match=refused):
        KindCluster(NAME).down()
    assert set(asked.read_text().splitlines()) == {"get clusters"}


def test_one_made_here_is_deleted_even_if_it_is_only_half_there(asked: Path, tmp_path: Path) -> None:
    made_from = tmp_path / "cache" / "run" / NAME / "kind.yaml"
    made_from.parent.mkdir(parents=True)
    made_from.touch()
    KindCluster(NAME).down()
    assert f"delete cluster --name {NAME}" in asked.read_text()
    assert not made_from.parent.exists()


def test_where_there_is_none_nothing_is_deleted(asked: Path, tmp_path: Path) -> None:
    of_another = tmp_path / "cache" / "run" / "other" / "pids"
    of_another.mkdir(parents=True)
    KindCluster("other").down()
    assert asked.read_text() == "get clusters\n"
    assert of_another.exists()
