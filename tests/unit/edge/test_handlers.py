"""What kopf is told where it would end, and the process with it."""

from collections.abc import Sequence

from spillway.edge import handlers


def test_an_api_server_that_is_away_for_an_hour_is_asked_again_and_ends_no_watch() -> None:
    pauses_s = handlers.settings().networking.error_backoffs
    assert isinstance(pauses_s, Sequence), "every request begins anew with the first"
    assert sum(pauses_s) >= 3600
    assert max(pauses_s) <= 30, "and it is noticed when it is back"


def test_a_watch_that_expires_again_and_again_lists_anew_no_more_than_once_a_second() -> None:
    assert handlers.settings().watching.reconnect_backoff >= 1
