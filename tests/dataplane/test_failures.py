"""The failure matrix: what a client sees when a backend fails, row by row (docs/gateway.md)."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

import aiohttp
import pytest
from aiohttp import web

from tests.dataplane import certificates, fakes
from tests.dataplane.client import Answer, rest_of
from tests.dataplane.conftest import KEYS, SetStage, Stage
from tests.dataplane.fakes import Backend
from tests.dataplane.process import until

pytestmark = pytest.mark.dataplane
ALPHA, BETA = "alpha/vendor/alpha-model", "beta/vendor/beta-model"


def error_of(answer: Answer) -> str:
    """Return the code of an OpenAI-style error; it must be one, and must not carry a provider's text."""
    assert answer.headers["content-type"] == "application/json"
    assert b"secret" not in answer.body
    error = answer.json["error"]
    assert isinstance(error["message"], str)
    assert isinstance(error["type"], str)
    return str(error["code"])


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize(
    "script",
    [fakes.fail(429), fakes.fail(500), fakes.fail(502), fakes.fail(503), fakes.fail(504), fakes.close, fakes.reset],
    ids=["429", "500", "502", "503", "504", "closes", "resets"],
)
async def test_a_replica_that_fails_before_the_first_byte_is_followed_by_hosted(
    stage: SetStage, script: fakes.Script, *, stream: bool
) -> None:
    scene = await stage(engines=1)
    scene.engines[0].script = script
    answer = await scene.client.post(stream=stream)
    assert (answer.status, answer.served_by, answer.attempts) == (200, ALPHA, 2)
    assert scene.engines[0].requests == 1


async def test_one_replica_that_refuses_connections_is_replaced_by_another_replica(stage: SetStage) -> None:
    scene = await stage(engines=2)
    await scene.engines[0].stop()
    answers = [await scene.client.post() for _ in range(12)]
    assert {each.served_by for each in answers} == {"owned"}
    assert scene.alpha.requests == 0


async def test_replicas_that_all_refuse_connections_are_followed_by_hosted(stage: SetStage) -> None:
    scene = await stage(engines=2)
    for engine in scene.engines:
        await engine.stop()
    answers = [await scene.client.post() for _ in range(12)]
    assert {(each.status, each.served_by) for each in answers} == {(200, ALPHA)}


async def test_a_replica_that_swallows_connections_is_followed_by_hosted(stage: SetStage) -> None:
    scene = await stage(engines=1)
    engine = scene.engines[0]
    await engine.stop()
    with ExitStack() as open_sockets:
        hole = open_sockets.enter_context(socket.socket())
        hole.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        hole.bind((engine.address, engine.port))
        hole.listen(0)
        for _ in range(3):  # fill the queue: later SYNs are dropped
            filler = open_sockets.enter_context(socket.socket())
            filler.settimeout(0)
            filler.connect_ex((engine.address, engine.port))
        answers = [await scene.client.post() for _ in range(4)]
    assert {(each.status, each.served_by) for each in answers} == {(200, ALPHA)}


async def test_replicas_that_all_fail_their_health_check_get_no_request(stage: SetStage) -> None:
    scene = await stage(engines=2)
    for engine in scene.engines:
        engine.healthy = False
    await scene.seen_healthy(engines=0)
    answers = [await scene.client.post() for _ in range(10)]
    assert {(each.status, each.served_by) for each in answers} == {(200, ALPHA)}
    assert sum(engine.requests for engine in scene.engines) == 0


async def test_without_a_replica_hosted_answers_and_a_new_replica_takes_over_without_an_error(stage: SetStage) -> None:
    scene = await stage(dns=True)
    assert scene.names
    assert {(await scene.client.post()).served_by for _ in range(10)} == {ALPHA}
    assert "chat-replicas.demo.svc.cluster.local" in scene.names.asked
    engine = await Backend(model="tiny-chat", address="127.0.0.2", port=scene.gateway.addresses.engine_port).start()
    answers: list[Answer] = []

    async def load() -> bool:
        answers.extend(await asyncio.gather(*(scene.client.post(stream=True) for _ in range(4))))
        return answers[-1].served_by == "owned"

    try:
        scene.names.addresses = ["127.0.0.2"]
        await until(load, "requests move to the replica")
        assert all(each.complete for each in answers)
    finally:
        await engine.stop()
    assert not engine.problems


async def test_a_replica_that_leaves_dns_finishes_its_streams_and_gets_no_new_request(stage: SetStage) -> None:
    scene = await stage(dns=True)
    assert scene.names
    first = await Backend(model="tiny-chat", address="127.0.0.2", port=scene.gateway.addresses.engine_port).start()
    first.hold = asyncio.Event()
    try:
        scene.names.addresses = ["127.0.0.2"]
        await until(lambda: _one_owned(scene), "the replica is found")
        stream = await scene.client.open()
        assert stream.served_by == "owned"
        scene.names.addresses = []
        await until(lambda: _none_owned(scene), "the replica is forgotten")
        answered = first.requests
        assert (await scene.client.post()).served_by == ALPHA
        assert first.requests == answered
        first.hold.set()
        assert (await stream.rest()).complete
    finally:
        await first.stop()
    assert not first.problems


async def _one_owned(scene: Stage) -> bool:
    return await scene.gateway.metric("envoy_cluster_membership_healthy", envoy_cluster_name="owned") == 1


async def _none_owned(scene: Stage) -> bool:
    return await scene.gateway.metric("envoy_cluster_membership_total", envoy_cluster_name="owned") == 0


async def test_a_replica_that_dies_after_the_first_byte_ends_the_stream_and_is_not_replayed(stage: SetStage) -> None:
    scene = await stage(engines=1)
    scene.engines[0].script = fakes.die_after_first_event
    with pytest.raises(aiohttp.ClientPayloadError):
        await scene.client.post(stream=True)
    assert (scene.engines[0].requests, scene.alpha.requests) == (1, 0)


async def test_a_stream_whose_headers_do_not_come_is_followed_by_hosted(stage: SetStage) -> None:
    scene = await stage(engines=1)
    scene.engines[0].script = _hang(asyncio.Event())
    answer = await scene.client.post(stream=True)
    assert (answer.served_by, answer.complete) == (ALPHA, True)
    await until(lambda: scene.engines[0].cancelled == 1, "the hanging request is given up")


async def test_a_replica_whose_headers_are_late_stays_in_routing_for_others(stage: SetStage) -> None:
    """As of requests with images, which vLLM fetches before it says anything."""
    scene = await stage(engines=1)
    scene.engines[0].script = _hang(asyncio.Event())
    given_up = await asyncio.gather(*(scene.client.post(stream=True) for _ in range(4)))
    assert {each.served_by for each in given_up} == {ALPHA}
    scene.engines[0].script = None
    assert (await scene.client.post(headers={"x-spillway-spill": "never"})).served_by == "owned"
    assert await _ejections(scene) == 0


async def _ejections(scene: Stage) -> float:
    return await scene.gateway.metric("envoy_cluster_outlier_detection_ejections_enforced_total", envoy_cluster_name="owned")


async def test_a_plain_call_may_take_longer_than_a_streams_headers(stage: SetStage) -> None:
    scene = await stage(engines=1)
    answered = asyncio.Event()
    scene.engines[0].script = _hang(answered)
    plain = asyncio.create_task(scene.client.post())
    await until(lambda: scene.engines[0].active == 1, "the plain call is at the replica")
    # A stream that begins later runs into its header timeout while the plain call, older than it, goes on.
    assert (await scene.client.post(stream=True)).served_by == ALPHA
    answered.set()
    assert (await plain).served_by == "owned"


async def test_a_client_cannot_mark_a_plain_call_as_streamed(stage: SetStage) -> None:
    scene = await stage(engines=1)
    answered = asyncio.Event()
    scene.engines[0].script = _hang(answered)
    plain = asyncio.create_task(scene.client.post(headers={"x-spillway-stream": "1"}))
    await until(lambda: scene.engines[0].active == 1, "the plain call is at the replica")
    assert (await scene.client.post(stream=True)).served_by == ALPHA
    answered.set()
    assert (await plain).served_by == "owned"


async def test_a_stream_may_take_longer_than_its_headers(stage: SetStage) -> None:
    scene = await stage(engines=1)
    scene.engines[0].hold = asyncio.Event()
    stream = await scene.client.open()
    scene.engines[0].script = _hang(asyncio.Event())
    assert (await scene.client.post(stream=True)).served_by == ALPHA  # a header timeout later
    scene.engines[0].hold.set()
    assert (await stream.rest()).complete


def _hang(until_set: asyncio.Event) -> fakes.Script:
    async def script(backend: Backend, request: web.Request, body: dict[str, object]) -> web.StreamResponse:
        await until_set.wait()
        return await fakes.complete(backend, request, body)

    return script


@pytest.mark.parametrize("status", [101, 301, 307, 308, 401, 402, 403, 404, 405, 408, 410, 412, 424, 429, 500, 502, 503, 504])
async def test_a_hosted_error_becomes_a_clear_503_without_the_providers_text(stage: SetStage, status: int) -> None:
    scene = await stage(cap=0)
    scene.alpha.script = fakes.fail(status)
    answer = await scene.client.post()
    assert (answer.status, error_of(answer), answer.served_by) == (503, "no_capacity", "none")
    assert answer.headers["retry-after"] == "1"
    assert answer.json["error"]["hosted_status"] == status


@pytest.mark.parametrize(
    ("said", "told"),
    [("17", "17"), ("0", "1"), ("1.5", "2"), ("86400", "60"), ("-1", "1"), ("Sat, 28 Nov 2026 00:00:00 GMT", "1"), ("later", "1")],
)
async def test_a_hosted_backends_retry_after_reaches_the_client_within_reason(stage: SetStage, said: str, told: str) -> None:
    """Azure says a day where its minute is used up, and own replicas are free in a second."""
    scene = await stage(cap=0)
    scene.alpha.script = fakes.fail(429, **{"Retry-After": said})
    answer = await scene.client.post()
    assert (answer.status, answer.headers["retry-after"]) == (503, told)


async def test_a_hosted_complaint_about_the_request_reaches_the_client(stage: SetStage) -> None:
    scene = await stage(cap=0)
    scene.alpha.script = fakes.fail(400)
    answer = await scene.client.post()
    assert (answer.status, answer.served_by) == (400, ALPHA)


UNPAID = {"message": "Access denied, please make sure your account is in good standing.", "type": "Arrearage", "code": "Arrearage"}
SPENT = {"message": "API access is blocked for secret of the provider", "type": "invalid_request_error", "code": "blocked_api_access"}
OVER_BUDGET = {"message": "Budget has been exceeded! Current cost: 11", "type": "budget_exceeded", "param": None, "code": "400"}


@pytest.mark.parametrize("error", [UNPAID, SPENT, OVER_BUDGET], ids=["Alibaba", "Groq", "LiteLLM"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_a_client_is_not_blamed_for_an_account_that_its_provider_has_closed(
    stage: SetStage, error: dict[str, str], *, stream: bool
) -> None:
    scene = await stage(cap=0, hosted=2)
    scene.alpha.script = _complaining({"error": error})
    assert (await scene.client.post(stream=stream)).served_by == BETA
    scene.beta.script = scene.alpha.script
    answer = await scene.client.post(stream=stream)
    assert (answer.status, error_of(answer), answer.json["error"]["hosted_status"]) == (503, "no_capacity", 400)


@pytest.mark.parametrize(
    "said",
    [
        {"error": {"message": '"code": "Arrearage"', "code": "invalid_value"}},
        {"error": {"code": 400, "detail": {"code": "Arrearage"}}},
        {"detail": [{"input": {"error": {"code": "Arrearage"}}}]},
        {"error": "Arrearage"},
        ["Arrearage"],
    ],
    ids=["in words", "deeper", "repeated", "a text", "a list"],
)
async def test_an_error_that_only_repeats_what_an_account_would_be_refused_with_is_about_the_request(stage: SetStage, said: object) -> None:
    scene = await stage(cap=0)
    scene.alpha.script = _complaining(said)
    answer = await scene.client.post()
    assert (answer.status, answer.json, answer.served_by) == (400, said, ALPHA)


def _complaining(said: object) -> fakes.Script:
    async def script(_: Backend, __: web.Request, ___: dict[str, object]) -> web.StreamResponse:
        return web.json_response(said, status=400)

    return script


async def _stop(scene: Stage) -> None:
    await scene.alpha.stop()


async def _close(scene: Stage) -> None:
    scene.alpha.script = fakes.close


async def _reset(scene: Stage) -> None:
    scene.alpha.script = fakes.reset


@pytest.mark.parametrize("break_alpha", [_stop, _close, _reset], ids=["unreachable", "closes", "resets"])
async def test_a_hosted_backend_that_gives_no_answer_becomes_a_clear_503(
    stage: SetStage, break_alpha: Callable[[Stage], Awaitable[None]]
) -> None:
    scene = await stage(cap=0)
    await break_alpha(scene)
    answer = await scene.client.post(stream=True)
    assert (answer.status, error_of(answer), answer.served_by) == (503, "no_capacity", "none")
    assert "retry-after" in answer.headers


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_an_endpoint_may_speak_one_version_of_tls_alone(stage: SetStage, version: ssl.TLSVersion) -> None:
    """As a client Envoy stops at 1.2 unless it is told."""
    scene = await stage(cap=0, healthy=False)
    assert scene.alpha.tls
    scene.alpha.tls.minimum_version = scene.alpha.tls.maximum_version = version
    await until(lambda: _status_is(scene, 200), "the endpoint is reached")


async def test_a_certificate_for_another_name_is_refused(stage: SetStage) -> None:
    scene = await stage(cap=0, certificate="somebody-else.test", healthy=False)
    answer = await scene.client.post()
    assert (answer.status, error_of(answer)) == (503, "no_capacity")
    assert scene.alpha.requests == 0
    assert await scene.gateway.metric("envoy_cluster_ssl_fail_verify_san") > 0


async def test_an_unknown_certificate_authority_is_refused_until_the_mounted_one_is_right(
    stage: SetStage, authority: certificates.Authority
) -> None:
    scene = await stage(cap=0)
    scene.gateway.write_authority("alpha", certificates.authority("stranger").pem)
    await until(lambda: _status_is(scene, 503), "the endpoint is refused")
    scene.gateway.write_authority("alpha", authority.pem)
    await until(lambda: _status_is(scene, 200), "the endpoint is trusted again")


async def _status_is(scene: Stage, status: int) -> bool:
    # A new connection each time: a changed authority does not cut what is open.
    await scene.alpha.stop()
    await scene.alpha.start()
    return (await scene.client.post()).status == status


@pytest.mark.parametrize("cap", [16, 0], ids=["owned", "hosted"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_a_client_that_goes_away_ends_the_request_upstream(stage: SetStage, cap: int, *, stream: bool) -> None:
    scene = await stage(engines=1, cap=cap)
    backend = scene.engines[0] if cap else scene.alpha
    backend.hold = asyncio.Event()
    if stream:
        (await scene.client.open()).abort()
    else:
        backend.script = _hang(asyncio.Event())
        task = asyncio.create_task(scene.client.post())
        await until(lambda: backend.active == 1, "the request is at the backend")
        task.cancel()
    await until(lambda: backend.active == 0, "the backend's request ends")
    assert backend.cancelled == 1


async def test_clients_cannot_steer_the_gateway_with_envoys_headers(stage: SetStage) -> None:
    scene = await stage(engines=1)
    scene.engines[0].script = fakes.fail(503)
    steering = {
        "x-envoy-max-retries": "0",
        "x-envoy-retry-on": "gateway-error",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-upstream-rq-per-try-timeout-ms": "1",
        "x-envoy-overloaded": "true",
        "x-envoy-expected-rq-timeout-ms": "1",
        "x-forwarded-for": "10.0.0.1",
    }
    answer = await scene.client.post(headers=steering)
    assert (answer.status, answer.served_by) == (200, ALPHA)


async def test_hosted_backends_are_tried_in_order(stage: SetStage) -> None:
    scene = await stage(engines=1, hosted=2)
    assert (await scene.client.post()).served_by == "owned"
    scene.engines[0].script = fakes.fail(503)
    assert (await scene.client.post()).served_by == ALPHA
    for status in (401, 429, 500):
        scene.alpha.script = fakes.fail(status)
        answer = await scene.client.post(stream=True)
        assert (answer.served_by, answer.attempts, answer.complete) == (BETA, 3, True)
    scene.beta.script = fakes.fail(500)
    answer = await scene.client.post()
    assert (answer.status, error_of(answer), answer.served_by, answer.attempts) == (503, "no_capacity", "none", 3)


async def test_a_hosted_stream_whose_headers_do_not_come_is_followed_by_the_next_hosted_backend(stage: SetStage) -> None:
    scene = await stage(cap=0, hosted=2)
    scene.alpha.script = _hang(asyncio.Event())
    assert (await scene.client.post(stream=True)).served_by == BETA


async def test_hosted_only_serves_without_a_replica(stage: SetStage) -> None:
    scene = await stage(mode="Hosted")
    answer = await scene.client.post(stream=True)
    assert (answer.served_by, answer.attempts, answer.complete) == (ALPHA, 1, True)
    scene.alpha.script = fakes.fail(500)
    assert error_of(await scene.client.post()) == "no_capacity"


async def test_a_dedicated_workload_never_spills_and_says_when_to_come_again(stage: SetStage) -> None:
    scene = await stage(mode="Dedicated", engines=1, cap=2)
    scene.engines[0].hold = asyncio.Event()
    streams = await scene.client.open_many(2)
    refused = await scene.client.post()
    assert (refused.status, error_of(refused), refused.served_by) == (503, "no_capacity", "none")
    assert refused.headers["retry-after"] == "1"
    scene.engines[0].hold.set()
    assert all(each.complete for each in await rest_of(streams))
    scene.engines[0].script = fakes.fail(503)
    engine_refused = await scene.client.post()
    assert (engine_refused.status, engine_refused.served_by) == (503, "owned")
    await scene.engines[0].stop()
    gone = await scene.client.post(stream=True)
    assert (gone.status, error_of(gone), gone.served_by) == (503, "no_capacity", "none")


async def test_a_dedicated_workloads_replica_that_refuses_connections_is_replaced_by_another(stage: SetStage) -> None:
    scene = await stage(mode="Dedicated", engines=2)
    await scene.engines[0].stop()
    answers = [await scene.client.post(headers={"x-spillway-spill": "never"}) for _ in range(12)]
    assert {(each.status, each.served_by) for each in answers} == {(200, "owned")}


@pytest.mark.parametrize("script", [fakes.close, fakes.reset], ids=["closes", "resets"])
async def test_a_dedicated_workloads_request_that_a_replica_has_seen_goes_to_no_other(stage: SetStage, script: fakes.Script) -> None:
    scene = await stage(mode="Dedicated", engines=2)
    for engine in scene.engines:
        engine.script = script
    answer = await scene.client.post()
    assert (answer.status, error_of(answer), answer.served_by) == (503, "no_capacity", "none")
    assert sum(engine.requests for engine in scene.engines) == 1


async def test_a_dedicated_workloads_only_replica_stays_in_routing_when_it_breaks_off_some_requests(stage: SetStage) -> None:
    scene = await stage(mode="Dedicated", engines=1)
    engine, together = scene.engines[0], asyncio.Barrier(4)

    async def close_together(backend: Backend, request: web.Request, body: dict[str, object]) -> web.StreamResponse:
        await together.wait()
        return await fakes.close(backend, request, body)

    engine.script = close_together
    broken_off = await asyncio.gather(*(scene.client.post() for _ in range(4)))
    assert {each.status for each in broken_off} == {503}
    engine.script = None
    assert (await scene.client.post()).served_by == "owned"
    assert await _ejections(scene) == 0


async def test_a_dedicated_workloads_stream_that_is_cut_is_not_taken_for_whole(stage: SetStage) -> None:
    scene = await stage(mode="Dedicated", engines=1)
    scene.engines[0].script = fakes.die_after_first_event
    with pytest.raises(aiohttp.ClientPayloadError):
        await scene.client.post(stream=True)


async def test_a_request_that_takes_longer_than_the_longest_is_answered_with_a_timeout(stage: SetStage) -> None:
    scene = await stage(engines=1, spec={"gateway": {"replicas": 1, "maxRequestSeconds": 10}})
    scene.engines[0].script = _hang(asyncio.Event())
    answer = await scene.client.post()
    assert (answer.status, error_of(answer), answer.served_by) == (504, "timeout", "none")
    assert scene.alpha.requests == 0


async def test_owned_traffic_is_unharmed_while_the_hosted_key_is_missing(stage: SetStage) -> None:
    scene = await stage(engines=1, keys=False)
    assert (await scene.client.post()).served_by == "owned"
    scene.engines[0].script = fakes.fail(503)
    answer = await scene.client.post()
    assert (answer.status, error_of(answer)) == (503, "no_capacity")
    assert scene.alpha.requests == 0
    assert await scene.gateway.metric("envoy_http_credential_injector_failed") == 1


async def test_a_key_that_comes_late_and_a_key_that_changes_are_used_without_a_restart(stage: SetStage) -> None:
    scene = await stage(cap=0, hosted=2, keys=False)
    pid = scene.gateway.pid
    scene.gateway.write_key("beta", KEYS["beta"])
    await until(lambda: _served_by(scene, BETA), "the second endpoint's key is used while the first has none")
    scene.gateway.write_key("alpha", KEYS["alpha"] + "\n")  # as `kubectl create secret --from-file` often has it
    await until(lambda: _served_by(scene, ALPHA), "the first endpoint's key is used")
    scene.alpha.keys = frozenset({KEYS["alpha"], "alpha-key-2"})
    scene.gateway.write_key("alpha", "alpha-key-2")
    await until(lambda: _key_seen(scene, "alpha-key-2"), "the new key is used")
    scene.alpha.keys = frozenset({"alpha-key-2"})
    assert await _served_by(scene, ALPHA)
    scene.gateway.write_key("alpha", "")  # the Secret is deleted
    await until(lambda: _served_by(scene, BETA), "the deleted key is used no more")
    assert scene.gateway.pid == pid


async def test_an_authority_that_comes_late_is_used_without_a_restart(stage: SetStage, authority: certificates.Authority) -> None:
    scene = await stage(engines=1, authorities=False, healthy=False)
    await until(lambda: _served_by(scene, "owned"), "own replicas serve without it")
    scene.engines[0].script = fakes.fail(503)
    assert error_of(await scene.client.post()) == "no_capacity"
    scene.gateway.write_authority("alpha", authority.pem)
    await until(lambda: _served_by(scene, ALPHA), "the endpoint is trusted")


async def _served_by(scene: Stage, backend: str) -> bool:
    return (await scene.client.post()).headers.get("x-served-by") == backend


async def _key_seen(scene: Stage, key: str) -> bool:
    await scene.client.post()
    return scene.alpha.headers[-1]["Authorization"] == f"Bearer {key}"
