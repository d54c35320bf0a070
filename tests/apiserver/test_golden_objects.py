"""What is rendered is what a real API server takes: every golden object, and every pod of theirs under Pod Security "restricted"."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.apiserver.server import ApiServer

pytestmark = pytest.mark.apiserver

CASES = sorted(path for path in (Path(__file__).parents[1] / "golden" / "objects").glob("*/out") if path.is_dir())


def objects(folder: Path) -> list[dict[str, Any]]:
    return [yaml.safe_load(path.read_text()) for path in sorted(folder.iterdir())]


def moved(document: dict[str, Any], namespace: str) -> dict[str, Any]:
    """Return the object in the test's namespace; its owner is on file only."""
    metadata = {key: value for key, value in document["metadata"].items() if key != "ownerReferences"}
    return {**document, "metadata": {**metadata, "namespace": namespace}}


def pod(deployment: dict[str, Any], namespace: str) -> dict[str, Any]:
    template = deployment["spec"]["template"]
    metadata = {**template["metadata"], "name": deployment["metadata"]["name"], "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.parent.name)
def test_every_golden_object_is_taken_and_every_pod_is_restricted(apiserver: ApiServer, namespace: str, folder: Path) -> None:
    apiserver.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted", "--overwrite")
    for runtime_class in ("nvidia", "nvidia-cdi", "gvisor"):
        handler = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": runtime_class}, "handler": runtime_class}
        assert apiserver.apply(handler).code == 0
    priority = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "serving"}, "value": 1000}
    assert apiserver.apply(priority).code == 0
    rendered = [moved(each, namespace) for each in objects(folder)]
    account = next(each for each in rendered if each["kind"] == "ServiceAccount")
    assert apiserver.apply(account).code == 0  # a pod is refused whose account is not there
    pods = [pod(each, namespace) for each in rendered if each["kind"] == "Deployment"]
    assert pods
    answer = apiserver.apply(*rendered, *pods, dry_run=True, namespace=namespace)
    assert answer.code == 0, answer.err
    assert "Warning" not in answer.err


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.parent.name)
def test_applying_twice_changes_nothing(apiserver: ApiServer, namespace: str, folder: Path) -> None:
    rendered = [moved(each, namespace) for each in objects(folder)]
    assert apiserver.apply(*rendered, manager="spillway", namespace=namespace).code == 0
    first = apiserver.apply(*rendered, manager="spillway", namespace=namespace).json
    second = apiserver.apply(*rendered, manager="spillway", namespace=namespace).json
    versions = [[each["metadata"]["resourceVersion"] for each in answer["items"]] for answer in (first, second)]
    assert versions[0] == versions[1]
