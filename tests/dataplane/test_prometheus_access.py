"""A real Prometheus that wants a login, over TLS by a private authority."""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from spillway.api.vocabulary import Reason
from spillway.observe.access import Access, folder_authorization
from spillway.observe.prometheus import PrometheusSource
from spillway.observe.signals import Target
from spillway.plan.decision import Key
from spillway.plan.observation import Missing
from tests.dataplane import certificates
from tests.dataplane.prometheus import serving

pytestmark = pytest.mark.dataplane
USER, PASSWORD = "admin", "test"
HASHED = "$2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay"  # bcrypt of PASSWORD


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Start one with nothing in it; return its URL and its authority's certificate."""
    folder = tmp_path_factory.mktemp("prometheus")
    authority = certificates.authority()
    chain, key = authority.issue("localhost", folder)
    (folder / "ca.crt").write_text(authority.pem)
    (folder / "web.yml").write_text(
        f"tls_server_config: {{cert_file: {chain}, key_file: {key}}}\nbasic_auth_users: {{{USER}: '{HASHED}'}}\n"
    )
    with serving(folder, f"--web.config.file={folder}/web.yml") as port:
        yield f"https://localhost:{port}", folder / "ca.crt"


async def asked(url: str, access: Access) -> Missing:
    key = Key(namespace="ns", name="x")
    source = PrometheusSource.at(url, access, window_s=60, timeout_s=10)
    try:
        found = (await source.read({key: Target(gateways=1)}, {}, datetime.now(UTC)))[key].arrivals_per_s
    finally:
        source.close()
    assert isinstance(found, Missing)
    return found


async def test_it_lets_in_who_has_the_login_and_trusts_the_authority(guarded: tuple[str, Path], tmp_path: Path) -> None:
    url, ca_file = guarded
    (tmp_path / "username").write_text(USER)
    (tmp_path / "password").write_text("another")
    access = Access(authorization=partial(folder_authorization, tmp_path), ca_file=ca_file)
    refused = await asked(url, access)
    assert 'it answered 401 Unauthorized, "Unauthorized" to the credential of prometheus.auth' in refused.detail
    (tmp_path / "password").write_text(PASSWORD)
    assert (await asked(url, access)).reason is Reason.METRICS_MISSING  # it answers; there is nothing in it
    assert "it answered 401 Unauthorized" in (await asked(url, Access(ca_file=ca_file))).detail
    assert "its certificate is not trusted" in (await asked(url, Access(authorization=access.authorization))).detail
