"""Every folder here is a promise: in.yaml is what is asked for, out/ is what is applied, one file per object."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.golden.objects.case import Case, case, load, with_settings
from tests.golden.readable import readable

HERE = Path(__file__).parent
HYBRID = "a-hybrid-workload-spills-what-its-replicas-cannot-hold"
AUTO = "under-auto-what-the-plan-chose-is-made-as-if-it-had-been-asked-for"
# What a configuration that could reach a provider has: its listener and cluster, TLS, a key and where that is mounted.
WAYS_OUT = ("hosted-rented", "UpstreamTlsContext", "credential_injector", "/etc/spillway/hosted", "'secret'")
CASES = sorted(path.parent for path in HERE.glob("*/in.yaml"))


def written(case: Case) -> dict[str, str]:
    """Return the rendered objects as files; the number is the place in apply order."""
    return {
        f"{place:02d}-{each['kind'].lower()}-{each['metadata']['name']}.yaml": readable(_shown(each), width=200)
        for place, each in enumerate(case.render(), start=1)
    }


def _shown(rendered: dict[str, Any]) -> dict[str, Any]:
    """Return an object with Envoy's files named only: they have golden cases of their own."""
    if rendered["kind"] != "ConfigMap":
        return rendered
    return {**rendered, "data": dict.fromkeys(rendered["data"], "# see tests/golden/envoy\n")}


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_the_rendered_objects_are_those_on_file(folder: Path, request: pytest.FixtureRequest) -> None:
    rendered = written(load(folder / "in.yaml"))
    out = folder / "out"
    if request.config.getoption("--update-golden", default=False):
        out.mkdir(exist_ok=True)
        for stale in {path.name for path in out.iterdir()} - rendered.keys():
            (out / stale).unlink()
        for name, text in rendered.items():
            (out / name).write_text(text)
    assert rendered == {path.name: path.read_text() for path in out.iterdir()}, (
        "rendered objects differ; if that is wanted: pytest tests/golden --update-golden"
    )


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_rendering_twice_gives_the_same_objects(folder: Path) -> None:
    assert written(load(folder / "in.yaml")) == written(load(folder / "in.yaml"))


def test_a_new_default_engine_leaves_the_replicas_of_an_existing_pool_alone() -> None:
    """An upgrade of the chart brings a newer engine; a pool keeps the one it was made with."""
    existing = load(Path(__file__).parent / "a-pool-keeps-its-default-engine" / "in.yaml")
    upgraded = with_settings(existing, engine_image="vllm/vllm-openai:v0.40.0", engine_version="0.40.0")
    assert existing.engine() == upgraded.engine()


@pytest.mark.parametrize("mode", ["Dedicated", "Hybrid"])
def test_with_cluster_only_no_object_knows_of_a_provider_its_key_or_a_way_out(mode: str) -> None:
    """Also where a spec that the API server would refuse names backends all the same: they are absent, not weighted with zero."""
    documents = [each for each in yaml.load_all((HERE / HYBRID / "in.yaml").read_text(), Loader=yaml.CSafeLoader) if each]
    names = [text for each in documents if each["kind"] == "HostedProvider" for text in _telling(each)]
    spec = next(each["spec"] for each in documents if each["kind"] == "InferenceWorkload")
    text = str(case(*documents).render())
    assert all(name in text for name in (*names, *WAYS_OUT))
    spec["placement"] = {"mode": mode, "dataResidency": "ClusterOnly"}
    kept = case(*documents)
    assert not kept.decide().backends
    assert [name for name in (*names, *WAYS_OUT) if name in str(kept.render())] == []


def test_what_auto_chose_is_what_asking_for_it_gives() -> None:
    """Else to write down what is recommended would restart replicas."""
    documents = [each for each in yaml.load_all((HERE / AUTO / "in.yaml").read_text(), Loader=yaml.CSafeLoader) if each]
    chosen = case(*documents).render()
    spec = next(each["spec"] for each in documents if each["kind"] == "InferenceWorkload")
    spec["placement"] = {"mode": "Dedicated"}
    spec["dedicated"] |= {"accelerators": ["h100"], "engine": {"tensorParallelSize": 2}}
    del spec["hosted"]
    assert case(*documents).render() == chosen


def _telling(provider: dict[str, Any]) -> list[str]:
    """Return what gives a provider away: its host, its Secret, its models."""
    spec = provider["spec"]
    models = [each["name"] for each in spec["models"]]
    return [urlsplit(spec["baseURL"]).hostname or "", spec["auth"]["secretRef"]["name"], *models]
