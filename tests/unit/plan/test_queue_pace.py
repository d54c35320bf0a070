"""How fast the queue behind a replica's batch empties: as fast as the targets let it."""

from itertools import pairwise

import pytest

from spillway.api.traffic import Slo
from spillway.plan.replica.capacity import expected_service
from spillway.plan.replica.queue_pace import queue_pace
from spillway.plan.replica.serving import Service
from spillway.plan.traffic.lengths import declared_lengths
from tests.unit.plan.situations import LLAMA_8B, accelerator, spec

BATCH = 64


def service() -> Service:
    found = expected_service(spec(model={"architecture": LLAMA_8B}), accelerator(), declared_lengths(spec()))
    assert found is not None
    return found


def pace(**targets: int) -> float:
    return queue_pace(service(), Slo.model_validate(targets), bound=BATCH)


@pytest.mark.parametrize("slo", [None, Slo.model_validate({"interTokenLatencyMs": 50})], ids=["no target", "one of the batch"])
def test_without_a_target_of_what_waits_it_is_that_of_a_full_batch(slo: Slo | None) -> None:
    assert queue_pace(service(), slo, bound=BATCH) == pytest.approx(service().requests_per_s(BATCH))


@pytest.mark.parametrize(
    "targets",
    [
        pytest.param([60_000, 2000, 500, 200, 150], id="timeToFirstTokenMs"),
        pytest.param([60_000, 12_000, 8000, 5000, 3000], id="endToEndMs"),
    ],
)
def test_the_shorter_the_target_the_slower(targets: list[int], request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.id
    paces = [service().requests_per_s(BATCH), *(pace(**{name: target}) for target in targets), pace(**{name: 10})]
    assert all(slower < faster for faster, slower in pairwise(paces))
    assert paces[-1] == 0.0  # nobody has a first token so soon


@pytest.mark.parametrize("whole_ms", [12_000, 8000, 5000, 3000])
def test_at_that_pace_a_request_that_does_not_wait_is_done_in_time(whole_ms: int) -> None:
    found, each = pace(endToEndMs=whole_ms), service()
    running = max(batch for batch in range(1, BATCH) if each.requests_per_s(batch) <= found)
    assert each.first_token_ms(running, each.lengths.input_mean) + (each.long_answer - 1) * each.inter_token_ms(running) <= whole_ms
