"""Where the base of the images comes from."""

from pathlib import Path

import pytest

from tests.e2e.cluster.images import base

UBUNTU = "http://ubuntu.example/ubuntu|Ubuntu|Ubuntu|main"
DEBIAN = "http://debian.example/debian|Debian|Debian|main"
SECURITY = "http://debian.example/debian-security|Debian|Debian-Security|main"


@pytest.mark.parametrize(
    ("named", "listed", "found"),
    [
        pytest.param("http://named.example/debian", [DEBIAN], ["http://named.example/debian"], id="named"),
        pytest.param("", [SECURITY, DEBIAN], ["http://debian.example/debian"], id="apt's, on Debian"),
        pytest.param("", [UBUNTU], [], id="debootstrap's default, on Ubuntu"),
    ],
)
def test_debian_comes_from_the_mirror_that_is_named_or_apts_or_debootstraps(
    named: str, listed: list[str], found: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apt = tmp_path / "apt-get"
    apt.write_text("#!/bin/sh\ncat <<'END'\n" + "\n".join(listed) + "\nEND\n")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SPILLWAY_DEBIAN_MIRROR", named)
    assert base.mirror() == found
