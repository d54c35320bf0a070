"""The main promises, on one workload: serve, spill the overflow, scale, cut nothing, and say what it costs."""

import asyncio
import re
from datetime import UTC, datetime
from typing import Any

import openai
import pytest

from tests.e2e.conftest import NAMESPACE
from tests.e2e.stack import HOSTED_MODEL, SYSTEM_NAMESPACE, Stack, eventually
from tests.e2e.traffic import Load, burst, describe

pytestmark = pytest.mark.e2e
CAP_FOLLOWS_S = 5
BATCH = 4  # the quickstart's maxNumSeqs
# Sent past the gateway to one replica while another is to go: more than the other can have, and with it less than a batch.
BUSY, LONG = 2, 800
HOSTED = f"rented/{HOSTED_MODEL}"
OWNED_USD_PER_HOUR = 0.10  # the quickstart's
HOSTED_USD_PER_TOKEN = 2.0e-6  # the quickstart's, for prompts and answers alike


def base_url(stack: Stack) -> str:
    return stack.url(NAMESPACE, "chat") + "/v1"


def test_serves_the_openai_client_streamed_and_not(chat: Stack) -> None:
    with openai.OpenAI(base_url=base_url(chat), api_key="anything", max_retries=0, timeout=120) as client:
        _converse(client)


def _converse(client: openai.OpenAI) -> None:
    assert [m.id for m in client.models.list()] == ["chat"]
    whole = client.chat.completions.with_raw_response.create(model="chat", messages=[{"role": "user", "content": "hello"}], max_tokens=8)
    assert whole.headers["x-served-by"] == "owned"
    answer = whole.parse()
    assert answer.model == "chat"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 8 or answer.choices[0].finish_reason == "stop"

    stream = client.chat.completions.create(
        model="chat", messages=[{"role": "user", "content": "hello"}], max_tokens=8, stream=True, extra_body={"ignore_eos": True}
    )
    chunks = list(stream)
    assert chunks[-1].choices[0].finish_reason == "length"
    assert all(chunk.usage is None for chunk in chunks), "usage was counted for us, not for a client that did not ask"

    asked = client.chat.completions.create(
        model="chat",
        messages=[{"role": "user", "content": "hello"}],
        max_tokens=8,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"ignore_eos": True},
    )
    usage = list(asked)[-1].usage
    assert usage is not None
    assert usage.completion_tokens == 8

    with pytest.raises(openai.NotFoundError) as wrong:
        client.chat.completions.create(model="no-such-model", messages=[{"role": "user", "content": "hello"}])
    assert "no-such-model" in wrong.value.message


def test_a_burst_fills_the_replica_to_its_cap_and_spills_the_rest_with_no_error(chat: Stack) -> None:
    before = chat.ledger(NAMESPACE)["hosted_usd"]
    answers = asyncio.run(burst(base_url(chat), "chat", 40, max_tokens=40))
    assert not answers.failed, describe(answers.failed)
    assert set(answers.served_by) == {"owned", HOSTED}
    assert chat.workload(NAMESPACE)["status"]["dedicated"]["capacity"]["concurrency"] == BATCH
    assert answers.owned >= BATCH, f"at least one batch is owned, wherever the connections landed: {answers.served_by}"
    spilled_usd = answers.hosted * 40 * HOSTED_USD_PER_TOKEN
    eventually(
        lambda: chat.ledger(NAMESPACE)["hosted_usd"] - before >= spilled_usd,
        within=90,
        what=f"the {spilled_usd} USD of the spill in the ledger",
    )
    reasons = {
        each["reason"] for each in chat.get("-n", NAMESPACE, "events")["items"] if each["involvedObject"]["kind"] == "InferenceWorkload"
    }
    assert "HybridRequested" in reasons


def test_scales_up_under_load_and_down_afterwards_without_cutting_a_stream(chat: Stack) -> None:
    async def scenario() -> Load:
        load = Load(base_url(chat), "chat", max_tokens=80)
        async with load:
            load.hold(10)
            await asyncio.to_thread(
                eventually,
                lambda: chat.workload(NAMESPACE)["status"]["dedicated"]["readyReplicas"] == 2,
                within=300,  # it starts on the two cores that the load keeps busy
                what="a second replica that is ready",
            )
            await asyncio.to_thread(_cap_follows, chat, ready=2)
            await asyncio.to_thread(
                eventually,
                lambda: _tells_of_traffic(chat.workload(NAMESPACE)["status"]),
                within=120,  # numbers are written at most once a minute
                what="the load in status.traffic and status.slo",
            )
            load.hold(1)  # streams go on through the whole scale-down
            await asyncio.to_thread(_price, chat, "0.50")  # so that two replicas stop to pay however slow these cores are
            busy = await asyncio.to_thread(_newest_engine, chat)
            async with Load(chat.pod_url(busy, 8000) + "/v1", "chat", max_tokens=LONG) as straight:
                straight.hold(BUSY)
                await asyncio.to_thread(
                    eventually,
                    lambda: len(_engines(chat)) == 1,
                    within=300,
                    what="one replica left, the other drained and gone",
                )
                (left,) = _engines(chat)
            assert left["metadata"]["name"] == busy["metadata"]["name"], "the replica with the least in flight goes"
            assert not straight.tally.failed, describe(straight.tally.failed)
        return load

    (accelerator,) = (each for each in chat.quickstart() if each["kind"] == "AcceleratorClass")
    try:
        load = asyncio.run(scenario())
    finally:
        chat.apply(accelerator)
    assert not load.tally.failed, describe(load.tally.failed)
    reasons = [d["reason"] for d in chat.workload(NAMESPACE)["status"]["decisions"]]
    assert "DemandRose" in reasons
    assert "DemandFell" in reasons
    _cap_follows(chat, ready=1)


def _price(stack: Stack, usd_per_hour: str) -> None:
    stack.patch("acceleratorclass", NAMESPACE, "quickstart-gpu", {"spec": {"price": {"onDemandUSDPerHour": usd_per_hour}}})


def _engines(stack: Stack) -> list[dict[str, Any]]:
    return list(stack.get("-n", NAMESPACE, "pods", "-l", "app.kubernetes.io/component=engine")["items"])


def _newest_engine(stack: Stack) -> dict[str, Any]:
    """Return the replica that became ready last: the one that Kubernetes, left alone, takes away first."""

    def ready_since(pod: dict[str, Any]) -> str:
        return str(next(each["lastTransitionTime"] for each in pod["status"]["conditions"] if each["type"] == "Ready"))

    return max(_engines(stack), key=ready_since)


def _tells_of_traffic(status: dict[str, Any]) -> bool:
    """Whether all figures of the traffic and of the promise are there. Nothing may spill, and there is no end-to-end target."""
    traffic = {"requestsPerSecond", "inputTokensMean", "outputTokensMean", "spilledPercent"}
    promised = {"attainmentPercent", "timeToFirstTokenAttainmentPercent", "interTokenLatencyAttainmentPercent"}
    promised |= {"ttftP95Ms", "interTokenP95Ms", "owned", "window"}
    slo = status.get("slo", {})
    return bool(traffic <= status.get("traffic", {}).keys() and promised <= slo.keys())


def _cap(stack: Stack) -> int:
    return _cap_in(stack.get("-n", NAMESPACE, "configmap", "chat-gateway-cap")["data"]["runtime.yaml"])


def _cap_follows(stack: Stack, *, ready: int) -> None:
    """Both gateways have the cap of the ready replicas in their own file within five seconds of the status, on the real kubelet.

    What one replica may hold is measured and may move meanwhile, between its batch and that and two batches that wait. That the cap
    itself follows each replica at once is held by tests/apiserver.
    """
    pods = stack.get("-n", NAMESPACE, "pods", "-l", "app.kubernetes.io/component=gateway")["items"]
    names = [p["metadata"]["name"] for p in pods if "deletionTimestamp" not in p["metadata"]]
    assert len(names) == 2
    least, most = BATCH * ready, 3 * BATCH * ready

    def caps() -> bool:
        written = _cap(stack)
        files = [stack.kubectl("-n", NAMESPACE, "exec", name, "--", "cat", "/etc/spillway/cap/runtime.yaml") for name in names]
        return least <= written * len(names) <= most and all(_cap_in(file) == written for file in files)

    eventually(caps, within=CAP_FOLLOWS_S, what=f"the gateways' files to have the cap of {ready} replicas")


def _cap_in(file: str) -> int:
    found = re.search(r"max_requests\D+(\d+)", file)
    assert found, file
    return int(found.group(1))


def test_kubectl_get_shows_the_state_the_promise_and_the_price(chat: Stack) -> None:
    def table() -> str:
        return chat.kubectl("-n", NAMESPACE, "get", "iw", "-o", "wide")

    # numbers are written at most once a minute
    eventually(lambda: re.search(rf"\s{OWNED_USD_PER_HOUR:g}\s", table()), within=180, what="the price of one replica in kubectl get")
    header, row = table().strip().splitlines()
    for column in ("MODEL", "PLACEMENT", "READY", "REPLICAS", "SLO", "USD/H", "AGE", "SPILLED %", "$/1M TOKENS", "URL", "REASON"):
        assert column in header
    assert "acme/tiny-chat" in row
    assert "Hybrid" in row


def test_month_to_date_goes_on_through_restarts_of_operator_gateway_and_prometheus(chat: Stack) -> None:
    start = chat.ledger(NAMESPACE)
    sent = asyncio.run(burst(base_url(chat), "chat", 4, max_tokens=50))
    assert not sent.failed, describe(sent.failed)
    answered = _utc_now()
    seen = start["output_tokens"] + sum(a.tokens for a in sent.answers)
    before = eventually(
        lambda: (now := chat.ledger(NAMESPACE))["watched_until"] > answered and now["output_tokens"] >= seen and now,
        within=120,
        what=f"a ledger with the burst's tokens, {seen} in all",
    )
    chat.kubectl("-n", SYSTEM_NAMESPACE, "rollout", "restart", "deployment")
    chat.kubectl("-n", SYSTEM_NAMESPACE, "rollout", "status", "deployment", "--timeout=180s")
    chat.kubectl("-n", NAMESPACE, "rollout", "restart", "deployment/chat-gateway")
    chat.kubectl("-n", NAMESPACE, "rollout", "status", "deployment/chat-gateway", "--timeout=240s")
    chat.await_condition(NAMESPACE, "MetricsAvailable", within=90)
    done = _utc_now()
    after = eventually(
        lambda: (now := chat.ledger(NAMESPACE))["watched_until"] > done and now, within=90, what="a ledger written after the restarts"
    )
    assert after["dedicated_usd"] > before["dedicated_usd"]
    replica_s = sum(_seconds(before["watched_until"], mark) for mark in after["replicas"].values())
    assert after["dedicated_usd"] - before["dedicated_usd"] <= OWNED_USD_PER_HOUR * replica_s / 3600 + 0.0005, "own time was counted twice"
    assert after["output_tokens"] == before["output_tokens"], "tokens were lost or counted twice"
    assert after["hosted_usd"] == before["hosted_usd"], "hosted tokens were lost or billed twice"


def _utc_now() -> str:
    return datetime.now(UTC).isoformat()


def _seconds(since: str, until: str) -> float:
    return max(0.0, (datetime.fromisoformat(until) - datetime.fromisoformat(since)).total_seconds())
