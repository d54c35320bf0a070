"""`spillway report` on a real API server, with status as the operator would write it."""

import json
from typing import Any

import pytest

from spillway.api.report_output import ReportOutput
from spillway.api.vocabulary import API_VERSION
from spillway.cli import main
from spillway.cli.cluster import Cluster
from tests.apiserver.server import ApiServer
from tests.unit.report.fleets import classes, provider, seen

CLASS = "nvidia-l40s"
READER = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {"name": "report-reader"},
    "rules": [
        {"apiGroups": ["spillway.dev"], "resources": ["inferenceworkloads", "hostedproviders", "acceleratorclasses"], "verbs": ["list"]}
    ],
}


def _object(kind: str, name: str, spec: Any, namespace: str | None = None) -> dict[str, Any]:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


def _install(apiserver: ApiServer, namespace: str, *names: str) -> None:
    """Write workloads with their status, the class they run on, and a provider of the same model."""
    one = seen(namespace=namespace)
    spec = one.spec.model_dump(by_alias=True, mode="json", exclude_none=True, exclude_unset=True)
    accelerator = classes()[CLASS].model_dump(by_alias=True, mode="json", exclude_none=True, exclude_unset=True)
    offer = provider(("llama-3.1-8b-instruct", "0.01", "0.01")).model_dump(
        by_alias=True, mode="json", exclude_none=True, exclude_unset=True
    )
    documents = [
        _object("AcceleratorClass", CLASS, accelerator),
        _object("HostedProvider", "house", offer, namespace),
        *(_object("InferenceWorkload", name, spec, namespace) for name in names),
    ]
    answer = apiserver.apply(*documents)
    assert answer.code == 0, answer.err


def _write_status(apiserver: ApiServer, namespace: str, name: str) -> None:
    one = seen(name, namespace=namespace)
    assert one.status is not None
    patch = json.dumps({"status": one.status.model_dump(by_alias=True, mode="json", exclude_none=True)})
    apiserver.kubectl("patch", "inferenceworkload", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)


def _report(capsys: pytest.CaptureFixture[str], *arguments: str) -> ReportOutput:
    assert main(["report", "-o", "json", *arguments]) == 0
    return ReportOutput.model_validate_json(capsys.readouterr().out)


def test_what_the_status_says_is_summed_and_what_it_does_not_say_is_unknown(
    apiserver: ApiServer, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _install(apiserver, namespace, "chat", "silent")
    _write_status(apiserver, namespace, "chat")
    found = _report(capsys, "--kubeconfig", str(apiserver.kubeconfig), "-n", namespace)
    assert (found.totals.now.usd, found.totals.now.workloads, found.totals.now.unknown) == (1440.0, 1, 1)
    assert {row.workload: row.now_monthly_usd for row in found.workloads} == {f"{namespace}/chat": 1440.0, f"{namespace}/silent": None}
    assert found.opportunities[0].settings["placement.mode"] == "Hosted"


def test_all_namespaces_are_read_together(apiserver: ApiServer, namespace: str, capsys: pytest.CaptureFixture[str]) -> None:
    _install(apiserver, namespace, "chat")
    found = _report(capsys, "--kubeconfig", str(apiserver.kubeconfig), "--all-namespaces")
    assert f"{namespace}/chat" in {row.workload for row in found.workloads}


def test_every_page_of_a_long_list_is_read(apiserver: ApiServer, namespace: str) -> None:
    _install(apiserver, namespace, "a", "b", "c")
    found = Cluster(kubeconfig=str(apiserver.kubeconfig), context=None, page=1).contents(namespace)
    assert [each.name for each in found.workloads] == ["a", "b", "c"]


def test_the_right_to_list_is_all_it_takes(apiserver: ApiServer, namespace: str, capsys: pytest.CaptureFixture[str]) -> None:
    _install(apiserver, namespace, "chat")
    _write_status(apiserver, namespace, "chat")
    apiserver.apply(READER)
    apiserver.kubectl("create", "clusterrolebinding", f"reader-{namespace}", "--clusterrole=report-reader", f"--user=reader-{namespace}")
    config = str(apiserver.kubeconfig_for(f"reader-{namespace}"))
    found = _report(capsys, "--kubeconfig", config, "-n", namespace)
    assert found.warnings == []
    assert found.totals.now.usd == 1440.0


def test_a_reader_of_one_namespace_is_told_costs_and_what_is_missing(
    apiserver: ApiServer, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _install(apiserver, namespace, "chat")
    _write_status(apiserver, namespace, "chat")
    apiserver.apply(READER)
    apiserver.kubectl("create", "rolebinding", "reader", "-n", namespace, "--clusterrole=report-reader", f"--user=member-of-{namespace}")
    config = str(apiserver.kubeconfig_for(f"member-of-{namespace}"))
    found = _report(capsys, "--kubeconfig", config, "-n", namespace)
    assert found.totals.now.usd == 1440.0
    assert [each for each in found.warnings if "no right to list acceleratorclasses.spillway.dev in the cluster (403)" in each]
    assert main(["report", "--kubeconfig", config, "-A"]) == 1
    assert "or name one with --namespace" in capsys.readouterr().err


def test_a_user_without_rights_is_told_which_to_ask_for(apiserver: ApiServer, namespace: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--kubeconfig", str(apiserver.kubeconfig_for("stranger")), "-n", namespace]) == 1
    told = capsys.readouterr().err
    assert f"no right to list inferenceworkloads.spillway.dev in the namespace {namespace} (403); ask for the role `view`" in told


def test_a_group_that_is_not_served_is_told_as_missing_crds(
    apiserver: ApiServer, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real answer to a kind that does not exist is a 404 without a body that the API machinery wrote."""
    apiserver.kubectl("delete", "crd", "hostedproviders.spillway.dev")
    try:
        found = _report(capsys, "--kubeconfig", str(apiserver.kubeconfig), "-n", namespace)
        assert [each for each in found.warnings if "has no hostedproviders.spillway.dev v1alpha1; install the CRDs" in each]
    finally:
        apiserver.install_crds()
