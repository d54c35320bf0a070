"""What is said to be set can be: the API server takes the spec with it, and YAML reads the values as they are meant."""

from typing import Any

import pytest
import yaml

from spillway.plan.saving.instructions import as_backends, as_list, complete
from tests.unit.plan.planning import spec

BACKENDS = [{"providerRef": {"name": "acme"}, "model": "chat-8b"}]
HYBRID = {"placement": {"mode": "Hybrid"}, "hosted": {"backends": BACKENDS}}


def overflowing(**overflow: Any) -> dict[str, Any]:
    return HYBRID | {"hosted": {"backends": BACKENDS, "overflow": overflow}}


@pytest.mark.parametrize(
    ("given", "settings", "more"),
    [
        pytest.param({}, {"placement.mode": "Hosted"}, {}, id="nothing-is-in-the-way"),
        pytest.param(
            HYBRID | {"dedicated": {"scaling": {"minReplicas": 0}}},
            {"placement.mode": "Dedicated"},
            {"dedicated.scaling.minReplicas": "1"},
            id="nobody-answers-at-zero",
        ),
        pytest.param(
            HYBRID | {"budget": {"monthlyUSD": "5", "whenExceeded": "StopSpilling"}},
            {"placement.mode": "Dedicated"},
            {"budget.whenExceeded": "Report"},
            id="a-budget-stops-nothing",
        ),
        pytest.param(
            overflowing(maxWaitMs=100, longPrompts="Spill", longPromptTokens=5000, maxSharePercent=10, whenExceeded="Wait"),
            {"placement.mode": "Dedicated"},
            {"hosted.overflow.maxWaitMs": "null", "hosted.overflow.longPrompts": "Keep", "hosted.overflow.longPromptTokens": "null"},
            id="nothing-overflows",
        ),
        pytest.param(
            overflowing(maxWaitMs=100, longPrompts="Spill", maxSharePercent=10, whenExceeded="Wait", maxUSDPerDay="5"),
            {"placement.mode": "Hosted"},
            {
                "hosted.overflow.maxWaitMs": "null",
                "hosted.overflow.longPrompts": "Keep",
                "hosted.overflow.maxSharePercent": "null",
                "hosted.overflow.whenExceeded": "Refuse",
            },
            id="there-are-no-own-replicas",
        ),
        pytest.param(
            {"placement": {"mode": "Dedicated"}, "gateway": {"hold": {"seconds": 60}, "routing": "PrefixHash", "prefixBytes": 2048}},
            {"placement.mode": "Hosted"},
            {"gateway.hold": "null", "gateway.routing": "LeastLoad", "gateway.prefixBytes": "null"},
            id="nothing-to-wait-for",
        ),
        pytest.param(
            {"gateway": {"hold": {"seconds": 60}}, "dedicated": {"scaling": {"minReplicas": 0}}},
            {"hosted.backends": as_backends(("acme", "chat-8b"))},
            {"gateway.hold": "null"},
            id="a-hosted-backend-answers",
        ),
        pytest.param(
            overflowing(whenExceeded="Wait") | {"gateway": {"hold": {"seconds": 60}}},
            {"dedicated.scaling.maxReplicas": "4"},
            {},
            id="requests-that-no-limit-lets-go-still-wait",
        ),
        pytest.param(
            {"dedicated": {"modelCache": {"claimName": "cache", "accessMode": "ReadWriteOnce"}}},
            {"dedicated.scaling.maxReplicas": "4"},
            {"dedicated.modelCache.accessMode": "ReadWriteMany"},
            id="a-cache-of-one-node",
        ),
        pytest.param(
            {"traffic": {"requestsPerMonth": 5_000_000}},
            {"traffic.requestsPerSecond.mean": "1.8"},
            {"traffic.requestsPerMonth": "null"},
            id="the-same-said-twice",
        ),
        pytest.param(
            {"traffic": {"requestsPerSecond": {"mean": "1", "peak": "2"}, "inputTokens": {"mean": 100, "p95": 300}}},
            {"traffic.requestsPerSecond.mean": "3", "traffic.inputTokens.mean": "800"},
            {"traffic.requestsPerSecond.peak": "null", "traffic.inputTokens.p95": "null"},
            id="more-came-than-was-declared",
        ),
        pytest.param(
            {
                "model": {
                    "id": "acme/Chat-70B",
                    "quantization": "awq",
                    "source": {"huggingFace": {"repo": "acme/Chat-70B-AWQ", "revision": "main"}},
                    "architecture": {"parameters": 70, "layers": 80, "attentionHeads": 64, "keyValueHeads": 8, "headSize": 128},
                }
            },
            {"model.id": "acme/Chat-8B"},
            {
                "model.architecture": "null",
                "model.quantization": "null",
                "model.source.huggingFace.repo": "null",
                "model.source.huggingFace.revision": "null",
            },
            id="what-was-said-of-another-model",
        ),
    ],
)
def test_with_a_field_goes_what_has_to_change_for_it(given: dict[str, Any], settings: dict[str, str], more: dict[str, str]) -> None:
    assert {field: yaml.safe_load(value) for field, value in complete(spec(**given), settings).items()} == {
        field: value if field == "traffic.requestsPerSecond.mean" else yaml.safe_load(value) for field, value in (settings | more).items()
    }


def test_where_nothing_is_to_be_set_nothing_else_is() -> None:
    assert complete(spec(placement={"mode": "Dedicated"}, dedicated={"scaling": {"minReplicas": 0}}), {}) == {}


@pytest.mark.parametrize(
    "text", ["l40s", "4090", "1e3", "null", "No", "@cf/meta/llama-3", "--seed=1", '--hf-overrides={"a": 1, "b": [2]}', "a: b", "-1", "x:"]
)
def test_a_value_is_read_back_as_it_was(text: str) -> None:
    assert yaml.safe_load(as_list(text, "next")) == [text, "next"]
    assert yaml.safe_load(as_backends((text, text))) == [{"providerRef": {"name": text}, "model": text}]


def test_what_is_plain_has_no_quotes() -> None:
    assert as_list("nvidia-l40s", "--seed=1") == "[nvidia-l40s, --seed=1]"
    assert as_backends(("acme", "meta-llama/Llama-3.1-8B:free")) == "[{providerRef: {name: acme}, model: meta-llama/Llama-3.1-8B:free}]"
