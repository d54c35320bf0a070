"""Every folder here is a promise: in.yaml is what was decided, out/ is what Envoy gets. The real Envoy accepts all of it."""

import json
import subprocess
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from spillway.api.catalogue import HostedProviderSpec
from spillway.plan.decision import Allowance, Decision, Lane, Permit, Workload
from spillway.plan.permit import LIFE, RETRY_SOON, WORKERS
from spillway.render import envoy
from spillway.render.envoy import GatewayAddresses
from spillway.render.envoy_owned import SHARE_FILE
from spillway.render.envoy_share import share_annotation
from tests.dataplane import certificates, decisions
from tests.dataplane.process import MEMORY_BYTES, binary
from tests.dataplane.volume import Volume

HERE = Path(__file__).parent
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one where PyYAML has it
PROMISES = sorted(each.parent.name for each in HERE.glob("*/in.yaml"))
DEDICATED = "a-dedicated-gateway-knows-no-way-out-of-the-cluster"
HOSTED = "a-hosted-gateway-knows-no-replica"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What in.yaml says."""

    workload: Workload
    decision: Decision

    def files(self, addresses: GatewayAddresses = envoy.PRODUCTION) -> dict[str, str]:
        """Return everything that is rendered for Envoy."""
        return envoy.gateway_files(self.workload, self.decision, addresses, memory_bytes=MEMORY_BYTES) | envoy.cap_files(self.decision)


@cache
def load(promise: str) -> Case:
    """Return the case of a folder."""
    documents = list(yaml.load_all((HERE / promise / "in.yaml").read_text(), Loader=LOADER))
    named = {each["metadata"]["name"]: each["spec"] for each in documents if each["kind"] == "HostedProvider"}
    providers = {name: HostedProviderSpec.model_validate(spec) for name, spec in named.items()}
    workload = decisions.workload(next(each["spec"] for each in documents if each["kind"] == "InferenceWorkload"))
    cap = next(each["perGateway"] for each in documents if each["kind"] == "Cap")
    decision = decisions.decision(workload, providers, cap=cap)
    permit = next((_permit(each, decision) for each in documents if each["kind"] == "Permit"), None)
    return Case(workload=workload, decision=replace(decision, gateway=replace(decision.gateway, permit=permit)))


def _permit(document: dict[str, Any], decision: Decision) -> Permit:
    """Return a permit that gives both workers of one pod the same."""
    issued_at = datetime(2026, 11, 26, 12, tzinfo=UTC)
    given = tuple(
        Allowance(
            lane=Lane(pod=document["pod"], worker=worker, backend=backend.label),
            micro_usd_to=document["microUSD"],
            requests_to=document["requests"],
            requests_per_minute=document["requestsPerMinute"],
            tokens_per_minute=document["tokensPerMinute"],
        )
        for backend in decision.backends
        for worker in range(WORKERS)
    )
    return Permit(issued_at=issued_at, expires_at=issued_at + LIFE, retry_at=issued_at + RETRY_SOON, allowances=given)


class _Dumper(yaml.CSafeDumper):
    """Scripts as blocks, repeated values written out."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  (the signature is PyYAML's)
        return True


def _block(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _block)


def readable(files: dict[str, str]) -> dict[str, str]:
    """Return the files with the bootstrap as YAML, for people to read what changed."""
    bootstrap = json.loads(files["envoy.json"])
    rest = {name: content for name, content in files.items() if name != "envoy.json"}
    return {**rest, "envoy.yaml": yaml.dump(bootstrap, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)}


@pytest.mark.parametrize("promise", PROMISES)
def test_configuration_is_as_on_file(promise: str, *, request: pytest.FixtureRequest) -> None:
    out = HERE / promise / "out"
    files = readable(load(promise).files())
    if request.config.getoption("--update-golden"):
        out.mkdir(exist_ok=True)
        for stale in out.iterdir():
            stale.unlink()
        for name, content in files.items():
            (out / name).write_text(content)
    assert {each.name: each.read_text() for each in out.iterdir()} == files, "if this is meant: pytest tests/golden --update-golden"


@pytest.mark.parametrize("promise", PROMISES)
def test_envoy_accepts_it_and_finds_nothing_deprecated(promise: str, tmp_path: Path) -> None:
    case = load(promise)
    addresses = mounted(case, tmp_path)
    validate(Path(addresses.config_folder) / "envoy.json")


@pytest.mark.parametrize("promise", PROMISES)
def test_envoy_accepts_what_it_reads_later(promise: str, tmp_path: Path) -> None:
    """`--mode validate` does not read watched files, so the cap and the secrets are put where it looks."""
    case = load(promise)
    addresses = mounted(case, tmp_path)
    files = case.files(addresses)
    config = json.loads(files["envoy.json"])
    for layer in (each for each in config["layered_runtime"]["layers"] if "rtds_layer" in each):
        resource = only_resource(files["runtime.yaml"] if layer["name"] == "cap" else share(7))
        assert resource["name"] == layer.pop("rtds_layer")["name"]
        layer["static_layer"] = resource["layer"]
    secrets = [only_resource(content) for name, content in sorted(files.items()) if name.startswith(("hosted-", "access-", "tls-"))]
    for secret in secrets:
        for source, content in zip(sources(secret), contents(secret, tmp_path), strict=True):
            assert Path(source.pop("filename")).read_text() == "as mounted"
            source["inline_string"] = content
    config["static_resources"]["secrets"] = [{name: value for name, value in each.items() if name != "@type"} for each in secrets]
    drop_sds(config)
    folded = tmp_path / "folded.json"
    folded.write_text(json.dumps(config))
    validate(folded)


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


def test_envoy_takes_the_addresses_of_both_families(tmp_path: Path) -> None:
    case = load(HOSTED)
    listen, metrics = (envoy.Address(host="::", port=port) for port in (8080, 9902))
    addresses = replace(mounted(case, tmp_path), listen=listen, metrics=metrics)
    path = tmp_path / "both.json"
    path.write_text(case.files(addresses)["envoy.json"])
    validate(path)


def mounted(case: Case, folder: Path) -> GatewayAddresses:
    """Write the files where a gateway pod has them, under `folder`."""
    addresses = GatewayAddresses(
        config_folder=str(folder / "gateway"),
        cap_folder=str(folder / "cap"),
        share_folder=str(folder / "share"),
        hosted_folder=str(folder / "hosted"),
        run_folder=str(folder / "run"),
        access_folder=str(folder / "access"),
        tls_folder=str(folder / "tls"),
    )
    Volume(folder / "gateway", envoy.gateway_files(case.workload, case.decision, addresses, memory_bytes=MEMORY_BYTES))
    Volume(folder / "cap", envoy.cap_files(case.decision))
    Volume(folder / "share", {SHARE_FILE: share(None)})
    for mount in envoy.hosted_mounts(case.decision, addresses):
        Volume(Path(mount.mount_path), {mount.file_name: "as mounted"})
    for client in envoy.client_mounts(case.workload, addresses):
        Volume(Path(client.mount_path), dict.fromkeys(client.absent, "as mounted"))
    return addresses


def share(requests: int | None) -> str:
    """Return the file of a pod's share."""
    (content,) = share_annotation(requests).values()
    return content


def validate(config: Path) -> None:
    """Assert that Envoy accepts the file."""
    command = [binary(), "-c", str(config), "--mode", "validate", "--reject-unknown-dynamic-fields"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "deprecated" not in done.stderr.lower(), done.stderr[-3000:]


def only_resource(content: str) -> dict[str, Any]:
    """Return the resource of a watched file, which must be the only one."""
    (resource,) = yaml.load(content, LOADER)["resources"]  # noqa: S506  (it is a safe one)
    assert isinstance(resource, dict)
    return resource


def sources(secret: dict[str, Any]) -> list[dict[str, Any]]:
    """Return where a secret's content comes from."""
    if "tls_certificate" in secret:
        return [secret["tls_certificate"]["certificate_chain"], secret["tls_certificate"]["private_key"]]
    return [secret["generic_secret"]["secret"]] if "generic_secret" in secret else [secret["validation_context"]["trusted_ca"]]


def contents(secret: dict[str, Any], folder: Path) -> list[str]:
    """Return what may come from there."""
    if "tls_certificate" in secret:
        return [each.read_text() for each in certificates.authority().issue("chat.test", folder / "certificates")]
    return ["key" if "generic_secret" in secret else authority()]


def drop_sds(node: Any) -> None:
    """Make every reference to a secret one to a static secret."""
    if isinstance(node, dict):
        node.pop("sds_config", None)
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        drop_sds(child)


def authority() -> str:
    """Return the certificates that this machine trusts, as one that a provider may have."""
    return Path(envoy.PRODUCTION.system_authorities).read_text()
