"""What the pages say that can be checked: links lead somewhere, metrics are exported, and what is recorded is told."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from spillway.api.vocabulary import ConditionType, Reason
from spillway.cli.manifests import read_manifests
from spillway.reconcile.telemetry import Telemetry
from tests.chart.conftest import ROOT
from tests.chart.monitoring import rules

PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "charts/*/README.md", "examples/**/*.md", "benchmarks/**/*.md")
    for path in ROOT.glob(pattern)
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def links(page: Path) -> Iterator[str]:
    for target in LINK.findall(re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)):
        if not re.match(r"[a-z]+:", target):
            yield target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    missing = [target for target in links(page) if not (page.parent / target.partition("#")[0]).exists()]
    assert not missing


@pytest.mark.parametrize("page", ["README.md", "docs/install.md"])
def test_manifests_in_pages_are_read_as_the_command_line_reads_them(page: str, tmp_path: Path) -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    ours = [block for block in blocks if "apiVersion: spillway.dev/" in block]
    for number, block in enumerate(ours):
        (tmp_path / f"{number}.yaml").write_text(block)
    found = read_manifests([str(tmp_path)])
    assert len(found.workloads) + len(found.providers) + len(found.classes) == len(ours) > 0


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
