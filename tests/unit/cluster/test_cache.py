"""What is slow to make is made once for what it is made from, and is there whole or not at all."""

from pathlib import Path

import pytest

from tests.e2e.cluster.cache import artifact, cache_dir


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file to make something from, in front of an empty cache."""
    monkeypatch.setenv("SPILLWAY_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "recipe"
    file.write_text("first")
    return file


def test_the_same_is_made_once_and_a_changed_file_or_setting_makes_another(source: Path) -> None:
    made: list[Path] = []

    def build(folder: Path) -> None:
        made.append(folder)
        (folder / "result").touch()

    first = artifact("thing", [source, "flag"], build)
    assert artifact("thing", [source, "flag"], build) == first
    assert len(made) == 1
    other = artifact("thing", [source, "another flag"], build)
    source.write_text("second")
    changed = artifact("thing", [source, "flag"], build)
    assert len({first, other, changed}) == len(made) == 3
    assert all((folder / "result").exists() for folder in (first, other, changed))


def test_what_was_cut_off_is_made_anew_from_an_empty_folder(source: Path) -> None:
    def cut_off(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError("killed")

    def build(folder: Path) -> None:
        assert not list(folder.iterdir())

    with pytest.raises(RuntimeError, match="killed"):
        artifact("thing", [source], cut_off)
    assert not list(cache_dir().glob("thing-*"))
    assert artifact("thing", [source], build).is_dir()


@pytest.mark.parametrize(
    ("settings", "folder"),
    [
        ({"SPILLWAY_CACHE": "own", "XDG_CACHE_HOME": "caches"}, "own"),
        ({"SPILLWAY_CACHE": "", "XDG_CACHE_HOME": "caches"}, "caches/spillway"),
        ({"SPILLWAY_CACHE": "", "XDG_CACHE_HOME": ""}, ".cache/spillway"),
    ],
    ids=["the one that is named", "the user's cache folder", "the one at home"],
)
def test_the_folder(settings: dict[str, str], folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in settings.items():
        monkeypatch.setenv(name, str(tmp_path / value) if value else "")
    assert cache_dir() == (tmp_path / folder).resolve()
