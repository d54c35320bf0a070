"""What the pages say that can be checked: links lead somewhere, metrics are exported, and what is recorded is told."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from spillway.api.vocabulary import ConditionType, Reason
from spillway.apply.connection import ApiError
from spillway.cli import main
from spillway.cli.manifests import read_manifests
from spillway.reconcile.reconcile import PassFailedError
from spillway.reconcile.telemetry import Telemetry
from tests.chart.conftest import CHART, ROOT, template
from tests.chart.monitoring import rules
from tests.chart.pages import COMMENTED, PAGES, VALUES, name
from tests.golden.envoy.cases import HERE, LOADER, PROMISES
from tests.unit.report.test_conditions import CASES

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def links(page: Path) -> Iterator[tuple[Path, str]]:
    for target in LINK.findall(prose(page)):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield page.parent / path if path else page, anchor


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    missing = [
        f"{path}#{anchor}"
        for path, anchor in links(page)
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path))
    ]
    assert not missing


FILE = re.compile(r"(?<![\w./-])(?:benchmarks|charts|docs|examples|tests)/[\w./-]+\.(?:csv|json|md|py|txt|yaml)\b")


@pytest.mark.parametrize("file", [*PAGES, *COMMENTED], ids=name)
def test_files_that_are_named_are_there(file: Path) -> None:
    assert not [each for each in FILE.findall(file.read_text()) if not (ROOT / each).exists()]


OF_OTHER_KINDS = {"metadata.name", "spec.template.metadata.labels"}


def paths(node: dict[str, Any], *above: str) -> Iterator[tuple[str, ...]]:
    """Yield where each field of a schema is."""
    for field, below in node.get("properties", {}).items():
        yield (*above, field)
        yield from paths(below.get("items", below), *above, field)


def keys(values: object, *above: str) -> Iterator[tuple[str, ...]]:
    for key, below in values.items() if isinstance(values, dict) else ():
        yield (*above, key)
        yield from keys(below, *above, key)


@pytest.fixture(scope="module")
def fields() -> set[str]:
    """Return the fields of all kinds and the chart's values, each from every field above it on, as pages call them."""
    crds = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    schemas = [crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for crd in crds]
    found = {path for schema in schemas for path in paths(schema)} | set(keys(yaml.safe_load((CHART / "values.yaml").read_text())))
    return {".".join(path[start:]) for path in found for start in range(len(path))} | OF_OTHER_KINDS


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=name)  # that one names those of before, too
def test_fields_that_a_page_names_are_there(page: Path, fields: set[str]) -> None:
    roots = {field.partition(".")[0] for field in fields}
    named = {each.replace("[]", "") for each in re.findall(r"`(\w+(?:\.\w+(?:\[\])?)+)(?::[^`]*)?`", prose(page))}
    files = {each for each in named if re.search(r"\.(c|crt|csv|json|key|md|py|yaml)$", each)}
    assert {each for each in named - files if each.partition(".")[0] in roots} <= fields


@pytest.mark.parametrize(("command", "page"), [("plan", "economics"), ("report", "report"), ("simulate", "simulate")])
def test_the_page_of_a_command_has_its_options_and_no_others(command: str, page: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    there = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", capsys.readouterr().out)) - {"--help", "--file", "--output"}
    told = (ROOT / "docs" / f"{page}.md").read_text()
    table = "".join(re.findall(r"^\| (.*?) \|", told, re.MULTILINE))
    assert all(re.search(rf"{option}\b", told) for option in there)
    assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", table)) <= there


@pytest.mark.parametrize("place", VALUES)
def test_values_in_pages_are_taken_by_the_chart(place: str, tmp_path: Path) -> None:
    assert template(tmp_path, VALUES[place]).objects


@pytest.mark.parametrize("page", ["README.md", "docs/install.md"])
def test_manifests_in_pages_are_read_as_the_command_line_reads_them(page: str, tmp_path: Path) -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    ours = [block for block in blocks if "apiVersion: spillway.dev/" in block]
    for number, block in enumerate(ours):
        (tmp_path / f"{number}.yaml").write_text(block)
    found = read_manifests([str(tmp_path)])
    assert len(found.workloads) + len(found.providers) + len(found.classes) == len(ours) > 0


def test_the_page_on_the_gateway_or_on_access_has_the_codes_of_all_refusals() -> None:
    folder = ROOT / "operator" / "spillway" / "render" / "envoy"
    python = "".join(path.read_text() for path in folder.glob("*.py"))
    lua = "".join(path.read_text() for path in folder.glob("lua/*.lua"))
    codes = {*re.findall(r'code="(\w+)"', python), *re.findall(r'(?:refuse\(h, "\d+"|_error"), "(\w+)"', lua)}
    told = "".join((ROOT / "docs" / page).read_text() for page in ("gateway.md", "access.md"))
    assert {"no_capacity", "invalid_body", "spill_limit_reached", "model_not_found"} <= codes
    assert codes <= set(re.findall(r"`(\w+)`", told))


def test_every_decision_is_listed_and_has_its_four_parts() -> None:
    folder = ROOT / "docs" / "adr"
    records = sorted(folder.glob("0*.md"))
    listed = re.findall(r"\((0\d{3}-[a-z-]+\.md)\)", (folder / "README.md").read_text())
    assert listed == [record.name for record in records]
    for record in records:
        headings = re.findall(r"^## (.+)$", record.read_text(), re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences", "What would change our mind"], record.name


def test_the_page_on_metrics_lists_what_the_operator_exports() -> None:
    telemetry = Telemetry(queue_depth=lambda: 0, queue_delay_s=lambda: 0, leading=lambda: True, requests=lambda: 0)
    exported = {family.name + ("_total" if family.type == "counter" else "") for family in telemetry.collect()}
    section = (ROOT / "docs" / "metrics.md").read_text().partition("## The gateways")[0]
    assert set(re.findall(r"^\| `(spillway_\w+)` \|", section, re.MULTILINE)) == exported


def test_the_page_on_metrics_lists_what_gateways_count_and_its_labels() -> None:
    counted: dict[str, set[str]] = {}
    for promise in PROMISES:
        rendered = (HERE / promise / "out" / "envoy.yaml").read_text()
        for each in _statistics(yaml.load(rendered, LOADER)):  # noqa: S506  (it is a safe one)
            counted[f"envoy_spillway_{each['name']}"] = {tag["name"] for tag in each["tags"]}
    section = (ROOT / "docs" / "metrics.md").read_text().partition("## The gateways")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| (`envoy_spillway_.*?) \| (.*?) \|", section, re.MULTILINE)
    told = {name: set(re.findall(r"`(\w+)`", labels)) for names, labels in rows for name in re.findall(r"`(\w+)`", names)}
    assert told == counted


def _statistics(node: Any) -> Iterator[dict[str, Any]]:
    """Yield what a configuration counts."""
    if isinstance(node, dict):
        if isinstance(node.get("stat"), dict):
            yield node["stat"]
        for child in node.values():
            yield from _statistics(child)
    elif isinstance(node, list):
        for child in node:
            yield from _statistics(child)


def test_the_page_on_metrics_lists_what_is_recorded() -> None:
    section = (ROOT / "docs" / "metrics.md").read_text().partition("## Rules")[2].partition("## Alerts")[0]
    told: set[str] = set()
    for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE):
        first, *others = re.findall(r"`([^`]+)`", row)
        stem = re.sub(r"_(bucket|sum|count)$", "", first)
        told |= {first, *(stem + each[1:] if each.startswith("…") else each for each in others)}
    assert told == {rule["record"] for rule in rules.groups()["groups"][0]["rules"]}


def test_the_page_on_conditions_has_every_condition_and_reason() -> None:
    pages = "".join((ROOT / "docs" / page).read_text() for page in ("conditions.md", "access.md"))
    told = set(re.findall(r"`(\w+)`", pages))
    assert {*map(str, ConditionType), *map(str, Reason)} <= told


def conditions_told() -> Iterator[tuple[str, str, str]]:
    """Yield condition, status and reason of each row of the table of conditions."""
    kind = status = ""
    for row in re.findall(r"^\|.*\|$", (ROOT / "docs" / "conditions.md").read_text().partition("## Conditions")[2], re.MULTILINE):
        first, said = row.split("|")[1:3]
        kind = "".join(re.findall(r"`(\w+)`", first)) or kind
        for word in re.findall(r"True|False|Unknown|`\w+`", said):
            if word.startswith("`"):
                yield kind, status, word.strip("`")
            else:
                status = word


def test_the_page_on_conditions_says_which_reasons_a_condition_has_with_which_status() -> None:
    found = {(case.values[0], *case.values[3]) for case in CASES}
    elsewhere = {each for each in found if each[0] == ConditionType.ACCESS_CONTROLLED or each[2] == Reason.NOT_REQUESTED}
    assert found - elsewhere <= set(conditions_told())


def test_the_runbook_of_failed_passes_names_their_errors_as_the_metric_does() -> None:
    section = (ROOT / "docs" / "runbooks.md").read_text().partition("## SpillwayPassesFail")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(\w+Error)`", section)) == {each.__name__ for each in (ApiError, PassFailedError, TimeoutError)}
