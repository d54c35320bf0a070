"""The real Envoy accepts every configuration of `tests/golden/envoy`, and finds nothing in it deprecated."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from spillway.render.envoy import config as envoy
from spillway.render.envoy.config import GatewayAddresses
from spillway.render.envoy.owned import SHARE_FILE
from spillway.render.envoy.share import share_annotation
from tests.dataplane import certificates
from tests.dataplane.process import MEMORY_BYTES, binary, under
from tests.dataplane.volume import Volume
from tests.golden.envoy.cases import HOSTED, LOADER, PROMISES, Case, load

pytestmark = pytest.mark.dataplane


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
    secrets = [
        only_resource(content) for name, content in sorted(files.items()) if name.startswith(("hosted-", "access-", "tls-", "collector-"))
    ]
    for secret in secrets:
        for source, content in zip(sources(secret), contents(secret, tmp_path), strict=True):
            assert Path(source.pop("filename")).read_text() == "as mounted"
            source["inline_string"] = content
    config["static_resources"]["secrets"] = [{name: value for name, value in each.items() if name != "@type"} for each in secrets]
    drop_sds(config)
    folded = tmp_path / "folded.json"
    folded.write_text(json.dumps(config))
    validate(folded)


def test_envoy_takes_the_addresses_of_both_families(tmp_path: Path) -> None:
    case = load(HOSTED)
    listen, metrics = (envoy.Address(host="::", port=port) for port in (8080, 9902))
    addresses = replace(mounted(case, tmp_path), listen=listen, metrics=metrics)
    path = tmp_path / "both.json"
    path.write_text(case.files(addresses)["envoy.json"])
    validate(path)


def mounted(case: Case, folder: Path) -> GatewayAddresses:
    """Write the files where a gateway pod has them, under `folder`."""
    addresses = under(folder, GatewayAddresses())
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
