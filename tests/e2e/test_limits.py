"""A limit of the spend, kept by real gateways with the permit that the operator writes for them."""

import asyncio
import time
from typing import Any

import pytest

from tests.e2e.stack import Stack, eventually, with_prices
from tests.e2e.traffic import Tally, burst, describe

pytestmark = pytest.mark.e2e
USD_PER_MILLION_TOKENS = "200"  # dear, so that half a dollar is a few dozen requests
LIMIT_USD, RAISED_USD = "0.5", "100"
MAX_TOKENS = 20
AT_ONCE = 4


def hosted_only(stack: Stack, namespace: str) -> list[dict[str, Any]]:
    """Return the quickstart with nothing to own, a dear hosted backend and a limit of the day."""
    objects = stack.quickstart(
        namespace,
        placement={"mode": "Hosted"},
        dedicated=None,
        hosted={"overflow": {"maxUSDPerDay": LIMIT_USD}},
        gateway={"replicas": 2, "maxRequestSeconds": 60},
        budget=None,
    )
    return with_prices(objects, USD_PER_MILLION_TOKENS)


def spent_usd(stack: Stack, namespace: str) -> float:
    return float(stack.ledger(namespace)["hosted_usd"])


def test_the_days_limit_stops_what_is_rented_and_a_higher_one_lets_it_go_on(stack: Stack, room: str) -> None:
    stack.apply(*hosted_only(stack, room))
    stack.await_condition(room, "Ready", within=120)
    url = stack.url(room, "chat") + "/v1"

    def ask() -> Tally:
        return asyncio.run(burst(url, "chat", AT_ONCE, max_tokens=MAX_TOKENS))

    eventually(lambda: not ask().failed, within=90, what="answers of the hosted backend, by a permit")
    refused: list[str] = []
    deadline = time.monotonic() + 240
    while stack.condition(room, "SpillActive")["reason"] != "SpillLimitReached":
        assert time.monotonic() < deadline, f"no end of the spend after {spent_usd(stack, room)} USD; refused: {refused[-1:]}"
        refused += [str(each.error) for each in ask().failed]
    late = ask()
    assert late.failed, "nothing is left"
    assert all(each.startswith("429") and "limit on hosted backends is reached" in each for each in refused), describe(late.failed)
    spent = eventually(lambda: spent_usd(stack, room), within=30, what="the spend in the ledger")
    assert 0.5 * float(LIMIT_USD) < spent <= float(LIMIT_USD)

    stack.patch("inferenceworkload", room, "chat", {"spec": {"hosted": {"overflow": {"maxUSDPerDay": RAISED_USD}}}})
    eventually(lambda: not ask().failed, within=90, what="answers again under a higher limit")
