"""What a replica is weighed against, and where owning and renting cannot be compared."""

from dataclasses import replace
from typing import Any

import pytest

from spillway.api.vocabulary import Reason
from spillway.plan.decision import Memory, OwnedPool, Workload
from spillway.plan.money.economics import request_usd
from spillway.plan.observation import Observation
from spillway.plan.scaling.stakes import is_alone, stakes_of
from spillway.plan.scaling.worth import Stakes, worth_at
from spillway.plan.traffic.lengths import declared_lengths
from spillway.plan.traffic.shape import declared_shape
from spillway.plan.validate import resolve_backends
from tests.unit.plan.situations import (
    LLAMA_8B,
    NOW,
    accelerator,
    catalogue,
    learned,
    observe,
    one_pass,
    provider,
    signals,
    workload,
)

ACME = "acme/llama-8b"
BOTH = [{"providerRef": {"name": "acme"}, "model": "llama-8b"}, {"providerRef": {"name": "acme"}, "model": "org/llama-70b"}]


def told(wanted: Workload, seen: Observation | None = None, **changes: Any) -> Stakes | None:
    """Return the stakes after steps were learned and lengths declared."""
    seen = seen or observe(1)
    memory = changes.pop("memory", None) or remembered(wanted)
    pool = one_pass(wanted, seen, memory)[0].pool
    assert isinstance(pool, OwnedPool)
    backends, _ = resolve_backends(wanted.spec, seen.catalogue)
    return stakes_of(wanted, seen, replace(memory, **changes), pool, backends, NOW)


def remembered(wanted: Workload) -> Memory:
    return replace(learned(20.0, 8.0, wanted), shape=declared_shape(declared_lengths(wanted.spec), NOW.timestamp()))


def sure(found: Stakes | None) -> Stakes:
    assert found is not None
    return found


HYBRID = workload(model={"architecture": LLAMA_8B}, traffic={"inputTokens": {"mean": 1000}, "outputTokens": {"mean": 250}})


def test_hosting_costs_what_the_tokens_of_a_replicas_hour_do() -> None:
    found = sure(told(HYBRID))
    capacity = one_pass(HYBRID, observe(1), remembered(HYBRID))[0].pool.capacity  # type: ignore[union-attr]
    assert capacity.work_s_per_request is not None
    request_usd = (1000 * 0.1 + 250 * 0.4) / 1e6
    assert found.usd_per_replica_hour == 4
    assert found.hosted_usd_per_replica_hour == pytest.approx(request_usd * 3600 / capacity.work_s_per_request)
    assert found.kappa == pytest.approx(found.hosted_usd_per_replica_hour / 4)
    assert (found.batch, found.slots, found.committed) == (capacity.batch, capacity.slots, 0)


def test_hosting_is_as_cheap_as_its_cache_is_declared_to_make_it() -> None:
    """So is a plan's request, and status.cost.kappa."""
    listed = {"name": "llama-8b", "inputUSDPerMillionTokens": "0.1", "outputUSDPerMillionTokens": "0.4"}
    caching = provider(models=[{**listed, "cachedInputUSDPerMillionTokens": "0.01"}])
    traffic = {"inputTokens": {"mean": 1000}, "outputTokens": {"mean": 250}, "cachedInputPercent": 60}
    wanted, seen = workload(model={"architecture": LLAMA_8B}, traffic=traffic), observe(1, catalogue=catalogue(providers={"acme": caching}))
    dear, cheap = sure(told(HYBRID, seen)), sure(told(wanted, seen))
    share = request_usd(caching.models[0], declared_lengths(wanted.spec), cached_share=0.6) / ((1000 * 0.1 + 250 * 0.4) / 1e6)
    assert share == pytest.approx(0.73)
    assert cheap.kappa == pytest.approx(share * dear.kappa)
    shown, other = (one_pass(each, seen, remembered(each))[0].cost.kappa for each in (wanted, HYBRID))
    assert shown is not None
    assert other is not None
    assert shown == pytest.approx(share * other)


def test_prices_are_reckoned_with_what_requests_were_like_for_hours() -> None:
    shape = remembered(HYBRID).shape
    assert shape is not None
    brief = replace(shape, minutes=replace(shape.minutes, output_tokens=2000.0))
    lasting = replace(shape, hours=replace(shape.hours, output_tokens=2000.0))
    assert told(HYBRID, shape=brief) == told(HYBRID)
    assert sure(told(HYBRID, shape=lasting)).kappa != pytest.approx(sure(told(HYBRID)).kappa, rel=0.01)


def test_committed_replicas_are_told_and_do_not_change_the_price() -> None:
    committed = workload(
        model={"architecture": LLAMA_8B},
        traffic={"inputTokens": {"mean": 1000}, "outputTokens": {"mean": 250}},
        dedicated={"committedReplicas": 2, "engine": {"maxNumSeqs": 8}, "scaling": {"minReplicas": 1, "maxReplicas": 4}},
    )
    found = sure(told(committed))
    assert (found.committed, found.usd_per_replica_hour) == (2, 4)


def test_the_first_backend_that_answers_sets_the_price() -> None:
    two = workload(
        model={"architecture": LLAMA_8B}, traffic={"inputTokens": {"mean": 1000}, "outputTokens": {"mean": 250}}, hosted={"backends": BOTH}
    )
    first = sure(told(two)).hosted_usd_per_replica_hour
    down = observe(1, signals=signals(hosted_healthy={ACME: False}))
    assert sure(told(two, down)).hosted_usd_per_replica_hour == pytest.approx(first * (1000 * 1 + 250 * 2) / (1000 * 0.1 + 250 * 0.4))


def test_where_renting_costs_nothing_no_replica_is_worth_owning() -> None:
    free = [{"name": "llama-8b", "inputUSDPerMillionTokens": "0", "outputUSDPerMillionTokens": "0"}]
    found = sure(told(HYBRID, observe(1, catalogue=catalogue(providers={"acme": provider(models=free)}))))
    assert (found.hosted_usd_per_replica_hour, found.kappa) == (0, 0)
    assert [worth_at(demand, found, most=4) for demand in (0.5, 4.0, 40.0)] == [0, 0, 0]


def test_what_is_billed_of_a_start_has_no_wait_for_a_node_in_it() -> None:
    found = sure(told(HYBRID))
    assert 0 < found.entry_s <= found.start_up_s
    assert found.exit_s > 0


def test_what_requests_stay_is_billed_after_a_replica_is_let_go() -> None:
    seen = observe(1, signals=signals(residence_s=33.0))
    assert sure(told(HYBRID, seen)).exit_s == pytest.approx(33.5)  # and half a second of an increment of one


def test_billing_increments_and_a_least_time_make_coming_and_going_dearer() -> None:
    price = {"onDemandUSDPerHour": "4", "asOf": "2026-07-20", "source": "a list", "minimumSeconds": 3600, "billingIncrementSeconds": 600}
    hourly = catalogue({"h100": accelerator(price=price)})
    found = sure(told(HYBRID, observe(1, signals=signals(residence_s=33.0), catalogue=hourly)))
    assert (found.entry_s, found.exit_s) == (3600, 333.0)
    assert found.start_up_s == sure(told(HYBRID)).start_up_s


UNPRICED = catalogue({"h100": accelerator(price=None)})


@pytest.mark.parametrize(
    ("wanted", "seen", "changes"),
    [
        pytest.param(workload("Dedicated", model={"architecture": LLAMA_8B}), observe(1), {}, id="nothing is rented"),
        pytest.param(
            workload(model={"architecture": LLAMA_8B}, placement={"mode": "Hybrid", "dataResidency": "ClusterOnly"}),
            observe(1),
            {},
            id="nothing may leave",
        ),
        pytest.param(HYBRID, observe(1, signals=signals(hosted_healthy={ACME: False})), {}, id="the hosted side is known to be down"),
        pytest.param(HYBRID, observe(1), {"key_trouble": {ACME: Reason.HOSTED_CREDENTIAL_REJECTED}}, id="its key is refused"),
        pytest.param(HYBRID, observe(1, catalogue=UNPRICED), {}, id="a class without a price"),
        pytest.param(HYBRID, observe(1), {"shape": None}, id="before the first reading"),
    ],
)
def test_owning_and_renting_are_not_compared_where(wanted: Workload, seen: Observation, changes: dict[str, Any]) -> None:
    assert told(wanted, seen, **changes) is None


def test_what_is_not_known_to_be_down_is_taken_to_answer() -> None:
    assert told(HYBRID, observe(1, signals=signals(hosted_healthy={}))) is not None
    assert told(HYBRID, observe(1, signals=signals(hosted_healthy={ACME: True}))) is not None


LIMITED = workload(hosted={"backends": BOTH[:1], "overflow": {"maxUSDPerDay": "10"}})


@pytest.mark.parametrize(
    ("wanted", "healthy", "memory", "alone"),
    [
        pytest.param(workload("Dedicated"), {}, Memory(), True, id="nothing is rented"),
        pytest.param(workload(), {}, Memory(), False, id="not known to be down"),
        pytest.param(workload(), {ACME: True}, Memory(), False, id="up"),
        pytest.param(workload(), {ACME: False}, Memory(), True, id="down"),
        pytest.param(
            workload(), {ACME: True}, Memory(key_trouble={ACME: Reason.HOSTED_CREDENTIAL_REJECTED}), True, id="its key is refused"
        ),
        pytest.param(workload(hosted={"backends": BOTH}), {ACME: False}, Memory(), False, id="one of two is down"),
        pytest.param(LIMITED, {ACME: True}, Memory(), True, id="no permit under a limit"),
    ],
)
def test_own_replicas_are_alone_where(wanted: Workload, healthy: dict[str, bool], memory: Memory, alone: bool) -> None:  # noqa: FBT001
    seen = observe(1, signals=signals(hosted_healthy=healthy))
    backends = resolve_backends(wanted.spec, seen.catalogue)[0] if wanted.spec.rents else ()
    assert is_alone(wanted.spec, seen, memory, backends, NOW) is alone


def test_without_a_step_there_is_nothing_to_compare_with() -> None:
    blind = workload(model={"id": "nobody/unheard-of"})
    memory = Memory(shape=declared_shape(declared_lengths(blind.spec), NOW.timestamp()))
    assert told(blind, memory=memory) is None
