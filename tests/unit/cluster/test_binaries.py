"""What is wanted of one module is built by one `go build`, once."""

import re
import stat
from pathlib import Path

import pytest

from tests.e2e.cluster import binaries

GO = """#!/bin/sh
# Stands for the compiler: notes down what it is asked for and makes a file of that name for each package.
case $1 in version) echo "go version go1.99.0 linux/amd64"; exit;; esac
echo "$PWD $CGO_ENABLED $*" >> "$GO_ASKED"
[ -z "$GO_FAILS" ] || { echo "$GO_FAILS" >&2; exit 1; }
while [ "$1" != -o ]; do shift; done
out=$2; shift 2
for package; do
  case $package in */v3) package=${package%/v3};; esac
  echo "$package" > "$out/${package##*/}"
done
"""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a compiler that only notes down what it is asked for on PATH, in front of an empty cache."""
    program = tmp_path / "bin" / "go"
    program.parent.mkdir()
    program.write_text(GO)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    notes = tmp_path / "asked"
    notes.touch()
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setenv("SPILLWAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GO_ASKED", str(notes))
    return notes


def test_programs_of_one_module_are_built_by_one_go_build(asked: Path) -> None:
    found = binaries.paths("etcd", "kubelet", "coredns", "helm")
    assert {name: path.read_text().strip() for name, path in found.items()} == {
        "etcd": "go.etcd.io/etcd/server",
        "kubelet": "k8s.io/kubernetes/cmd/kubelet",
        "coredns": "./coredns",
        "helm": "helm.sh/helm/v4/cmd/helm",
    }
    (build,) = asked.read_text().splitlines()
    assert build.startswith(f"{binaries.MODULES / 'cluster'} 0 build -mod=readonly ")


def test_only_what_is_missing_is_built(asked: Path) -> None:
    binaries.path("etcd")
    binaries.paths("etcd", "kubelet")
    binaries.paths("kubelet", "etcd")
    assert [line.split()[-1] for line in asked.read_text().splitlines()] == ["go.etcd.io/etcd/server/v3", "k8s.io/kubernetes/cmd/kubelet"]


def test_programs_of_several_modules_take_a_build_each(asked: Path) -> None:
    binaries.paths("helm", "kind", "prometheus")
    assert len(asked.read_text().splitlines()) == 2


def test_a_failed_build_says_what_the_compiler_said_and_leaves_nothing_to_be_taken_for_a_program(
    asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GO_FAILS", "no space left on device")
    with pytest.raises(SystemExit, match=r"(?s)building etcd, kubelet from modules/cluster failed:.*no space left on device"):
        binaries.paths("etcd", "kubelet")
    monkeypatch.delenv("GO_FAILS")
    assert binaries.path("etcd").read_text()
    assert len(asked.read_text().splitlines()) == 2


def test_an_unknown_program_is_named_with_those_that_are_known() -> None:
    with pytest.raises(KeyError, match=r"no program called 'docker'.*containerd.*kubectl"):
        binaries.path("docker")


def test_modules_that_share_packages_have_them_at_the_same_version() -> None:
    versions = {module: _versions(binaries.MODULES / module / "go.mod") for module in ("cluster", "node")}
    shared = versions["cluster"].keys() & versions["node"].keys()
    differing = {name for name in shared if versions["cluster"][name] != versions["node"][name]}
    assert differing == {"k8s.io/cri-api"}, "go get the same version in both: a package at two versions is compiled twice"


def _versions(go_mod: Path) -> dict[str, str]:
    """Return the version of each module that go.mod requires, or of what replaces it."""
    text = go_mod.read_text()
    required = re.findall(r"^(?:require )?\s*(\S+) (v\S+)(?: // indirect)?$", text, re.MULTILINE)
    replaced = re.findall(r"^\s*(\S+) => \S+ (v\S+)$", text, re.MULTILINE)
    return dict(required) | dict(replaced)


@pytest.mark.parametrize("name", binaries.PROGRAMS)
def test_every_program_has_a_pinned_version(name: str) -> None:
    assert binaries.version(name).startswith("v")
