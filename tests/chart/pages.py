"""The project's pages, and the YAML in them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.chart.conftest import ROOT


def _all(*patterns: str) -> list[Path]:
    return sorted(path for pattern in patterns for path in ROOT.glob(pattern))


PAGES = _all("*.md", "docs/**/*.md", "charts/*/README.md", "examples/**/*.md", "benchmarks/**/*.md")
COMMENTED = _all(".github/**/*.yml", "charts/**/*.yaml", "charts/**/*.txt", "examples/**/*.yaml", "tests/e2e/**/*.yaml")
_VALUES = ("docs/install.md", "charts/spillway/README.md")  # pages whose YAML is for Helm where it is no object


def name(page: Path) -> str:
    """Return a page's path from the repository's root."""
    return page.relative_to(ROOT).as_posix()


def _documents() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for page in PAGES:
        text = page.read_text()
        for block in re.finditer(r"^```yaml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            line = text[: block.start()].count("\n") + 1
            for number, document in enumerate(yaml.safe_load_all(block[1])):
                yield name(page), f"{name(page)}:{line}" + (f"#{number}" if number else ""), document


OBJECTS = {place: document for _, place, document in _documents() if "apiVersion" in document}
VALUES = {place: document for page, place, document in _documents() if "apiVersion" not in document and page in _VALUES}
# Parts of a workload's spec.
PARTS = {
    place: document.get("spec", document) for page, place, document in _documents() if "apiVersion" not in document and page not in _VALUES
}
