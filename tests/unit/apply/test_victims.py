"""Telling pods what their end would cost: all of them are told, and one that cannot be told keeps nobody else from it."""

from typing import Any, cast

import pytest

from spillway.apply.applier import NotLeadingError
from spillway.apply.connection import ApiError, Connection
from spillway.apply.victims import tell_deletion_costs
from spillway.plan.scaling.victims import DeletionCost

COSTS = [DeletionCost(pod=name, uid=f"uid-{name}", cost=cost) for name, cost in (("a", 5), ("b", 0), ("c", -1))]


class ApiServer:
    """Takes patches; answers those of some pods with an error."""

    def __init__(self, **refused: int) -> None:
        self.patches: dict[str, dict[str, Any]] = {}
        self._refused = refused

    async def request(self, method: str, path: str, body: dict[str, Any], **_: str) -> None:
        pod = path.partition("?")[0].rpartition("/")[2]
        assert method == "PATCH"
        if pod in self._refused:
            raise ApiError(self._refused[pod], "no")
        self.patches[pod] = body["metadata"]


async def tell(server: ApiServer) -> tuple[str, ...]:
    return await tell_deletion_costs(cast("Connection", server), lambda: None, namespace="ns", costs=COSTS)


async def test_each_pod_carries_its_cost_and_only_the_pod_that_was_meant() -> None:
    server = ApiServer()
    assert await tell(server) == ()
    key = "controller.kubernetes.io/pod-deletion-cost"
    assert {pod: (told["uid"], told["annotations"]) for pod, told in server.patches.items()} == {
        "a": ("uid-a", {key: "5"}),
        "b": ("uid-b", {key: "0"}),
        "c": ("uid-c", {key: "-1"}),
    }


@pytest.mark.parametrize("status", [404, 409], ids=["gone", "another pod of its name"])
async def test_a_pod_that_is_no_more_needs_no_telling(status: int) -> None:
    server = ApiServer(a=status)
    assert await tell(server) == ()
    assert server.patches.keys() == {"b", "c"}


async def test_a_refusal_is_reported_and_the_others_are_told() -> None:
    server = ApiServer(b=403)
    (failure,) = await tell(server)
    assert failure.startswith("Pod b: 403")
    assert server.patches.keys() == {"a", "c"}


async def test_who_does_not_lead_tells_nobody() -> None:
    server = ApiServer()

    def fence() -> None:
        raise NotLeadingError

    with pytest.raises(NotLeadingError):
        await tell_deletion_costs(cast("Connection", server), fence, namespace="ns", costs=COSTS)
    assert not server.patches
