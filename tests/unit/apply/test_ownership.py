"""What was posted counts as applied once that makes a difference, and nothing of others changes hands."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.apply.ownership import as_applied, left_over


def entry(operation: str, *names: str, manager: str = "spillway", subresource: str = "") -> dict[str, Any]:
    """Return an entry that holds these keys of a ConfigMap's data."""
    found = {"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1", "time": "t1"}
    itself: dict[str, Any] = {".": {}} if operation == "Update" else {}
    fields = {"f:data": itself | {f"f:{name}": {} for name in names}}
    return {**found, "fieldsV1": fields} | ({"subresource": subresource} if subresource else {})


@pytest.mark.parametrize(
    ("entries", "left"),
    [
        ([entry("Update", "a"), entry("Apply", "a")], False),
        ([entry("Update", "a"), entry("Apply", "a", "b")], False),
        ([entry("Update", "a", "b"), entry("Apply", "a")], True),
        ([entry("Update", "a")], True),
        ([entry("Apply", "a")], False),
        ([entry("Update", "a", manager="kubectl"), entry("Apply", "b")], False),
        ([entry("Update", "a", subresource="status"), entry("Apply", "b")], False),
        ([], False),
    ],
    ids=["the same", "more", "less", "nothing applied", "never posted", "of others", "a status", "nobody's"],
)
def test_a_field_is_left_over_when_we_have_posted_it_and_do_not_apply_it(entries: list[dict[str, Any]], left: bool) -> None:  # noqa: FBT001
    assert left_over(entries) is left


def test_what_was_posted_counts_as_applied_and_others_keep_theirs() -> None:
    theirs, status = entry("Update", "a", manager="kubectl"), entry("Update", "a", subresource="status")
    ours, *rest = as_applied([theirs, entry("Update", "a", "b"), entry("Apply", "b", "c"), status])
    assert (ours["manager"], ours["operation"]) == ("spillway", "Apply")
    assert ours["fieldsV1"]["f:data"].keys() == {".", "f:a", "f:b", "f:c"}
    assert rest == [theirs, status]


def test_what_only_others_hold_is_left_as_it_is() -> None:
    theirs = entry("Update", "a", manager="kubectl")
    assert as_applied([theirs]) == [theirs]


names = st.lists(st.sampled_from("abcd"), unique=True)


@given(posted=names, applied=names)
def test_nothing_is_left_over_once_all_counts_as_applied(posted: list[str], applied: list[str]) -> None:
    entries = [entry("Update", *posted), entry("Apply", *applied)]
    assert left_over(entries) is bool(set(posted) - set(applied))
    assert not left_over(as_applied(entries))
