"""An object encoded once: what is sent is what was rendered, with the precondition in its metadata."""

import json

from hypothesis import given
from hypothesis import strategies as st

from spillway.apply.encoded import encode

# A value of every kind of JSON, and texts with whatever needs escaping: in a few members that shows as well as in many.
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=3,
)
NAMES = st.text(max_size=4).filter(lambda name: name not in ("metadata", "uid", "resourceVersion"))
OBJECTS = st.builds(
    lambda metadata, rest: {"kind": "ConfigMap", **rest, "metadata": {"name": "x", **metadata}},
    st.dictionaries(NAMES, VALUES, max_size=3),
    st.dictionaries(NAMES, VALUES, max_size=3),
)
PRECONDITIONS = st.sampled_from(({}, {"resourceVersion": "1"}, {"uid": "0f"}))


@given(obj=OBJECTS, precondition=PRECONDITIONS)
def test_a_body_is_the_object_with_the_precondition_in_its_metadata(obj: dict[str, object], precondition: dict[str, str]) -> None:
    sent = json.loads(encode(obj).body(precondition))
    metadata = obj["metadata"]
    assert isinstance(metadata, dict)
    assert sent == {**obj, "metadata": {**metadata, **precondition}}


def test_a_fingerprint_is_of_the_whole_object() -> None:
    digests = {
        encode({"kind": kind, "metadata": {"name": name}, "data": data}).digest
        for kind, name, data in (("ConfigMap", "x", "1"), ("ConfigMap", "x", "2"), ("ConfigMap", "y", "1"), ("Secret", "x", "1"))
    }
    assert len(digests) == 4
    assert encode({"kind": "A", "metadata": {"name": "x"}}).digest == encode({"kind": "A", "metadata": {"name": "x"}}).digest
