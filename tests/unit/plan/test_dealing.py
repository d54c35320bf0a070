"""How the rest of a limit is divided: no lane is given what another holds, and none gets a part that is too small to be of use."""

from hypothesis import given
from hypothesis import strategies as st

from spillway.plan.decision import Lane
from spillway.plan.gateway.dealing import Need, deal

_NEEDS = st.lists(
    st.builds(
        Need,
        seen=st.integers(min_value=0, max_value=10_000),
        held=st.integers(min_value=0, max_value=500),
        asked=st.integers(min_value=0, max_value=50),
        wanted=st.none() | st.integers(min_value=1, max_value=400),
    ),
    min_size=1,
    max_size=8,
)


def lane(worker: int) -> Lane:
    return Lane(pod="chat-gateway-0", worker=worker, backend="acme/llama-8b")


def need(*, held: int = 0, asked: int = 0, wanted: int | None = None) -> Need:
    return Need(seen=0, held=held, asked=asked, wanted=wanted)


def dealt(left: int, *needs: Need) -> list[int]:
    """Return what each lane may use on top of its meter."""
    found = deal(left, {lane(place): each for place, each in enumerate(needs)}, held_elsewhere=0)
    return [found[lane(place)] - each.seen for place, each in enumerate(needs)]


@given(left=st.integers(min_value=0, max_value=3000), needs=_NEEDS, elsewhere=st.integers(min_value=0, max_value=500))
def test_what_is_held_and_dealt_is_never_more_than_is_left_or_was_held(left: int, needs: list[Need], elsewhere: int) -> None:
    """A lane may go on using what it held, so it counts at the larger of that and its new part."""
    marks = deal(left, {lane(place): each for place, each in enumerate(needs)}, held_elsewhere=elsewhere)
    claims = [max(each.held, marks[lane(place)] - each.seen) for place, each in enumerate(needs)]
    assert all(marks[lane(place)] >= each.seen for place, each in enumerate(needs))
    assert elsewhere + sum(claims) <= max(left, elsewhere + sum(each.held for each in needs))


@given(left=st.integers(min_value=0, max_value=3000), needs=_NEEDS)
def test_where_enough_for_a_request_is_free_the_lane_that_is_asked_most_has_it(left: int, needs: list[Need]) -> None:
    asking = [place for place, each in enumerate(needs) if each.wanted is not None]
    marks = deal(left, {lane(place): each for place, each in enumerate(needs)}, held_elsewhere=0)
    free = left - sum(each.held for each in needs)
    if not asking:
        return
    first = min(asking, key=lambda place: (-needs[place].asked, place))
    wanted = needs[first].wanted or 0
    assert marks[lane(first)] - needs[first].seen >= min(wanted, max(0, free) + needs[first].held)


def test_half_is_dealt_half_of_it_evenly_and_half_by_use() -> None:
    assert dealt(800, need(asked=3), need(asked=1)) == [250, 150]


def test_nobody_is_dealt_less_than_a_request_once_some_were_turned_away() -> None:
    assert dealt(1000, need(asked=20, wanted=200), need(), need(), need()) == [400, 0, 0, 0]


def test_the_last_few_requests_are_dealt_out_all_at_once() -> None:
    assert dealt(790, need(asked=20, wanted=200), need(), need(), need()) == [600, 0, 0, 0]


def test_the_last_of_a_limit_goes_to_the_lane_that_turns_most_away() -> None:
    assert dealt(90, need(asked=5, wanted=200), need(asked=9, wanted=200), need(asked=50)) == [0, 90, 0]


def test_a_lane_that_turns_requests_away_is_given_one_from_what_was_meant_for_another_that_turns_none_away() -> None:
    assert dealt(1000, need(asked=1, wanted=200), need(asked=99), need(held=600)) == [200, 200, 0]


def test_what_a_lane_holds_is_not_taken_from_it_when_that_makes_a_request() -> None:
    assert dealt(250, need(held=200, asked=1, wanted=200), need()) == [200, 0]
