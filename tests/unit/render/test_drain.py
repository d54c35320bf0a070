"""How long a replica may take to end."""

import pytest

from spillway.render import drain


@pytest.mark.parametrize("max_request_s", [10, 600, 86_400])
def test_the_grace_period_covers_settling_the_longest_request_and_the_exit(max_request_s: int) -> None:
    assert drain.grace_period_s(max_request_s) == drain.SETTLE_S + max_request_s + drain.EXIT_S
