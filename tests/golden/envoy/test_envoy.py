"""Every folder here is a promise: in.yaml is what was decided, out/ what Envoy gets. tests/dataplane/test_accepted.py has Envoy read it."""

import json
from dataclasses import replace

import pytest

from spillway.render.envoy import config as envoy
from tests.golden.envoy.cases import DEDICATED, HERE, HOSTED, PROMISES, load
from tests.golden.readable import readable


def written(files: dict[str, str]) -> dict[str, str]:
    """Return the files with the bootstrap as YAML, for people to read what changed."""
    bootstrap = json.loads(files["envoy.json"])
    rest = {name: content for name, content in files.items() if name != "envoy.json"}
    return {**rest, "envoy.yaml": readable(bootstrap, width=1000)}


@pytest.mark.parametrize("promise", PROMISES)
def test_configuration_is_as_on_file(promise: str, *, request: pytest.FixtureRequest) -> None:
    out = HERE / promise / "out"
    files = written(load(promise).files())
    if request.config.getoption("--update-golden"):
        out.mkdir(exist_ok=True)
        for stale in out.iterdir():
            stale.unlink()
        for name, content in files.items():
            (out / name).write_text(content)
    assert {each.name: each.read_text() for each in out.iterdir()} == files, "if this is meant: pytest tests/golden --update-golden"


def test_a_dedicated_workload_has_no_cluster_but_its_replicas_and_itself() -> None:
    config = json.loads(load(DEDICATED).files()["envoy.json"])
    assert {each["name"] for each in config["static_resources"]["clusters"]} == {"owned", "admin", "pause"}
    assert "tls" not in load(DEDICATED).files()["envoy.json"]
    assert not envoy.hosted_mounts(load(DEDICATED).decision)


def test_a_hosted_workload_has_no_cluster_of_replicas() -> None:
    config = json.loads(load(HOSTED).files()["envoy.json"])
    names = {each["name"] for each in config["static_resources"]["clusters"]}
    assert not {"owned", "hop-owned"} & names


@pytest.mark.parametrize("promise", PROMISES)
def test_a_changed_cap_changes_no_file_that_rolls_the_gateway(promise: str) -> None:
    case = load(promise)
    changed = replace(case.decision, gateway=replace(case.decision.gateway, cap_per_gateway=99, cap_total=198))
    assert envoy.gateway_files(case.workload, changed) == envoy.gateway_files(case.workload, case.decision)
    assert envoy.cap_files(changed) != envoy.cap_files(case.decision)


def test_a_renewed_permit_changes_no_file_that_rolls_the_gateway() -> None:
    case = load("limits-on-hosted-backends-are-kept-by-the-gateway-itself")
    without = replace(case.decision, gateway=replace(case.decision.gateway, permit=None))
    assert envoy.gateway_files(case.workload, without) == envoy.gateway_files(case.workload, case.decision)
    assert envoy.cap_files(without).keys() == envoy.cap_files(case.decision).keys() - {"permit"}


def test_two_models_of_a_provider_share_one_mount() -> None:
    mounts = envoy.hosted_mounts(load("a-provider-with-two-models-is-two-backends-with-one-key").decision)
    assert [(each.secret_name, each.secret_key, each.mount_path, each.file_name) for each in mounts] == [
        ("house-key", "api-key", "/etc/spillway/hosted/house/key", "key")
    ]


def test_the_drain_needs_a_token_of_the_workload_alone() -> None:
    workload = load(HOSTED).workload
    mine, other = (envoy.pre_stop(each)["httpGet"] for each in (workload, replace(workload, uid="another")))
    assert mine != other
    assert load(HOSTED).files()["envoy.json"].count(mine["httpHeaders"][0]["value"]) == 1  # type: ignore[index]
