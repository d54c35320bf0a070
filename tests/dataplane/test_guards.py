"""Limits on hosted backends, kept by the gateway alone: money, share, residency, a provider's limits, what a hosted model can answer."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from spillway.plan.decision import Allowance, Lane, Permit
from spillway.render.envoy import config as envoy
from tests.dataplane import decisions, fakes
from tests.dataplane.certificates import Authority
from tests.dataplane.client import CHAT, Answer, Client, request
from tests.dataplane.conftest import KEYS, SetStage, Stage
from tests.dataplane.fakes import INPUT_TOKENS, OUTPUT_TOKENS, Backend
from tests.dataplane.process import Gateway, until
from tests.dataplane.test_failures import ALPHA, BETA, error_of

pytestmark = pytest.mark.dataplane

LIMITED = {"maxUSDPerDay": "1"}
LARGE = 8 * 1024 * 1024  # bytes
TOKENS = 100  # what these requests ask for at most
STAY = {"x-spillway-spill": "never"}
CLIENT_KEY = "a-client-key-of-these-tests"
USED = INPUT_TOKENS * 1 + OUTPUT_TOKENS * 2  # micro-USD, at the prices of tests.dataplane.decisions


def permit(
    *gateways: str,
    micro_usd: int | None = None,
    requests: int | None = None,
    life_s: float = 600,
    retry_s: float = 15,
    start: int = 0,
    workers: int = 1,
    rate: tuple[float | None, float | None] = (None, None),
) -> Permit:
    """Return a permit that gives each lane so much, from `start` on."""
    now = datetime.now(UTC)
    lanes = [Lane(pod=pod, worker=each, backend=label) for pod in gateways for each in range(workers) for label in (ALPHA, BETA)]
    given = tuple(
        Allowance(
            lane=lane,
            micro_usd_from=start,
            micro_usd_to=None if micro_usd is None else start + micro_usd,
            requests_to=requests,
            requests_per_minute=rate[0],
            tokens_per_minute=rate[1],
        )
        for lane in lanes
    )
    return Permit(issued_at=now, expires_at=now + timedelta(seconds=life_s), retry_at=now + timedelta(seconds=retry_s), allowances=given)


def worst_case() -> int:
    """Return what one of these requests is charged until its usage is known: half its bytes at 1, its longest answer at 2 micro-USD."""
    sent = json.dumps(request(max_tokens=TOKENS, model="vendor/alpha-model"))
    return -(-len(sent) // 2) + 2 * TOKENS


async def in_force(scene: Stage, wanted: Callable[[Answer], bool]) -> Answer:
    """Ask until the permit that was just written is the one in force; a worker looks at it once a second."""
    last: list[Answer] = []

    async def asked() -> bool:
        last[:] = [await scene.client.post(max_tokens=TOKENS)]
        return wanted(last[0])

    await until(asked, "the permit in force")
    return last[0]


def is_served(answer: Answer) -> bool:
    return answer.status == 200


def is_refused(answer: Answer) -> bool:
    return answer.status == 429


def is_told_to_wait(answer: Answer) -> bool:
    return is_refused(answer) and error_of(answer) == "spill_limit_reached"


def is_told_to_wait_long(answer: Answer) -> bool:
    return is_refused(answer) and int(answer.headers["retry-after"]) > 100


async def held_stream(backend: Backend, call: web.Request, body: dict[str, object]) -> web.StreamResponse:
    """Answer when the test lets it."""
    assert backend.hold
    await backend.hold.wait()
    return await fakes.complete(backend, call, body)


async def test_nothing_is_spilled_without_a_permit_and_own_replicas_serve_on(stage: SetStage) -> None:
    scene = await stage(cap=1, engines=1, overflow=LIMITED)
    scene.engines[0].hold = asyncio.Event()
    busy = await scene.client.open()
    refused = await scene.client.post(max_tokens=TOKENS)
    scene.gateway.set_cap(16)
    await until(lambda: _served_by(scene, "owned"), "the cap")
    scene.engines[0].hold.set()
    assert (refused.status, error_of(refused), refused.served_by) == (429, "spill_permit_missing", "none")
    assert refused.headers["retry-after"] == "30"
    assert scene.alpha.requests == 0
    assert (await busy.rest()).complete


async def _served_by(scene: Stage, backend: str) -> bool:
    return (await scene.client.post()).served_by == backend


@pytest.mark.parametrize("workers", [1, 2])
async def test_two_hundred_at_once_take_no_more_than_a_permit_for_twenty(stage: SetStage, workers: int) -> None:
    scene = await stage(cap=0, overflow=LIMITED, workers=workers)
    scene.alpha.hold, scene.alpha.script = asyncio.Event(), held_stream
    each = 20 // workers * worst_case()
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=each, workers=workers))
    burst = [asyncio.create_task(scene.client.post(max_tokens=TOKENS)) for _ in range(200)]
    await until(lambda: scene.alpha.active + sum(task.done() for task in burst) == 200, "everybody told or served")
    at_once = scene.alpha.active
    scene.alpha.hold.set()
    answers = await asyncio.gather(*burst)
    served, refused = [each for each in answers if is_served(each)], [each for each in answers if not is_served(each)]
    assert len(served) == at_once == scene.alpha.requests
    assert at_once == 20 if workers == 1 else 10 <= at_once <= 20
    assert {(each.status, error_of(each), each.headers["content-type"]) for each in refused} == {
        (429, "spill_limit_reached", "application/json")
    }
    assert all(1 <= int(each.headers["retry-after"]) <= 15 for each in refused)


async def test_a_request_counts_at_its_usage_once_that_is_known(stage: SetStage) -> None:
    """One after the other, so the permit carries far more than it would at the longest answers, and no more than it says."""
    scene = await stage(cap=0, overflow=LIMITED)
    given = worst_case() + TOKENS + 30 * USED  # a streamed request is a little longer
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=given))
    kinds = (False, True)
    for place in range(31):
        answer = await scene.client.post(max_tokens=TOKENS, stream=kinds[place % 2])
        assert answer.status == 200, (place, answer.body)
    assert is_refused(await scene.client.post(max_tokens=2 * TOKENS))
    assert scene.alpha.requests * USED <= given
    assert await _meter(scene, "charged_micro_usd") == 31 * USED
    assert await _meter(scene, "charged_requests") == 31


async def _meter(scene: Stage, name: str) -> float:
    return await scene.gateway.metric(f"envoy_spillway_{name}", backend=ALPHA)


async def test_an_answer_that_is_cut_or_tells_no_usage_stays_at_its_longest(stage: SetStage) -> None:
    scene = await stage(cap=0, overflow=LIMITED)
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=3 * worst_case()))
    scene.alpha.script = unmetered
    assert [(await scene.client.post(max_tokens=TOKENS)).status for _ in range(4)] == [200, 200, 200, 429]
    assert await _meter(scene, "charged_micro_usd") == 3 * worst_case()


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize(
    "counts", [(-10_000, 5), (7, -10_000), (7, 10**12), (0, 0)], ids=["below zero", "one below zero", "too many", "none"]
)
async def test_an_answer_that_tells_a_usage_that_cannot_be_stays_at_its_longest(
    stage: SetStage, counts: tuple[int, int], *, stream: bool
) -> None:
    scene = await stage(cap=0, overflow=LIMITED)
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=1_000_000))

    async def absurd(_: Backend, call: web.Request, __: dict[str, object]) -> web.StreamResponse:
        told = {"choices": [], "usage": dict(zip(("prompt_tokens", "completion_tokens"), counts, strict=True))}
        if not stream:
            return web.json_response(told)
        response = await fakes.open_stream(call)
        await response.write_eof(fakes.event(told))
        return response

    scene.alpha.script = absurd
    await scene.client.post(max_tokens=TOKENS, stream=stream)
    assert await _meter(scene, "charged_micro_usd") == -(-len(scene.alpha.raw[0]) // 2) + 2 * TOKENS


async def test_a_stream_that_is_given_up_because_its_headers_are_late_stays_at_its_longest(stage: SetStage) -> None:
    """The provider may bill it; what it has failed itself, with the same status, costs nothing."""
    scene = await stage(cap=0, hosted=2, overflow=LIMITED)
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=10 * worst_case()))
    scene.alpha.script = fakes.fail(504)
    assert (await scene.client.post(max_tokens=TOKENS, stream=True)).served_by == BETA
    assert await _meter(scene, "charged_micro_usd") == 0
    scene.alpha.script = fakes.hang(asyncio.Event())
    answer = await scene.client.post(max_tokens=TOKENS, stream=True)
    assert (answer.served_by, answer.complete) == (BETA, True)
    assert not any(name.startswith("x-spillway") for name in answer.headers)
    sent = scene.alpha.raw[-1]
    assert await _meter(scene, "charged_micro_usd") == -(-len(sent) // 2) + 2 * TOKENS


async def test_a_plain_answer_that_breaks_off_is_told_as_such_and_stays_at_its_longest(stage: SetStage) -> None:
    scene = await stage(cap=0, overflow=LIMITED)
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=worst_case()))

    async def cut(_: Backend, call: web.Request, __: dict[str, object]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/json", "content-length": "5000"})
        await response.prepare(call)
        await response.write(b'{"choices":' + b" " * 2000)
        assert call.transport
        call.transport.close()
        return response

    scene.alpha.script = cut
    answer = await in_force(scene, lambda answer: answer.status != 429)
    assert (answer.status, error_of(answer), answer.served_by) == (502, "gateway_error", "none")
    assert is_refused(await scene.client.post(max_tokens=TOKENS))
    assert await _meter(scene, "charged_micro_usd") == worst_case()


async def test_what_a_permit_is_too_small_for_is_counted_at_what_it_might_have_cost(stage: SetStage) -> None:
    scene = await stage(cap=0, overflow=LIMITED)
    await scene.client.post(max_tokens=TOKENS)
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=worst_case() - 1))
    await in_force(scene, lambda answer: error_of(answer) == "spill_limit_reached")
    refused = await _meter(scene, "refused_requests")
    assert 1 <= refused < await scene.gateway.metric("envoy_spillway_requests", code="429")  # without a permit: not by a limit
    assert await _meter(scene, "refused_micro_usd") == refused * worst_case()
    assert await _meter(scene, "charged_requests") == 0


async def test_what_all_of_the_limit_is_too_little_for_takes_no_part_of_it_from_others(stage: SetStage) -> None:
    """Counted, one such request had all that was left of the limit dealt out to its lane alone."""
    scene = await stage(cap=0, overflow=LIMITED)
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=500_000))
    await in_force(scene, is_served)
    for tokens, answers in ((999_999_999, 1), (TOKENS, 999_999_999)):
        answer = await scene.client.post(max_tokens=tokens, n=answers)
        assert (answer.status, error_of(answer)) == (429, "spill_limit_reached")
    assert (await scene.client.post(max_tokens=400_000)).status == 429  # more than is left, less than the limit
    assert await _meter(scene, "refused_requests") == 1
    assert 800_000 < await _meter(scene, "refused_micro_usd") < 810_000


async def test_a_limit_that_is_too_little_for_any_request_is_seen_to_be_short(stage: SetStage) -> None:
    scene = await stage(cap=0, overflow={"maxUSDPerDay": "0.0001"})
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=50))
    assert not is_served(await in_force(scene, is_told_to_wait))
    assert await _meter(scene, "refused_micro_usd") == await _meter(scene, "refused_requests") * worst_case()
    assert await _meter(scene, "refused_requests") > 0


@pytest.mark.parametrize(("status", "told"), [(400, 400), (101, 503)])
async def test_a_refusal_by_the_provider_costs_nothing(stage: SetStage, status: int, told: int) -> None:
    scene = await stage(cap=0, overflow=LIMITED)
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=worst_case()))
    scene.alpha.script = fakes.fail(status)
    assert [(await scene.client.post(max_tokens=TOKENS)).status for _ in range(3)] == [told] * 3
    scene.alpha.script = None
    assert (await scene.client.post(max_tokens=TOKENS)).status == 200


async def test_a_permit_that_expires_stops_spill_and_its_renewal_resumes_it(stage: SetStage) -> None:
    scene = await stage(cap=0, overflow=LIMITED)
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=1_000_000, life_s=2))
    await in_force(scene, is_served)
    stopped = await in_force(scene, is_refused)
    assert error_of(stopped) == "spill_permit_missing"
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=1_000_000))
    await in_force(scene, is_served)


async def test_a_renewed_permit_allows_up_to_its_mark_and_not_so_much_more(stage: SetStage) -> None:
    scene = await stage(cap=0, overflow=LIMITED)
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=worst_case()))
    await scene.client.post(max_tokens=TOKENS)
    assert is_refused(await scene.client.post(max_tokens=TOKENS))
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=worst_case() - 1, start=USED, retry_s=1000))
    await in_force(scene, is_told_to_wait_long)
    assert scene.alpha.requests == 1
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=worst_case(), start=USED))
    await in_force(scene, is_served)


async def test_a_permit_for_the_process_before_gives_a_new_one_nothing(stage: SetStage) -> None:
    scene = await stage(cap=0, overflow=LIMITED)
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=1_000_000, start=5))
    assert error_of(await scene.client.post(max_tokens=TOKENS)) == "spill_limit_reached"


async def test_a_permit_of_requests_counts_requests(stage: SetStage) -> None:
    scene = await stage(cap=0, overflow={"maxSharePercent": 20})
    scene.gateway.set_permit(permit(scene.gateway.pod, requests=3))
    assert [(await scene.client.post()).status for _ in range(5)] == [200, 200, 200, 429, 429]


async def test_another_pods_permit_is_not_this_ones(stage: SetStage) -> None:
    scene = await stage(cap=0, overflow=LIMITED)
    scene.gateway.set_permit(permit("another", micro_usd=1_000_000))
    assert error_of(await scene.client.post(max_tokens=TOKENS)) == "spill_permit_missing"


@pytest.mark.parametrize(
    ("asked", "answers"),
    [
        ({"prompt": 'one, "two"'}, 1),
        ({"prompt": ["a [", 'b "quoted", c', "d"]}, 3),
        ({"prompt": [[1, 2], [3], [4]]}, 3),
        ({"prompt": [1, 2, 3]}, 1),
        ({"prompt": ["a", "b"], "n": 2}, 4),
        ({"n": 3}, 3),
        ({"max_completion_tokens": 300}, 3),
        ({"n": "3"}, 3),
        ({"max_completion_tokens": "300"}, 3),
    ],
)
async def test_every_answer_that_a_request_may_get_is_charged(stage: SetStage, asked: dict[str, Any], answers: int) -> None:
    scene = await stage(cap=0, overflow=LIMITED)
    scene.alpha.script = unmetered
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=1_000_000))
    body = json.dumps(request(max_tokens=TOKENS, **asked)).encode()
    path = "/v1/completions" if "prompt" in asked else CHAT
    await scene.client.post(body, path=path)
    sent = scene.alpha.raw[0]
    assert await _meter(scene, "charged_micro_usd") == -(-len(sent) // 2) + 2 * TOKENS * answers


IMAGE = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}
AUDIO = {"type": "input_audio", "input_audio": {"format": "wav", "data": "A" * 20_000}}
UNTYPED = {"image_url": "https://x.test/a.png"}  # as vLLM takes it, and says
IMAGE_TOKENS, CONTEXT = 16_384, 200_000  # the most that an image is taken for; what the model can read


@pytest.mark.parametrize(
    ("content", "more", "tokens"),
    [
        ([IMAGE], {}, IMAGE_TOKENS),
        ([IMAGE, {"type": "text", "text": '"type":"image_url"'}, IMAGE], {}, 2 * IMAGE_TOKENS),
        ([{"image_url": "data:image/png;base64,AAAA", "type": "input_image"}], {}, IMAGE_TOKENS),
        ([IMAGE] * 20, {}, CONTEXT),
        ([UNTYPED, IMAGE, {"type": "text", "text": "see", "image_url": None, "uuid": "i7"}], {}, 3 * IMAGE_TOKENS),
        ([{"type": "text", "text": "see", "image_url": None, "audio_url": None}], {}, 0),
        ([{"audio_url": "https://x.test/a.mp3"}], {}, CONTEXT),
        ([{"video_url": {"url": "https://x.test/a.mp4"}}], {}, CONTEXT),
        ([{"type": "text", "text": '{"image_url":"https://x.test/a.png"}'}], {"metadata": {"image_url": "a", "video_url": "b"}}, 0),
        ([{"type": "audio_url", "audio_url": {"url": "https://x.test/a.mp3"}}], {}, CONTEXT),
        ([{"type": "video_url", "video_url": {"url": "https://x.test/a.mp4"}}], {}, CONTEXT),
        ([{"type": "file", "file": {"file_id": "file-7"}}], {}, CONTEXT),
        ([{"type": "input_file", "file_url": "https://x.test/a.pdf"}], {}, CONTEXT),
        ([], {"previous_response_id": "resp_7"}, CONTEXT),
        ([], {"conversation": {"id": "conv_7"}}, CONTEXT),
        ([], {"previous_response_id": None, "conversation": None}, 0),
        ([{"type": "text", "text": "video_url"}], {}, 0),
        ([{"type": "document_url", "document_url": "https://x.test/a.pdf"}], {}, CONTEXT),
        ([], {"prompt": {"id": "pmpt_7", "version": "2"}}, CONTEXT),
        ([], {"tools": [{"type": "function", "name": "f"}, {"type": "web_search"}]}, CONTEXT),
        ([], {"tools": [{"type": "web_search_preview_2025_03_11"}]}, CONTEXT),
        ([], {"tools": [{"server_url": "https://x.test/sse", "type": "mcp"}]}, CONTEXT),
        ([], {"web_search_options": {}}, CONTEXT),
        ([], {"plugins": [{"id": "web"}]}, CONTEXT),
        ([], {"tools": [{"type": "function", "name": "web_search"}], "plugins": [], "web_search_options": None}, 0),
    ],
    ids=[
        *("an image", "two", "an input image", "many", "images without a type", "empty ones", "audio without one", "video without one"),
        "only its name",
        *("audio", "video", "file", "file by URL", "said before", "talk", "neither", "words"),
        *("document", "stored prompt", "search", "older search", "MCP server", "search in a chat", "plugin", "own function"),
    ],
)
async def test_what_a_request_only_names_is_charged_at_the_most_it_may_be(
    stage: SetStage, content: list[object], more: dict[str, Any], tokens: int
) -> None:
    scene = await stage(cap=0, overflow=LIMITED, model={"contextTokens": CONTEXT})
    scene.alpha.script = unmetered
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=1_000_000))
    asked = request(max_tokens=TOKENS, input=[{"role": "user", "content": content}], **more)
    await scene.client.post(json.dumps(asked).encode(), path="/v1/responses")
    said = -(-len(scene.alpha.raw[0]) // 2)
    assert await _meter(scene, "charged_micro_usd") == min(said + tokens, CONTEXT) + 2 * TOKENS


@pytest.mark.parametrize(
    "written",
    [
        *('"type":"image\\u005furl"', '"type":"\\u0069mage_\\u0075rl"', '"typ\\u0065":"image_url"'),
        *(f'"type"{" " * 50}:{" " * 50}"image_url"', '"Type":"image_url"', '"no type":"image_url"'),
    ],
    ids=["an escape", "two", "an escape in the name", "spaces", "a name that Go takes in any case", "without a type"],
)
async def test_an_image_is_one_however_it_is_written(stage: SetStage, written: str) -> None:
    scene = await stage(cap=0, overflow=LIMITED, model={"contextTokens": CONTEXT, "capabilities": ["Vision"]})
    scene.alpha.script = unmetered
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=1_000_000))
    asked = json.dumps(request(max_tokens=TOKENS, messages=[{"role": "user", "content": [{"text": "é \\u00", **IMAGE}]}]))
    body = asked.replace('"type": "image_url"', written)
    assert body != asked
    await scene.client.post(body.encode())
    assert "image_url" in scene.alpha.bodies[0]["messages"][0]["content"][0].values()
    assert await _meter(scene, "charged_micro_usd") == -(-len(scene.alpha.raw[0]) // 2) + IMAGE_TOKENS + 2 * TOKENS


@pytest.mark.parametrize("sign", ["\\u0041", "\\u00"])
async def test_a_body_of_escapes_alone_is_read_to_its_end(stage: SetStage, sign: str) -> None:
    """Its types are looked for with what it has as escapes written out. In how much time: benchmarks/gateway/bodies.py."""
    scene = await stage(cap=0, overflow=LIMITED)
    answer = await scene.client.post(f'{{"model":"tiny-chat","text":{{"a":"{sign * (LARGE // len(sign))}"}}}}'.encode())
    assert error_of(answer) == "spill_permit_missing"


async def unmetered(_: Backend, __: web.Request, ___: dict[str, object]) -> web.StreamResponse:
    """Answer without a word on usage."""
    return web.json_response({"choices": []})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "expires soon\nretry 0\n{lane} 0 - 0 - - -\n",
        "expires never\nretry 0\n{lane} 0 lots 0 - - -\n",
        "expires never\nretry 0\n{lane} 0 - some 9 - -\n",
        "expires never\nretry 0\n{lane} 0 - 0 - -",
    ],
    ids=["empty", "no time", "no amount", "no mark", "cut off"],
)
async def test_a_permit_that_cannot_be_read_allows_nothing(stage: SetStage, text: str) -> None:
    scene = await stage(cap=0, overflow=LIMITED)
    files = {**envoy.cap_files(scene.decision), "permit": text.format(lane=f"lane {scene.gateway.pod} 0 {ALPHA}")}
    scene.gateway.cap.write(files)
    assert [(await scene.client.post(max_tokens=TOKENS)).status for _ in range(2)] == [429, 429]
    assert scene.alpha.requests == 0


async def test_should_the_script_fail_nothing_is_sent(stage: SetStage, authority: Authority, tmp_path: Path) -> None:
    """Envoy lets a request pass whose script fails; the filter behind it does not."""
    scene = await stage(cap=0, overflow=LIMITED)
    async with another(scene, authority, tmp_path, '"output_price"', '"another_price"') as broken, Client(broken.url) as client:
        answer = await client.post(max_tokens=TOKENS)
    assert (answer.status, error_of(answer), scene.alpha.requests) == (503, "no_capacity", 0)
    assert "attempt to" in broken.log.read_text()  # the script did fail


@asynccontextmanager
async def another(scene: Stage, authority: Authority, folder: Path, old: str, new: str) -> AsyncIterator[Gateway]:
    """Run a gateway beside the stage's own whose configuration differs in one text."""
    gateway = Gateway(scene.workload, scene.decision, folder / "another", scene.addresses)
    files = envoy.gateway_files(scene.workload, scene.decision, gateway.addresses)
    assert old in files["envoy.json"]
    gateway.config.write({name: text.replace(old, new) for name, text in files.items()})
    gateway.write_authority("alpha", authority.pem)
    gateway.write_key("alpha", KEYS["alpha"])
    gateway.set_permit(permit(gateway.pod, micro_usd=1_000_000))
    try:
        await gateway.start()
        yield gateway
    finally:
        await gateway.stop()


async def test_no_more_requests_wait_than_a_gateway_can_hold(stage: SetStage, authority: Authority, tmp_path: Path) -> None:
    """With room for five instead of 1,024: the others are told at once."""
    scene = await stage(cap=0, engines=1, overflow={**LIMITED, "whenExceeded": "Wait"})
    async with another(scene, authority, tmp_path, '"max_retries":1024', '"max_retries":5') as small, Client(small.url) as client:
        small.set_permit(None)
        answers = await asyncio.gather(*(client.post() for _ in range(40)))
        told_at_once = await small.metric("envoy_cluster_upstream_rq_retry_overflow", envoy_cluster_name="hop-again")
    assert 30 <= told_at_once <= 35
    assert {(answer.status, error_of(answer)) for answer in answers} == {(503, "no_capacity")}
    assert {answer.attempts for answer in answers} == {3}  # own replicas, the hosted backend, then own replicas for as long as it waits


async def test_a_body_that_hides_its_limit_is_refused(stage: SetStage) -> None:
    scene = await stage(cap=0, overflow=LIMITED)
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=1_000_000))
    twice, loud = '{"model":"tiny-chat","max_tokens":1,"max_tokens":9999}', '{"model":"tiny-chat","MAX_TOKENS":9999}'
    for body in (twice, loud, '{"model":"tiny-chat","max_tokens":1,"max_to\u212aens":9999}'):
        answer = await scene.client.post(body.encode())
        assert (answer.status, error_of(answer)) == (400, "invalid_body")
    assert scene.alpha.requests == 0


async def test_what_is_refused_for_another_reason_is_neither_sent_nor_charged(stage: SetStage) -> None:
    scene = await stage(cap=0, overflow=LIMITED)
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=worst_case()))
    for _ in range(3):
        answer = await scene.client.post(b'{"model":"another","max_tokens":50}')
        assert (answer.status, error_of(answer)) == (404, "model_not_found")
    assert (await scene.client.post(max_tokens=TOKENS)).status == 200
    assert scene.alpha.requests == 1


async def test_a_client_cannot_mark_its_request_as_permitted(stage: SetStage) -> None:
    scene = await stage(cap=0, overflow=LIMITED)
    answer = await scene.client.post(headers={"x-spillway-permitted": "1", "x-spillway-rewritten": "1"})
    assert (answer.status, scene.alpha.requests) == (429, 0)


async def test_a_request_that_waits_gets_the_replica_that_becomes_free(stage: SetStage) -> None:
    scene = await stage(cap=1, engines=1, overflow={**LIMITED, "whenExceeded": "Wait"})
    scene.engines[0].hold = asyncio.Event()
    busy = await scene.client.open()
    waiting = asyncio.create_task(scene.client.post(max_tokens=TOKENS))
    await until(lambda: _polled(scene), "the request asks again")
    scene.engines[0].hold.set()
    assert (await busy.rest()).complete
    assert (await waiting).served_by == "owned"
    assert scene.alpha.requests == 0


async def _polled(scene: Stage) -> bool:
    return await scene.gateway.metric("envoy_cluster_upstream_rq_active_overflow", envoy_cluster_name="owned") >= 2


async def test_an_outage_brings_requests_back_to_own_replicas_and_not_to_the_provider_again(stage: SetStage) -> None:
    scene = await stage(cap=1, engines=1, overflow={"whenExceeded": "Wait"})
    scene.engines[0].hold, scene.alpha.script = asyncio.Event(), fakes.fail(500)
    busy = await scene.client.open()
    waiting = asyncio.create_task(scene.client.post())
    await until(lambda: _polled(scene), "the request asks again")
    scene.engines[0].hold.set()
    assert (await busy.rest()).complete
    assert (await waiting).served_by == "owned"
    assert scene.alpha.requests == 1


async def test_a_request_that_waited_in_vain_is_told_to_come_back(stage: SetStage) -> None:
    scene = await stage(cap=0, engines=1, overflow={**LIMITED, "whenExceeded": "Wait"})
    answer = await scene.client.post(max_tokens=TOKENS)
    assert (answer.status, error_of(answer), answer.headers["retry-after"]) == (503, "no_capacity", "5")
    assert (scene.engines[0].requests, scene.alpha.requests) == (0, 0)


@pytest.mark.parametrize("headers", [{}, {"x-spillway-spill": "never"}], ids=["any", "never"])
@pytest.mark.parametrize("script", [fakes.fail(500), fakes.fail(429), fakes.reset], ids=["500", "429", "resets"])
async def test_what_replicas_answer_or_break_off_is_not_asked_of_them_again_and_again(
    stage: SetStage, script: fakes.Script, headers: dict[str, str]
) -> None:
    """It may be the request that breaks them: once before the limit, once where requests wait, and no more."""
    scene = await stage(cap=16, engines=2, overflow={**LIMITED, "whenExceeded": "Wait"})
    for engine in scene.engines:
        engine.script = script
    answer = await scene.client.post(max_tokens=TOKENS, headers=headers)
    assert answer.status in {429, 500, 503}
    assert sum(engine.requests for engine in scene.engines) <= 2


@pytest.mark.parametrize("value", ["never", "Never", "never, ever"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_a_request_marked_never_stays_in_the_cluster(stage: SetStage, value: str, *, stream: bool) -> None:
    scene = await stage(cap=16, engines=1)
    own = await scene.client.post(headers={"x-spillway-spill": value}, stream=stream)
    scene.gateway.set_cap(0)
    await until(lambda: _served_by(scene, ALPHA), "the cap")
    before = scene.alpha.requests
    answer = await scene.client.post(headers={"x-spillway-spill": value}, stream=stream)
    assert own.served_by == "owned"
    assert (answer.status, error_of(answer), answer.headers["retry-after"]) == (503, "no_capacity", "1")
    assert scene.alpha.requests == before


async def test_a_stream_marked_never_waits_for_headers_that_another_is_not_given(stage: SetStage) -> None:
    scene = await stage(engines=1)
    scene.engines[0].hold = asyncio.Event()
    scene.engines[0].script = held_stream
    staying = asyncio.create_task(scene.client.post(headers=STAY, stream=True))
    await until(lambda: scene.engines[0].active == 1, "it is at the replica")
    assert (await scene.client.post(stream=True)).served_by == ALPHA  # a header timeout later, which began after
    scene.engines[0].hold.set()
    assert (await staying).served_by == "owned"


async def test_with_no_own_replica_a_request_marked_never_goes_nowhere(stage: SetStage) -> None:
    scene = await stage(mode="Hosted")
    answer = await scene.client.post(headers=STAY)
    assert (answer.status, answer.headers["retry-after"], scene.alpha.requests) == (503, "1", 0)
    assert (await scene.client.post()).served_by == ALPHA


async def test_keys_are_asked_for_before_limits_are(stage: SetStage) -> None:
    """Who may not call learns nothing of limits; who may is refused by them like anybody, and counted as a client."""
    spec = {"gateway": {"replicas": 1, "access": {"keysSecretRef": {"name": "clients"}, "requestsPerMinute": 600}}}
    scene = await stage(cap=0, engines=1, spec=spec, overflow=LIMITED)
    scene.gateway.write_keys(f"team-a: {CLIENT_KEY}\n")
    known = {"Authorization": f"Bearer {CLIENT_KEY}"}

    async def admits() -> bool:
        return (await scene.client.post(headers=known)).status != 401

    await until(admits, "the keys are in force")
    stranger, client = await scene.client.post(), await scene.client.post(headers=known, max_tokens=TOKENS)
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=10 * worst_case()))

    async def spills() -> bool:
        return (await scene.client.post(headers=known, max_tokens=TOKENS)).served_by == ALPHA

    assert (stranger.status, error_of(stranger)) == (401, "invalid_api_key")
    assert (client.status, error_of(client), client.headers["retry-after"]) == (429, "spill_permit_missing", "30")
    await until(spills, "the permit in force")


async def test_a_providers_limit_is_kept_before_the_provider_refuses(stage: SetStage) -> None:
    """Sixty a minute: a tenth at once, the rest spread over the minute."""
    scene = await stage(cap=0, provider={"limits": {"requestsPerMinute": 60}})
    scene.gateway.set_permit(permit(scene.gateway.pod, rate=(60, None)))
    answers = await asyncio.gather(*(scene.client.post() for _ in range(40)))
    refused = [answer for answer in answers if is_refused(answer)]
    assert 6 <= scene.alpha.requests <= 20  # six, and what the time of the burst adds
    assert {error_of(each) for each in refused} == {"provider_limit_reached"}
    assert all(int(each.headers["retry-after"]) >= 1 for each in refused)


async def test_tokens_of_long_answers_count_against_the_providers_limit(stage: SetStage) -> None:
    scene = await stage(cap=0, provider={"limits": {"tokensPerMinute": 6000}})
    scene.gateway.set_permit(permit(scene.gateway.pod, rate=(None, 6000)))
    scene.alpha.hold, scene.alpha.script = asyncio.Event(), held_stream
    burst = [asyncio.create_task(scene.client.post(max_tokens=200)) for _ in range(12)]
    await until(lambda: scene.alpha.active + sum(task.done() for task in burst) == 12, "everybody told or served")
    assert 2 <= scene.alpha.active <= 5  # two, and what the time of the burst adds
    scene.alpha.hold.set()
    await asyncio.gather(*burst)


async def test_a_storm_of_429_is_not_fed_and_ends_with_one_probe(stage: SetStage) -> None:
    scene = await stage(cap=0, overflow={})
    scene.alpha.script = fakes.fail(429, **{"Retry-After": "4"})
    first = await scene.client.post()
    stormy = await asyncio.gather(*(scene.client.post() for _ in range(50)))
    assert first.status == 503
    assert {(each.status, error_of(each)) for each in stormy} == {(503, "no_capacity")}
    assert all(1 <= int(each.headers["retry-after"]) <= 4 for each in stormy)
    assert scene.alpha.requests == 1
    scene.alpha.hold, scene.alpha.script = asyncio.Event(), held_stream
    probes = asyncio.create_task(_knock(scene))
    await until(lambda: scene.alpha.active == 1, "a probe")
    others = await asyncio.gather(*(scene.client.post() for _ in range(10)))
    assert {each.status for each in others} == {503}
    assert scene.alpha.active == 1
    scene.alpha.hold.set()
    await probes
    assert (await scene.client.post()).served_by == ALPHA


async def test_the_pause_doubles_with_each_probe_that_fails_and_begins_anew_after_one_that_does_not(stage: SetStage) -> None:
    scene = await stage(cap=0, overflow={})

    async def pause_s() -> int:
        """Ask until the provider has failed once more, and return what others are told then."""
        before = scene.alpha.requests

        async def failed() -> bool:
            await scene.client.post()
            return scene.alpha.requests > before

        await until(failed, "a request is sent")
        return int((await scene.client.post()).headers["retry-after"])

    scene.alpha.script = fakes.fail(503)
    for _ in range(2):
        await scene.client.post()
    first, _, third = [await pause_s() for _ in range(3)]
    assert first == 1
    assert 2 <= third <= 4  # four, less what a busy machine takes to ask
    scene.alpha.script = None
    await _knock(scene)
    scene.alpha.script = fakes.fail(503)
    for _ in range(2):
        await scene.client.post()
    assert await pause_s() == 1


@pytest.mark.parametrize("leaves", [False, True], ids=["takes long", "left by its client"])
async def test_a_probe_whose_end_is_not_seen_keeps_others_away_for_no_longer_than_the_429_has(stage: SetStage, *, leaves: bool) -> None:
    scene = await stage(cap=0, overflow={})
    scene.alpha.script = fakes.fail(429, **{"Retry-After": "1"})
    await scene.client.post()
    scene.alpha.hold, scene.alpha.script = asyncio.Event(), held_stream
    probe = asyncio.create_task(_knock(scene))
    await until(lambda: scene.alpha.active == 1, "a probe")
    if leaves:
        probe.cancel()
        await until(lambda: scene.alpha.cancelled == 1, "the probe is gone")
    another = asyncio.create_task(_knock(scene))
    await until(lambda: scene.alpha.requests == 3, "another request tries", patience_s=30)
    scene.alpha.hold.set()
    await asyncio.gather(another, *([] if leaves else [probe]))


async def _knock(scene: Stage) -> None:
    await until(lambda: _served_by(scene, ALPHA), "the circuit closed")


@pytest.mark.parametrize("status", [500, 402], ids=["outage", "no credit"])
async def test_an_outage_is_left_alone_after_three_failures_and_visits_no_side_twice(stage: SetStage, status: int) -> None:
    scene = await stage(cap=16, engines=1, overflow={})
    scene.engines[0].script, scene.alpha.script = fakes.fail(503), fakes.fail(status)
    answers = [await scene.client.post() for _ in range(20)]
    assert {(each.status, each.attempts) for each in answers} == {(503, 2)}
    assert scene.engines[0].requests == 20
    assert 3 <= scene.alpha.requests <= 5  # three, and a probe if a second passed


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, CHAT),
        ({"response_format": {"type": "json_object"}}, CHAT),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}]}]}, CHAT),
        ({"messages": [{"role": "user", "content": [UNTYPED]}]}, CHAT),
        ({"input": [{"role": "user", "content": [{"image_url": "https://x.test/a.png", "type": "input_image"}]}]}, "/v1/responses"),
        ({"messages": [{"role": "user", "content": [AUDIO]}]}, CHAT),
        ({"messages": [{"role": "user", "content": [{"type": "audio_url", "audio_url": {"url": "https://x.test/a.mp3"}}]}]}, CHAT),
        ({"messages": [{"role": "user", "content": [{"audio_url": "https://x.test/a.mp3"}]}]}, CHAT),
        ({"messages": [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "https://x.test/a.mp4"}}]}]}, CHAT),
        ({"messages": [{"role": "user", "content": [{"video_url": "https://x.test/a.mp4"}]}]}, CHAT),
        ({"text": {"format": {"type": "json_schema"}}, "input": "x"}, "/v1/responses"),
        ({"text": {"format": {"type": "json_schema", "schema": {"format": {"type": "text"}}}}, "input": "x"}, "/v1/responses"),
        ({"max_tokens": 5000}, CHAT),
        ({"prompt": "word " * 4000}, "/v1/completions"),
        ({"prompt": ["a", "word " * 4000]}, "/v1/completions"),
        ({"input": ["word " * 4000, "b"]}, "/v1/embeddings"),
    ],
    ids=[
        "tools",
        "response-format",
        "image",
        "image-without-a-type",
        "image-in-input",
        "audio",
        "audio-by-URL",
        "audio-without-a-type",
        "video",
        "video-without-a-type",
        "text-format",
        "text-format-within",
        "long-answer",
        "long-prompt",
        "one-of-two-prompts",
        "one-of-two-texts",
    ],
)
async def test_a_request_that_the_hosted_model_cannot_answer_is_not_sent_there(
    stage: SetStage, asked: dict[str, object], path: str
) -> None:
    scene = await stage(cap=0, model={"capabilities": [], "contextTokens": 4096})
    answer = await scene.client.post(json.dumps(request(**asked)).encode(), path=path)
    assert (answer.status, error_of(answer), scene.alpha.requests) == (503, "no_capacity", 0)
    assert "hosted backend does not support" in answer.json["error"]["message"]


async def test_a_request_that_own_replicas_alone_can_read_is_not_sent_to_a_provider_that_states_nothing_but_its_context(
    stage: SetStage,
) -> None:
    longer = {"model": {"id": decisions.MODEL, "maxContextTokens": 8192}}
    scene = await stage(cap=0, model={"contextTokens": 4096}, spec=longer)
    answer = await scene.client.post(max_tokens=5000)
    assert (answer.status, error_of(answer), scene.alpha.requests) == (503, "no_capacity", 0)
    assert (await scene.client.post(max_tokens=4000)).served_by == ALPHA


@pytest.mark.parametrize(
    "asked",
    [
        {"tools": []},
        {"tools": None},
        {"max_tokens": 4000},
        {"response_format": None},
        {"response_format": {"type": "text"}},
        {"text": {"format": {"type": "text"}, "verbosity": "low"}},
        {"text": {"format": None}},
        {"metadata": {"image_url": "https://x.test/a.png"}},
        {"messages": [{"role": "user", "content": "image_url"}]},
        {"messages": [{"role": "user", "content": '{"type":"input_audio"}, {"type":"video_url"}'}]},
        {"metadata": {"audio_url": "https://x.test/a.mp3", "video_url": "https://x.test/a.mp4", "kind": "video"}},
    ],
)
async def test_what_only_looks_like_more_is_sent(stage: SetStage, asked: dict[str, Any]) -> None:
    scene = await stage(cap=0, model={"capabilities": [], "contextTokens": 4096})
    assert (await scene.client.post(**asked)).served_by == ALPHA


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{'A' * 20_000}"}},
        AUDIO,
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{'A' * 20_000}"}},
    ],
    ids=["image", "audio", "file"],
)
async def test_what_is_no_text_is_not_taken_for_a_prompt_of_as_many_bytes(stage: SetStage, part: dict[str, Any]) -> None:
    scene = await stage(cap=0, model={"contextTokens": 4096, "capabilities": ["Vision", "Audio"]})
    assert (await scene.client.post(messages=[{"role": "user", "content": [part]}])).served_by == ALPHA


async def test_a_functions_argument_that_is_called_as_an_image_is_none(stage: SetStage) -> None:
    scene = await stage(cap=0, model={"capabilities": ["Tools"]})
    arguments = {"type": "object", "properties": {"image_url": {"type": "string"}}, "required": ["image_url"]}
    tools = [{"type": "function", "function": {"name": "crop", "parameters": arguments}}]
    assert (await scene.client.post(tools=tools)).served_by == ALPHA


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/completions", {"prompt": ["word " * 1000] * 20, "max_tokens": 1}),
        ("/v1/completions", {"prompt": [[1234] * 1000] * 20, "max_tokens": 1}),
        ("/v1/embeddings", {"input": ["word " * 1000] * 20}),
        ("/v1/embeddings", {"input": [[1234] * 1000] * 20}),
    ],
    ids=["prompts", "prompts in tokens", "texts", "texts in tokens"],
)
async def test_each_prompt_of_a_list_has_to_fit_the_context_for_itself_and_all_are_charged(
    stage: SetStage, path: str, asked: dict[str, Any]
) -> None:
    scene = await stage(cap=0, model={"contextTokens": 4096}, overflow=LIMITED)
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=1_000_000))
    scene.alpha.script = unmetered
    answer = await scene.client.post(json.dumps(request(**asked)).encode(), path=path)
    assert answer.served_by == ALPHA
    answers = 2 * len(asked["prompt"]) if "prompt" in asked else 0
    assert await _meter(scene, "charged_micro_usd") == -(-len(scene.alpha.raw[0]) // 2) + answers


async def test_the_next_backend_answers_what_the_first_one_cannot(stage: SetStage) -> None:
    scene = await stage(cap=0, hosted=2, overflow={})
    scene.alpha.script = fakes.fail(429, **{"Retry-After": "60"})
    assert [(await scene.client.post()).served_by for _ in range(3)] == [BETA] * 3
    assert (scene.alpha.requests, scene.beta.requests) == (1, 3)


async def test_a_providers_429_that_does_not_say_when_to_come_again_is_a_failure_as_any_other(stage: SetStage) -> None:
    scene = await stage(cap=0, overflow=LIMITED)
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=10 * worst_case()))
    scene.alpha.script = fakes.fail(429)
    answers = [await scene.client.post(max_tokens=TOKENS) for _ in range(5)]
    assert {(each.status, error_of(each), each.served_by) for each in answers} == {(503, "no_capacity", "none")}
    assert 3 <= scene.alpha.requests <= 4  # in a row: then it is left alone, but for a probe if a second passed
    assert await _meter(scene, "charged_micro_usd") == 0
