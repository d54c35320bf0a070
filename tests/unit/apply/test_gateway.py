"""Telling gateways of a new cap: all of them are told, and one that cannot be told keeps nobody else from it."""

from typing import Any, cast

import pytest

from spillway.apply.connection import ApiError, Connection
from spillway.apply.gateway import announce_cap, leave_replicas, tell_share

PODS = [("a", "uid-a", None), ("b", "uid-b", "before"), ("c", "uid-c", "now")]


class ApiServer:
    """Takes patches; answers those of some pods with an error."""

    def __init__(self, **refused: int) -> None:
        self.told: list[str] = []
        self._refused = refused

    async def request(self, method: str, path: str, body: dict[str, Any], **_: str) -> None:
        pod = path.partition("?")[0].rpartition("/")[2]
        assert (method, body["metadata"]["uid"]) == ("PATCH", f"uid-{pod}")
        if pod in self._refused:
            raise ApiError(self._refused[pod], "no")
        self.told.append(pod)


async def announce(server: ApiServer) -> None:
    await announce_cap(cast("Connection", server), lambda: None, namespace="ns", pods=PODS, generation="now")


async def test_who_knows_already_is_not_told_again() -> None:
    server = ApiServer()
    await announce(server)
    assert server.told == ["a", "b"]


@pytest.mark.parametrize("status", [404, 409])
async def test_one_that_is_gone_or_another_by_now_is_no_failure(status: int) -> None:
    server = ApiServer(a=status)
    await announce(server)
    assert server.told == ["b"]


async def test_one_that_cannot_be_told_is_a_failure_once_the_others_know() -> None:
    server = ApiServer(a=403)
    with pytest.raises(ApiError, match="403"):
        await announce(server)
    assert server.told == ["b"]


@pytest.mark.parametrize(("refused", "there"), [({}, True), ({"a": 404}, False), ({"a": 409}, False)], ids=["told", "gone", "another"])
async def test_a_share_is_told_to_the_very_pod_it_is_for(refused: dict[str, int], there: bool) -> None:  # noqa: FBT001
    server = ApiServer(**refused)
    assert await tell_share(cast("Connection", server), lambda: None, namespace="ns", name="a", uid="uid-a", share=4) is there
    assert server.told == (["a"] if there else [])


async def test_a_share_that_cannot_be_told_is_a_failure() -> None:
    with pytest.raises(ApiError, match="403"):
        await tell_share(cast("Connection", ApiServer(a=403)), lambda: None, namespace="ns", name="a", uid="uid-a", share=4)


class OneDeployment:
    """Answers with a Deployment of three pods, whose number is held by this manager; None: there is none."""

    def __init__(self, manager: str | None) -> None:
        self.patches: list[dict[str, Any]] = []
        self._manager = manager

    async def request(self, method: str, _: str, body: Any = None, **__: str) -> Any:
        if method == "PATCH":
            self.patches.append(body)
            return None
        if self._manager is None:
            raise ApiError(404, "not found")
        entries = [
            {"manager": "kubelet", "fieldsV1": {"f:status": {}}},
            {"manager": "spillway", "fieldsV1": {"f:spec": {"f:template": {}}}},
            {"manager": self._manager, "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        ]
        return {"apiVersion": "apps/v1", "metadata": {"uid": "uid-d", "managedFields": entries}, "spec": {"replicas": 3}}


@pytest.mark.parametrize(("manager", "left"), [("spillway", True), ("spillway-autoscaling", False), ("kubectl-edit", False), (None, False)])
async def test_the_number_of_gateways_is_left_to_an_autoscaler_as_it_is_where_it_is_ours(manager: str | None, left: bool) -> None:  # noqa: FBT001
    server = OneDeployment(manager)
    await leave_replicas(cast("Connection", server), lambda: None, namespace="ns", name="chat-gateway")
    assert [(each["metadata"]["uid"], each["spec"]) for each in server.patches] == ([("uid-d", {"replicas": 3})] if left else [])
