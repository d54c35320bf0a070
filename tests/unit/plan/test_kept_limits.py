"""Limits that a pool keeps: a better formula restarts no GPU pod, a changed spec does."""

from dataclasses import replace
from typing import Any

import pytest

from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.decision import Memory
from spillway.plan.observation import EngineLimits
from spillway.plan.replica.capacity import engine_limits, size
from tests.unit.plan.situations import LLAMA_8B, accelerator, observe, one_pass, pool, spec, workload

MODEL = {"id": "meta/llama-8b", "architecture": LLAMA_8B, "maxContextTokens": 4096}
SLO = {"interTokenLatencyMs": 50}


def asked(**changes: Any) -> InferenceWorkloadSpec:
    plain: dict[str, Any] = {"model": MODEL, "slo": SLO, "engine": {"maxNumSeqs": None}}
    return spec(**(plain | changes))


def made_by_an_older_formula(**changes: Any) -> EngineLimits:
    return replace(engine_limits(asked(**changes), accelerator()), max_num_seqs=7, max_queued_requests=99, max_queued_tokens=123)


@pytest.mark.parametrize(
    ("changes", "hardware"),
    [
        pytest.param({}, {}, id="nothing changed but the operator"),
        pytest.param({"scaling": {"maxReplicas": 16}}, {}, id="some more replicas"),
        pytest.param({"engine": {"maxNumSeqs": None, "image": "vllm:next"}}, {}, id="another image"),
        pytest.param({"model": MODEL | {"servedName": "chat"}}, {}, id="another name for clients"),
        pytest.param({"budget": {"monthlyUSD": "5"}}, {}, id="a budget"),
        pytest.param({}, {"price": None}, id="another price"),
        pytest.param({}, {"nodeSelector": {"pool": "gpu"}}, id="other nodes"),
    ],
)
def test_the_limits_stay_that_the_pool_was_made_with(changes: dict[str, Any], hardware: dict[str, Any]) -> None:
    old = made_by_an_older_formula()
    assert engine_limits(asked(**changes), accelerator(**hardware), pool(1, limits=old)) == old
    capacity = size(asked(**changes), accelerator(**hardware), Memory(), pool(1, limits=old))
    assert (capacity.max_num_seqs, capacity.max_queued_requests, capacity.max_queued_tokens) == (7, 99, 123)


@pytest.mark.parametrize(
    ("changes", "hardware"),
    [
        pytest.param({"slo": {"interTokenLatencyMs": 20}}, {}, id="another promise"),
        pytest.param({"model": MODEL | {"quantization": "fp8"}}, {}, id="another quantization"),
        pytest.param({"model": MODEL | {"maxContextTokens": 8192}}, {}, id="longer prompts"),
        pytest.param({"traffic": {"inputTokens": {"mean": 3000}}}, {}, id="other lengths"),
        pytest.param({"engine": {"maxNumSeqs": 5}}, {}, id="a batch of the user's own"),
        pytest.param({"engine": {"maxNumSeqs": None, "tensorParallelSize": 2}}, {}, id="another tensor parallel size"),
        pytest.param({"scaling": {"maxReplicas": 40}}, {}, id="many more replicas"),
        pytest.param({"mode": "Dedicated"}, {}, id="nowhere to spill"),
        pytest.param({}, {"memoryGiB": 40}, id="an accelerator with less memory"),
    ],
)
def test_other_inputs_get_new_limits(changes: dict[str, Any], hardware: dict[str, Any]) -> None:
    old = made_by_an_older_formula()
    found = engine_limits(asked(**changes), accelerator(**hardware), pool(1, limits=old))
    assert found == engine_limits(asked(**changes), accelerator(**hardware))
    assert found.sized_for != old.sized_for


def test_a_pass_leaves_a_pool_its_limits() -> None:
    given = workload(model=MODEL, slo=SLO, engine={"maxNumSeqs": None})
    decision, _ = one_pass(given, observe(1, pools=(pool(1, limits=made_by_an_older_formula()),)))
    assert decision.pool is not None
    assert decision.pool.capacity.max_num_seqs == 7
    fresh, _ = one_pass(given, observe(1, pools=(pool(1),)))
    assert fresh.pool is not None
    assert fresh.pool.capacity.max_num_seqs != 7


def test_a_field_that_a_later_version_adds_changes_no_fingerprint_while_it_has_its_default() -> None:
    """What equals its default is left out: so writing a default out, as the API server does on reading, changes nothing either."""
    written_out = asked(slo=SLO | {"attainmentPercent": 99}, engine={"maxNumSeqs": None, "gpuMemoryUtilizationPercent": 90})
    assert engine_limits(written_out, accelerator()).sized_for == engine_limits(asked(), accelerator()).sized_for
