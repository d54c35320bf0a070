"""Helm upgrade and uninstall, last: an upgrade restarts no replica, an uninstall stops no traffic."""

import asyncio

import pytest

from tests.e2e.conftest import NAMESPACE
from tests.e2e.stack import CHART, RELEASE, SYSTEM_NAMESPACE, Stack, eventually
from tests.e2e.test_chat import base_url
from tests.e2e.traffic import burst, describe

pytestmark = pytest.mark.e2e


def engine_pods(stack: Stack) -> set[str]:
    found = stack.get("-n", NAMESPACE, "pods", "-l", "app.kubernetes.io/component=engine")["items"]
    return {p["metadata"]["uid"] for p in found if "deletionTimestamp" not in p["metadata"]}


def test_an_upgrade_of_the_chart_restarts_no_replica_even_with_a_new_default_engine(chat: Stack) -> None:
    before = engine_pods(chat)
    values = str(chat.cluster.kubeconfig.parent / "values.yaml")
    chat.helm(
        "upgrade",
        RELEASE,
        str(CHART),
        "-n",
        SYSTEM_NAMESPACE,
        "-f",
        values,
        "--set",
        "engine.image=localhost/never/made:9.9.9",
        "--set",
        "engine.version=9.9.9",
        "--set",
        "podAnnotations.upgraded=yes",
        "--wait",
        "--timeout",
        "180s",
    )
    generation = chat.workload(NAMESPACE)["metadata"]["generation"]
    chat.patch("inferenceworkload", NAMESPACE, "chat", {"spec": {"budget": {"monthlyUSD": "901"}}})
    eventually(
        lambda: chat.workload(NAMESPACE)["status"]["observedGeneration"] > generation, within=60, what="the upgraded operator to act"
    )
    assert engine_pods(chat) == before
    chat.helm("upgrade", RELEASE, str(CHART), "-n", SYSTEM_NAMESPACE, "-f", values, "--wait", "--timeout", "180s")
    assert engine_pods(chat) == before


def test_an_uninstall_leaves_the_workload_serving_and_its_definition_in_place(chat: Stack) -> None:
    chat.helm("uninstall", RELEASE, "-n", SYSTEM_NAMESPACE, "--ignore-not-found", "--wait", "--timeout", "120s")
    eventually(lambda: not chat.get("-n", SYSTEM_NAMESPACE, "pods")["items"], within=90, what="no pod of the release")
    answers = asyncio.run(burst(base_url(chat), "chat", 12, max_tokens=50))
    assert not answers.failed, describe(answers.failed)
    assert chat.workload(NAMESPACE)["metadata"]["name"] == "chat", "Helm never removes what is in crds/, so no workload is lost"
    chat.kubectl("-n", NAMESPACE, "delete", "inferenceworkload", "chat", "--timeout=30s")
    eventually(lambda: not chat.get("-n", NAMESPACE, "pods")["items"], within=180, what="nothing left of a workload deleted afterwards")
