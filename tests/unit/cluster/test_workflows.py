"""What can be known of the workflows without GitHub."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def jobs(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(file.read_text())["jobs"]
    return found


def test_an_action_is_the_same_commit_everywhere_with_its_version_beside_it() -> None:
    used = [line.split("uses: ")[1] for file in FILES for line in file.read_text().splitlines() if "uses: " in line]
    assert [each for each in used if not re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each)] == []
    assert len(set(used)) == len({each.partition("@")[0] for each in used})


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_workflow_may_only_read_and_ends_by_itself(file: Path) -> None:
    assert yaml.safe_load(file.read_text())["permissions"] == {"contents": "read"}
    for job in jobs(file).values():
        assert 0 < job["timeout-minutes"] <= 90
        (checkout,) = (step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@"))
        assert checkout["with"]["persist-credentials"] is False


def test_every_supported_python_is_checked() -> None:
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    supported = [found[1] for each in classifiers if (found := re.search(r":: (3\.\d+)$", each))]
    (job,) = jobs(ROOT / ".github" / "workflows" / "check.yml").values()
    assert job["strategy"]["matrix"]["python"] == supported


def test_a_cluster_in_a_container_has_its_cache_on_a_volume() -> None:
    """Linux refuses an overlay on an overlay, which a container's own file system is."""
    (job,) = jobs(ROOT / ".github" / "workflows" / "tests.yml").values()
    volumes = re.findall(r"--volume (\S+):(/\S+)", job["container"]["options"])
    assert job["env"]["SPILLWAY_CACHE"] in [inside for _, inside in volumes]
