"""A stream whose prompt no own replica reads in time goes to a hosted backend first: `hosted.overflow.longPrompts: Spill`."""

import asyncio
import json
from typing import Any

import pytest

from tests.dataplane import fakes
from tests.dataplane.client import CHAT, CREDENTIALS, Answer, request
from tests.dataplane.conftest import SetStage, Stage
from tests.dataplane.fakes import INPUT_TOKENS, OUTPUT_TOKENS
from tests.dataplane.process import until
from tests.dataplane.test_failures import ALPHA, BETA, error_of
from tests.dataplane.test_guards import permit
from tests.dataplane.test_seeing import not_taken

pytestmark = pytest.mark.dataplane

SPILL = {"longPrompts": "Spill", "longPromptTokens": 1000}
PROMPT = "a word " * 2000  # 14 kB
KEPT = {"x-spillway-spill": "never"}
LONG = "envoy_spillway_long_prompt"


@pytest.fixture
def spilling(stage: SetStage) -> SetStage:
    """Return a function that sets a stage on which prompts of more than a thousand tokens are long."""

    async def set_stage(**more: Any) -> Stage:
        return await stage(**{"engines": 1, "overflow": SPILL, **more})

    return set_stage


def prompt(text: str = PROMPT) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


async def ask(scene: Stage, **more: Any) -> Answer:
    """Send a stream with a long prompt."""
    return await scene.client.post(**{"stream": True, **prompt(), **more})


async def test_a_long_prompt_goes_to_a_hosted_backend_though_a_replica_is_free(spilling: SetStage) -> None:
    scene = await spilling()
    answer = await ask(scene)
    assert (answer.complete, answer.served_by, answer.attempts) == (True, ALPHA, 1)
    assert (scene.engines[0].requests, scene.alpha.requests) == (0, 1)


async def test_a_short_prompt_goes_to_a_replica(spilling: SetStage) -> None:
    scene = await spilling()
    assert (await ask(scene, **prompt("a word"))).served_by == "owned"


@pytest.mark.parametrize(("beyond", "by"), [(0, "owned"), (1, ALPHA)], ids=["at the limit", "a byte more"])
async def test_four_bytes_of_the_body_count_as_a_token(spilling: SetStage, beyond: int, by: str) -> None:
    scene = await spilling()
    usage = {"stream_options": {"include_usage": True}}  # nothing is added to such a body on its way
    empty = len(json.dumps(request(stream=True, **usage, **prompt(""))).encode())
    answer = await ask(scene, **usage, **prompt("x" * (4 * 1000 - empty + beyond)))
    assert answer.served_by == by


async def test_a_plain_answer_promises_no_first_token_and_stays_with_replicas(spilling: SetStage) -> None:
    scene = await spilling()
    assert (await ask(scene, stream=False)).served_by == "owned"


async def test_without_the_setting_length_makes_no_difference(spilling: SetStage) -> None:
    scene = await spilling(overflow=None)
    assert (await ask(scene)).served_by == "owned"


@pytest.mark.parametrize(("text", "by"), [pytest.param("a word", "owned", id="short"), pytest.param(PROMPT, ALPHA, id="long")])
async def test_a_body_that_does_not_state_its_length_goes_by_what_has_come(spilling: SetStage, text: str, by: str) -> None:
    scene = await spilling()

    async def chunks() -> Any:
        yield json.dumps(request(stream=True, **prompt(text))).encode()

    headers = {"content-type": "application/json", **CREDENTIALS}
    async with scene.client.session.post(scene.client.url + CHAT, data=chunks(), headers=headers) as response:
        assert response.request_info.headers["transfer-encoding"] == "chunked"
        await response.read()
        assert response.headers["x-served-by"] == by


async def test_a_long_prompt_that_must_stay_stays(spilling: SetStage) -> None:
    scene = await spilling()
    answer = await scene.client.post(stream=True, headers=KEPT, **prompt())
    assert (answer.complete, answer.served_by) == (True, "owned")
    assert scene.alpha.requests == 0


async def test_a_client_cannot_ask_for_a_hosted_backend_by_the_gateways_mark(spilling: SetStage) -> None:
    scene = await spilling()
    answer = await scene.client.post(stream=True, headers={"x-spillway-long-prompt": "1"}, **prompt("a word"))
    assert answer.served_by == "owned"
    assert await scene.gateway.metric(f"{LONG}_requests") == 0


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 429, 500, 503])
async def test_what_a_hosted_backend_refuses_a_replica_answers(spilling: SetStage, status: int) -> None:
    scene = await spilling()
    scene.alpha.script = fakes.fail(status)
    answer = await ask(scene)
    assert (answer.complete, answer.served_by, answer.attempts) == (True, "owned", 2)


@pytest.mark.parametrize("script", [fakes.reset, fakes.close], ids=["resets", "closes"])
async def test_when_a_hosted_backend_breaks_off_a_replica_answers(spilling: SetStage, script: fakes.Script) -> None:
    scene = await spilling()
    scene.alpha.script = script
    answer = await ask(scene)
    assert (answer.complete, answer.served_by) == (True, "owned")


async def test_a_hosted_backend_that_sends_no_headers_is_given_up_for_a_replica(spilling: SetStage) -> None:
    scene = await spilling()
    scene.alpha.script = fakes.hang(asyncio.Event())
    answer = await ask(scene)
    assert (answer.complete, answer.served_by) == (True, "owned")


async def test_while_the_hosted_side_is_down_long_prompts_go_to_replicas(spilling: SetStage) -> None:
    scene = await spilling()
    await scene.alpha.stop()
    assert [(await ask(scene)).served_by for _ in range(3)] == ["owned"] * 3


async def test_without_a_key_of_the_provider_long_prompts_go_to_replicas(spilling: SetStage) -> None:
    scene = await spilling(keys=False)
    assert (await ask(scene)).served_by == "owned"
    assert scene.alpha.requests == 0


async def test_the_second_hosted_backend_comes_before_replicas(spilling: SetStage) -> None:
    scene = await spilling(hosted=2)
    scene.alpha.script = fakes.fail(500)
    answer = await ask(scene)
    assert (answer.served_by, answer.attempts, scene.engines[0].requests) == (BETA, 2, 0)
    scene.beta.script = fakes.hang(asyncio.Event())
    answer = await ask(scene)
    assert (answer.served_by, answer.attempts) == ("owned", 3)


async def test_a_replica_that_comes_last_is_not_given_up_when_its_headers_are_late(spilling: SetStage) -> None:
    scene = await spilling()
    scene.alpha.script = fakes.fail(500)
    scene.engines[0].frozen = asyncio.Event()
    asked = asyncio.create_task(ask(scene))
    await until(lambda: _has_come(scene), "the replica has it")
    scene.alpha.script = None
    assert (await ask(scene, **prompt("a word"))).served_by == ALPHA  # its header timeout later, which began after
    assert not asked.done()
    scene.engines[0].frozen.set()
    assert (await asked).served_by == "owned"


async def _has_come(scene: Stage) -> bool:
    return scene.engines[0].requests > 0


async def _are_open(scene: Stage, count: int) -> bool:
    return await scene.gateway.metric("envoy_http_downstream_rq_active", envoy_http_conn_manager_prefix="edge") == count


async def test_where_nobody_can_answer_a_long_prompt_gets_what_others_get(spilling: SetStage) -> None:
    scene = await spilling(engines=0)
    scene.alpha.script = fakes.fail(503)
    for answer in (await ask(scene), await ask(scene, **prompt("a word"))):
        assert (answer.status, error_of(answer), answer.served_by, answer.attempts) == (503, "no_capacity", "none", 2)
        assert answer.headers["retry-after"]


async def test_limits_hold_for_long_prompts_and_what_they_stop_a_replica_answers(spilling: SetStage) -> None:
    scene = await spilling(overflow={**SPILL, "maxUSDPerDay": "1"})
    before = await ask(scene)
    assert (before.served_by, scene.alpha.requests) == ("owned", 0), "no permit, no spill"
    scene.gateway.set_permit(permit(scene.gateway.pod, requests=1, micro_usd=1_000_000))

    async def spilled() -> bool:
        return (await ask(scene, max_tokens=10)).served_by == ALPHA

    await until(spilled, "the permit in force")
    assert [(await ask(scene, max_tokens=10)).served_by for _ in range(3)] == ["owned"] * 3, "it was for one"
    assert scene.alpha.requests == 1


async def test_a_request_that_the_hosted_model_cannot_answer_stays_with_replicas(spilling: SetStage) -> None:
    scene = await spilling(model={"capabilities": []})
    tools = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
    assert (await ask(scene, tools=tools)).served_by == "owned"
    assert (await ask(scene)).served_by == ALPHA


async def test_long_prompts_are_counted_apart_and_tell_why_they_were_spilled(spilling: SetStage) -> None:
    scene = await spilling()
    await ask(scene)
    await ask(scene, **prompt("a word"))
    read = {(each.name, each.labels["backend"]): each.value for each in await scene.gateway.metrics() if each.name.startswith(LONG)}
    assert read == {
        (f"{LONG}_requests", ALPHA): 1,
        (f"{LONG}_input_tokens", ALPHA): INPUT_TOKENS,
        (f"{LONG}_output_tokens", ALPHA): OUTPUT_TOKENS,
    }
    assert await not_taken(scene) == {("long_prompt", "-"): 1}


async def test_one_that_a_replica_answered_in_the_end_is_no_spill(spilling: SetStage) -> None:
    scene = await spilling()
    scene.alpha.script = fakes.fail(500)
    await ask(scene)
    assert await not_taken(scene) == {}
    assert await scene.gateway.metric(f"{LONG}_requests", backend="owned") == 1


@pytest.mark.parametrize(
    ("spec", "overflow"),
    [
        pytest.param({}, {}, id="for some seconds"),
        pytest.param({"gateway": {"replicas": 1, "hold": {"seconds": 30}}}, {}, id="as long as the gateway holds"),
        pytest.param({"slo": {"timeToFirstTokenMs": 8000}}, {"maxWaitMs": 200}, id="after a moment for a slot"),
    ],
)
async def test_requests_that_wait_at_the_limit_wait_when_they_are_long_too(
    spilling: SetStage, spec: dict[str, Any], overflow: dict[str, Any]
) -> None:
    scene = await spilling(overflow={**SPILL, "maxUSDPerDay": "1", "whenExceeded": "Wait", **overflow}, cap=1, spec=spec)
    scene.engines[0].hold = asyncio.Event()
    held = await scene.client.open()
    asked = asyncio.create_task(ask(scene))
    await until(lambda: _are_open(scene, 2), "it is at the gateway")
    assert not asked.done()
    scene.engines[0].hold.set()
    await held.rest()
    assert (await asked).served_by == "owned"
