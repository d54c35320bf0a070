"""The closed loop: decisions of production's code act on what they caused, in simulated time."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spillway.api.vocabulary import Reason
from spillway.plan.replica.roofline import StepModel
from spillway.plan.replica.serving import STEP_OVERHEAD_MS
from spillway.simulate.arrivals import poisson
from spillway.simulate.layout import FAILED, HOSTED, OWNED
from spillway.simulate.outcome import Prices
from spillway.simulate.policy import Seen
from spillway.simulate.run import Run
from spillway.simulate.setting import EngineModel, HostedModel, Rules, Targets, planned_engine
from spillway.simulate.simulate import run
from spillway.simulate.spillway_policy import NOT_YET, SpillwayPolicy
from tests.unit.plan.situations import LLAMA_8B, accelerator, catalogue, provider, spec, workload

# 8 requests at a time, 60 ms a step at a full batch, 250 tokens: about half a request a second per replica.
STEP = StepModel(
    base_ms=36.0 - STEP_OVERHEAD_MS, experts_ms=0.0, expert_share=1.0, sequence_ms=3.0, kv_ms=0.0, prompt_ms=0.05, square_ms=0.0
)
ENGINE = EngineModel(step=STEP, kv_tokens=100_000, max_num_seqs=8, start_up_s=60.0, start_up_cv=0.0)
MINUTE = 60.0
# Hosting costs two and a half times what full own replicas do: 0.53 requests of 1250 tokens a second for 4 USD an hour, 1.67 USD a million.
PAYING = [{"name": "llama-8b", "inputUSDPerMillionTokens": "4.2", "outputUSDPerMillionTokens": "4.2"}]


class Played:
    """A run, and what its policy decided."""

    def __init__(self, done: Run, policy: "Listening") -> None:
        self.run, self.policy, self._wanted = done, policy, policy.wanted

    @property
    def counts(self) -> list[tuple[float, int]]:
        """Each change of the count: seconds, replicas wanted."""
        changes = self._wanted[:1]
        for at, count in self._wanted[1:]:
            if count != changes[-1][1]:
                changes.append((at, count))
        return changes

    def at(self, minute: float) -> int:
        return next(count for at, count in reversed(self._wanted) if at <= minute * MINUTE)

    def during(self, begin: float, end: float) -> Any:
        """Sides of the requests of these minutes."""
        arrival = self.run.trace.arrival_s
        return self.run.side[(arrival >= begin * MINUTE) & (arrival < end * MINUTE)]


class Listening(SpillwayPolicy):
    """Spillway's policy, writing down each answer."""

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.wanted: list[tuple[float, int]] = []
        self.shown: list[Seen] = []

    def replicas(self, seen: Seen) -> int:
        self.shown.append(seen)
        self.wanted.append((seen.now_s, super().replicas(seen)))
        return self.wanted[-1][1]


def played(*phases: tuple[float, float], mode: str = "Hybrid", seed: int = 1, model: EngineModel = ENGINE, **changes: Any) -> Played:
    """Replay phases of (minutes, requests per second).

    `models`: what is hosted, and its prices; `troubles`: when it is not; `initial`: replicas that there are; `memory`: what was learned.
    """
    initial, memory = changes.pop("initial", 0), changes.pop("memory", None)
    scaling = {"maxReplicas": 8} | changes.pop("scaling", {})
    listed = catalogue(providers={"acme": provider(models=changes.pop("models", PAYING))})
    hosted = HostedModel(ttft_median_ms=500.0, ttft_p99_ms=2000.0, inter_token_ms=(15.0, 15.0), troubles=changes.pop("troubles", ()))
    wanted = workload(mode, scaling=scaling, slo={"timeToFirstTokenMs": 2000}, **changes)
    policy = Listening(workload=wanted, catalogue=listed, gateways=1, memory=memory)
    done = run(
        poisson([(minutes * MINUTE, rate) for minutes, rate in phases], input_tokens=1000, output_tokens=250, seed=seed),
        engine=model,
        rules=Rules(spills=mode != "Dedicated", slots_per_replica=8, gateways=1),
        hosted=hosted,
        targets=Targets(ttft_ms=2000.0),
        policy=policy,
        name="spillway",
        seed=seed,
        initial_replicas=initial,
    )
    return Played(done, policy)


def test_the_same_seed_gives_the_same_run() -> None:
    one, two, other = played((5, 0.67)), played((5, 0.67)), played((5, 0.67), seed=2)
    assert np.array_equal(one.run.e2e_ms, two.run.e2e_ms)
    assert one.policy.decisions == two.policy.decisions
    assert not np.array_equal(one.run.e2e_ms[:100], other.run.e2e_ms[:100])


def test_every_request_is_answered_once_on_either_side() -> None:
    found = played((10, 1.0), (5, 0.0))
    assert set(found.run.side.tolist()) == {OWNED, HOSTED}
    assert (found.run.ttft_ms > 0).all()
    assert (found.run.e2e_ms >= found.run.ttft_ms - 1e-3).all()


@pytest.mark.parametrize("seed", [1, 2])
def test_settles_under_steady_traffic_without_flapping(seed: int) -> None:
    found = played((40, 1.33), seed=seed)
    assert 3 <= found.at(39) <= 5
    assert sum(1 for at, _ in found.counts if at > 20 * MINUTE) <= 4
    assert (found.during(20, 40) == HOSTED).mean() < 0.1


def test_a_burst_spills_then_scales_up_and_calm_scales_down_after_the_window() -> None:
    found = played((10, 0.17), (10, 1.67), (20, 0.17))
    assert (found.during(10, 12) == HOSTED).any()
    assert not (found.run.side == FAILED).any()
    assert found.at(9.9) == 1
    assert found.at(15) >= 3
    fell = next(at for at, count in found.counts if at > 20 * MINUTE and count <= 2)
    assert fell >= 25 * MINUTE  # a whole window after the calm began
    assert found.at(39) == 1
    assert Reason.DEMAND_FELL in {each.reason for each in found.policy.decisions}


def test_from_zero_hosted_bridges_until_a_replica_serves() -> None:
    found = played((5, 0.0), (10, 0.17), (15, 0.0), scaling={"minReplicas": 0, "maxReplicas": 4})
    assert found.run.side[0] == HOSTED
    assert (found.run.side == OWNED).any()
    assert found.at(4) == 0
    assert found.at(29) == 0
    reasons = [each.reason for each in found.policy.decisions]
    assert (reasons[1], reasons[-1]) == (Reason.WOKEN_BY_SPILL, Reason.IDLE)


def test_a_dedicated_workload_never_spills_and_fails_only_while_nothing_serves() -> None:
    found = played((10, 0.33), mode="Dedicated", dedicated={"scaling": {"minReplicas": 1, "maxReplicas": 4}, "engine": {"maxNumSeqs": 8}})
    failed = found.run.side == FAILED
    assert not (found.run.side == HOSTED).any()
    assert failed.any()
    assert (found.run.trace.arrival_s[failed] <= ENGINE.start_up_s + 15).all()


def test_the_operators_ledger_comes_to_what_the_run_cost() -> None:
    found = played((30, 0.07))
    prices = Prices(usd_per_replica_hour=4.0, hosted_input_usd_per_million=4.2, hosted_output_usd_per_million=4.2)
    cost, ledger = found.run.outcome(prices), found.policy.ledger
    assert ledger.dedicated_usd == pytest.approx(cost.own_usd, rel=0.02)
    assert ledger.hosted_usd == pytest.approx(cost.hosted_usd, rel=0.02)
    assert cost.hosted_usd > 0


def test_the_cap_and_the_engines_limits_follow_the_decision() -> None:
    found = played((5, 2.0))
    limits = found.policy.slots_per_replica, found.policy.max_num_seqs, found.policy.max_queued_requests
    assert limits[1] == 8
    assert limits[0] is not None
    assert limits[2] is not None
    assert limits[2] > limits[0] >= 8
    held = max(replica.running + replica.waiting for seen in found.policy.shown for replica in seen.replicas)
    assert 8 <= held <= limits[0]


def test_an_engine_half_as_fast_as_planned_gets_more_replicas() -> None:
    slow = replace(ENGINE, step=replace(STEP, base_ms=2 * STEP.base_ms, sequence_ms=6.0, prompt_ms=0.1))
    dear = [PAYING[0] | {"inputUSDPerMillionTokens": "17", "outputUSDPerMillionTokens": "17"}]  # so that owning pays for either
    assert played((15, 0.67), model=slow, models=dear).at(14.9) > played((15, 0.67), models=dear).at(14.9)


def test_a_replica_that_ended_is_shown_once_more_with_its_end() -> None:
    found = played((10, 1.33), (15, 0.0), scaling={"minReplicas": 0, "maxReplicas": 8})
    lived_h = found.run.own_billed_s / 3600
    assert found.at(24) == 0
    assert found.policy.ledger.dedicated_usd == pytest.approx(lived_h * 4.0, rel=0.03)
    assert not found.policy.ledger.unaccounted_s


def test_the_planners_engine_is_that_of_model_class_and_size() -> None:
    small, large = (
        planned_engine(spec(model={"architecture": LLAMA_8B}, engine={"tensorParallelSize": size}), accelerator()) for size in (1, 2)
    )
    assert large.step.base_ms < small.step.base_ms
    assert large.kv_tokens > 2 * small.kv_tokens
    assert small.max_num_seqs == 8
    with pytest.raises(ValueError, match="add model"):
        planned_engine(spec(model={"id": "nobody/unheard-of"}), accelerator())


def test_before_anything_is_seen_a_policy_holds_what_there_is() -> None:
    policy = SpillwayPolicy(workload=workload(), catalogue=catalogue())
    assert policy.replicas(replace(NOT_YET, wanted=3)) == 3
