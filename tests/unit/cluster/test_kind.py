"""A kind cluster is used and deleted only where this tool made it; how images get onto its node, and clients into its network.

Programs stand in the place of kind and Docker.
"""

import json
import os
from pathlib import Path

import pytest

from tests.e2e.cluster.kind import KindCluster
from tests.e2e.cluster.provider import run_folder

NAME = "mine"


class Cluster(KindCluster):
    """A cluster whose API server answers that all is well."""

    def __init__(self) -> None:
        super().__init__(NAME)
        self.asked: list[tuple[str, ...]] = []

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Answer as kubectl would."""
        assert (stdin is not None) == (arguments[:1] == ("apply",)), arguments
        self.asked.append(arguments)
        if arguments[:2] == ("get", "--raw"):
            return "ok"
        return json.dumps({"spec": {"clusterIP": "10.96.0.7"}}) if arguments[:2] == ("get", "service") else "mine-control-plane"


@pytest.fixture(autouse=True)
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have kind say what it was asked, and know one cluster; return the folder of programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    install(folder, "kind", f'echo "$@" >> {tmp_path}/kind.log; [ "$1" != get ] || echo {NAME}')
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setenv("SPILLWAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return folder


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """Return what kind notes down."""
    notes = tmp_path / "kind.log"
    notes.touch()
    return notes


@pytest.fixture
def cluster() -> Cluster:
    made = Cluster()
    made.kubeconfig.parent.mkdir(parents=True)
    made.kubeconfig.touch()
    (made.kubeconfig.parent / "kind.yaml").touch()  # ours
    return made


def install(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_one_that_somebody_else_made_is_neither_used_nor_deleted(asked: Path) -> None:
    refused = "did not make; take another --name"
    with pytest.raises(SystemExit, match=refused):
        KindCluster(NAME).up(())
    with pytest.raises(SystemExit, match=refused):
        KindCluster(NAME).down()
    assert set(asked.read_text().splitlines()) == {"get clusters"}


def test_one_made_here_is_deleted_even_if_it_is_only_half_there(tmp_path: Path, asked: Path) -> None:
    made_from = tmp_path / "cache" / "run" / NAME / "kind.yaml"
    made_from.parent.mkdir(parents=True)
    made_from.touch()
    KindCluster(NAME).down()
    assert f"delete cluster --name {NAME}" in asked.read_text()
    assert not made_from.parent.exists()


def test_where_there_is_none_nothing_is_deleted(tmp_path: Path, asked: Path) -> None:
    of_another = tmp_path / "cache" / "run" / "other" / "pids"
    of_another.mkdir(parents=True)
    KindCluster("other").down()
    assert asked.read_text() == "get clusters\n"
    assert of_another.exists()


def test_images_that_cannot_be_built_are_refused_before_a_cluster_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SystemExit, match="needs Linux and root; run this as root"):
        KindCluster(NAME).up(["gateway"])
    assert not (tmp_path / "kind.log").exists()


def test_an_archive_is_loaded_once_and_again_where_it_is_another(tmp_path: Path, cluster: Cluster) -> None:
    archive = tmp_path / "image.tar"
    for content in ("first", "first", "the second"):
        if not archive.exists() or archive.read_text() != content:
            archive.write_text(content)
        cluster.load_images({"gateway": archive})
    assert (tmp_path / "kind.log").read_text().splitlines() == [f"load image-archive --name {NAME} {archive}"] * 2


def test_a_cluster_that_is_there_already_is_furnished_again(cluster: Cluster) -> None:
    cluster.up([])
    patches = {each[1]: json.loads(each[-1]) for each in cluster.asked if each[0] == "patch"}
    assert patches["node"]["status"]["capacity"] == {"nvidia.com/gpu": "8"}
    assert patches.keys() == {"node", "storageclass"}
    assert sum(each[0] == "apply" for each in cluster.asked) == 2  # the class and the volume


def test_a_service_is_reached_from_within_the_node(programs: Path, cluster: Cluster) -> None:
    in_every_cgroup = "/"
    install(programs, "docker", f"echo {in_every_cgroup} {os.getpid()}")
    _, process = cluster.forward("chat.quickstart", 80)
    try:
        command = " ".join(map(str, process.args))  # type: ignore[arg-type]  # a list, as all of ours are
        assert f"--netns /proc/{os.getpid()}/ns/net" in command
        assert "--to 10.96.0.7:80" in command
    finally:
        process.kill()
        process.wait()


def test_a_node_in_a_virtual_machine_is_left_to_kubectl(programs: Path, cluster: Cluster) -> None:
    install(programs, "docker", f"echo 0123456789abcdef {os.getpid()}")
    with pytest.raises(RuntimeError, match="`kubectl port-forward` to service/chat in namespace quickstart ended"):
        cluster.forward("chat.quickstart", 80)


def test_taking_it_down_ends_what_forwards_to_it(programs: Path, cluster: Cluster) -> None:
    install(programs, "docker", f"echo / {os.getpid()}")
    _, process = cluster.forward("10.0.0.1", 80)
    cluster.down()
    process.wait(timeout=10)
    assert not run_folder(NAME).exists()
