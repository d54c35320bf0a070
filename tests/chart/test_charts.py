"""The charts as files: they lint, their generated parts are current, their versions are the project's."""

import json
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from spillway.api.catalogue import AcceleratorClassSpec
from spillway.api.crd import KINDS
from tests.chart.conftest import CHART, CRD_CHART, ROOT, SETS, helm, refusal, template, values_file
from tests.e2e.cluster import helm_docs, images

CHARTS = (CHART, CRD_CHART)


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_a_chart_lints_strictly(chart: Path) -> None:
    done = helm("lint", "--strict", str(chart))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("values", SETS.values(), ids=SETS)
def test_the_chart_lints_with_every_set_of_values(values: dict[str, Any], tmp_path: Path) -> None:
    done = helm("lint", "--strict", str(CHART), "-f", str(values_file(tmp_path, values)))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("folder", [CHART / "crds", CRD_CHART / "templates"], ids=["spillway", "spillway-crds"])
def test_a_charts_crds_are_the_generated_ones(folder: Path) -> None:
    expected = {path.name: path.read_text() for path in (ROOT / "crds").glob("*.yaml")}
    assert {path.name: path.read_text() for path in folder.glob("*.yaml")} == expected
    assert len(expected) == len(KINDS)


def test_helm_renders_the_crd_chart_without_changing_a_definition(tmp_path: Path) -> None:
    found = {o["metadata"]["name"]: o for o in template(tmp_path, {}, CRD_CHART).objects}
    expected = [yaml.safe_load(path.read_text()) for path in (ROOT / "crds").glob("*.yaml")]
    assert found == {o["metadata"]["name"]: o for o in expected}
    assert all(o["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for o in found.values()), (
        "an uninstall must not delete workloads"
    )


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_a_charts_readme_is_what_helm_docs_writes(chart: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(chart, tmp_path / chart.name)
    (copied / "README.md").unlink()
    helm_docs.write(tmp_path)
    assert (copied / "README.md").read_text() == (chart / "README.md").read_text(), "run `make generate`"


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_a_charts_version_is_the_projects(chart: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    described = yaml.safe_load((chart / "Chart.yaml").read_text())
    assert (described["version"], described["appVersion"]) == (project, project)


def test_default_images_are_the_public_ones_of_the_image_list() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    prometheus = values["prometheus"]["image"]
    assert values["engine"]["image"] == images.public_reference("engine")
    assert values["engine"]["image"].endswith(f":v{values['engine']['version']}")
    assert values["gateway"]["image"] == images.public_reference("gateway")
    assert f"{prometheus['repository']}:{prometheus['tag']}" == images.public_reference("prometheus")
    assert f"{values['image']['repository']}:" in images.public_reference("operator")
    listed = yaml.safe_load(yaml.safe_load((CHART / "Chart.yaml").read_text())["annotations"]["artifacthub.io/images"])
    assert {i["image"] for i in listed} == {images.public_reference(n) for n in ("operator", "gateway", "engine", "prometheus")}


def test_every_value_is_described_and_in_the_schema() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(values) == set(schema["properties"]) - {"global", "enabled"}
    described = re.findall(r"^\| ([a-zA-Z0-9.]+) \| \w+ \| .* \| (.*) \|$", (CHART / "README.md").read_text(), re.MULTILINE)
    assert [name for name, text in described if not text.strip()] == []
    assert set(values) == {name.split(".")[0] for name, _ in described} - {"Key"}


def test_the_catalogue_is_read_by_the_operators_own_models_and_every_price_has_a_date() -> None:
    catalogue = yaml.safe_load((CHART / "values.yaml").read_text())["acceleratorClasses"]["catalogue"]
    assert {"nvidia-h100-80gb", "nvidia-h200", "nvidia-a100-80gb", "nvidia-a100-40gb", "nvidia-l40s", "nvidia-l4", "nvidia-a10g"} <= set(
        catalogue
    )
    for name, spec in catalogue.items():
        read = AcceleratorClassSpec.model_validate(spec)
        assert set(spec) <= {field.alias for field in AcceleratorClassSpec.model_fields.values()}, f"{name} has a field nobody reads"
        assert read.price is not None, name
        assert read.price.on_demand_usd_per_hour > 0
        assert read.price.source
        assert read.node_selector["nvidia.com/gpu.product"].startswith("NVIDIA-")


def test_an_entry_of_the_catalogue_may_have_every_field_of_an_accelerator_class() -> None:
    definition = yaml.safe_load((ROOT / "crds" / "spillway.dev_acceleratorclasses.yaml").read_text())
    (version,) = definition["spec"]["versions"]
    values = json.loads((CHART / "values.schema.json").read_text())["$defs"]["acceleratorClass"]
    assert fields(values) == fields(version["schema"]["openAPIV3Schema"]["properties"]["spec"])


def test_a_default_of_gateways_pods_may_have_every_field_that_a_workload_may_give_its_own() -> None:
    definition = yaml.safe_load((ROOT / "crds" / "spillway.dev_inferenceworkloads.yaml").read_text())
    (version,) = definition["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    template = spec["gateway"]["properties"]["podTemplate"]["properties"]
    values = json.loads((CHART / "values.schema.json").read_text())["$defs"]
    assert fields(values["toleration"]) == fields(template["tolerations"]["items"])
    affinity = template["affinity"]["properties"]["nodeAffinity"]
    term = affinity["properties"]["preferredDuringSchedulingIgnoredDuringExecution"]["items"]["properties"]["preference"]
    (expressions,), (ours,) = (each["properties"].values() for each in (term, values["nodeSelectorTerm"]))
    assert fields(ours["items"]) == fields(expressions["items"])
    assert values["nodeAffinity"]["properties"].keys() == affinity["properties"].keys()


def fields(schema: dict[str, Any], within: str = "") -> set[str]:
    """Return the paths of a schema's properties; of anyOf those of each."""
    found = {path for each in schema.get("anyOf", ()) for path in fields(each, within)}
    for name, part in schema.get("properties", {}).items():
        found |= {f"{within}{name}"} | fields(part, f"{within}{name}.")
    return found


def test_an_accelerators_share_of_its_node_has_a_plausible_price() -> None:
    catalogue = yaml.safe_load((CHART / "values.yaml").read_text())["acceleratorClasses"]["catalogue"]
    shares = {}
    for name, spec in catalogue.items():
        read = AcceleratorClassSpec.model_validate(spec)
        assert read.price is not None
        shares[name] = float(read.price.on_demand_usd_per_hour) / read.per_node
    # Wide enough for any of them, and too narrow for a node's price that was entered as an accelerator's, or the other way round.
    assert all(0.5 <= usd <= 16 for usd in shares.values()), shares


MAY_BE_EMPTY = ("commonLabels", "resources", "podLabels", "podAnnotations", "nodeSelector", "affinity")


def asked_by(url: str = "https://a.b.svc", **values: Any) -> dict[str, Any]:
    """Return values of a Prometheus at that URL."""
    return {"prometheus": {"url": url, **values}}


WRONG_VALUES: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown value": ({"replica": 2}, "replica"),
    "a name that no Service can have": ({"fullnameOverride": "my.spillway"}, "fullnameOverride"),
    "an unknown operator setting": ({"operator": {"tick": 3}}, "tick"),
    "a tick in words": ({"operator": {"tickSeconds": "15s"}}, "tickSeconds"),
    "a hold time in words": ({"operator": {"placement": {"holdSeconds": "1d"}}}, "holdSeconds"),
    "no replica below zero": ({"replicas": -1}, "replicas"),
    "an unknown pull policy": ({"imagePullPolicy": "Sometimes"}, "imagePullPolicy"),
    "a digest that is none": ({"image": {"digest": "abc"}}, "digest"),
    "a tag in the repository": ({"image": {"repository": "spillway/operator:1"}}, "repository"),
    "an engine without a version": ({"engine": {"version": "latest"}}, "version"),
    "a URL without a scheme": ({"prometheus": {"url": "prometheus:9090"}}, "url"),
    "an address that is not all of them": ({"listenAddress": "127.0.0.1"}, "listenAddress"),
    "an interval without a unit": ({"prometheus": {"scrapeInterval": "5"}}, "scrapeInterval"),
    "a floating-point price": ({"acceleratorClasses": {"catalogue": {"mine": {"price": {"onDemandUSDPerHour": 1.5}}}}}, "mine"),
    "a price without a source": (
        {"acceleratorClasses": {"catalogue": {"nvidia-l4": {"price": {"source": None, "onDemandUSDPerHour": "1"}}}}},
        "source",
    ),
    "both Prometheis": ({"prometheus": {"url": "http://a.b.svc", "install": True}}, "not both"),
    "a credential for nobody": ({"prometheus": {"auth": {"secret": "a"}}}, "are for the Prometheus at prometheus.url: set that"),
    "a tenant for the bundled one": (
        {"prometheus": {"install": True, "headers": {"X-Scope-OrgID": "a"}}},
        "are for the Prometheus at prometheus.url",
    ),
    "two credentials": (asked_by(auth={"secret": "a", "serviceAccountToken": True}), "Prometheus takes one credential"),
    "two authorities": (asked_by(ca={"secret": "a", "configMap": "b"}), "prometheus.ca.configMap or prometheus.ca.secret, not both"),
    "an authority without TLS": (asked_by("http://a.b.svc", ca={"secret": "a"}), "prometheus.ca is for TLS"),
    "the operator's own token without TLS": (asked_by("http://a.b.svc", auth={"serviceAccountToken": True}), "is sent over TLS only"),
    "a credential among the headers": (asked_by(headers={"authorization": "Bearer x"}), "put it in a Secret, and name that"),
    "a token in the values": (asked_by(auth={"token": "sesame"}), "token"),
    "a header that is two": (asked_by(headers={"X-Scope-OrgID": "a\nb: c"}), "X-Scope-OrgID"),
    "a tenant that is a number": (asked_by(headers={"X-Scope-OrgID": 42}), "X-Scope-OrgID"),
    "a Secret that nothing can be called": (asked_by(auth={"secret": "My Secret"}), "secret"),
    **{
        f"nothing below {section}": ({section: None}, f"missing property '{section}'")
        for section, given in yaml.safe_load((CHART / "values.yaml").read_text()).items()
        if isinstance(given, dict) and section not in MAY_BE_EMPTY
    },
    "a setting past its value": ({"extraEnv": [{"name": "SPILLWAY_TICK_SECONDS", "value": "3"}]}, "/extraEnv/0/name"),
    "a variable that is a number": ({"extraEnv": [{"name": "RETRIES", "value": 3}]}, "/extraEnv/0/value"),
    "an account that is neither made nor named": ({"serviceAccount": {"create": False}}, "serviceAccount.name"),
}


@pytest.mark.parametrize(("values", "named"), WRONG_VALUES.values(), ids=WRONG_VALUES)
def test_wrong_values_are_refused_by_name(values: dict[str, Any], named: str, tmp_path: Path) -> None:
    assert named in refusal(tmp_path, values)


def test_both_charts_can_be_switched_on_by_a_parent_charts_condition(tmp_path: Path) -> None:
    parent = tmp_path / "platform"
    dependencies = []
    for chart in CHARTS:
        shutil.copytree(chart, parent / "charts" / chart.name)
        version = yaml.safe_load((chart / "Chart.yaml").read_text())["version"]
        dependencies.append({"name": chart.name, "version": version, "condition": f"{chart.name}.enabled"})
    described = {"apiVersion": "v2", "name": "platform", "version": "1.0.0", "dependencies": dependencies}
    (parent / "Chart.yaml").write_text(yaml.safe_dump(described))
    found = template(tmp_path, {"spillway": {"enabled": True}, "spillway-crds": {"enabled": True}}, parent, release="platform")
    assert found.pod("platform-spillway-operator")
    assert len(found.all("CustomResourceDefinition")) == len(KINDS)
    assert not template(tmp_path, {"spillway": {"enabled": False}, "spillway-crds": {"enabled": False}}, parent).objects


def test_a_cluster_that_is_too_old_is_refused(tmp_path: Path) -> None:
    done = helm("template", "spillway", str(CHART), "--kube-version", "1.29.4", "-f", str(values_file(tmp_path, {})))
    assert done.returncode != 0
    assert "kubeVersion" in done.stderr


def test_a_vendors_version_suffix_is_no_reason_to_refuse(tmp_path: Path) -> None:
    done = helm("template", "spillway", str(CHART), "--kube-version", "1.30.5-gke.1014001", "-f", str(values_file(tmp_path, {})))
    assert done.returncode == 0, done.stderr
