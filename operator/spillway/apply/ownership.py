"""Whose an object's fields are, when it was posted first and is applied later.

A POST costs the API server half of what a server-side apply of a new object does: no YAML, no merge, no reading of what is not there.
But fields that were posted are held by an entry of managedFields with operation Update. What an apply leaves out is not taken away
while that entry holds it; where it may not be there beside what is applied, the apply is refused. Then the two entries are made one of
operation Apply, as client-go's csaupgrade does it, and applying again
takes it away
(https://kubernetes.io/docs/reference/using-api/server-side-apply/#upgrading-from-client-side-apply-to-server-side-apply).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from spillway.api.vocabulary import FIELD_MANAGER

Entry = Mapping[str, Any]
Fields = Mapping[str, Any]  # fieldsV1: a tree of names


def left_over(entries: Sequence[Entry]) -> bool:
    """Tell whether we still hold a field by having posted it that we do not apply."""
    posted = _fields(entries, "Update")
    return bool(posted and _beyond(posted, _fields(entries, "Apply")))


def is_posted(entries: Sequence[Entry]) -> bool:
    """Tell whether we still hold a field by having posted it."""
    return bool(_fields(entries, "Update"))


def as_applied(entries: Sequence[Entry]) -> list[Entry]:
    """Return the managedFields with which all that we have posted counts as applied by us; others' entries stay as they are."""
    ours = [each for each in entries if _is_ours(each)]
    fields = _union(_fields(ours, "Update"), _fields(ours, "Apply"))
    return [*({**each, "operation": "Apply", "fieldsV1": fields} for each in ours[-1:]), *(each for each in entries if each not in ours)]


def _fields(entries: Sequence[Entry], operation: str) -> Fields:
    found: Fields = {}
    for each in entries:
        if _is_ours(each) and each.get("operation") == operation:
            found = _union(found, each.get("fieldsV1") or {})
    return found


def _is_ours(entry: Entry) -> bool:
    return entry.get("manager") == FIELD_MANAGER and not entry.get("subresource")


def _union(one: Fields, other: Fields) -> Fields:
    return {name: _union(one.get(name, {}), other.get(name, {})) for name in {**one, **other}}


def _beyond(one: Fields, other: Fields) -> Fields:
    """Return what one has and the other has not. A mapping itself, ".", is held by who posts it, and not by who applies what is in it."""
    rest = {name: _beyond(below, other[name]) if name in other else below for name, below in one.items() if name != "."}
    return {name: below for name, below in rest.items() if name not in other or below}
