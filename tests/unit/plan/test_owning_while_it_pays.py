"""The replica count where money decides it: in whole passes, with prices, what is on its way, and what is missing."""

import re
from dataclasses import replace
from typing import Any

import pytest

from spillway.api.vocabulary import Reason
from spillway.plan.decision import Memory, ScaleDecision, Workload
from spillway.plan.learned import Learned, from_json, to_json
from spillway.plan.names import pool_name
from spillway.plan.observation import Catalogue, Pool
from spillway.plan.scaling.forecast import BIN_S
from tests.unit.plan.demands import taught
from tests.unit.plan.situations import (
    LLAMA_8B,
    MISSING,
    NOW,
    accelerator,
    catalogue,
    later,
    observe,
    one_pass,
    provider,
    replica,
    signals,
    workload,
)

KNOWN: dict[str, Any] = {"model": {"architecture": LLAMA_8B}}
LENGTHS = {"inputTokens": {"mean": 1000}, "outputTokens": {"mean": 250}}
AN_HOUR = {"per": "Accelerator", "asOf": "2026-07-20", "source": "a price list"}
TICK_S = 60  # demand is learned by the minute: passes between would only repeat what is known


def per_replica(wanted: Workload) -> float:
    """Return the requests per second that are the work of one replica."""
    pool = one_pass(wanted, observe(1))[0].pool
    assert pool is not None
    assert pool.capacity.work_s_per_request is not None
    return 1 / pool.capacity.work_s_per_request


def hybrid(*, declared: float | None = None, **scaling: int) -> Workload:
    """Return a hybrid workload; `declared`: requests per second."""
    rate = {} if declared is None else {"requestsPerSecond": {"mean": f"{declared:.4f}"}}
    return workload(**KNOWN, traffic=LENGTHS | rate, scaling={"minReplicas": 0, "maxReplicas": 9} | scaling)


EACH = per_replica(hybrid())


def priced(kappa: float, *, usd: str | None = "4", **price: Any) -> Catalogue:
    """Return a catalogue in which hosting costs kappa times what full own replicas do. `usd`: of a replica's hour."""
    token_usd = kappa * 4 / 3600 / EACH / 1250 * 1e6
    models = [{"name": "llama-8b", "inputUSDPerMillionTokens": f"{token_usd:.6f}", "outputUSDPerMillionTokens": f"{token_usd:.6f}"}]
    listed = {"onDemandUSDPerHour": usd, "per": "Accelerator", "asOf": "2026-07-20", "source": "a price list"} | price
    return catalogue({"h100": accelerator(price=None if usd is None else listed)}, {"acme": provider(models=models)})


def lasted(
    wanted: Workload, rate: float | Any, *, count: int, minutes: int = 20, kappa: float = 2.5, memory: Memory | None = None, **changes: Any
) -> tuple[ScaleDecision, Memory]:
    """Return the last decision of so many minutes at a rate, in replicas' work. What is decided is not acted on."""
    listed = changes.pop("catalogue", priced(kappa))
    readings = changes.pop("signals", {})
    memory = memory or Memory()
    start = 0.0 if memory.demand_model is None else 60.0 * (memory.demand_model.opened + 1) - later(0).timestamp()
    per_s = rate * EACH if isinstance(rate, float) else rate
    for tick in range(minutes * 60 // TICK_S + 1):
        at = later(start + TICK_S * tick)
        seen = observe(count, catalogue=listed, signals=signals(**({"arrivals_per_s": per_s} | readings)), **changes)
        decision, memory = one_pass(wanted, seen, replace(memory, settling=None), at)
    assert decision.scale is not None
    return decision.scale, memory


@pytest.mark.parametrize(
    ("kappa", "rate", "to"),
    [
        pytest.param(2.5, 2.8, 3, id="each that is used enough"),
        pytest.param(10.0, 2.4, 3, id="one more where hosting is dear"),
        pytest.param(1.25, 2.4, 2, id="one fewer where it is not"),
        pytest.param(0.8, 2.8, 0, id="none where hosting is cheaper at any use"),
        pytest.param(10.0, 30.0, 9, id="no more than maxReplicas"),
    ],
)
def test_a_replica_is_owned_while_it_pays(kappa: float, rate: float, to: int) -> None:
    found, _ = lasted(hybrid(), rate, count=1, kappa=kappa, minutes=40)
    assert found.replicas == to


def test_where_hosting_is_cheaper_the_least_is_kept() -> None:
    found, _ = lasted(hybrid(minReplicas=2), 5.0, count=4, kappa=0.8)
    assert (found.replicas, found.reason) == (2, Reason.DEMAND_FELL)


def test_a_decision_tells_what_it_was_weighed_by() -> None:
    found, _ = lasted(hybrid(), 2.8, count=3)
    assert found.reason is Reason.CHEAPEST_COUNT
    figures = found.figures
    assert figures is not None
    assert figures.kappa == pytest.approx(2.5, rel=0.01)
    assert figures.forecast_p10 <= 2.8 <= figures.forecast_p90 + 0.01
    assert figures.marginal_saving_usd_per_hour is not None
    assert figures.rejected is not None
    assert figures.rejected.startswith("replica 4: net cost")
    for part in ("demand 2.80 replicas", "kappa 2.50", figures.rejected):
        assert part in found.why


def test_a_bound_that_is_in_the_way_of_what_pays_is_told_with_what_one_more_would_save() -> None:
    found, _ = lasted(hybrid(maxReplicas=2), 6.0, count=2, minutes=30, kappa=6.0)
    assert (found.replicas, found.reason, found.limited) == (2, Reason.AT_MAX_REPLICAS, Reason.AT_MAX_REPLICAS)
    assert found.figures is not None
    assert found.figures.rejected is not None
    assert found.figures.rejected.startswith("replica 3: net saving ")
    assert found.why.endswith("needed, maximum 2")
    enough, _ = lasted(hybrid(maxReplicas=9), 3.0, count=3, minutes=30, kappa=2.5)
    assert (enough.replicas, enough.reason, enough.limited) == (3, Reason.CHEAPEST_COUNT, None)


def test_what_is_told_is_of_the_count_decided_where_the_window_keeps_more_than_is_wanted() -> None:
    _, memory = lasted(hybrid(), 4.9, count=5, minutes=60)
    _, memory = lasted(hybrid(), 2.9, count=5, minutes=4, memory=memory)
    found, memory = lasted(hybrid(), 0.4, count=5, minutes=4, memory=memory)
    assert memory.demand[-1].wanted < found.replicas < 5
    assert_told(found, saving=-4.0, rejected=f"replica {found.replicas}: net cost")  # what goes and what stays serve nothing


@pytest.mark.parametrize(
    ("count", "rejected"),
    [
        pytest.param(4, "replica 2: net cost", id="where some go, one fewer"),
        pytest.param(2, "replica 3: net cost", id="where none goes, one more"),
    ],
)
def test_what_is_told_is_of_the_count_decided_where_a_bound_keeps_more_than_is_wanted(count: int, rejected: str) -> None:
    found, memory = lasted(hybrid(minReplicas=2), 5.0, count=count, kappa=0.8)
    assert (found.replicas, memory.demand[-1].wanted) == (2, 0)
    assert_told(found, saving=-0.8, rejected=rejected)


def assert_told(found: ScaleDecision, *, saving: float, rejected: str) -> None:
    assert found.figures is not None
    assert found.figures.marginal_saving_usd_per_hour == pytest.approx(saving, abs=0.01)
    assert found.figures.rejected is not None
    assert found.figures.rejected.startswith(rejected)
    assert found.figures.rejected in found.why


def test_replicas_on_their_way_are_counted_and_not_chased() -> None:
    pods = tuple(replica(index, ready=index == 0, bound_at=None if index == 2 else later(0)) for index in range(3))
    found, _ = lasted(hybrid(), 2.8, count=3, minutes=2, replicas=pods, memory=lasted(hybrid(), 2.8, count=3)[1])
    assert (found.replicas, found.reason) == (3, Reason.CHEAPEST_COUNT)


@pytest.mark.parametrize(
    ("bound_at", "wanted"),
    [
        pytest.param(None, 1, id="not while the whole start is before it"),
        pytest.param(later(0), 1, id="nor with a node just found"),
        pytest.param(later(-90), 2, id="once most of the start is behind it"),
        pytest.param(later(-900), 2, id="or all of it"),
    ],
)
def test_of_demand_that_fell_a_replica_on_its_way_is_waited_for_by_what_is_left_of_its_start(bound_at: Any, wanted: int) -> None:
    model = taught([1.9] * 60, first=round(NOW.timestamp() / BIN_S) - 60)
    pods = (replica(0), replica(1, ready=False, bound_at=bound_at))
    seen = observe(2, catalogue=priced(1.5), signals=signals(arrivals_per_s=EACH), replicas=pods)
    _, memory = one_pass(hybrid(), seen, Memory(demand_model=model))
    assert memory.demand[-1].wanted == wanted


def test_a_long_billed_least_is_not_taken_for_a_long_start() -> None:
    hours = priced(2.5, minimumSeconds=36_000)
    _, memory = lasted(hybrid(), 1.9, count=1, catalogue=hours)
    assert memory.demand_model is not None
    pods = (replica(0), replica(1, ready=False, bound_at=later(20 * 60)))
    found, _ = lasted(hybrid(), 1.9, count=2, catalogue=hours, minutes=8, memory=memory, replicas=pods)
    assert found.replicas == 2  # its ten hours are paid for already, and it serves in two minutes


def test_what_no_node_takes_is_not_chased() -> None:
    pods = (replica(0), replica(1, ready=False, bound_at=None, unschedulable="0/3 nodes are available: 3 Insufficient nvidia.com/gpu."))
    found, _ = lasted(hybrid(), 5.0, count=2, replicas=pods)
    assert (found.replicas, found.limited) == (2, Reason.UNSCHEDULABLE)


def test_a_hosted_side_that_is_down_leaves_the_promise_to_own_replicas() -> None:
    held = {"in_flight_owned": 16.0, "running": 16.0}
    up, memory = lasted(hybrid(), 2.8, count=1, kappa=0.8, signals=held)
    assert (up.replicas, up.figures is None) == (0, False)
    down, _ = lasted(
        hybrid(), 2.8, count=1, kappa=0.8, minutes=1, memory=memory, signals={**held, "hosted_healthy": {"acme/llama-8b": False}}
    )
    assert down.replicas >= 2  # 16 requests in flight, 8 at a time
    assert down.figures is None


def test_without_a_price_replicas_follow_demand() -> None:
    listed = priced(2.5, usd=None)
    found, _ = lasted(hybrid(), 2.8, count=1, catalogue=listed, signals={"in_flight_owned": 16.0, "running": 16.0}, minutes=1)
    assert found.figures is None
    assert (found.replicas >= 2, found.reason) == (True, Reason.DEMAND_ROSE)


def test_a_hosted_side_that_costs_nothing_has_a_price() -> None:
    found, _ = lasted(hybrid(), 2.8, count=1, catalogue=priced(0.0), signals={"in_flight_owned": 16.0, "running": 16.0})
    assert found.replicas == 0
    assert found.figures is not None
    assert found.figures.kappa == 0


@pytest.mark.parametrize(
    ("kappa", "to", "why"),
    [
        (200.0, 4, ""),
        (2.5, 3, "; 4 needed, 3 worth their cost"),
        (1.05, 2, "; 4 needed, 2 worth their cost"),
        (0.8, 0, "; 4 needed, none worth their cost"),
        (0.0, 0, "; 4 needed, none worth their cost"),
    ],
)
def test_the_first_count_is_what_declared_traffic_makes_worth_it(kappa: float, to: int, why: str) -> None:
    seen = observe(0, pools=(), catalogue=priced(kappa), signals=signals(arrivals_per_s=MISSING))
    found = one_pass(hybrid(declared=2.7 * EACH), seen)[0].scale
    assert found is not None
    assert (found.replicas, found.reason) == (to, Reason.INITIAL)
    assert re.fullmatch(rf"declared [0-9.]+ requests/s, [0-9.]+ per replica{why}", found.why)


def test_going_down_waits_for_the_whole_window() -> None:
    wanted = hybrid(scaleDownStabilizationSeconds=600)
    _, memory = lasted(wanted, 2.8, count=3, minutes=60)
    early, early_memory = lasted(wanted, 0.1, count=3, minutes=8, memory=memory)
    assert (early.replicas, early.reason) == (3, Reason.STABILIZING)
    late, _ = lasted(wanted, 0.1, count=3, minutes=30, memory=early_memory)
    assert late.replicas < 3


def test_while_arrivals_are_missing_the_count_is_held() -> None:
    _, memory = lasted(hybrid(), 2.8, count=3)
    found, after = lasted(hybrid(), MISSING, count=3, memory=memory, minutes=30)
    assert (found.replicas, found.reason) == (3, Reason.HELD_METRICS_MISSING)
    assert after.demand_model is not None
    assert memory.demand_model is not None
    assert after.demand_model.seen <= memory.demand_model.seen + 1


def test_from_zero_only_when_it_pays() -> None:
    spilling = {"spilled_per_s": 2.0 * EACH}
    paying, _ = lasted(hybrid(), 2.0, count=0, signals=spilling)
    assert (paying.replicas, paying.reason) == (2, Reason.WOKEN_BY_SPILL)
    trickle, _ = lasted(hybrid(), 0.05, count=0, signals={"spilled_per_s": 0.05 * EACH})
    assert trickle.replicas == 0
    cheap, _ = lasted(hybrid(), 2.0, count=0, kappa=0.8, signals=spilling)
    assert cheap.replicas == 0


def test_a_workload_that_nobody_uses_goes_to_zero() -> None:
    _, memory = lasted(hybrid(), 1.0, count=1, minutes=60)
    found, _ = lasted(hybrid(), 0.0, count=1, minutes=10, memory=memory)
    assert (found.replicas, found.reason) == (0, Reason.IDLE)


def test_what_is_paid_for_anyway_is_kept_by_a_workload_that_nobody_uses() -> None:
    scaling = {"minReplicas": 0, "maxReplicas": 9}
    paid = workload(**KNOWN, traffic=LENGTHS, dedicated={"committedReplicas": 2, "engine": {"maxNumSeqs": 8}, "scaling": scaling})
    _, memory = lasted(paid, 1.0, count=3, minutes=60)
    found, _ = lasted(paid, 0.0, count=3, minutes=10, memory=memory)
    assert found.replicas == 2


def test_a_count_that_money_did_not_decide_is_told_without_what_replicas_would_save() -> None:
    _, busy = lasted(hybrid(), 3.0, count=3, minutes=6, kappa=6.0)
    found, _ = lasted(hybrid(), 0.0, count=3, minutes=2, kappa=6.0, memory=busy)
    assert found.figures is not None
    assert (found.figures.marginal_saving_usd_per_hour, found.figures.rejected) == (None, None)
    assert found.figures.rejected_saving_usd_per_hour is None
    assert "USD/h" not in found.why


def test_after_a_burst_and_a_quiet_minute_a_request_or_two_do_not_bring_back_what_went() -> None:
    _, busy = lasted(hybrid(), 3.0, count=2, minutes=6, kappa=6.0)
    _, quiet = lasted(hybrid(), 0.0, count=1, minutes=2, kappa=6.0, memory=busy)
    few, _ = lasted(hybrid(), 0.07, count=1, minutes=1, kappa=6.0, memory=quiet)
    assert few.replicas == 1
    assert few.figures is not None
    assert few.figures.forecast_p90 > 1, "for the errors of the burst are remembered"
    again, _ = lasted(hybrid(), 1.5, count=1, minutes=3, kappa=6.0, memory=quiet)
    assert again.replicas > 1


@pytest.mark.parametrize(
    ("minutes", "counts"), [pytest.param(30, {2}, id="not in its first hour"), pytest.param(90, {7, 8, 9}, id="from then on")]
)
def test_with_nowhere_to_spill_the_peaks_that_the_forecast_expects_are_staffed(minutes: int, counts: set[int]) -> None:
    wanted = workload("Dedicated", **KNOWN, traffic=LENGTHS, scaling={"maxReplicas": 9})
    model = taught([1.0, 6.0] * (minutes // 2), first=int(NOW.timestamp() // BIN_S) - minutes)
    found, _ = lasted(wanted, 1.0, count=2, minutes=0, memory=Memory(demand_model=model))
    assert found.replicas in counts
    assert ("p99 peak" in found.why) == (counts != {2}) == (found.figures is not None)


def test_a_decision_that_a_forecast_has_a_say_in_carries_it_though_no_money_decides() -> None:
    wanted = workload("Dedicated", **KNOWN, traffic=LENGTHS, scaling={"maxReplicas": 9})
    model = taught([1.0, 6.0] * 45, first=int(NOW.timestamp() // BIN_S) - 90)
    found, _ = lasted(wanted, 1.0, count=9, minutes=0, memory=Memory(demand_model=model))
    figures = found.figures
    assert figures is not None
    assert figures.forecast_p10 < 3 < figures.forecast_p90
    assert figures.horizon_s == figures.start_up_s == pytest.approx(122.5, abs=0.1), "what the planner expects of a start"
    assert (figures.kappa, figures.marginal_saving_usd_per_hour, figures.rejected) == (None, None, None)
    assert found.why.startswith("demand ")
    assert "arrivals/s" in found.why, "what the count followed"


def test_after_a_move_to_a_faster_class_as_many_are_owned_as_do_the_same_work() -> None:
    slow = accelerator(memoryBandwidthGBps=300, teraFLOPs={"bf16": 120}, price={"onDemandUSDPerHour": "0.5", **AN_HOUR})
    both = replace(priced(2.5), accelerator_classes={"h100": accelerator(), "slow": slow})

    def on(name: str) -> Workload:
        return workload(**KNOWN, traffic=LENGTHS, scaling={"minReplicas": 0, "maxReplicas": 99}, dedicated={"accelerators": [name]})

    there, another = (
        Pool(name=pool_name("chat", name, 1), replicas=count, ready_replicas=0) for name, count in (("slow", 12), ("h100", 2))
    )
    _, memory = lasted(on("slow"), 1.5, count=0, pools=(there,), catalogue=both, minutes=60)
    began, memory = lasted(on("h100"), 1.5, count=0, pools=(there,), catalogue=both, minutes=0, memory=memory)
    assert (began.reason, began.replicas) == (Reason.INITIAL, 2)
    assert "replaces 12 replicas of another kind, each equal to 0.1" in began.why
    found, _ = lasted(on("h100"), 1.5, count=0, pools=(there, another), catalogue=both, minutes=1, memory=memory)
    assert found.figures is not None
    assert found.figures.forecast_p50 == pytest.approx(1.5, rel=0.1)
    assert found.replicas == 2


@pytest.mark.parametrize("restarted", ["goes on", "restarts"])
@pytest.mark.parametrize(
    "edit",
    [
        pytest.param({"model": {"architecture": LLAMA_8B | {"layers": 128, "parameters": 32_120_000_000}}}, id="another model"),
        pytest.param({"dedicated": {"accelerators": ["slow"]}}, id="another class"),
    ],
)
def test_what_is_known_of_the_demand_counts_in_the_replicas_of_a_changed_spec(edit: dict[str, Any], restarted: str) -> None:
    """The errors of a leap that was none would have twice as many replicas owned for six hours."""
    slow = accelerator(memoryBandwidthGBps=900, teraFLOPs={"bf16": 250})
    both = replace(priced(2.5), accelerator_classes={"h100": accelerator(), "slow": slow})
    plain: dict[str, Any] = {"traffic": LENGTHS, "scaling": {"maxReplicas": 99}, "dedicated": {"accelerators": ["h100"]}, **KNOWN}
    before, after = workload("Dedicated", **plain), workload("Dedicated", **(plain | edit))
    _, memory = lasted(before, 3.0, count=4, minutes=90, catalogue=both)
    if restarted == "restarts":
        learned = Learned.of(memory)
        assert learned is not None
        memory = from_json(to_json(learned)).into(Memory())
    at = later(60.0 * (memory.demand_model.opened + 1) - later(0).timestamp()) if memory.demand_model else NOW
    busy = observe(0, catalogue=both, signals=signals(arrivals_per_s=3 * EACH), pools=())
    _, memory = one_pass(after, busy, memory, at)
    model, counted = memory.demand_model, memory.counted
    assert model is not None
    assert counted is not None
    assert model.levels[-1] == pytest.approx(3 * EACH * counted.work_s, rel=0.02)
    assert counted.work_s > 2 / EACH
