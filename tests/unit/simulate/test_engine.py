"""The closed loop: decisions act on what they caused, in simulated time."""

from typing import Any

import pytest

from spillway.api.vocabulary import Reason
from spillway.simulate.arrivals import Request, poisson
from spillway.simulate.engine import Replay, replay
from spillway.simulate.replica import EngineModel, Replica
from tests.unit.plan.situations import catalogue, workload

# 8 requests at a time, 20 ms a step at a full batch, 250 tokens: about 1.5 requests/s per replica.
ENGINE = EngineModel(step_ms=12.0, step_ms_per_request=1.0, prefill_ms_per_token=0.05, startup_s=60.0)
MINUTE = 60.0


def played(*phases: tuple[float, float], mode: str = "Hybrid", seed: int = 1, **changes: Any) -> Replay:
    """Replay phases of (minutes, requests per second)."""
    scaling = {"maxReplicas": 8} | changes.pop("scaling", {})
    wanted = workload(mode, scaling=scaling, slo={"timeToFirstTokenMs": 2000}, **changes)
    in_seconds = [(minutes * MINUTE, rate) for minutes, rate in phases]
    return replay(
        workload=wanted,
        catalogue=catalogue(),
        requests=poisson(in_seconds, input_tokens=1000, output_tokens=250, seed=seed),
        seconds=sum(seconds for seconds, _ in in_seconds),
        engine=ENGINE,
    )


def counts_at(found: Replay, minute: float) -> int:
    return next(count for at, count in reversed(found.counts) if at <= minute * MINUTE)


def test_the_same_seed_gives_the_same_replay() -> None:
    assert played((5, 2.0)) == played((5, 2.0))
    assert played((5, 2.0)) != played((5, 2.0), seed=2)


def test_every_request_is_answered_once() -> None:
    found = played((10, 3.0), (10, 0.0))
    assert found.failed == 0
    assert len(found.served) == len({each.request.arrival_s for each in found.served})
    assert {each.backend for each in found.served} == {"owned", "acme/llama-8b"}
    assert all(0 < each.first_token_s <= each.finished_s - each.request.arrival_s + 1e-9 for each in found.served)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_settles_under_steady_traffic_without_flapping(seed: int) -> None:
    found = played((60, 4.0), seed=seed)
    assert 3 <= counts_at(found, 59) <= 5
    late = [count for at, count in found.counts if at > 20 * MINUTE]
    assert len(late) <= 4
    spilled_late = sum(1 for each in found.served if "/" in each.backend and each.request.arrival_s > 20 * MINUTE)
    assert spilled_late < 0.1 * len(found.served)


def test_a_burst_spills_then_scales_up_and_calm_scales_down_after_the_window() -> None:
    found = played((10, 0.5), (10, 5.0), (20, 0.5))
    burst = [each for each in found.served if 10 * MINUTE <= each.request.arrival_s < 12 * MINUTE]
    assert any("/" in each.backend for each in burst)
    assert found.failed == 0
    assert counts_at(found, 9.9) == 1
    assert counts_at(found, 15) >= 4
    fell = next(at for at, count in found.counts if at > 20 * MINUTE and count <= 2)
    assert fell >= 25 * MINUTE  # a whole window after the calm began
    assert counts_at(found, 39) == 1
    assert Reason.DEMAND_FELL in {each.reason for each in found.decisions}


def test_from_zero_hosted_bridges_until_a_replica_serves() -> None:
    found = played((5, 0.0), (10, 0.5), (15, 0.0), scaling={"minReplicas": 0, "maxReplicas": 4})
    first = found.served[0]
    assert "/" in first.backend
    assert any(each.backend == "owned" for each in found.served)
    assert counts_at(found, 4) == 0
    assert counts_at(found, 29) == 0
    reasons = [each.reason for each in found.decisions]
    assert (reasons[1], reasons[-1]) == (Reason.WOKEN_BY_SPILL, Reason.IDLE)


def test_a_dedicated_workload_never_spills_and_fails_only_while_nothing_serves() -> None:
    found = played((10, 1.0), mode="Dedicated", dedicated={"scaling": {"minReplicas": 1, "maxReplicas": 4}, "engine": {"maxNumSeqs": 8}})
    assert found.spilled == 0
    assert found.failed > 0
    assert all(each.request.arrival_s <= ENGINE.startup_s + 15 for each in found.served if each.backend == "none")


def test_spilling_costs_by_the_token_and_owning_by_the_hour() -> None:
    found = played((30, 0.2))
    assert found.ledger.dedicated_usd == pytest.approx(4.0 / 2, rel=0.02)
    tokens = [(each.request.input_tokens, each.request.output_tokens) for each in found.served if "/" in each.backend]
    assert found.ledger.hosted_usd == pytest.approx(sum(0.1 * prompt + 0.4 * answer for prompt, answer in tokens) / 1e6, rel=0.05)
    assert found.usd == found.ledger.dedicated_usd + found.ledger.hosted_usd


def test_a_replica_shares_its_steps() -> None:
    model = EngineModel(step_ms=10.0, step_ms_per_request=0.0, prefill_ms_per_token=0.0, startup_s=0.0)
    replica = Replica(index=0, model=model, batch=2, created_s=0.0)
    for index in range(3):
        replica.accept(Request(arrival_s=0.0, input_tokens=1, output_tokens=100 * (index + 1)), 0.0)
    assert (replica.running, replica.waiting, replica.load) == (2, 1, 3)
    done = replica.finish_until(10.0)
    # 100 and 200 tokens side by side; the third starts when the first has left.
    assert [each.finished_s for each in done] == pytest.approx([1.0, 2.0, 4.0])
    assert replica.tokens == pytest.approx(600)
    assert replica.next_finish_s() is None
