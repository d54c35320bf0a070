"""The dashboard, and what the chart's rules record, on the real cluster: nothing that they ask for is missing there."""

import asyncio
import json
import urllib.parse
import urllib.request
from typing import Any

import pytest

from tests.chart.monitoring import dashboard, rules
from tests.e2e.conftest import NAMESPACE
from tests.e2e.stack import HOSTED_MODEL, RELEASE, SYSTEM_NAMESPACE, Stack, eventually
from tests.e2e.traffic import burst

pytestmark = pytest.mark.e2e
WITHIN_S = 180  # the forecast and the month's projection need some ticks, records an evaluation


def ask(stack: Stack, expression: str) -> list[dict[str, Any]]:
    """Return the samples of an instant query of the bundled Prometheus."""
    url = stack.url(SYSTEM_NAMESPACE, f"{RELEASE}-prometheus", 9090)
    asked = urllib.parse.urlencode({"query": expression}).encode()
    with urllib.request.urlopen(f"{url}/api/v1/query", asked, timeout=10) as answer:
        return list(json.load(answer)["data"]["result"])


def test_no_query_of_the_dashboard_comes_back_empty(chat: Stack) -> None:
    url = chat.url(NAMESPACE, "chat") + "/v1"
    wanted = dashboard.queries(window="1m", namespace=NAMESPACE)
    wanted |= {rule["record"]: f'{rule["record"]}{{namespace="{NAMESPACE}"}}' for rule in rules.groups()["groups"][0]["rules"]}

    def all_told() -> bool:
        asyncio.run(burst(url, "chat", 40, max_tokens=20))  # some are over the cap: both sides have something to show
        missing = [name for name, expression in wanted.items() if not ask(chat, expression)]
        assert not missing, missing
        usage = [each["metric"] for each in ask(chat, "gen_ai_client_token_usage_sum")]
        assert {each["gen_ai_provider_name"] for each in usage} >= {rules.PROVIDER_OF_OWNED, "rented"}
        assert HOSTED_MODEL in {each.get("gen_ai_response_model") for each in usage}
        return True

    eventually(all_told, within=WITHIN_S, what="every query of the dashboard to have an answer, and both sides to tell their tokens")


def test_the_bundled_prometheus_has_loaded_the_alerts_and_none_of_them_is_broken(chat: Stack) -> None:
    url = chat.url(SYSTEM_NAMESPACE, f"{RELEASE}-prometheus", 9090)
    with urllib.request.urlopen(f"{url}/api/v1/rules", timeout=10) as answer:
        groups = json.load(answer)["data"]["groups"]
    assert {group["name"] for group in groups} == {group["name"] for group in rules.groups()["groups"]}
    broken = {rule["name"]: rule["lastError"] for group in groups for rule in group["rules"] if rule["health"] == "err"}
    assert not broken
