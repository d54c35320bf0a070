"""How tests reach Services of the cluster."""

import itertools
import subprocess
import sys
from typing import Any

from tests.e2e.stack import Stack


class Forwarding:
    """A cluster that forwards to where a Service was when it was asked."""

    def __init__(self) -> None:
        self._ports = itertools.count(1)
        self.started: list[subprocess.Popen[bytes]] = []

    def forward(self, _: str, __: int) -> tuple[int, subprocess.Popen[bytes]]:
        self.started.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))
        return next(self._ports), self.started[-1]


def test_a_namespace_that_is_made_anew_is_reached_at_its_services_new_addresses() -> None:
    cluster: Any = Forwarding()
    stack = Stack(cluster)
    try:
        first, other = stack.url("room", "chat"), stack.url("broom", "chat")
        stack.close("room")
        assert [each.poll() is None for each in cluster.started] == [False, True]
        assert stack.url("room", "chat") != first
        assert stack.url("broom", "chat") == other
    finally:
        stack.close()
        for each in cluster.started:
            each.stdin.close()


def test_a_forward_that_has_ended_is_made_anew() -> None:
    cluster: Any = Forwarding()
    stack = Stack(cluster)
    try:
        first = stack.url("room", "chat")
        assert stack.url("room", "chat") == first
        (forward,) = cluster.started
        forward.communicate()  # the end of its input, and so its own
        assert stack.url("room", "chat") != first
    finally:
        stack.close()
        for each in cluster.started:
            each.stdin.close()
