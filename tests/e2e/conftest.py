"""One cluster, one installation and one workload for the whole session; a failing test leaves its surroundings in a folder."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster.cache import cache_dir, say
from tests.e2e.cluster.choice import choose
from tests.e2e.stack import SYSTEM_NAMESPACE, Stack, eventually
from tests.e2e.traffic import burst

NAMESPACE = "quickstart"
DIAGNOSTICS = (
    ("workloads.yaml", ("get", "inferenceworkloads", "-A", "-o", "yaml")),
    ("objects.txt", ("get", "pods,deployments,services,configmaps", "-A", "-o", "wide")),
    ("events.txt", ("get", "events", "-A", "--sort-by=.metadata.creationTimestamp")),
    ("operator.log", ("-n", SYSTEM_NAMESPACE, "logs", "-l", "app.kubernetes.io/component=operator", "--tail=400", "--prefix")),
)


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Return the product on a cluster of its own; it goes down afterwards unless SPILLWAY_E2E_KEEP is set."""
    cluster = choose(os.environ.get("SPILLWAY_E2E_PROVIDER") or "auto", os.environ.get("SPILLWAY_E2E_NAME", "e2e"))
    engine = {"real": "engine", "sim": "engine-sim"}[os.environ.get("ENGINE", "real")]
    it = Stack(cluster, engine=engine, placement={"holdSeconds": 40, "intervalSeconds": 5})
    try:
        it.up()
        it.await_hosted()
        yield it
    finally:
        it.close()
        if not os.environ.get("SPILLWAY_E2E_KEEP"):
            cluster.down()


@pytest.fixture
def room(stack: Stack, request: pytest.FixtureRequest) -> Iterator[str]:
    """Return a namespace of the test's own, with models and secrets."""
    name = request.node.originalname.removeprefix("test_").replace("_", "-")[:24].strip("-")
    stack.models(name, "tiny")
    stack.secrets(name)
    yield name
    stack.close(name)
    stack.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def chat_once(stack: Stack) -> Stack:
    """Apply the quickstart and wait until its replica serves."""
    stack.models(NAMESPACE, "med")
    stack.secrets(NAMESPACE)
    stack.apply(*stack.quickstart(NAMESPACE))
    stack.await_condition(NAMESPACE, "Ready", within=180)
    stack.await_condition(NAMESPACE, "ReplicasReady", within=180)
    return stack


@pytest.fixture
def chat(chat_once: Stack) -> Stack:
    """Return the quickstart at rest: one ready replica, nothing in flight, metrics there."""

    def at_rest() -> bool:
        owned = chat_once.workload(NAMESPACE)["status"].get("dedicated", {})
        return bool(owned.get("readyReplicas") == owned.get("desiredReplicas") == owned.get("replicas") == 1)

    eventually(at_rest, within=180, what="the quickstart at rest with one replica")
    chat_once.await_condition(NAMESPACE, "MetricsAvailable", within=60)
    chat_once.await_condition(NAMESPACE, "Ready", within=60)
    # the gateways learn of a replica's address from DNS, some seconds after it is ready; until then they rightly spill
    url = chat_once.url(NAMESPACE, "chat") + "/v1"
    eventually(lambda: asyncio.run(burst(url, "chat", 4, max_tokens=4)).owned == 4, within=60, what="both gateways to use the replica")
    return chat_once


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Write what an engineer would ask for next when a test fails."""
    report = yield
    found = getattr(item, "funcargs", {}).get("stack") or getattr(item, "funcargs", {}).get("chat")
    if call.excinfo is not None and isinstance(found, Stack):
        folder = cache_dir() / "diagnostics" / item.name
        folder.mkdir(parents=True, exist_ok=True)
        for name, command in DIAGNOSTICS:
            _dump(found, folder / name, command)
        for component in ("gateway", "engine"):
            for namespace, pod in _pods(found, component):
                _dump(found, folder / f"{component}-{namespace}-{pod}.log", ("-n", namespace, "logs", pod, "--tail=200"))
        say(f"diagnostics of {item.name} are in {folder}")
    return report


def _pods(stack: Stack, component: str) -> list[tuple[str, str]]:
    try:
        found = stack.get("pods", "-A", "-l", f"app.kubernetes.io/component={component}")["items"]
    except (RuntimeError, OSError):
        return []
    return [(each["metadata"]["namespace"], each["metadata"]["name"]) for each in found]


def _dump(stack: Stack, path: Path, command: tuple[str, ...]) -> None:
    try:
        path.write_text(stack.kubectl(*command))
    except (RuntimeError, OSError) as trouble:
        path.write_text(f"could not be had: {trouble}")
