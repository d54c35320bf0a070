"""The Lease's state machine: who may write, told by one process's own clock."""

import pytest

from spillway.apply.lease import Election

OURS, OTHERS = "a", "b"


def record(holder: str | None = OTHERS, renewed: str = "t0", duration: int = 15) -> dict[str, object]:
    return {"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": duration}


@pytest.fixture
def election() -> Election:
    return Election(identity=OURS, duration_s=15)


@pytest.mark.parametrize("holder", [None, "", OURS], ids=["new", "released", "ours"])
def test_a_free_lease_is_taken_at_once(election: Election, holder: str | None) -> None:
    spec = record(holder)
    election.observe(spec, 0)
    assert election.may_take(spec, 0)


def test_anothers_lease_is_taken_only_when_it_has_not_changed_for_its_whole_duration(election: Election) -> None:
    spec = record()
    for now in (0.0, 7.0, 15.0):
        election.observe(spec, now)
        assert not election.may_take(spec, now)
    election.observe(spec, 15.1)
    assert election.may_take(spec, 15.1)


def test_every_renewal_by_the_other_starts_the_wait_anew(election: Election) -> None:
    for second in range(100):
        spec = record(renewed=f"t{second}")
        election.observe(spec, float(second))
        assert not election.may_take(spec, float(second))


def test_anothers_clock_is_not_trusted(election: Election) -> None:
    spec = record(renewed="1970-01-01T00:00:00.000000Z")
    election.observe(spec, 1000)
    assert not election.may_take(spec, 1014)


def test_the_duration_that_counts_is_the_one_the_holder_promised(election: Election) -> None:
    spec = record(duration=60)
    election.observe(spec, 0)
    assert not election.may_take(spec, 30)
    assert election.may_take(spec, 60.1)


def test_nobody_holds_before_the_first_write(election: Election) -> None:
    assert not election.holds(0)


def test_a_holder_stops_writing_well_before_another_may_start(election: Election) -> None:
    election.renewed(asked_at=100)
    assert election.holds(109.9)
    assert not election.holds(110)


def test_losing_it_counts_at_once(election: Election) -> None:
    election.renewed(asked_at=100)
    election.lost()
    assert not election.holds(100)
