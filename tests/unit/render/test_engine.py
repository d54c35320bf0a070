"""A replica: its shape, its arguments, its end."""

from dataclasses import replace
from typing import Any

import pytest

from spillway.observe.pods import pool
from spillway.plan.observation import EngineLimits, Pool
from spillway.render.engine import start_up_budget_s
from spillway.render.vllm import Version
from tests.golden.objects.case import Case, with_settings
from tests.unit.render.cases import container, dedicated, hybrid


def arguments(given: Case) -> list[str]:
    command: list[str] = container(given.engine())["command"]
    return command


def value_of(given: Case, flag: str) -> str | None:
    command = arguments(given)
    return command[command.index(flag) + 1] if flag in command else None


def environment(given: Case) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container(given.engine())["env"]}


def test_a_replica_asks_for_as_many_accelerators_as_share_its_layers() -> None:
    given = dedicated(own={"engine": {"tensorParallelSize": 4}})
    assert value_of(given, "--tensor-parallel-size") == "4"
    assert container(given.engine())["resources"]["limits"]["nvidia.com/gpu"] == "4"


def test_another_shape_of_replica_is_another_deployment() -> None:
    names = {dedicated(own={"engine": {"tensorParallelSize": size}}).engine()["metadata"]["name"] for size in (1, 2)}
    assert len(names) == 2


@pytest.mark.parametrize(
    ("version", "has", "lacks"),
    [
        ("0.10.2", ["--enable-prefix-caching"], ["--shutdown-timeout", "--max-num-queued-reqs"]),
        ("0.18.0", ["--shutdown-timeout"], ["--enable-prefix-caching", "--max-num-queued-reqs"]),
        ("0.28", ["--shutdown-timeout"], ["--max-num-queued-reqs"]),
        ("0.29.0", ["--shutdown-timeout", "--max-num-queued-reqs", "--max-num-queued-tokens"], []),
    ],
)
def test_an_engine_gets_only_arguments_that_its_version_has(version: str, has: list[str], lacks: list[str]) -> None:
    command = arguments(dedicated(model={"maxContextTokens": 1024}, own={"engine": {"version": version}}))
    assert set(has) <= set(command)
    assert not set(lacks) & set(command)


@pytest.mark.parametrize("text", ["0.32.0", "v0.32.0", "0.32", "0.32.0+cpu"])
def test_a_version_is_read_however_it_is_written(text: str) -> None:
    assert Version.parse(text) == (0, 32, 0)


def test_settings_with_no_version_are_refused_when_they_are_made() -> None:
    with pytest.raises(ValueError, match="not a vLLM version"):
        with_settings(dedicated(), engine_version="latest")


def test_the_users_arguments_come_last_and_so_count() -> None:
    assert arguments(dedicated(own={"engine": {"extraArgs": ["--seed", "7"]}}))[-2:] == ["--seed", "7"]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"quantization": "bf16"}, ["--dtype", "bfloat16"]),
        ({"quantization": "fp16"}, ["--dtype", "float16"]),
        ({"quantization": "fp8"}, ["--quantization", "fp8"]),
        ({"quantization": "fp8", "id": "acme/chat-FP8-dynamic"}, []),
        ({"quantization": "awq", "id": "acme/chat-awq"}, []),
        ({}, []),
    ],
    ids=["bf16", "fp16", "made fp8 while loading", "already fp8", "named by its own configuration", "the model's own"],
)
def test_precision_is_named_only_where_the_weights_do_not(model: dict[str, Any], expected: list[str]) -> None:
    command = arguments(dedicated(model=model))
    assert [each for each in command if each in ("--dtype", "--quantization", "bfloat16", "float16", "fp8")] == expected


@pytest.mark.parametrize(
    ("path", "loaded"), [("/", "/model"), ("/llama", "/model/llama"), ("/a/b/", "/model/a/b"), ("/../../etc", "/model/etc")]
)
def test_a_path_on_a_volume_never_leaves_it(path: str, loaded: str) -> None:
    source = {"persistentVolumeClaim": {"claimName": "models", "path": path}}
    assert arguments(dedicated(model={"source": source}))[2] == loaded


def test_weights_on_a_volume_need_no_hub() -> None:
    variables = environment(dedicated(model={"source": {"persistentVolumeClaim": {"claimName": "models"}}}))
    assert variables["HF_HUB_OFFLINE"] == "1"


def test_the_hubs_token_comes_from_a_secret_and_its_address_from_the_users_environment() -> None:
    given = dedicated(
        model={"source": {"huggingFace": {"tokenSecretRef": {"name": "hub", "key": "token"}}}},
        own={"engine": {"env": [{"name": "HF_ENDPOINT", "value": "https://hub.internal"}, {"name": "HOME", "value": "/cache"}]}},
    )
    variables = environment(given)
    assert variables["HF_TOKEN"] == {"secretKeyRef": {"name": "hub", "key": "token"}}
    assert variables["HF_ENDPOINT"] == "https://hub.internal"
    assert variables["HOME"] == "/cache"
    assert len(container(given.engine())["env"]) == len(variables)  # a name twice would fail the apply


def test_another_replica_joins_a_rollout_only_where_nothing_hosted_can_carry_the_gap() -> None:
    assert dedicated().engine()["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert hybrid().engine()["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}


def test_no_replica_joins_a_rollout_that_would_wait_for_the_volume_of_the_one_it_replaces() -> None:
    for_one, for_many = ({"modelCache": {"claimName": "weights", "accessMode": f"ReadWrite{each}"}} for each in ("Once", "Many"))
    assert dedicated(own=for_one).engine()["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    assert dedicated(own=for_many).engine()["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_replicas_are_always_stated_zero_included() -> None:
    assert hybrid({"scaling": {"minReplicas": 0, "maxReplicas": 2}}).engine()["spec"]["replicas"] == 0


def test_what_the_user_names_of_a_resource_replaces_all_of_our_default_for_it() -> None:
    resources = container(dedicated(own={"podTemplate": {"resources": {"limits": {"memory": "1Gi"}}}}).engine())["resources"]
    assert resources["limits"]["memory"] == "1Gi"
    assert "memory" not in resources["requests"]  # our default request would be above the user's limit
    assert resources["requests"]["cpu"] == "1"


def test_a_user_cannot_take_accelerators_away_or_move_a_replica_off_its_class() -> None:
    given = dedicated(own={"podTemplate": {"resources": {"limits": {"nvidia.com/gpu": "0"}}, "labels": {"spillway.dev/pool": "other"}}})
    engine = given.engine()
    assert container(engine)["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert engine["spec"]["template"]["metadata"]["labels"]["spillway.dev/pool"] == engine["metadata"]["name"]


def test_the_grace_period_outlasts_the_longest_request() -> None:
    given = dedicated(gateway={"maxRequestSeconds": 900})
    assert given.engine()["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > 900
    assert value_of(given, "--shutdown-timeout") == "900"


@pytest.mark.parametrize(("parameters", "least_s"), [(148_000, 1200), (8_030_000_000, 1200), (405_000_000_000, 8100)])
def test_a_replica_has_the_time_that_its_weights_need(parameters: int, least_s: int) -> None:
    shape = {"layers": 2, "attentionHeads": 8, "keyValueHeads": 8, "headSize": 8, "parameters": parameters}
    given = dedicated(model={"architecture": shape, "quantization": "bf16"}, own={"engine": {"maxNumSeqs": 4, "tensorParallelSize": 8}})
    assert start_up_budget_s(given.workload) >= least_s


def test_a_newer_catalogue_leaves_the_time_that_a_pool_gives_its_replicas_alone() -> None:
    """It is part of the pod: a model that is known by now, or known better, restarts nothing."""
    given = dedicated()
    fresh = given.decide().pool
    assert fresh is not None
    limits = EngineLimits(
        sized_for=fresh.capacity.sized_for,
        max_num_seqs=fresh.capacity.max_num_seqs,
        max_queued_requests=fresh.capacity.max_queued_requests,
        max_queued_tokens=fresh.capacity.max_queued_tokens,
    )
    running = Pool(name=fresh.name, replicas=1, ready_replicas=1, limits=limits, start_up_budget_s=4000)
    another = replace(limits, sized_for="something else")

    def budget_s(pools: tuple[Pool, ...]) -> int:
        probe: dict[str, int] = container(replace(given, seen=replace(given.seen, pools=pools)).engine())["startupProbe"]
        return probe["failureThreshold"]

    assert budget_s(()) == 1200
    assert budget_s((running,)) == budget_s((replace(running, limits=None),)) == 4000
    assert budget_s((replace(running, limits=another),)) == 1200, "the spec says something else: its pods are made anew"
    made = replace(given, seen=replace(given.seen, pools=(running,))).engine()
    assert pool(made).start_up_budget_s == 4000, "and so it stays"


@pytest.mark.parametrize(
    ("name", "label"), [("Llama-3.1-8B", "Llama-3.1-8B"), ("chat:v2@main+x_", "chat-v2-main-x"), ("a" * 62 + "-b", "a" * 62)]
)
def test_a_models_name_becomes_a_valid_label(name: str, label: str) -> None:
    labels = dedicated(model={"id": f"acme/{name}"}).engine()["spec"]["template"]["metadata"]["labels"]
    assert labels["llm-d.ai/model"] == label
    assert labels["llm-d.ai/inference-serving"] == "true"


def test_a_users_image_is_not_written_down_as_a_default() -> None:
    """Otherwise it would stick after the user takes it back."""
    annotations = dedicated(own={"engine": {"image": "acme/vllm:1", "version": "0.31.0"}}).engine()["metadata"]["annotations"]
    assert not [each for each in annotations if "default-engine" in each]


def test_nothing_in_a_replicas_pod_follows_the_number_of_replicas() -> None:
    few = hybrid({"scaling": {"minReplicas": 1, "maxReplicas": 4}}).engine()["spec"]["template"]
    many = hybrid({"scaling": {"minReplicas": 3, "maxReplicas": 4}}).engine()["spec"]["template"]
    assert few == many


@pytest.mark.parametrize("model", [{}, {"id": "meta-llama/Llama-3.2-1B"}], ids=["unknown shape", "known shape"])
@pytest.mark.parametrize("engine", [{}, {"maxNumSeqs": 200}], ids=["a batch of our own", "a stated batch"])
def test_a_batch_is_never_larger_than_a_step_with_which_vllm_does_not_start(model: dict[str, Any], engine: dict[str, Any]) -> None:
    given = dedicated(model=model, own={"engine": {"maxNumBatchedTokens": 16, **engine}})
    assert value_of(given, "--max-num-seqs") == value_of(given, "--max-num-batched-tokens") == "16"
