"""Every example, and every workload that a golden case starts from, is one that a real API server takes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from spillway.api.catalogue import AcceleratorClassSpec, HostedProviderSpec
from spillway.api.vocabulary import API_VERSION
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.observation import Catalogue
from spillway.plan.place.placement import Choice, choose_accelerator
from spillway.plan.validate import resolve_backends
from tests.apiserver.server import ROOT, ApiServer
from tests.chart.conftest import template
from tests.chart.pages import OBJECTS, PARTS

EXAMPLES = sorted((ROOT / "examples").rglob("*.yaml"))
GOLDEN_OBJECTS = ROOT / "tests/golden/objects"
# Kinds that come with other people's CRDs, which are not installed here. Any other kind the server does not know is a mistake.
FOREIGN_GROUPS = {"keda.sh"}
# Rendering holds even where the API server would have refused the workload.
REFUSED_ON_PURPOSE = {
    ("a-pod-template-adds-to-a-replica-and-takes-nothing-away", "InferenceWorkload"): "reserved for Spillway and Kubernetes",
    ("a-gateways-pod-template-adds-to-its-pods-and-its-memory-bounds-envoys", "InferenceWorkload"): "reserved for Spillway and Kubernetes",
    ("weights-on-a-volume-are-read-only-and-stay-in-the-cluster", "InferenceWorkload"): "remove ..",
}


def _documents(path: Path) -> Iterator[dict[str, Any]]:
    return (document for document in yaml.safe_load_all(path.read_text()) if document)


def _group(document: dict[str, Any]) -> str:
    return str(document["apiVersion"]).rpartition("/")[0]


def _admit(apiserver: ApiServer, namespace: str, documents: list[dict[str, Any]]) -> None:
    """Try documents on the server, each in the namespace it names; namespaces are made first, since nothing else can be."""
    for name in {document["metadata"].get("namespace") for document in documents} - {None}:
        apiserver.run_kubectl("create", "namespace", name)
    for document in documents:
        answer = apiserver.apply(document, dry_run=True, namespace=document["metadata"].get("namespace") or namespace)
        assert answer.code == 0, f"{document['kind']} {document['metadata']['name']}: {answer.err}"


def test_there_are_examples() -> None:
    assert {path.parent.name for path in EXAMPLES} >= {"examples", "quickstart"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.relative_to(ROOT / "examples").as_posix())
def test_an_example_is_admitted(apiserver: ApiServer, namespace: str, path: Path) -> None:
    documents = list(_documents(path))
    ours = [document for document in documents if _group(document) not in FOREIGN_GROUPS]
    assert ours, f"{path} holds nothing that could be tried"
    _admit(apiserver, namespace, ours)


@pytest.mark.parametrize("place", OBJECTS)
def test_an_object_in_a_page_is_admitted(apiserver: ApiServer, namespace: str, place: str) -> None:
    document = OBJECTS[place]
    document["metadata"]["namespace"] = namespace
    answer = apiserver.apply(document, dry_run=True, namespace=namespace)
    assert answer.code == 0, answer.err


@pytest.mark.parametrize("place", PARTS)
def test_a_part_of_a_spec_in_a_page_is_admitted_in_a_whole_one(apiserver: ApiServer, namespace: str, place: str) -> None:
    spec = {"model": {"id": "acme/llama-8b"}, "placement": {"mode": "Hybrid"}, "dedicated": {}, **PARTS[place]}
    if spec["placement"]["mode"] == "Hybrid":  # pages write [...] for the backends
        backends = [{"providerRef": {"name": "acme"}, "model": "llama-8b"}]
        spec["hosted"] = {**spec.get("hosted", {}), "backends": backends}
    document = {"apiVersion": API_VERSION, "kind": "InferenceWorkload", "metadata": {"name": "chat", "namespace": namespace}, "spec": spec}
    answer = apiserver.apply(document, dry_run=True, namespace=namespace)
    assert answer.code == 0, answer.err


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.relative_to(ROOT / "examples").as_posix())
def test_an_example_begins_with_what_it_is_for(path: Path) -> None:
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize("case", sorted(path.parent for path in GOLDEN_OBJECTS.glob("*/in.yaml")), ids=lambda case: case.name)
def test_what_a_golden_case_starts_from_is_admitted_or_refused_on_purpose(apiserver: ApiServer, namespace: str, case: Path) -> None:
    for document in _documents(case / "in.yaml"):
        if document.get("apiVersion") == API_VERSION:  # others are the case's own: what the cluster holds already
            answer = apiserver.apply({**document, "metadata": {**document["metadata"], "namespace": namespace}}, dry_run=True)
            refused = REFUSED_ON_PURPOSE.get((case.name, document["kind"]))
            assert (answer.code == 0) == (refused is None), answer.err
            assert refused is None or refused in answer.err


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, AcceleratorClassSpec]:
    """Return the chart's catalogue."""
    found = template(tmp_path_factory.mktemp("values"), {}).all("AcceleratorClass")
    return {each["metadata"]["name"]: AcceleratorClassSpec.model_validate(each["spec"]) for each in found}


@pytest.mark.parametrize("path", [path for path in EXAMPLES if "kind: InferenceWorkload" in path.read_text()], ids=lambda path: path.stem)
def test_an_example_resolves_against_the_charts_catalogue(path: Path, classes: dict[str, AcceleratorClassSpec]) -> None:
    # What lies beside the quickstart's workload is applied with it; any other example is whole in itself.
    beside = sorted(path.parent.glob("*.yaml")) if path.parent.name == "quickstart" else [path]
    documents = [document for each in beside for document in _documents(each)]

    def specs(kind: str) -> dict[str, Any]:
        return {each["metadata"]["name"]: each["spec"] for each in documents if each["kind"] == kind}

    own = {name: AcceleratorClassSpec.model_validate(spec) for name, spec in specs("AcceleratorClass").items()}
    providers = {name: HostedProviderSpec.model_validate(spec) for name, spec in specs("HostedProvider").items()}
    catalogue = Catalogue(accelerator_classes=classes | own, providers=providers)
    for name, written in specs("InferenceWorkload").items():
        spec = InferenceWorkloadSpec.model_validate(written)
        assert resolve_backends(spec, catalogue)[1] == ()
        assert not spec.owns or isinstance(choose_accelerator(name, spec, catalogue, ()), Choice)
