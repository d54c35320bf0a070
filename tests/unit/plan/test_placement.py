"""Placement and validation: what serves, and what is wrong that only the cluster can tell."""

from typing import Any

import pytest

from spillway.api.catalogue import AcceleratorClassSpec
from spillway.api.vocabulary import Reason
from spillway.api.workload import PlacementMode
from spillway.plan.decision import Problem
from spillway.plan.names import pool_name
from spillway.plan.observation import Catalogue
from spillway.plan.place.placed import Placed
from spillway.plan.place.placement import Choice, choose_accelerator, tensor_parallel_size
from spillway.plan.validate import misfit, misshapen, name_conflicts, resolve_backends
from tests.unit.plan.situations import LLAMA_8B, MISSING, accelerator, catalogue, observe, one_pass, pool, signals, spec, workload

SHAPED: dict[str, Any] = {"model": {"architecture": LLAMA_8B}}


def priced(usd: str | None, **changes: Any) -> AcceleratorClassSpec:
    price = None if usd is None else {"onDemandUSDPerHour": usd, "asOf": "2026-07-20", "source": "x"}
    return accelerator(price=price, **changes)


def chosen(found: Choice | Problem) -> str:
    assert isinstance(found, Choice), found
    return found.name


def refused(found: Choice | Problem) -> Problem:
    assert isinstance(found, Problem), found
    return found


CLASSES = {"h100": priced("4"), "l40s": priced("1.5", memoryGiB=48), "t4": priced("0.5", memoryGiB=16), "mystery": priced(None)}


@pytest.mark.parametrize(
    ("accelerators", "changes", "name"),
    [
        pytest.param(["h100", "l40s"], {}, "h100", id="the first preference that exists"),
        pytest.param(["b200", "l40s"], {}, "l40s", id="the next one where the first does not exist"),
        pytest.param(["t4", "l40s"], SHAPED, "l40s", id="the next one where the model does not fit the first"),
        pytest.param([], {}, "t4", id="the cheapest without preferences"),
        pytest.param([], SHAPED, "l40s", id="the cheapest that fits"),
    ],
)
def test_accelerator_class(accelerators: list[str], changes: dict[str, Any], name: str) -> None:
    wanted = spec(dedicated={"accelerators": accelerators, "engine": {"maxNumSeqs": 8, "tensorParallelSize": 1}}, **changes)
    assert chosen(choose_accelerator("chat", wanted, catalogue(CLASSES), ())) == name


def test_a_class_without_a_price_comes_last() -> None:
    assert chosen(choose_accelerator("chat", spec(), catalogue({"a": priced(None), "b": priced("100")}), ())) == "b"


def test_a_running_pool_stays_where_it_is_when_prices_move() -> None:
    running = (pool(1, name=pool_name("chat", "l40s", 1), ready_replicas=0), pool(2, name=pool_name("chat", "h100", 1)))
    assert chosen(choose_accelerator("chat", spec(), catalogue(CLASSES), running)) == "h100"


def test_a_running_pool_follows_an_edited_preference() -> None:
    wanted = spec(dedicated={"accelerators": ["l40s", "h100"]})
    assert chosen(choose_accelerator("chat", wanted, catalogue(CLASSES), (pool(2),))) == "l40s"


@pytest.mark.parametrize(
    ("changes", "classes", "reason", "words"),
    [
        pytest.param({}, {}, Reason.UNKNOWN_ACCELERATOR_CLASS, "has no AcceleratorClass", id="no class at all"),
        pytest.param(
            {"dedicated": {"accelerators": ["b200", "b300"]}},
            CLASSES,
            Reason.UNKNOWN_ACCELERATOR_CLASS,
            "'b200', 'b300'",
            id="none of the preferences exists",
        ),
        pytest.param(
            {"engine": {"tensorParallelSize": 3}, **SHAPED},
            CLASSES,
            Reason.TENSOR_PARALLEL_MISMATCH,
            "32 attention heads",
            id="heads that cannot be split",
        ),
        pytest.param(
            {"engine": {"tensorParallelSize": 8}, "model": {"architecture": LLAMA_8B | {"keyValueHeads": 6, "attentionHeads": 48}}},
            CLASSES,
            Reason.TENSOR_PARALLEL_MISMATCH,
            "6 key-value heads",
            id="fewer key-value heads that cannot be repeated evenly",
        ),
        pytest.param(
            {"engine": {"tensorParallelSize": 4}, "model": {"architecture": LLAMA_8B | {"keyValueHeads": 6, "attentionHeads": 48}}},
            CLASSES,
            Reason.TENSOR_PARALLEL_MISMATCH,
            "6 key-value heads",
            id="more key-value heads that cannot be split evenly",
        ),
        pytest.param(
            {"engine": {"tensorParallelSize": 5}, "model": {"id": "microsoft/phi-4"}},
            CLASSES,
            Reason.TENSOR_PARALLEL_MISMATCH,
            "100352 tokens",
            id="a vocabulary that cannot be split",
        ),
        pytest.param({"engine": {"tensorParallelSize": 16}}, CLASSES, Reason.INVALID_SPEC, "within one node", id="more than a node has"),
        pytest.param(
            {"model": {"architecture": LLAMA_8B | {"parameters": 700_000_000_000}}},
            CLASSES,
            Reason.MODEL_DOES_NOT_FIT,
            "room for 0 of the 1250",
            id="weights alone too big",
        ),
        pytest.param(
            {"engine": {"tensorParallelSize": 1}, "model": {"architecture": LLAMA_8B, "maxContextTokens": 500_000}},
            CLASSES,
            Reason.MODEL_DOES_NOT_FIT,
            "of the 500000 tokens",
            id="one full request too big",
        ),
    ],
)
def test_says_why_no_accelerator_will_do(
    changes: dict[str, Any], classes: dict[str, AcceleratorClassSpec], reason: Reason, words: str
) -> None:
    problem = refused(choose_accelerator("chat", spec(**changes), catalogue(classes), ()))
    assert problem.reason is reason
    assert words in problem.message


@pytest.mark.parametrize("parallel", [1, 2, 4, 8, 16, 32])
def test_a_tensor_parallel_size_that_divides_or_repeats_key_value_heads_is_fine(parallel: int) -> None:
    assert misshapen(spec(engine={"tensorParallelSize": parallel}, **SHAPED)) is None


def test_what_has_no_shape_or_no_replicas_is_not_judged() -> None:
    assert misshapen(spec(engine={"tensorParallelSize": 7})) is None
    assert misfit(spec(), "h100", accelerator()) is None
    assert misfit(spec("Hosted", **SHAPED), "h100", accelerator()) is None
    assert tensor_parallel_size(spec("Hosted")) == 1


def test_a_problem_names_every_taken_name() -> None:
    (problem,) = name_conflicts(("Service/chat", "ConfigMap/chat-gateway"))
    assert problem.reason is Reason.NAME_CONFLICT
    assert "ConfigMap/chat-gateway, Service/chat" in problem.message


@pytest.mark.parametrize(
    ("backend", "reason", "words"),
    [
        pytest.param(
            {"providerRef": {"name": "nobody"}, "model": "m"}, Reason.UNKNOWN_PROVIDER, "HostedProvider 'nobody'", id="unknown provider"
        ),
        pytest.param(
            {"providerRef": {"name": "acme"}, "model": "gpt"},
            Reason.UNKNOWN_PROVIDER_MODEL,
            "llama-8b, org/llama-70b",
            id="model the provider does not list",
        ),
    ],
)
def test_an_unresolved_backend_is_a_problem(backend: dict[str, Any], reason: Reason, words: str) -> None:
    wanted = workload(hosted={"backends": [backend]})
    decision, _ = one_pass(wanted)
    (problem,) = decision.problems
    assert problem.reason is reason
    assert words in problem.message
    assert (decision.pool, decision.backends, decision.scale) == (None, (), None)


@pytest.mark.parametrize("accelerators", [["b200"], []], ids=["named", "any"])
def test_what_exists_and_cannot_be_read_is_not_said_to_be_missing(accelerators: list[str]) -> None:
    """As after a downgrade: the CRD, and what stands in an object, are of a newer version than the operator."""
    odd = Catalogue(
        unreadable_classes={"b200": "spec.interconnect: Input should be 'PCIe'"}, unreadable_providers={"acme": "spec.models.0: newer"}
    )
    found = choose_accelerator("chat", spec(dedicated={"accelerators": accelerators}), odd, ())
    assert isinstance(found, Problem)
    assert found.message == (
        "AcceleratorClass 'b200' exists but cannot be read (spec.interconnect: Input should be 'PCIe'); "
        "correct it, or upgrade the operator if it is older than the CRD."
    )
    _, (problem,) = resolve_backends(spec(hosted={"backends": [{"providerRef": {"name": "acme"}, "model": "llama-8b"}]}), odd)
    assert problem.message.startswith("HostedProvider 'acme' exists but cannot be read (spec.models.0: newer); correct it")


def test_backends_keep_their_order_and_prices() -> None:
    backends = [{"providerRef": {"name": "acme"}, "model": model} for model in ("org/llama-70b", "llama-8b")]
    resolved, problems = resolve_backends(spec(hosted={"backends": backends}), catalogue())
    assert problems == ()
    assert [(each.label, each.input_usd_per_million, each.output_usd_per_million) for each in resolved] == [
        ("acme/org/llama-70b", 1.0, 2.0),
        ("acme/llama-8b", 0.1, 0.4),
    ]


@pytest.mark.parametrize(
    ("wanted", "has_pool", "has_backends"),
    [
        pytest.param(workload("Hybrid"), True, True, id="hybrid has both"),
        pytest.param(workload("Hosted"), False, True, id="hosted owns nothing"),
        pytest.param(workload("Dedicated"), True, False, id="dedicated rents nothing"),
        pytest.param(
            workload("Dedicated", hosted={"backends": [{"providerRef": {"name": "acme"}, "model": "llama-8b"}]}),
            True,
            False,
            id="dedicated rents nothing even where a backend is named to compare with",
        ),
        pytest.param(
            workload("Dedicated", placement={"mode": "Dedicated", "dataResidency": "ClusterOnly"}),
            True,
            False,
            id="nothing leaves the cluster under ClusterOnly",
        ),
        pytest.param(
            workload("Hybrid", placement={"mode": "Hybrid", "dataResidency": "ClusterOnly"}),
            True,
            False,
            id="not even in a mode that admission refuses with it",
        ),
    ],
)
def test_mode_decides_what_serves(wanted: Any, has_pool: bool, has_backends: bool) -> None:  # noqa: FBT001
    decision, _ = one_pass(wanted)
    assert decision.problems == ()
    assert (decision.pool is not None, bool(decision.backends)) == (has_pool, has_backends)
    if decision.pool is not None:
        assert decision.pool.surge is not has_backends


@pytest.mark.parametrize(
    ("limits", "changes", "surge"),
    [
        pytest.param({}, {}, False, id="a hosted backend carries the gap"),
        pytest.param({}, {"hosted_healthy": {"acme/llama-8b": False}}, True, id="it is down"),
        pytest.param({"overflow": {"maxUSDPerDay": "10"}}, {"spill_meters": ()}, False, id="a limit leaves something"),
        pytest.param({"overflow": {"maxUSDPerDay": "10"}}, {"spill_meters": MISSING}, True, id="a limit lets nothing go there"),
    ],
)
def test_a_rollout_makes_a_replica_more_first_while_nothing_hosted_carries_the_gap(
    limits: dict[str, Any],
    changes: dict[str, Any],
    surge: bool,  # noqa: FBT001
) -> None:
    wanted = workload(hosted={"backends": [{"providerRef": {"name": "acme"}, "model": "llama-8b"}], **limits})
    decision, _ = one_pass(wanted, observe(1, signals=signals(**changes)))
    assert decision.pool is not None
    assert decision.pool.surge is surge


def test_a_named_alternative_of_a_dedicated_workload_need_not_exist() -> None:
    wanted = workload("Dedicated", hosted={"backends": [{"providerRef": {"name": "nobody"}, "model": "m"}]})
    assert one_pass(wanted)[0].problems == ()


def test_a_pool_keeps_the_default_engine_it_runs() -> None:
    decision, _ = one_pass(seen=observe(pools=(pool(1, engine_image="vllm:old", engine_version="0.30"),)))
    assert decision.pool is not None
    assert (decision.pool.engine_image, decision.pool.engine_version) == ("vllm:old", "0.30")


def test_all_problems_are_told_at_once() -> None:
    wanted = workload(dedicated={"accelerators": ["b200"]}, hosted={"backends": [{"providerRef": {"name": "nobody"}, "model": "m"}]})
    decision, _ = one_pass(wanted, observe(foreign_objects=("Service/chat",)))
    assert [problem.reason for problem in decision.problems] == [
        Reason.NAME_CONFLICT,
        Reason.UNKNOWN_PROVIDER,
        Reason.UNKNOWN_ACCELERATOR_CLASS,
    ]


# The tensor parallel size where the spec leaves it open


LLAMA_70B = {"parameters": 70_600_000_000, "layers": 80, "attentionHeads": 64, "keyValueHeads": 8, "headSize": 128}
OPEN: dict[str, Any] = {"model": {"architecture": LLAMA_70B}}


def size_of(found: Choice | Problem) -> int:
    assert isinstance(found, Choice), found
    return found.tensor_parallel_size


def test_a_model_that_needs_several_accelerators_gets_them_where_nothing_is_stated() -> None:
    found = size_of(choose_accelerator("chat", spec(**OPEN), catalogue(), ()))
    assert found > 1
    assert 64 % found == 0


def test_a_stated_size_is_taken_as_it_is() -> None:
    assert size_of(choose_accelerator("chat", spec(engine={"tensorParallelSize": 8}, **OPEN), catalogue(), ())) == 8


def test_a_model_of_unknown_shape_takes_one_accelerator() -> None:
    assert size_of(choose_accelerator("chat", spec(), catalogue(), ())) == 1


@pytest.mark.parametrize("parallel", [4, 8])
def test_the_size_that_runs_stays(parallel: int) -> None:
    running = (pool(2, name=pool_name("chat", "h100", parallel)),)
    assert size_of(choose_accelerator("chat", spec(**OPEN), catalogue(), running)) == parallel


def test_the_size_decided_last_stays_though_its_pool_is_not_seen_yet() -> None:
    kept = Placed(mode=PlacementMode.HYBRID, accelerator_class="h100", tensor_parallel_size=8)
    assert size_of(choose_accelerator("chat", spec(**OPEN), catalogue(), (), kept=kept)) == 8


def test_a_size_that_does_not_fit_any_more_does_not_stay() -> None:
    kept = Placed(mode=PlacementMode.HYBRID, accelerator_class="h100", tensor_parallel_size=1)
    assert size_of(choose_accelerator("chat", spec(**OPEN), catalogue(), (), kept=kept)) > 1


def test_of_any_class_the_one_with_the_cheapest_request_is_taken() -> None:
    classes = {"dear": priced("8"), "fair": priced("2")}
    assert chosen(choose_accelerator("chat", spec(**OPEN), catalogue(classes), ())) == "fair"


def test_the_effective_spec_has_nothing_left_to_choose() -> None:
    decision, _ = one_pass(workload("Hybrid", **OPEN), observe(0, pools=()))
    assert decision.pool is not None
    resolved = decision.resolved(workload("Hybrid", **OPEN)).spec
    assert resolved.dedicated is not None
    assert resolved.dedicated.accelerators == ["h100"]
    assert resolved.dedicated.engine.stated_tensor_parallel_size == decision.pool.tensor_parallel_size
