"""One real API server for the session, with the CRDs installed, and a fresh namespace for each test."""

import contextlib
import itertools
from collections.abc import Iterator

import pytest

from tests.apiserver.server import ApiServer

_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder: it needs the two binaries."""
    for item in items:
        if "tests/apiserver/" in item.path.as_posix():
            item.add_marker(pytest.mark.apiserver)


@pytest.fixture(scope="session")
def apiserver() -> Iterator[ApiServer]:
    """Start a real API server with the CRDs; `kubeconfig_for` gives it further users."""
    with ApiServer.started() as server:
        server.install_crds()
        yield server


@pytest.fixture
def namespace(apiserver: ApiServer) -> Iterator[str]:
    """Make a namespace of the test's own."""
    name = f"test-{next(_numbers)}"
    apiserver.kubectl("create", "namespace", name)
    yield name
    with contextlib.suppress(AssertionError):
        apiserver.kubectl("delete", "namespace", name, "--wait=false")
