"""What the project relies on in vLLM, asked of real vLLM and of the simulator that stands in for it."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.cluster.certificates import Authority
from tests.e2e.cluster.engine.environment import ARCHITECTURE
from tests.e2e.cluster.engine.sim import families
from tests.engine.engines import MODEL, READY_S, Engine, Kind, events, started, tried, until

pytestmark = pytest.mark.engine
KINDS: tuple[Kind, ...] = ("vllm", "sim")
# Slow enough that a test can act while something is in flight; real vLLM needs 2 ms for such a step.
SLOW = {"SIM_STEP_MS": "3", "SIM_PER_SEQ_MS": "0"}


@pytest.fixture(scope="module", params=KINDS)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    with started(request.param, "--max-num-seqs", "2", "--max-num-queued-reqs", "4", "--enable-prefix-caching", variables=SLOW) as running:
        running.complete(tokens=2)
        yield running


def test_health_has_an_empty_body_and_version_is_a_string(engine: Engine) -> None:
    assert engine.client.get("/health").content == b""
    assert engine.client.get("/version").json() == {"version": "0.32.0"}


def test_models_lists_the_served_name_and_the_context(engine: Engine) -> None:
    listed = engine.client.get("/v1/models").json()
    assert listed["object"] == "list"
    (model,) = listed["data"]
    assert (model["id"], model["object"], model["owned_by"], model["max_model_len"]) == (MODEL, "model", "vllm", 2048)


@pytest.mark.parametrize("chat", [True, False], ids=["chat", "text"])
def test_a_whole_answer_carries_its_usage(engine: Engine, *, chat: bool) -> None:
    answer = engine.complete(tokens=3, chat=chat).json()
    assert answer["object"] == ("chat.completion" if chat else "text_completion")
    assert answer["model"] == MODEL
    assert answer["id"].startswith("chatcmpl-" if chat else "cmpl-")
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "length"
    assert isinstance(choice["message"]["content"] if chat else choice["text"], str)
    usage = answer["usage"]
    assert usage["completion_tokens"] == 3
    assert usage["total_tokens"] == usage["prompt_tokens"] + 3


@pytest.mark.parametrize("chat", [True, False], ids=["chat", "text"])
def test_a_stream_has_one_event_per_token_and_no_usage_unless_asked(engine: Engine, *, chat: bool) -> None:
    response = engine.complete(tokens=4, chat=chat, stream=True)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    received = events(response)
    assert {event["object"] for event in received} == {"chat.completion.chunk" if chat else "text_completion"}
    if chat:
        assert received.pop(0)["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert len(received) == 4
    assert [event["choices"][0]["finish_reason"] for event in received] == [None, None, None, "length"]
    assert all("usage" not in event for event in received)
    assert all(isinstance(event["choices"][0]["delta"]["content"] if chat else event["choices"][0]["text"], str) for event in received)


@pytest.mark.parametrize("chat", [True, False], ids=["chat", "text"])
def test_include_usage_adds_one_last_event_without_choices(engine: Engine, *, chat: bool) -> None:
    *others, last = events(engine.complete(tokens=3, chat=chat, stream=True, stream_options={"include_usage": True}))
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 3
    assert last["usage"]["total_tokens"] == last["usage"]["prompt_tokens"] + 3
    assert all(not event.get("usage") for event in others)


def test_the_request_id_becomes_part_of_the_answers_id(engine: Engine) -> None:
    body = {"model": MODEL, "prompt": "hi", "max_tokens": 1}
    response = engine.client.post("/v1/completions", json=body, headers={"X-Request-Id": "abc"})
    assert response.json()["id"].startswith("cmpl-abc")


@pytest.mark.parametrize(
    ("body", "status", "kind", "parameter"),
    [
        pytest.param({"model": "nobody", "prompt": "hi"}, 404, "NotFoundError", "model", id="unknown model"),
        pytest.param({"model": MODEL, "prompt": "hi", "max_tokens": 9999}, 400, "BadRequestError", "max_tokens", id="beyond the context"),
        pytest.param({"model": MODEL, "prompt": "hi", "max_tokens": -1}, 400, "BadRequestError", "max_tokens", id="negative tokens"),
        pytest.param({"model": MODEL}, 400, "BadRequestError", "prompt", id="no prompt"),
    ],
)
def test_errors_have_openai_shape(engine: Engine, body: dict[str, object], status: int, kind: str, parameter: str) -> None:
    response = engine.client.post("/v1/completions", json=body)
    assert response.status_code == status
    error = response.json()["error"]
    assert (error["code"], error["type"], error["param"]) == (status, kind, parameter)
    assert set(error) == {"message", "type", "param", "code"}


def test_unknown_paths_and_methods_are_refused(engine: Engine) -> None:
    assert engine.client.get("/nothing").status_code == 404
    assert engine.client.get("/v1/completions").status_code == 405


def test_metrics_have_the_names_labels_and_edges_of_the_table(engine: Engine) -> None:
    engine.complete(tokens=3, stream=True)
    until(lambda: engine.in_flight() == 0, within_s=60)
    seen: dict[str, set[frozenset[tuple[str, str]]]] = {}
    edges: dict[str, set[float]] = {}
    for family in text_string_to_metric_families(engine.client.get("/metrics").text):
        for sample in family.samples:
            name = sample.name.removeprefix("vllm:")
            if name == sample.name or name.endswith("_created") or name == "cache_config_info":
                continue
            labels = dict(sample.labels)
            edge = labels.pop("le", None)
            if edge is not None:
                edges.setdefault(name.removesuffix("_bucket"), set()).add(float(edge))
            else:
                seen.setdefault(name, set()).add(frozenset(labels.items()))
    expected: dict[str, set[frozenset[tuple[str, str]]]] = {}
    for name, series in (families.GAUGES | families.COUNTERS).items():
        common = {"model_name": MODEL} | ({} if name in families.WITHOUT_ENGINE else {"engine": "0"})
        expected[name] = {frozenset((common | labels).items()) for labels in series}
    histograms = families.histograms(2048)
    for name in histograms:
        expected[f"{name}_count"] = expected[f"{name}_sum"] = {frozenset({("model_name", MODEL), ("engine", "0")})}
    assert seen == expected
    assert edges == {name: {*map(float, of_name), float("inf")} for name, of_name in histograms.items()}


def test_counters_follow_a_request(engine: Engine) -> None:
    def read() -> dict[str, float]:
        text = engine.client.get("/metrics").text
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith("vllm:")}

    until(lambda: engine.in_flight() == 0, within_s=60)
    before = read()
    usage = engine.complete(tokens=5).json()["usage"]
    labels = f'{{engine="0",model_name="{MODEL}"}}'
    finished = f'vllm:request_success_total{{engine="0",finished_reason="length",model_name="{MODEL}"}}'
    until(lambda: read()[finished] > before[finished], within_s=60)
    after = read()
    rose = {name: after[f"vllm:{name}{labels}"] - before[f"vllm:{name}{labels}"] for name in (
        "generation_tokens_total", "prompt_tokens_total", "time_to_first_token_seconds_count", "inter_token_latency_seconds_count",
        "e2e_request_latency_seconds_count", "request_queue_time_seconds_count",
    )}  # fmt: skip
    assert rose == {
        "generation_tokens_total": 5,
        "prompt_tokens_total": usage["prompt_tokens"],
        "time_to_first_token_seconds_count": 1,
        "inter_token_latency_seconds_count": 4,
        "e2e_request_latency_seconds_count": 1,
        "request_queue_time_seconds_count": 1,
    }


def counted(engine: Engine, series: str) -> float:
    """Return a counter of the engine's model, 0 where it is not exported."""
    lines = engine.client.get("/metrics").text.splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(series)), 0)


def test_a_full_queue_refuses_with_503_and_without_retry_after(engine: Engine) -> None:
    rejections = f'vllm:admission_rejections_total{{model_name="{MODEL}",reason="max_num_queued_reqs"}}'

    def refusals() -> list[httpx.Response]:
        engine.join()
        before, under_way = counted(engine, rejections), engine.busy(4)
        found = [engine.complete(stream=stream) for stream in (False, True)]
        under_way.finish()
        refused = [each for each in found if each.status_code == 503]
        assert counted(engine, rejections) - before == len(refused)
        return refused if len(refused) == len(found) else []

    for refused in tried(refusals):
        assert "retry-after" not in refused.headers
        assert refused.json()["error"]["type"] == "Service Unavailable"


def test_in_a_burst_streams_are_refused_after_their_200_by_an_event(engine: Engine) -> None:
    def refusals() -> list[httpx.Response]:
        engine.join()
        answers = engine.burst(16, tokens=20)
        statuses = [answer.status_code for answer in answers]
        refused = [answer for answer in answers if answer.status_code == 200 and "error" in events(answer)[0]]
        assert set(statuses) <= {200, 503}
        assert len(answers) - len(refused) - statuses.count(503) >= 4
        return refused

    # Should vLLM mend this, so that no burst shows it, the gateway's cap may be loosened.
    assert all(events(answer)[0]["error"]["code"] == 503 for answer in tried(refusals, times=10))


def test_after_refusals_as_many_requests_as_before_are_taken(engine: Engine) -> None:
    engine.join()
    engine.burst(16, tokens=20)
    engine.busy(4, tokens=900).finish()


def test_requests_beyond_the_batch_wait(engine: Engine) -> None:
    engine.join()
    under_way = engine.busy(3)
    assert f'vllm:num_requests_running{{engine="0",model_name="{MODEL}"}} 2.0' in under_way.page
    assert f'vllm:num_requests_waiting{{engine="0",model_name="{MODEL}"}} 1.0' in under_way.page
    assert f'vllm:num_requests_waiting_by_reason{{engine="0",model_name="{MODEL}",reason="capacity"}} 1.0' in under_way.page
    under_way.finish()


def test_a_client_that_leaves_ends_its_request(engine: Engine) -> None:
    generated = f'vllm:generation_tokens_total{{engine="0",model_name="{MODEL}"}}'
    body = {"model": MODEL, "prompt": "hi", "max_tokens": 1800, "ignore_eos": True, "stream": True}

    def ended() -> bool:
        before = counted(engine, generated)
        with engine.client.stream("POST", "/v1/completions", json=body) as response:
            next(response.iter_raw())
        engine.complete(tokens=1)  # whose step is one after which /metrics knows of the other request
        until(lambda: engine.in_flight() == 0, within_s=60)
        return counted(engine, generated) - before < 1800  # else it was done before the engine came to see the client leave

    engine.join()
    assert tried(ended)


@pytest.mark.parametrize("kind", KINDS)
def test_with_a_shutdown_timeout_open_requests_finish_while_new_ones_get_500(kind: Kind) -> None:
    with started(kind, "--shutdown-timeout", "150", variables=SLOW) as engine:
        engine.complete()
        under_way = engine.busy(2)
        engine.terminate()
        statuses = [200]
        while statuses[-1] == 200 and not under_way.answers:  # until the signal is taken in
            statuses.append(engine.complete(tokens=1).status_code)
        assert statuses[-1] == 500
        with httpx.Client(base_url=engine.url, timeout=30) as other:
            assert other.get("/health").status_code == 200  # which is why routing must stop first
            assert other.get("/metrics").status_code == 200
        under_way.finish()
        assert [each.json()["usage"]["completion_tokens"] for each in under_way.answers if isinstance(each, httpx.Response)] == [1800, 1800]
        assert engine.exited(30) == 0


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("kind", KINDS)
def test_without_a_shutdown_timeout_open_requests_are_not_waited_for(kind: Kind, *, stream: bool) -> None:
    with started(kind, "--max-num-seqs", "2", variables=SLOW) as engine:
        engine.complete()
        answers = engine.busy(8, stream=stream).answers
        engine.terminate()
        # Seen of real vLLM, by chance: an error at once, a truncated answer with status 200, and a hang until the client leaves.
        engine.exited(8)
        done = 0
        for answer in answers:
            if isinstance(answer, httpx.Response) and answer.status_code == 200:
                last = (events(answer) if stream else [answer.json()])[-1:]  # a stream that had not begun ends without an event
                done += [choice["finish_reason"] for said in last for choice in said.get("choices", ())] == ["length"]
            elif isinstance(answer, httpx.Response):
                assert answer.status_code == 500
        assert done < 8  # two may have been done before the signal was taken in; with a timeout all eight would be


def test_a_killed_worker_fails_what_is_in_flight_and_ends_the_engine() -> None:
    with started("vllm") as engine:  # the simulator has no process that it could lose
        engine.complete()
        under_way = engine.busy(2)
        engine.kill_worker()
        assert engine.exited(60) is not None  # and so the kubelet restarts it
        engine.join()
        assert len(under_way.answers) == 2
        assert all(isinstance(answer, httpx.HTTPError) or status(answer) == 500 for answer in under_way.answers)


def status(answer: httpx.Response | Exception) -> int:
    """Return the status of an answer that must be one."""
    assert isinstance(answer, httpx.Response), answer
    return answer.status_code


@pytest.mark.parametrize("kind", KINDS)
def test_an_idle_engine_ends_at_once(kind: Kind) -> None:
    with started(kind) as engine:
        engine.complete()
        engine.terminate()
        assert engine.exited(30) in {0, 1}  # 1 where vLLM takes the death of its engine process for a failure: one time in five


@pytest.mark.parametrize("kind", KINDS)
def test_sigterm_during_the_engines_start_is_swallowed(kind: Kind) -> None:
    with started(kind, wait=False, variables={"SIM_START_S": "8", "SIM_DEAF_AFTER_S": "1"}) as engine:
        if kind == "vllm":
            until(lambda: "Initializing a V1 LLM engine" in engine.log.read_text(), within_s=120)
        else:
            until(engine.catches_sigterm, within_s=60)
        engine.terminate()
        assert engine.exited(10) is None


def test_a_start_need_not_find_out_anew_what_vllm_noted_down_about_the_models_class() -> None:
    """Of a start's 24 CPU seconds 11 went into it: the image brings the notes, and vLLM takes them for its own."""
    with started("vllm", wait=False, variables={"VLLM_LOGGING_LEVEL": "DEBUG"}) as engine:
        until(lambda: "Resolved architecture" in (log := engine.log.read_text()) or "miss. Loading model instead" in log, within_s=READY_S)
        assert f"Loaded model info for class vllm.model_executor.models.llama.{ARCHITECTURE} from cache" in engine.log.read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_connections_are_refused_until_it_is_ready(kind: Kind) -> None:
    with started(kind, wait=False, variables={"SIM_START_S": "2"}) as engine, pytest.raises(httpx.ConnectError):
        engine.client.get("/health")


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_backlog_limit_refuses_with_503(kind: Kind) -> None:
    with started(kind, "--max-num-queued-tokens", "0") as engine:
        refused = engine.complete()
        assert refused.status_code == 503
        assert "prefill token backlog" in refused.json()["error"]["message"]


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_flags_are_refused_with_status_2(kind: Kind) -> None:
    with started(kind, "--no-such-flag", wait=False) as engine:
        assert engine.exited(120) == 2
        assert "unrecognized arguments: --no-such-flag" in engine.log.read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_the_operators_flags_are_known(kind: Kind) -> None:
    flags = "--tensor-parallel-size 1 --gpu-memory-utilization 0.9 --max-num-seqs 4 --max-num-batched-tokens 512 --max-num-queued-reqs 64"
    more = "--max-num-queued-tokens 4096 --enable-prefix-caching --shutdown-timeout 5"
    with started(kind, *flags.split(), *more.split()) as engine:
        assert engine.complete().status_code == 200


@pytest.mark.parametrize("kind", KINDS)
def test_as_a_hosted_stand_in_it_wants_tls_and_the_key(kind: Kind, tmp_path: Path) -> None:
    authority = Authority()
    leaf = authority.issue("hosted", addresses=["127.0.0.1"])
    for name, content in {"ca.crt": authority.pair.certificate, "tls.crt": leaf.certificate, "tls.key": leaf.key}.items():
        (tmp_path / name).write_bytes(content)
    tmp_path.chmod(0o755)
    at = "/certificates" if kind == "vllm" else str(tmp_path)
    flags = ("--ssl-certfile", f"{at}/tls.crt", "--ssl-keyfile", f"{at}/tls.key", "--api-key", "secret-key")
    with started(kind, *flags, scheme="https", trusted=tmp_path / "ca.crt", binds={tmp_path: "/certificates"}) as engine:
        refused = engine.complete()
        assert refused.status_code == 401
        assert refused.json() == {"error": "Unauthorized"}
        engine.client.headers["Authorization"] = "Bearer secret-key"
        assert engine.complete().status_code == 200
