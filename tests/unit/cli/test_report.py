"""`spillway report` against an API server that answers what a test wants: it is replaced at the wire."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.config import incluster_config

from spillway.api.report_output import ReportOutput
from spillway.cli.cluster import Cluster
from tests.servers import Answer, Request, serving
from tests.unit.report.fleets import CREATED, classes, provider, seen

Run = Callable[..., tuple[int, str, str]]
Answers = Mapping[str, Callable[[dict[str, list[str]]], Answer]]


@pytest.fixture
def report(spillway: Run) -> Run:
    """Return a call of the command with a kubeconfig and further arguments."""
    return partial(spillway, "report", "--kubeconfig")


def document(report: Run, config: str) -> ReportOutput:
    code, out, _ = report(config, "-o", "json")
    assert code == 0
    return ReportOutput.model_validate_json(out)


def listed(*items: dict[str, Any], more: str = "") -> Answer:
    return 200, {"kind": "List", "apiVersion": "v1", "metadata": {"continue": more}, "items": list(items)}


def refused(status: int, message: str = "no") -> Answer:
    return status, {"kind": "Status", "status": "Failure", "message": message, "code": status}


def workload(name: str = "chat", namespace: str = "team", **changes: Any) -> dict[str, Any]:
    one = seen(name, namespace=namespace)
    assert one.status is not None
    plain = {
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": CREATED.strftime("%Y-%m-%dT%H:%M:%SZ")},
        "spec": one.spec.model_dump(by_alias=True, mode="json", exclude_none=True, exclude_unset=True),
        "status": one.status.model_dump(by_alias=True, mode="json", exclude_none=True),
    }
    return plain | changes


def offers() -> dict[str, Any]:
    spec = provider(("llama-3.1-8b-instruct", "0.01", "0.01")).model_dump(by_alias=True, mode="json", exclude_none=True)
    return {"metadata": {"name": "house", "namespace": "team"}, "spec": spec}


def every_class() -> list[dict[str, Any]]:
    return [
        {"metadata": {"name": name}, "spec": spec.model_dump(by_alias=True, mode="json", exclude_none=True)}
        for name, spec in classes().items()
        if name in {"nvidia-l40s", "nvidia-h100-80gb"}
    ]


def answers(**changes: Callable[[dict[str, list[str]]], Answer]) -> dict[str, Callable[[dict[str, list[str]]], Answer]]:
    return {
        "inferenceworkloads": lambda _: listed(workload()),
        "hostedproviders": lambda _: listed(offers()),
        "acceleratorclasses": lambda _: listed(*every_class()),
    } | changes


@contextmanager
def cluster(tmp_path: Path, given: Answers) -> Iterator[tuple[str, list[str]]]:
    """Serve these answers; give the path of a kubeconfig, and the paths that were asked for."""
    asked: list[str] = []

    def answer(request: Request) -> Answer:
        asked.append(request.path)
        return given[request.path.rpartition("/")[2]](request.query)

    with serving(answer) as url:
        yield kubeconfig(tmp_path, url), asked


def kubeconfig(tmp_path: Path, url: str) -> str:
    path = tmp_path / "kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": {"server": url}}],
        "users": [{"name": "me", "user": {"token": "t"}}],
        "contexts": [
            {"name": "plain", "context": {"cluster": "here", "user": "me", "namespace": "team"}},
            {"name": "bare", "context": {"cluster": "here", "user": "me"}},
        ],
        "current-context": "plain",
    }
    path.write_text(yaml.safe_dump(config))
    return str(path)


def test_the_namespace_is_the_contexts_where_none_is_named(tmp_path: Path, report: Run) -> None:
    with cluster(tmp_path, answers()) as (config, asked):
        assert "1 workload in namespace team" in report(config)[1]
    assert "/apis/spillway.dev/v1alpha1/namespaces/team/inferenceworkloads" in asked


@pytest.mark.parametrize(
    ("options", "path"),
    [
        (["--namespace", "other"], "/apis/spillway.dev/v1alpha1/namespaces/other/inferenceworkloads"),
        (["--all-namespaces"], "/apis/spillway.dev/v1alpha1/inferenceworkloads"),
        (["--context", "bare"], "/apis/spillway.dev/v1alpha1/namespaces/default/inferenceworkloads"),
    ],
    ids=["named", "all", "a context without one"],
)
def test_the_namespace_is_the_one_asked_for(tmp_path: Path, report: Run, options: list[str], path: str) -> None:
    with cluster(tmp_path, answers()) as (config, asked):
        assert report(config, *options)[0] == 0
    assert path in asked


@pytest.mark.parametrize("current", [None, ""], ids=["left out", "unset"])
def test_a_context_that_is_named_takes_no_current_one(tmp_path: Path, report: Run, current: str | None) -> None:
    with cluster(tmp_path, answers()) as (config, asked):
        read = yaml.safe_load(Path(config).read_text())
        del read["current-context"]
        Path(config).write_text(yaml.safe_dump(read if current is None else read | {"current-context": current}))
        assert report(config, "--context", "plain")[0] == 0
    assert "/apis/spillway.dev/v1alpha1/namespaces/team/inferenceworkloads" in asked


def test_the_document_has_the_workload_and_what_to_change(tmp_path: Path, report: Run) -> None:
    with cluster(tmp_path, answers()) as (config, _):
        found = document(report, config)
    assert [row.workload for row in found.workloads] == ["team/chat"]
    assert found.totals.now.usd == 1440.0
    assert found.opportunities[0].topic == "Placement"
    assert found.opportunities[0].settings["placement.mode"] == "Hosted"


def test_the_page_is_printed(tmp_path: Path, report: Run) -> None:
    with cluster(tmp_path, answers()) as (config, _):
        code, out, _ = report(config, "-o", "html")
    assert code == 0
    assert out.startswith("<!DOCTYPE html>")


def test_every_page_of_a_long_list_is_read(tmp_path: Path, report: Run) -> None:
    def pages(query: dict[str, list[str]]) -> Answer:
        return listed(workload("second")) if query.get("continue") == ["next"] else listed(workload("first"), more="next")

    with cluster(tmp_path, answers(inferenceworkloads=pages)) as (config, _):
        found = document(report, config)
    assert {row.workload for row in found.workloads} == {"team/first", "team/second"}


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (refused(404), "has no inferenceworkloads.spillway.dev v1alpha1; install the CRDs"),
        (refused(403), "no right to list inferenceworkloads.spillway.dev in the namespace team (403); ask for the role `view`"),
        (refused(401), "does not know this user (401); log in again"),
        (refused(500, "etcd is away"), "refused to list inferenceworkloads.spillway.dev in namespace team (500): etcd is away"),
        ((500, "not JSON"), "(500): not JSON"),
        ((200, "<html>a login page</html>"), "does not answer as an API server does"),
    ],
    ids=["no CRD", "no right", "not logged in", "trouble", "trouble without JSON", "no API server"],
)
def test_what_the_cluster_refuses_is_told(tmp_path: Path, report: Run, answer: Answer, says: str) -> None:
    with cluster(tmp_path, answers(inferenceworkloads=lambda _: answer)) as (config, _):
        code, out, err = report(config)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert says in err


def test_without_a_right_to_all_namespaces_one_is_asked_for(tmp_path: Path, report: Run) -> None:
    with cluster(tmp_path, answers(inferenceworkloads=lambda _: refused(403))) as (config, _):
        code, _, told = report(config, "-A")
    assert code == 1
    assert "or name one with --namespace" in told


def test_a_cluster_that_is_not_there_is_told(tmp_path: Path, report: Run) -> None:
    code, _, told = report(kubeconfig(tmp_path, "http://127.0.0.1:9"))
    assert code == 1
    assert "no answer from the cluster at http://127.0.0.1:9" in told
    assert "refused" in told


def test_an_address_that_does_not_speak_tls_is_told(tmp_path: Path, report: Run) -> None:
    with cluster(tmp_path, answers()) as (config, _):
        Path(config).write_text(Path(config).read_text().replace("http://", "https://"))
        code, _, told = report(config)
    assert code == 1
    assert "no answer from the cluster at https://localhost" in told
    assert "SSL" in told


def test_neither_the_cluster_nor_its_package_is_loaded_before_it_is_asked() -> None:
    code = "import sys; import spillway.cli.report; print('kubernetes' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_without_rights_to_classes_and_providers_costs_are_still_told(tmp_path: Path, report: Run) -> None:
    barred = answers(acceleratorclasses=lambda _: refused(403), hostedproviders=lambda _: refused(403))
    with cluster(tmp_path, barred) as (config, _):
        found = document(report, config)
    assert found.totals.now.usd == 1440.0
    assert found.opportunities == []
    assert any("no right to list acceleratorclasses.spillway.dev in the cluster (403)" in each for each in found.warnings)
    assert any("no advice about renting elsewhere" in each for each in found.warnings)


def test_an_object_that_cannot_be_read_is_named_and_left_out(tmp_path: Path, report: Run) -> None:
    broken = workload("broken", spec={"model": {}})
    with cluster(tmp_path, answers(inferenceworkloads=lambda _: listed(workload(), broken))) as (config, _):
        found = document(report, config)
    assert [row.workload for row in found.workloads] == ["team/chat"]
    assert any("InferenceWorkload team/broken: its spec cannot be read (model.id" in each for each in found.warnings)


def test_a_status_that_cannot_be_read_is_unknown_and_not_zero(tmp_path: Path, report: Run) -> None:
    odd = workload(status={"cost": {"unaccountedSeconds": "long"}})
    with cluster(tmp_path, answers(inferenceworkloads=lambda _: listed(odd))) as (config, _):
        found = document(report, config)
    assert found.totals.now.usd is None
    assert any("its status cannot be read" in each for each in found.warnings)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--kubeconfig", "/nowhere/config"], "/nowhere/config cannot be used: there is no such file; name a file"),
        (["--context", "elsewhere"], "(context elsewhere) cannot be used"),
        (["-n", "a", "-A"], "--namespace and --all-namespaces: give one of them"),
    ],
    ids=["no such file", "no such context", "both scopes"],
)
def test_bad_input_is_told(tmp_path: Path, report: Run, options: list[str], says: str) -> None:
    code, _, told = report(kubeconfig(tmp_path, "http://127.0.0.1:9"), *options)
    assert code == 2
    assert says in told


@pytest.mark.parametrize("text", ["", "not a kubeconfig", "{", "clusters: 1\ncontexts: 2\n", "\x00"])
def test_a_broken_kubeconfig_is_told(tmp_path: Path, report: Run, text: str) -> None:
    broken = tmp_path / "broken"
    broken.write_text(text)
    code, _, told = report(str(broken))
    assert code == 2
    assert "cannot be used" in told


def test_a_kubeconfig_that_is_set_to_nothing_is_the_one_at_home(tmp_path: Path) -> None:
    with cluster(tmp_path, answers()) as (config, asked):
        (tmp_path / ".kube").mkdir()
        Path(config).rename(tmp_path / ".kube" / "config")
        # A process of its own: the library looks at the variable once.
        environment = {**os.environ, "HOME": str(tmp_path), "KUBECONFIG": ""}
        subprocess.run([sys.executable, "-m", "spillway", "report"], env=environment, check=True, capture_output=True)
    assert "/apis/spillway.dev/v1alpha1/namespaces/team/inferenceworkloads" in asked


@pytest.mark.parametrize(("written", "found"), [("team\n", "team"), (None, "default")])
def test_in_a_pod_without_a_kubeconfig_it_is_the_pods_own_namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str | None, found: str
) -> None:
    for name, text in {"token": "t", "ca.crt": "c"}.items():
        (tmp_path / name).write_text(text)
    if written is not None:
        (tmp_path / "namespace").write_text(written)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    for name, value in {"HOME": str(tmp_path), "KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert Cluster(kubeconfig=None, context=None).namespace == found
