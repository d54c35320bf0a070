"""What stands in front of hosted backends: nothing where nothing limits them, and what the script there is told."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from spillway.api.catalogue import HostedProviderSpec
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.decision import Allowance, HostedBackend, Lane, Permit
from spillway.plan.validate import resolve_backends
from spillway.render.envoy.permit import guard_metadata, is_guarded, permit_text
from tests.unit.plan.situations import LLAMA_8B, NOW, catalogue, provider, spec

BACKENDS = [{"providerRef": {"name": "acme"}, "model": "llama-8b"}]
PRICED = {"name": "llama-8b", "inputUSDPerMillionTokens": "0.1", "outputUSDPerMillionTokens": "0.4"}


def rented(
    known: HostedProviderSpec, overflow: dict[str, Any] | None = None, **changes: Any
) -> tuple[InferenceWorkloadSpec, HostedBackend]:
    hosted = {"backends": BACKENDS} | ({} if overflow is None else {"overflow": overflow})
    wanted = spec(hosted=hosted, **changes)
    (backend,), _ = resolve_backends(wanted, catalogue(providers={"acme": known}))
    return wanted, backend


@pytest.mark.parametrize(
    ("known", "overflow", "budget", "guarded"),
    [
        pytest.param({}, None, None, False, id="nothing"),
        pytest.param({}, {}, None, True, id="an overflow that says nothing: a failing provider is left alone"),
        pytest.param({}, {"maxWaitMs": 200}, None, False, id="a wait alone"),
        pytest.param({}, {"maxUSDPerDay": "10"}, None, True, id="a day's money"),
        pytest.param({}, {"maxSharePercent": 20, "maxWaitMs": 200}, None, True, id="a share"),
        pytest.param({}, {"whenExceeded": "Wait", "maxWaitMs": 200}, None, True, id="what becomes of what may not be spilled"),
        pytest.param({}, None, {"monthlyUSD": "9", "whenExceeded": "StopSpilling"}, True, id="a budget that stops it"),
        pytest.param({}, None, {"monthlyUSD": "9"}, False, id="a budget that only reports"),
        pytest.param({"limits": {"requestsPerMinute": 60}}, None, None, True, id="the provider's own limits"),
        pytest.param({"models": [{**PRICED, "capabilities": []}]}, None, None, True, id="what its model can do"),
        pytest.param({"models": [{**PRICED, "contextTokens": 4096}]}, None, None, True, id="a context shorter than replicas have"),
        pytest.param({"models": [{**PRICED, "contextTokens": 8192}]}, None, None, False, id="a context as long as theirs"),
    ],
)
def test_a_backend_is_guarded_where_something_limits_it(
    known: dict[str, Any],
    overflow: dict[str, Any] | None,
    budget: dict[str, Any] | None,
    guarded: bool,  # noqa: FBT001
) -> None:
    model = {"id": "acme/chat", "architecture": LLAMA_8B, "maxContextTokens": 8192}
    wanted, backend = rented(provider(**known), overflow, budget=budget, model=model)
    assert is_guarded(wanted, backend) is guarded


@pytest.mark.parametrize(
    ("limits", "file"),
    [pytest.param({}, None, id="none"), pytest.param({"limits": {"requestsPerMinute": 60}}, "/cap/permit", id="the provider's")],
)
def test_the_script_asks_for_a_permit_only_where_there_is_one(limits: dict[str, Any], file: str | None) -> None:
    wanted, backend = rented(provider(models=[{**PRICED, "capabilities": ["Vision", "Tools"]}], **limits))
    told = guard_metadata(wanted, (backend,), backend, "/cap")
    assert told.get("permit_file") == file
    assert told["capabilities"] == " Tools Vision "
    assert (told["backend"], told["input_price"], told["output_price"]) == ("acme/llama-8b", 0.1, 0.4)


@pytest.mark.parametrize(
    ("listed", "own", "longest"),
    [
        pytest.param({"contextTokens": 4096}, {"maxContextTokens": 2048}, 4096, id="what the provider lists"),
        pytest.param({}, {"maxContextTokens": 2048}, 2048, id="else what own replicas serve"),
        pytest.param({}, {}, 8192, id="else more than hosted models write by default"),
    ],
)
def test_an_answer_without_a_limit_is_charged_at_the_longest_there_may_be(
    listed: dict[str, Any], own: dict[str, Any], longest: int
) -> None:
    wanted, backend = rented(provider(models=[PRICED | listed]), {"maxUSDPerDay": "10"}, model={"architecture": LLAMA_8B} | own)
    told = guard_metadata(wanted, (backend,), backend, "/cap")
    assert (told["longest_output"], told.get("context_tokens")) == (longest, listed.get("contextTokens"))


def test_a_permit_is_a_line_for_each_lane_with_dashes_for_what_does_not_limit_it() -> None:
    lane = Lane(pod="chat-gateway-0", worker=1, backend="acme/llama-8b")
    money = Allowance(lane=lane, micro_usd_from=5, micro_usd_to=1_000_005, requests_from=7)
    rates = Allowance(lane=lane, requests_per_minute=100 / 3, tokens_per_minute=2000.0)
    at = int(NOW.timestamp())
    permit = Permit(issued_at=NOW, expires_at=NOW + timedelta(minutes=10), retry_at=NOW, allowances=(money, rates))
    assert permit_text(permit, Decimal(10)).splitlines() == [
        f"expires {at + 600}",
        f"retry {at}",
        "limit 10000000",
        "lane chat-gateway-0 1 acme/llama-8b 5 1000005 7 - - -",
        "lane chat-gateway-0 1 acme/llama-8b 0 - 0 - 33.3333 2000",
    ]
    assert permit_text(Permit(issued_at=NOW, expires_at=None, retry_at=NOW, allowances=()), None) == f"expires never\nretry {at}\n"


def test_another_amount_changes_nothing_that_gateways_start_with() -> None:
    cases = [rented(provider(models=[PRICED]), {"maxUSDPerDay": amount}) for amount in ("10", "20")]
    less, more = (guard_metadata(spec, (backend,), backend, "/cap") for spec, backend in cases)
    assert less == more
