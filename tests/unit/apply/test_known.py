"""What is known of applied objects: enough to send nothing when nothing changed, and everything when somebody else changed it."""

from typing import Any

import pytest

from spillway.apply.known import KnownObjects, Ref, digest_of
from spillway.plan.decision import Key

KEY = Key(namespace="ns", name="x")
REF = Ref("Deployment", "ns", "x-gateway")


def metadata(
    version: int, *, uid: str = "u", generation: int | None = 1, owner: str | None = "w", component: str = "gateway"
) -> dict[str, Any]:
    owners = [{"uid": owner, "controller": True}] if owner else []
    labels = {"app.kubernetes.io/component": component}
    found: dict[str, Any] = {"uid": uid, "resourceVersion": str(version), "ownerReferences": owners, "labels": labels}
    return found if generation is None else {**found, "generation": generation}


def applied() -> KnownObjects:
    known = KnownObjects()
    known.applied(REF, metadata(10), "digest", KEY)
    return known


def digest(known: KnownObjects) -> str | None:
    record = known.get(REF)
    return None if record is None else record.digest


def test_the_echo_of_our_own_write_is_no_news() -> None:
    known = applied()
    assert not known.seen(REF, metadata(10), KEY)
    assert digest(known) == "digest"


def test_the_echo_may_come_before_the_answer() -> None:
    known = KnownObjects()
    with known.sending(REF):
        assert not known.seen(REF, metadata(10), KEY)
        known.applied(REF, metadata(10), "digest", KEY)
    assert digest(known) == "digest"


@pytest.mark.parametrize("known", [KnownObjects(), applied()], ids=["made", "changed"])
def test_an_end_that_is_told_before_the_answer_to_what_was_sent_counts(known: KnownObjects) -> None:
    before = known.changes(KEY)
    with known.sending(REF):
        known.gone(REF, "u")
        known.applied(REF, metadata(11), "digest", KEY)
    assert known.get(REF) is None
    assert known.changes(KEY) != before
    with known.sending(REF):
        known.applied(REF, metadata(13, uid="successor"), "digest", KEY)
    assert digest(known) == "digest"


def test_an_end_of_a_predecessor_that_is_told_meanwhile_does_not() -> None:
    known = KnownObjects()
    with known.sending(REF):
        known.gone(REF, "predecessor")
        known.applied(REF, metadata(11), "digest", KEY)
    assert digest(known) == "digest"


def test_an_object_is_that_of_its_controller_whoever_else_owns_it() -> None:
    known = applied()
    others = [{"uid": "other"}, {"uid": "another", "controller": False}]
    for owners, uid in ((others, None), ([*others, {"uid": "w", "controller": True}], "w")):
        known.replace(REF, {**metadata(11), "ownerReferences": owners}, KEY)
        record = known.get(REF)
        assert record is not None
        assert record.controller_uid == uid


def test_a_status_written_by_a_controller_is_no_news() -> None:
    assert not applied().seen(REF, metadata(12), KEY)


def test_an_event_from_before_our_write_is_no_news() -> None:
    known = applied()
    assert not known.seen(REF, metadata(9, generation=7), KEY)
    assert digest(known) == "digest"


def test_an_event_of_a_predecessor_of_the_name_is_no_news() -> None:
    known = applied()
    assert not known.seen(REF, metadata(9, uid="predecessor"), KEY)
    assert not known.gone(REF, "predecessor")
    assert digest(known) == "digest"


def test_a_changed_spec_is_news_and_makes_the_next_pass_apply_again() -> None:
    known = applied()
    before = known.changes(KEY)
    assert known.seen(REF, metadata(11, generation=2), KEY)
    assert digest(known) == ""
    assert known.changes(KEY) != before


@pytest.mark.parametrize("changed", [{"owner": None}, {"component": "none"}], ids=["owner", "label"])
def test_a_label_or_an_owner_that_somebody_changed_is_news_though_no_generation_tells_of_it(changed: dict[str, Any]) -> None:
    known = applied()
    assert known.seen(REF, metadata(11, **changed), KEY)
    assert digest(known) == ""
    assert not known.seen(REF, metadata(12, **changed), KEY)


def test_a_kind_without_generation_goes_by_its_version() -> None:
    known = KnownObjects()
    known.applied(REF, metadata(10, generation=None), "digest", KEY)
    assert known.seen(REF, metadata(11, generation=None), KEY)


def test_another_object_of_the_same_name_is_news() -> None:
    known = applied()
    assert known.seen(REF, metadata(10, uid="other", owner=None), KEY)
    record = known.get(REF)
    assert record is not None
    assert record.controller_uid is None


def test_a_deletion_is_news_once_and_not_for_a_predecessor() -> None:
    known = applied()
    assert not known.gone(REF, "predecessor")
    assert known.gone(REF, "u")
    assert not known.gone(REF, "u")
    assert list(known.of(KEY)) == []


def test_an_object_that_two_workloads_have_to_do_with_is_news_to_both_once_it_is_gone() -> None:
    known, other = applied(), Key(namespace="ns", name="x-gateway")
    known.replace(REF, metadata(10), other)  # which wants to have an object of this name, and has looked whose it is
    before = {key: known.changes(key) for key in (KEY, other)}
    for key in (KEY, other):
        assert [ref for ref, _ in known.of(key)] == [REF]
    assert known.gone(REF, "u")
    for key in (KEY, other):
        assert list(known.of(key)) == []
        assert known.changes(key) != before[key]


def test_objects_that_go_while_others_are_looked_at_are_left_out() -> None:
    known, names = KnownObjects(), ("a", "b", "c")
    for name in names:
        known.applied(Ref("Service", "ns", name), metadata(10), "digest", KEY)
    looking = known.of(KEY)
    first, _ = next(looking)
    gone = next(name for name in names if name != first.name)
    known.gone(Ref("Service", "ns", gone))
    assert {ref.name for ref, _ in looking} == {*names} - {first.name, gone}


def test_nothing_is_kept_of_a_workload_that_is_gone_whoever_hears_of_it_first() -> None:
    known = applied()
    assert known.changes(KEY) == 0
    for end in (lambda: known.forget(KEY), lambda: known.gone(REF)):
        end()
    assert sizes(known) == sizes(KnownObjects())
    known = applied()
    known.gone(REF)
    assert sizes(known) == sizes(KnownObjects()), "as on a replica of the operator that has never led"


def sizes(known: KnownObjects) -> list[int]:
    return [len(each) for each in vars(known).values()]


def test_an_object_that_is_labelled_as_anothers_is_news_to_the_one_it_was_applied_for() -> None:
    known, other = applied(), Key(namespace="ns", name="other")
    before = known.changes(KEY)
    assert known.seen(REF, {**metadata(11), "labels": {"spillway.dev/workload": "other"}}, other)
    assert known.changes(KEY) != before
    assert [ref for ref, _ in known.of(KEY)] == [REF]


def test_the_fingerprint_is_of_the_content() -> None:
    assert digest_of({"a": 1}) == digest_of({"a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 2})
