"""Placing under mode Auto: the first placement, what moves it and what does not, and how a move goes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spillway.api.status import DecisionStatus
from spillway.api.vocabulary import ConditionType, Reason
from spillway.api.workload import PlacementMode
from spillway.plan.decide import decide
from spillway.plan.decision import Decision, Memory, Workload
from spillway.plan.observation import Catalogue, Observation, Signals
from spillway.plan.settings import PlanSettings
from spillway.render.engine import engine_deployment
from spillway.render.settings import RenderSettings
from spillway.report.outcome import ApplyOutcome
from spillway.report.status import report
from tests.unit.plan.situations import (
    LLAMA_8B,
    MISSING,
    NOW,
    accelerator,
    blind,
    catalogue,
    observe,
    pool,
    provider,
    replica,
    signals,
    workload,
)

MODE = PlacementMode
HOUR = timedelta(hours=1)
SETTINGS = PlanSettings()
QUIET = {"requestsPerSecond": {"mean": "0.001"}, "inputTokens": {"mean": 1000}, "outputTokens": {"mean": 250}}
BUSY = {**QUIET, "requestsPerSecond": {"mean": "8"}}
HEALTHY = {"acme/llama-8b": True}


def priced(usd_in: str, usd_out: str, **classes: Any) -> Catalogue:
    models = [{"name": "llama-8b", "inputUSDPerMillionTokens": usd_in, "outputUSDPerMillionTokens": usd_out}]
    return catalogue(classes or {"h100": accelerator(perNode=1)}, {"acme": provider(models=models)})


CHEAP, DEAR = priced("0.02", "0.02"), priced("5", "15")


def auto(**changes: Any) -> Workload:
    plain: dict[str, Any] = {"model": {"architecture": LLAMA_8B}, "traffic": QUIET, "engine": {"maxNumSeqs": 64}}
    return workload("Auto", **(plain | changes))


@dataclass
class Cluster:
    """A cluster that follows every decision at once, but for replicas, which get ready when told."""

    wanted: Workload
    catalogue: Catalogue = CHEAP
    memory: Memory = field(default_factory=Memory)
    now: datetime = NOW
    starting: bool = False
    healthy: Any = True
    decision: Decision | None = None
    said: list[tuple[str, str]] = field(default_factory=list)

    def step(self, after: timedelta = SETTINGS.tick, rate: Any = 0.001, **read: Any) -> Decision:
        """Make one pass after some time, at a rate of arrivals."""
        self.now += after
        self.decision, self.memory = decide(self.wanted, self.seen(rate, **read), self.memory, self.now, SETTINGS)
        self.said += [(event.what, event.reason) for event in reversed(self.decision.events)]
        return self.decision

    def run(self, time: timedelta, rate: Any = 0.001, every: timedelta = timedelta(minutes=10)) -> Decision:
        """Make passes over a time. They are minutes apart, and read as if they were seconds apart."""
        for _ in range(round(time / every)):
            self.memory = without_gap(self.memory, self.now + every)
            self.step(every, rate)
        assert self.decision is not None
        return self.decision

    def seen(self, rate: Any, **read: Any) -> Observation:
        owned = self.decision.pool if self.decision is not None else None
        pods = (
            ()
            if owned is None
            else tuple(
                replica(index, pool=owned.name, ready=not self.starting, accelerator_class=owned.accelerator_class)
                for index in range(owned.replicas)
            )
        )
        readings: Signals = (
            rate
            if isinstance(rate, Signals)
            else signals(arrivals_per_s=rate, input_tokens_mean=1000.0, output_tokens_mean=250.0, hosted_healthy=self.health(), **read)
        )
        return observe(
            catalogue=self.catalogue,
            pools=() if owned is None else (pool(owned.replicas, name=owned.name),),
            replicas=pods,
            signals=readings,
        )

    def health(self) -> dict[str, Any]:
        rents = self.decision is not None and bool(self.decision.backends)
        return {"acme/llama-8b": self.healthy} if rents else {}

    def restart(self) -> None:
        """Begin again with what the status tells."""
        assert self.decision is not None
        status = report(self.wanted, self.seen(0.0), self.decision, ApplyOutcome(), self.memory, self.now)
        told = status.model_dump(mode="json", by_alias=True, exclude_none=True)
        self.wanted = replace(self.wanted, previous_status=told)
        self.memory = Memory(ledger=self.memory.ledger)

    def condition(self, kind: ConditionType) -> Any:
        assert self.decision is not None
        status = report(self.wanted, self.seen(0.0), self.decision, ApplyOutcome(), self.memory, self.now)
        return next(each for each in status.conditions if each.type == kind)

    @property
    def placement(self) -> Any:
        assert self.decision is not None
        return report(self.wanted, self.seen(0.0), self.decision, ApplyOutcome(), self.memory, self.now).placement

    @property
    def moves(self) -> list[tuple[str, str]]:
        return [each for each in self.said if each[0].startswith("placement ")]


def without_gap(memory: Memory, now: datetime) -> Memory:
    """Return the memory as if the traffic had been read all the time until a tick ago."""
    placing = memory.placing
    if placing is None or placing.observed is None:
        return memory
    elapsed = (now - placing.observed.at - SETTINGS.tick).total_seconds()
    load = replace(placing.observed, at=now - SETTINGS.tick, watched_s=placing.observed.watched_s + max(0.0, elapsed))
    return replace(memory, placing=replace(placing, observed=load))


# The first placement


@pytest.mark.parametrize(
    ("traffic", "prices", "mode"),
    [
        pytest.param(QUIET, CHEAP, MODE.HOSTED, id="a little traffic is rented"),
        pytest.param(BUSY, CHEAP, MODE.HOSTED, id="a lot of it too where renting is cheap"),
        pytest.param(QUIET, DEAR, MODE.HOSTED, id="a little even where it is dear"),
    ],
)
def test_the_declared_traffic_decides_where_a_workload_begins(traffic: dict[str, Any], prices: Catalogue, mode: PlacementMode) -> None:
    cluster = Cluster(auto(traffic=traffic), catalogue=prices)
    assert cluster.step(rate=MISSING).mode is mode
    assert cluster.moves == [(f"placement {mode}", Reason.FIRST_PLACEMENT)]


def test_a_lot_of_traffic_is_owned_where_renting_is_dear_and_replicas_are_made_for_it() -> None:
    cluster = Cluster(auto(traffic=BUSY), catalogue=DEAR)
    decision = cluster.step(rate=MISSING)
    assert decision.mode in {MODE.DEDICATED, MODE.HYBRID}
    assert decision.pool is not None
    assert decision.pool.replicas >= 1
    assert cluster.placement.accelerator_class == "h100"
    assert cluster.placement.recommended.mode == decision.mode
    assert cluster.placement.traffic.basis == "Declared"


def test_recommend_places_a_new_workload_all_the_same() -> None:
    cluster = Cluster(auto(traffic=BUSY, placement={"mode": "Auto", "apply": "Recommend"}), catalogue=DEAR)
    assert cluster.step(rate=MISSING).mode is not MODE.HOSTED
    assert cluster.placement.apply == "Recommend"


def test_without_a_declared_volume_renting_comes_first_since_it_costs_nothing_while_nothing_comes() -> None:
    cluster = Cluster(auto(traffic=None), catalogue=DEAR)
    assert cluster.step(rate=MISSING).mode is MODE.HOSTED
    assert cluster.condition(ConditionType.PLACEMENT_RESOLVED).status == "True"


def test_a_model_of_unknown_shape_is_rented_where_that_is_allowed_and_owned_where_it_is_not() -> None:
    assert Cluster(auto(model={}), catalogue=DEAR).step(rate=MISSING).mode is MODE.HOSTED
    alone = auto(model={}, hosted=None, placement={"mode": "Auto", "dataResidency": "ClusterOnly"})
    assert Cluster(alone).step(rate=MISSING).mode is MODE.DEDICATED


def test_nothing_leaves_the_cluster_where_it_must_not_whatever_it_costs() -> None:
    decision = Cluster(auto(hosted=None, placement={"mode": "Auto", "dataResidency": "ClusterOnly"})).step(rate=MISSING)
    assert (decision.mode, decision.backends) == (MODE.DEDICATED, ())


def test_offline_traffic_is_told_of_batches_and_served_by_what_there_is() -> None:
    acme = provider(batch={"discountPercent": 50, "completionWindowHours": 24})
    wanted = auto(traffic=QUIET | {"latency": "Offline"})
    cluster = Cluster(wanted, catalogue=catalogue(providers={"acme": acme}))
    assert cluster.step(rate=MISSING).mode is MODE.HOSTED
    assert cluster.placement.recommended.mode == "Batch"


# Nothing is possible


ASKED = workload("Dedicated", model={"architecture": LLAMA_8B}, traffic=QUIET, slo={"interTokenLatencyMs": 1})
STRICT = {"slo": {"interTokenLatencyMs": 1}, "hosted": None}


def test_where_nothing_keeps_the_promises_nothing_is_made_and_the_constraint_is_named() -> None:
    cluster = Cluster(auto(**STRICT))
    decision = cluster.step(rate=MISSING)
    assert [each.reason for each in decision.problems] == [Reason.NOTHING_FEASIBLE]
    assert (decision.pool, decision.backends) == (None, ())
    found = cluster.condition(ConditionType.PLACEMENT_RESOLVED)
    assert (found.status, found.reason) == ("False", Reason.NOTHING_FEASIBLE)
    assert "relax slo" in found.message
    assert cluster.condition(ConditionType.SPEC_VALID).status == "True"
    assert cluster.placement.mode == "Auto"


def test_it_is_told_once_that_nothing_is_possible_and_placed_as_soon_as_something_is() -> None:
    cluster = Cluster(auto(**STRICT))
    for _ in range(3):
        cluster.step(rate=MISSING)
    assert [reason for _, reason in cluster.said] == [Reason.NOTHING_FEASIBLE]
    cluster.wanted = auto(hosted=None)
    assert cluster.step(rate=MISSING).mode is MODE.DEDICATED


@pytest.mark.parametrize(
    ("wanted", "there", "others"),
    [
        pytest.param(auto(**STRICT), DEAR, 12, id="of Auto, however long ago"),
        pytest.param(ASKED, DEAR, 12, id="of a mode that is asked for, however long ago"),
        pytest.param(ASKED, replace(DEAR, accelerator_classes={"h100": accelerator(price=None)}), 3, id="of what has no price"),
    ],
)
def test_that_nothing_is_possible_is_told_once_and_not_by_every_operator(wanted: Workload, there: Catalogue, others: int) -> None:
    cluster = Cluster(wanted, catalogue=there)
    cluster.step(rate=MISSING)
    assert [reason for _, reason in cluster.said].count(Reason.NOTHING_FEASIBLE) == 1
    between = DecisionStatus(time=cluster.now, what="replicas 1 -> 2", reason=Reason.DEMAND_ROSE, why="")
    for _ in range(2):
        cluster.memory = replace(cluster.memory, decisions=(*(between,) * others, *cluster.memory.decisions)[:10])
        cluster.restart()
        cluster.step(rate=MISSING)
    assert [reason for _, reason in cluster.said].count(Reason.NOTHING_FEASIBLE) == 1


def test_what_runs_goes_on_when_nothing_is_possible_any_more() -> None:
    cluster = Cluster(auto(hosted=None))
    before = cluster.step(rate=MISSING).pool
    cluster.wanted = auto(**STRICT)
    decision = cluster.step()
    assert (decision.problems, decision.mode) == ((), MODE.DEDICATED)
    assert decision.pool is not None
    assert before is not None
    assert decision.pool.name == before.name
    assert cluster.condition(ConditionType.PLACEMENT_RESOLVED).reason == Reason.NOTHING_FEASIBLE


def test_what_the_spec_names_and_the_cluster_has_not_is_a_problem_of_the_spec_and_moves_nothing() -> None:
    cluster = Cluster(auto())
    cluster.step(rate=MISSING)
    cluster.catalogue = catalogue(providers={})
    decision = cluster.step()
    assert [each.reason for each in decision.problems] == [Reason.UNKNOWN_PROVIDER]
    assert cluster.placement.mode == "Hosted"
    cluster.catalogue = CHEAP
    assert cluster.step().mode is MODE.HOSTED
    assert len(cluster.moves) == 1


# What moves a workload


def rented(**changes: Any) -> Cluster:
    """Return a cluster with a workload that was watched for a while and is rented."""
    cluster = Cluster(auto(**changes))
    cluster.step(rate=MISSING)
    cluster.run(2 * HOUR, 8.0)
    assert cluster.decision is not None
    assert cluster.decision.mode is MODE.HOSTED
    return cluster


def test_observed_traffic_counts_once_it_was_watched_for_an_interval() -> None:
    cluster = Cluster(auto())
    cluster.step(rate=MISSING)
    cluster.step(rate=8.0)
    assert cluster.placement.traffic.basis == "Declared"
    cluster.run(2 * HOUR, 8.0)
    assert (cluster.placement.traffic.basis, cluster.placement.traffic.requests_per_second_mean) == ("Observed", "8")
    assert cluster.placement.observed.seconds >= 3600


def test_a_price_is_seen_at_the_next_pass_and_followed_after_the_hold_time() -> None:
    cluster = rented()
    cluster.catalogue = DEAR
    cluster.step(rate=8.0)
    told = cluster.placement
    assert told.recommended.mode in {"Dedicated", "Hybrid"}
    assert told.saving_since == cluster.now
    assert float(told.saving_percent) > 10
    assert float(told.current_monthly_usd) > float(told.recommended.monthly_usd)
    said = cluster.condition(ConditionType.PLACEMENT_RESOLVED).message
    assert said.endswith(" is recommended, and applied once it has saved enough for long enough.")
    assert cluster.run(SETTINGS.placement_hold - HOUR, 8.0).mode is MODE.HOSTED
    assert cluster.run(2 * HOUR, 8.0).mode is MODE.DEDICATED
    assert cluster.moves[1] == ("placement Hybrid on 1 x h100 per replica, moving to Dedicated", Reason.SAVING_HELD)


def test_a_move_tells_both_costs_the_saving_and_what_it_was_based_on() -> None:
    cluster = rented()
    cluster.catalogue = DEAR
    cluster.run(SETTINGS.placement_hold + 2 * HOUR, 8.0)
    why = next(each.why for each in cluster.memory.decisions if each.reason == Reason.SAVING_HELD)
    for part in ("USD a month", "serving now", "saving ", "observed traffic: 8 requests/s"):
        assert part in why


def test_a_saving_that_lapses_begins_anew() -> None:
    cluster = rented()
    cluster.catalogue = DEAR
    cluster.run(20 * HOUR, 8.0)
    cluster.catalogue = CHEAP
    cluster.step(rate=8.0)
    assert cluster.placement.saving_since is None
    cluster.catalogue = DEAR
    assert cluster.run(20 * HOUR, 8.0).mode is MODE.HOSTED


def test_recommend_never_moves() -> None:
    cluster = rented(placement={"mode": "Auto", "apply": "Recommend"})
    cluster.catalogue = DEAR
    assert cluster.run(3 * SETTINGS.placement_hold, 8.0, every=HOUR).mode is MODE.HOSTED
    assert cluster.condition(ConditionType.PLACEMENT_RESOLVED).message.endswith(" is recommended, see status.placement.recommended.")


def test_missing_metrics_move_nothing_and_neither_end_a_saving() -> None:
    cluster = rented()
    cluster.catalogue = DEAR
    cluster.step(rate=8.0)
    since = cluster.placement.saving_since
    for _ in range(40):
        cluster.step(HOUR, blind())
    assert cluster.placement.saving_since == since
    assert cluster.decision is not None
    assert cluster.decision.mode is MODE.HOSTED


def test_after_a_long_time_unseen_a_saving_has_to_hold_anew() -> None:
    cluster = rented()
    cluster.catalogue = DEAR
    cluster.step(rate=8.0)
    cluster.step(40 * HOUR, 8.0)
    assert cluster.placement.saving_since == cluster.now
    assert cluster.decision is not None
    assert cluster.decision.mode is MODE.HOSTED


def test_after_a_clock_was_set_back_it_is_planned_at_once_and_a_saving_has_to_hold_anew() -> None:
    cluster = rented()
    cluster.catalogue = DEAR
    cluster.step(rate=8.0)
    cluster.step(-40 * HOUR, 8.0)
    placement = cluster.placement
    assert (placement.evaluated_at, placement.saving_since) == (cluster.now, cluster.now)


def test_a_restart_in_the_middle_neither_loses_nor_resets_what_was_held() -> None:
    cluster = rented()
    cluster.catalogue = DEAR
    cluster.run(12 * HOUR, 8.0)
    since = cluster.placement.saving_since
    cluster.restart()
    said = len(cluster.said)
    cluster.step(rate=blind())
    assert cluster.placement.saving_since == since
    cluster.step(rate=8.0)
    assert cluster.placement.saving_since == since
    assert cluster.placement.traffic.basis == "Observed"
    assert len(cluster.said) == said
    assert cluster.run(11 * HOUR, 8.0).mode is MODE.HOSTED
    assert cluster.run(2 * HOUR, 8.0).mode is MODE.DEDICATED


def test_once_it_has_moved_the_status_tells_what_serves_now_and_no_saving_over_what_served() -> None:
    cluster = rented()
    cluster.wanted = auto(hosted=None, placement={"mode": "Auto", "dataResidency": "ClusterOnly"})
    assert cluster.step(rate=8.0).mode is MODE.DEDICATED
    cluster.step(rate=8.0)
    placement = cluster.placement
    assert placement.recommended.mode == MODE.DEDICATED
    assert (placement.current_monthly_usd, placement.saving_percent) == (placement.recommended.monthly_usd, "0")


def test_a_first_placement_tells_what_it_costs() -> None:
    cluster = Cluster(auto(traffic=BUSY), catalogue=DEAR)
    cluster.step(rate=MISSING)
    cluster.step(rate=MISSING)
    assert cluster.placement.current_monthly_usd == cluster.placement.recommended.monthly_usd


def test_a_restart_is_no_news() -> None:
    cluster = rented()
    before = cluster.placement
    cluster.restart()
    cluster.step(rate=blind())
    assert cluster.placement == before


def test_a_spec_that_rules_out_what_serves_is_followed_at_once() -> None:
    cluster = rented()
    cluster.wanted = auto(hosted=None, placement={"mode": "Auto", "dataResidency": "ClusterOnly"})
    decision = cluster.step(rate=8.0)
    assert (decision.mode, decision.backends) == (MODE.DEDICATED, ())
    assert cluster.moves[-1][1] == Reason.PLACEMENT_IMPOSSIBLE


def test_a_class_that_is_gone_is_left_for_one_that_is_there() -> None:
    both = {"h100": accelerator(), "h200": accelerator(memoryGiB=141)}
    cluster = Cluster(auto(hosted=None), catalogue=priced("1", "1", **both))
    first = cluster.step(rate=MISSING).pool
    assert first is not None
    left = {name: each for name, each in both.items() if name != first.accelerator_class}
    cluster.catalogue = priced("1", "1", **left)
    second = cluster.step(rate=MISSING).pool
    assert second is not None
    assert second.accelerator_class in left


def test_an_explicit_mode_is_advised_and_never_moved() -> None:
    cluster = Cluster(workload("Hosted", model={"architecture": LLAMA_8B}, traffic=BUSY), catalogue=DEAR)
    cluster.step(rate=8.0)
    assert cluster.run(3 * SETTINGS.placement_hold, 8.0, every=HOUR).mode is MODE.HOSTED
    assert cluster.placement.recommended.mode in {"Dedicated", "Hybrid"}
    assert cluster.placement.apply == "Recommend"
    assert [reason for _, reason in cluster.said].count(Reason.RECOMMENDATION_CHANGED) == 1
    assert cluster.condition(ConditionType.SELF_HOSTING_ECONOMIC).status == "True"


def test_a_mode_that_is_asked_for_again_ends_a_move() -> None:
    cluster = moving_to_dedicated()
    cluster.wanted = workload("Hosted", model={"architecture": LLAMA_8B})
    assert cluster.step(rate=8.0).mode is MODE.HOSTED
    assert cluster.decision is not None
    assert cluster.decision.placing.destination is None


# How a move goes


def moving_to_dedicated() -> Cluster:
    """Return a cluster on its way from Hosted to Dedicated, whose replicas are still starting."""
    moving = _moving_to_dedicated()
    return replace(moving, said=list(moving.said))


@cache
def _moving_to_dedicated() -> Cluster:
    cluster = rented()
    cluster.catalogue, cluster.starting = DEAR, True
    decision = cluster.run(SETTINGS.placement_hold + 2 * HOUR, 8.0)
    assert (decision.mode, decision.placing.destination) == (MODE.HYBRID, MODE.DEDICATED)
    return cluster


def test_hosted_answers_until_enough_own_replicas_are_ready() -> None:
    cluster = moving_to_dedicated()
    assert cluster.run(3 * HOUR, 8.0).backends
    assert cluster.placement.reason == Reason.MOVING_TO_DEDICATED
    cluster.starting = False
    decision = cluster.step(rate=8.0)
    assert (decision.mode, decision.backends, decision.placing.destination) == (MODE.DEDICATED, (), None)
    assert cluster.moves[-1][1] == Reason.MOVE_COMPLETED


def test_a_restart_during_a_move_goes_on_with_it() -> None:
    cluster = moving_to_dedicated()
    cluster.restart()
    decision = cluster.step(rate=blind())
    assert (decision.mode, decision.placing.destination) == (MODE.HYBRID, MODE.DEDICATED)
    assert decision.pool is not None
    cluster.starting = False
    assert cluster.step(rate=8.0).mode is MODE.DEDICATED


def test_a_problem_during_a_move_does_not_make_a_new_operator_forget_where_it_was_going() -> None:
    cluster = moving_to_dedicated()
    prices, cluster.catalogue = cluster.catalogue, catalogue({"h100": accelerator(perNode=1)}, {})
    assert cluster.step(rate=8.0).problems
    assert cluster.placement.reason == Reason.MOVING_TO_DEDICATED
    cluster.restart()
    cluster.step(rate=blind())
    cluster.catalogue = prices
    decision = cluster.step(rate=8.0)
    assert (decision.mode, decision.placing.destination) == (MODE.HYBRID, MODE.DEDICATED)


@pytest.mark.parametrize("said", [{"requestsPerSecondMean": "many"}, {"requestsPerSecondPeak": ""}])
def test_a_status_that_tells_nonsense_of_the_traffic_is_no_obstacle(said: dict[str, str]) -> None:
    cluster = rented()
    cluster.restart()
    told: Any = cluster.wanted.previous_status
    told["placement"]["observed"] |= said
    assert cluster.step(rate=8.0).mode is MODE.HOSTED
    assert len(cluster.moves) == 1


def template(cluster: Cluster) -> Any:
    """Return the pod template of the replicas as they are rendered."""
    assert cluster.decision is not None
    assert cluster.decision.pool is not None
    defaults = RenderSettings(engine_image="engine:1", engine_version="0.32.0", gateway_image="gateway:1")
    return engine_deployment(cluster.decision.resolved(cluster.wanted), cluster.decision.pool, defaults)["spec"]["template"]


def test_the_replicas_of_a_move_are_not_restarted_when_it_ends() -> None:
    cluster = moving_to_dedicated()
    before = template(cluster)
    cluster.starting = False
    assert cluster.step(rate=8.0).mode is MODE.DEDICATED
    assert template(cluster) == before


def test_own_replicas_answer_until_a_hosted_backend_is_known_to() -> None:
    cluster = moving_to_dedicated()
    cluster.starting = False
    cluster.step(rate=8.0)
    cluster.catalogue, cluster.healthy = CHEAP, MISSING
    decision = cluster.run(SETTINGS.placement_hold + 2 * HOUR, 8.0)
    assert (decision.mode, decision.placing.destination) == (MODE.HYBRID, MODE.HOSTED)
    assert cluster.placement.reason == Reason.MOVING_TO_HOSTED
    assert cluster.run(3 * HOUR, 8.0).pool is not None
    cluster.healthy = True
    decision = cluster.step(rate=8.0)
    assert (decision.mode, decision.pool) == (MODE.HOSTED, None)


# Laws


NEAR_BREAK_EVEN = st.lists(st.floats(0.0, 12.0) | st.none(), min_size=30, max_size=60)


@settings(max_examples=10, deadline=None)
@example(rates=[8.0] * 30, prices=[CHEAP, DEAR, DEAR, CHEAP, CHEAP])
@given(rates=NEAR_BREAK_EVEN, prices=st.lists(st.sampled_from([CHEAP, DEAR, priced("0.3", "0.6")]), min_size=5, max_size=5))
def test_a_workload_moves_at_most_once_in_a_hold_time_however_rates_and_prices_jump(
    rates: Sequence[float | None], prices: Sequence[Catalogue]
) -> None:
    cluster = Cluster(auto(traffic=BUSY), catalogue=prices[0])
    cluster.step(rate=MISSING)
    moved: list[datetime] = []
    for index, rate in enumerate(rates):
        cluster.catalogue = prices[index * len(prices) // len(rates)]
        before = len([each for each in cluster.said if each[1] == Reason.SAVING_HELD])
        cluster.memory = without_gap(cluster.memory, cluster.now + 2 * HOUR)
        cluster.step(2 * HOUR, blind() if rate is None else rate)
        if len([each for each in cluster.said if each[1] == Reason.SAVING_HELD]) > before:
            assert rate is not None, "missing metrics never move anything"
            moved.append(cluster.now)
        cluster.step(rate=blind() if rate is None else rate)
    assert all(later - earlier >= SETTINGS.placement_hold for earlier, later in pairwise(moved))


@settings(max_examples=10, deadline=None)
@given(steps=st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from([CHEAP, DEAR])), min_size=10, max_size=20))
def test_in_every_step_of_every_move_what_is_left_is_left_for_something_that_serves(steps: Sequence[tuple[bool, bool, Catalogue]]) -> None:
    cluster = Cluster(auto())
    before = cluster.step(rate=MISSING)
    for ready, healthy, prices in steps:
        cluster.starting, cluster.healthy, cluster.catalogue = not ready, healthy or MISSING, prices
        for _ in range(8):
            decision = cluster.run(4 * HOUR, 8.0, every=4 * HOUR)
            assert decision.pool is not None or decision.backends
            if before.backends and not decision.backends:
                assert ready, "owning alone began without a ready replica"
            if before.pool is not None and decision.pool is None:
                assert healthy, "renting alone began without a healthy backend"
            before = decision
