"""Waiting for a condition, with a deadline and an error that says what was awaited."""

import time
from collections.abc import Callable

POLL_S = 0.1


def wait_until(condition: Callable[[], bool], *, what: str, timeout_s: float, hint: Callable[[], str] = str) -> None:
    """Return as soon as the condition holds; raise TimeoutError naming `what`, with the hint, when the time is up."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_s:.0f} s for {what}, in vain\n{hint()}".rstrip())
        time.sleep(POLL_S)
