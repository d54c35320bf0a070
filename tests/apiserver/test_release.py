"""The charts on a real API server, by Helm itself: releases of all kinds of names, and the upgrade that the documentation tells."""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apiserver.server import ApiServer
from tests.chart.conftest import BUNDLED, CHART, CRD_CHART, GUARDED, PLACED, ROOT, helm, values_file

CRDS = "charts/spillway/crds/"
NAMESPACES = iter(range(100, 200))  # all digits, which a namespace's name may be


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    """Start an API server that has nothing of ours."""
    with ApiServer.started() as it:
        yield it


def install(server: ApiServer, *arguments: str) -> None:
    done = helm(*arguments, "--kubeconfig", str(server.kubeconfig))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("release", ["spillway", "1team", "5", "team.llm", "a" * 53])
def test_the_chart_is_installed_and_upgraded_under_every_name_that_helm_takes(server: ApiServer, release: str, tmp_path: Path) -> None:
    where = ("-n", str(next(NAMESPACES)))
    for values in (BUNDLED, PLACED | {"fullnameOverride": ""}):
        path = str(values_file(tmp_path, values))
        install(server, "upgrade", "--install", release, str(CHART), *where, "--create-namespace", "-f", path)
    install(server, "uninstall", release, *where)


def test_what_prometheus_asks_for_can_be_changed_by_an_upgrade(server: ApiServer, tmp_path: Path) -> None:
    where = ("-n", str(next(NAMESPACES)))
    own_token = {"url": GUARDED["prometheus"]["url"], "auth": {"serviceAccountToken": True}, "ca": {"secret": "authority"}}
    mounted = []
    for values in (GUARDED, {"prometheus": own_token}, {"replicas": 1}, GUARDED):
        install(
            server, "upgrade", "--install", "guarded", str(CHART), *where, "--create-namespace", "-f", str(values_file(tmp_path, values))
        )
        made = json.loads(server.kubectl("get", "deployment", "guarded-spillway-operator", *where, "-o", "json"))
        volumes = made["spec"]["template"]["spec"]["volumes"]
        mounted.append([(each["name"], *(set(each) - {"name"})) for each in volumes])
    first = [("tmp", "emptyDir"), ("prometheus-auth", "secret"), ("prometheus-ca", "configMap")]
    own = [("tmp", "emptyDir"), ("prometheus-auth", "projected"), ("prometheus-ca", "secret")]
    assert mounted == [first, own, [("tmp", "emptyDir")], first]
    install(server, "uninstall", "guarded", *where)


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """Return the CRDs as another version might have them."""
    folder = shutil.copytree(ROOT / CRDS, tmp_path / "crds")
    for path in folder.glob("*.yaml"):
        path.write_text(re.sub(r"maxLength: \d+", "maxLength: 7", path.read_text(), count=1))
    return folder


def test_the_documented_command_upgrades_crds_that_helm_has_installed(server: ApiServer, newer: Path) -> None:
    namespace = str(next(NAMESPACES))
    install(server, "install", "first", str(CHART), "-n", namespace, "--create-namespace")
    install(server, "uninstall", "first", "-n", namespace)  # which leaves the CRDs
    pages = [(ROOT / page).read_text() for page in ("README.md", "docs/install.md", "charts/spillway/README.md")]
    (command,) = {command for page in pages for command in re.findall(rf"kubectl (apply .*-f {CRDS})", page)}
    server.kubectl(*(str(newer) if part == CRDS else part for part in shlex.split(command)))


def test_the_chart_of_the_crds_takes_over_those_that_kubectl_has_applied(server: ApiServer, newer: Path) -> None:
    server.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(newer))
    options = re.findall(r"`(--[a-z-]+)`", (CRD_CHART / "README.md").read_text())
    install(server, "install", "crds", str(CRD_CHART), "-n", str(next(NAMESPACES)), "--create-namespace", *options)
