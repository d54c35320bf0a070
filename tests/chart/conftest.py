"""Helm itself renders the charts; tests read what it wrote."""

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.cluster import binaries

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "spillway"
CRD_CHART = ROOT / "charts" / "spillway-crds"
NAMESPACE = "spillway-system"

# Values of an installation; together they switch on everything the chart has.
DEFAULT: dict[str, Any] = {}
BUNDLED: dict[str, Any] = {
    "prometheus": {"install": True, "persistence": {"enabled": True, "storageClassName": "fast"}, "dcgm": {"enabled": True}},
    "imagePullSecrets": [{"name": "pull"}],
}
STACK: dict[str, Any] = {
    "prometheus": {"url": "http://kube-prometheus-stack-prometheus.monitoring.svc:9090"},
    "podMonitor": {"enabled": True, "additionalLabels": {"release": "kube-prometheus-stack"}},
    "serviceMonitor": {"enabled": True, "additionalLabels": {"release": "kube-prometheus-stack"}},
    "prometheusRule": {
        "enabled": True,
        "additionalLabels": {"release": "kube-prometheus-stack"},
        "runbookURL": "https://wiki.example.com/spillway",
    },
    "dashboard": {"enabled": True, "annotations": {"grafana_folder": "LLM"}},
}
PLACED: dict[str, Any] = {
    "fullnameOverride": "other",
    "image": {"repository": "localhost:5000/mirror/operator", "digest": "sha256:" + "a" * 64},
    "replicas": 1,
    "nodeSelector": {"pool": "system"},
    "tolerations": [{"key": "system", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "topologySpreadConstraints": [],
    "priorityClassName": "system-cluster-critical",
    "podLabels": {"team": "ml"},
    "podAnnotations": {"note": "yes"},
    "serviceAccount": {"create": False, "name": "made-elsewhere"},
    "acceleratorClasses": {"catalogue": {"nvidia-b200": None, "nvidia-l4": {"price": {"onDemandUSDPerHour": "0.5"}}}},
}
GUARDED: dict[str, Any] = {
    "prometheus": {
        "url": "https://mimir.example.com/prometheus",
        "auth": {"secret": "reads-metrics"},
        "ca": {"configMap": "corporate", "key": "service-ca.crt"},
        "headers": {"X-Scope-OrgID": "team"},
    }
}
SETS = {
    "default": DEFAULT,
    "bundled-prometheus": BUNDLED,
    "kube-prometheus-stack": STACK,
    "placed": PLACED,
    "behind-authentication": GUARDED,
}


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """The objects of one release."""

    objects: tuple[dict[str, Any], ...]

    def all(self, kind: str) -> list[dict[str, Any]]:
        """Return the objects of a kind."""
        return [o for o in self.objects if o["kind"] == kind]

    def one(self, kind: str, name: str) -> dict[str, Any]:
        """Return the one object of a kind and name."""
        (found,) = (o for o in self.all(kind) if o["metadata"]["name"] == name)
        return found

    def pod(self, deployment: str) -> dict[str, Any]:
        """Return the pod template's spec of a Deployment."""
        spec: dict[str, Any] = self.one("Deployment", deployment)["spec"]["template"]["spec"]
        return spec


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Helm, with its folders away from the user's own."""
    with tempfile.TemporaryDirectory() as home:
        environment = {"PATH": "/usr/bin:/bin", "HOME": home}
        command = [str(binaries.path("helm")), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def values_file(folder: Path, values: dict[str, Any]) -> Path:
    """Write values where Helm can read them."""
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def template(
    folder: Path, values: dict[str, Any], chart: Path = CHART, *, release: str = "spillway", namespace: str = NAMESPACE
) -> Rendered:
    """Return what a release of that name would install."""
    done = helm("template", release, str(chart), "-n", namespace, "-f", str(values_file(folder, values)))
    assert done.returncode == 0, done.stderr
    return Rendered(objects=tuple(o for o in yaml.safe_load_all(done.stdout) if o))


def refusal(folder: Path, values: dict[str, Any]) -> str:
    """Return Helm's sentence about values that it refuses."""
    done = helm("template", "spillway", str(CHART), "-n", NAMESPACE, "-f", str(values_file(folder, values)))
    assert done.returncode != 0, f"accepted: {values}"
    return done.stderr


@pytest.fixture(scope="session", params=list(SETS))
def rendered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """Return the chart's objects, for each of the value sets."""
    return template(tmp_path_factory.mktemp("values"), SETS[request.param])


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """Return what the defaults give."""
    return template(tmp_path_factory.mktemp("values"), DEFAULT)


@pytest.fixture(scope="session")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """Return what comes with the bundled Prometheus."""
    return template(tmp_path_factory.mktemp("values"), BUNDLED)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """Return what goes beside a kube-prometheus-stack."""
    return template(tmp_path_factory.mktemp("values"), STACK)
