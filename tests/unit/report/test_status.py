"""The status: numbers rounded and at most once a minute, counts at once, attainment over everybody."""

from dataclasses import replace
from typing import Any

import pytest

from spillway.api.status import InferenceWorkloadStatus
from spillway.plan import rounding
from spillway.plan.decision import Memory
from spillway.plan.observation import Sample
from spillway.report.outcome import ApplyOutcome
from spillway.report.status import report
from spillway.report.stored import read_stored
from tests.unit.plan.situations import (
    MISSING,
    NOW,
    accelerator,
    blind,
    catalogue,
    counters,
    latency,
    later,
    observe,
    one_pass,
    pool,
    replica,
    signals,
    workload,
)
from tests.unit.plan.test_cost import LEARNED

SLO = {"timeToFirstTokenMs": 500, "interTokenLatencyMs": 50, "endToEndMs": 9000}
PROMISED = workload(slo=SLO)


def status_of(wanted: Any = None, seen: Any = None, memory: Memory | None = None, **named: Any) -> InferenceWorkloadStatus:
    wanted, seen = wanted or workload(), seen or observe(1)
    decision, after = one_pass(wanted, seen, memory)
    return report(wanted, seen, decision, ApplyOutcome(), after, NOW, **named)


def slo(**readings: Any) -> dict[str, Any]:
    found = status_of(PROMISED, observe(1, signals=signals(**readings))).slo
    assert found is not None
    return found.model_dump(exclude_none=True)


def test_a_count_that_is_only_told_stands_beside_what_there_is() -> None:
    busy = observe(1, signals=signals(running=8.0, waiting=12.0))
    told = status_of(workload(placement={"mode": "Hybrid", "apply": "Recommend"}), busy)
    assert told.dedicated is not None
    assert (told.dedicated.desired_replicas, told.dedicated.recommended_replicas, told.replicas_summary) == (1, 3, "1/1")
    acting = status_of(workload(), busy)
    assert acting.dedicated is not None
    assert (acting.dedicated.desired_replicas, acting.dedicated.recommended_replicas) == (3, None)


def test_identity() -> None:
    status = status_of()
    assert status.url == "http://chat.ml.svc.cluster.local/v1"
    assert status_of(workload(gateway={"tls": {"secretRef": {"name": "chat-tls"}}})).url == "https://chat.ml.svc.cluster.local/v1"
    assert status_of(cluster_domain="corp.example").url == "http://chat.ml.svc.corp.example/v1"
    assert status.selector == "spillway.dev/workload=chat,app.kubernetes.io/component=engine"
    assert status.observed_generation == 1


def test_counts() -> None:
    pods = (replica(0), replica(1, ready=False), replica(2, terminating=True), replica(3, ended_at=NOW))
    status = status_of(seen=observe(2, replicas=pods, signals=signals(running=24.0)))
    assert status.dedicated is not None
    assert (status.dedicated.replicas, status.dedicated.ready_replicas, status.dedicated.desired_replicas) == (2, 1, 3)
    assert (status.replicas, status.replicas_summary) == (2, "1/3")


def test_a_hosted_workload_has_no_owned_side() -> None:
    status = status_of(workload("Hosted"), observe(0, pools=()))
    assert (status.dedicated, status.replicas_summary, status.replicas) == (None, None, 0)


@pytest.mark.parametrize(
    ("seen", "kind"),
    [
        pytest.param(observe(2, pools=(pool(3),)), "h100", id="what runs"),
        pytest.param(observe(0, pools=(pool(3),)), None, id="nothing runs"),
        pytest.param(observe(0, replicas=(replica(ended_at=NOW),), pools=(pool(3),)), None, id="what ran has ended"),
    ],
)
def test_with_problems_what_runs_is_still_described(seen: Any, kind: str | None) -> None:
    status = status_of(workload(dedicated={"accelerators": ["b200"]}), seen)
    assert status.dedicated is not None
    assert (status.dedicated.accelerator_class, status.dedicated.desired_replicas, status.dedicated.capacity) == (kind, 3, None)


def test_traffic() -> None:
    readings = signals(arrivals_per_s=3.14159, spilled_per_s=1.0, input_tokens_mean=812.6, output_tokens_mean=99.5)
    traffic = status_of(seen=observe(1, signals=readings)).traffic
    assert traffic is not None
    assert traffic.model_dump() == {
        "requests_per_second": "3.14",
        "input_tokens_mean": 813,
        "output_tokens_mean": 100,
        "spilled_percent": "31.8",
    }


def test_a_section_of_which_nothing_is_known_is_absent_and_not_empty() -> None:
    """Server-side apply makes null of an empty object over fields of ours, and the API server refuses it."""
    unknown = signals(arrivals_per_s=MISSING, owned_latency=latency(5.0, within_ttft=None, within_end_to_end=None, ttft_p95_ms=None))
    written = status_of(PROMISED, observe(1, signals=unknown)).model_dump(mode="json", by_alias=True, exclude_none=True)
    assert "traffic" not in written
    assert "owned" not in written["slo"]

    def empty(part: Any) -> bool:
        return isinstance(part, dict) and (not part or any(empty(each) for each in part.values()))

    assert not empty(written)


@pytest.mark.parametrize("readings", [{}, {"spilled_per_s": MISSING, "arrivals_per_s": 1.0}])
def test_spilled_share_is_absent_without_traffic_or_evidence(readings: dict[str, Any]) -> None:
    traffic = status_of(seen=observe(1, signals=signals(**readings))).traffic
    assert traffic is not None
    assert traffic.spilled_percent is None


def test_capacity_and_utilisation() -> None:
    dedicated = status_of(seen=observe(1, signals=signals(gpu_utilization_percent=87.6)), memory=LEARNED).dedicated
    assert dedicated is not None
    assert dedicated.capacity is not None
    assert (dedicated.gpu_utilization_percent, dedicated.capacity.requests_per_second, dedicated.capacity.basis) == (88, "1.6", "Measured")
    assert dedicated.capacity.concurrency == 8


def test_without_a_target_there_is_no_attainment() -> None:
    assert status_of(workload(slo={"attainmentPercent": 99}), observe(1, signals=signals(owned_latency=latency()))).slo is None


def test_what_caches_of_prompts_find_is_told_once_the_engine_tells_it() -> None:
    never, told = (status_of(seen=observe(1), memory=replace(LEARNED, prefix_hit_ratio=ratio)).dedicated for ratio in (None, 0.377))
    assert never is not None
    assert told is not None
    assert (never.prefix_hit_percent, told.prefix_hit_percent) == (None, 38)


def test_cost_is_rounded_to_four_digits_and_unknown_is_absent() -> None:
    rows = (counters(backend="owned", input_tokens=3e6),)
    seen = observe(1, signals=replace(signals(arrivals_per_s=1.0, spilled_per_s=0.1), counters=Sample(value=rows, at=NOW)))
    cost = status_of(seen=seen, memory=LEARNED).cost
    assert cost is not None
    assert cost.model_dump(by_alias=True) == {
        "usdPerHour": "4.072",
        "dedicatedUSDPerHour": "4",
        "hostedUSDPerHour": "0.072",
        "monthToDateUSD": "4",
        "projectedMonthlyUSD": "932.4",
        "usdPerMillionTokens": "1.333",
        "ifAllHostedMonthlyUSD": "518.4",
        "ifAllDedicatedMonthlyUSD": "2880",
        "kappa": "0.288",
        "breakEvenRequestsPerMonth": None,
        "pricesAsOf": "2026-07-20",
        "unaccountedSeconds": 0,
        "estimatedRequests": 0,
    }
    unpriced = status_of(seen=observe(1, catalogue=catalogue({"h100": accelerator(price=None)}))).cost
    assert unpriced is not None
    assert (unpriced.usd_per_hour, unpriced.dedicated_usd_per_hour, unpriced.month_to_date_usd, unpriced.kappa) == (None, None, None, None)


# Attainment


@pytest.mark.parametrize(("share", "told"), [(0.98999, "98.9"), (0.99, "99.0"), (0.29, "29.0"), (0.9999, "99.9"), (1.0, "100.0")])
def test_an_attainment_is_told_as_no_more_than_it_is(share: float, told: str) -> None:
    found = slo(arrivals_per_s=4.0, owned_latency=latency(1000.0, within_ttft=share, within_end_to_end=1.0))
    assert found["time_to_first_token_attainment_percent"] == told, "SLOMet compares the share itself with what is promised"


def test_attainment_weighs_both_sides_and_failures() -> None:
    found = slo(
        arrivals_per_s=4.0,
        spilled_per_s=1.0,
        failed_per_s=0.5,
        owned_latency=latency(60.0, within_ttft=0.9, within_end_to_end=1.0, ttft_p95_ms=480.0),
        hosted_latency=latency(20.0, within_ttft=1.0, within_end_to_end=0.5, ttft_p95_ms=900.4),
        inter_token_within_ratio=0.97,
        ttft_p95_ms=512.3,
        inter_token_p95_ms=41.2,
    )
    # TTFT: (54 + 20) of 60 + 20 streams and of the 30 failed 80 in 210, as of those answered. Gaps, as own replicas tell: 0.97 x 150 of
    # 150 kept and 30 x 150 in 210 failed. End to end: (150 x 1 + 60 x 0.5) of 240, 30 failed among them.
    assert found == {
        "attainment_percent": "75.0",
        "time_to_first_token_attainment_percent": "80.9",
        "inter_token_latency_attainment_percent": "84.8",
        "end_to_end_attainment_percent": "75.0",
        "owned": {"attainment_percent": "90.0", "ttft_p95_ms": 480},
        "hosted": {"attainment_percent": "50.0", "ttft_p95_ms": 900},
        "ttft_p95_ms": 512,
        "inter_token_p95_ms": 41,
        "window": "1m",
    }


@pytest.mark.parametrize(
    ("readings", "absent"),
    [
        pytest.param({}, {"attainment_percent", "owned", "hosted"}, id="no traffic"),
        pytest.param({"arrivals_per_s": MISSING}, {"end_to_end_attainment_percent"}, id="arrivals unknown"),
        pytest.param(
            {"arrivals_per_s": 1.0, "owned_latency": latency(60.0, within_ttft=None)},
            {"time_to_first_token_attainment_percent"},
            id="a side whose share is unknown",
        ),
        pytest.param({"arrivals_per_s": 1.0, "owned_latency": latency(0.0)}, {"owned"}, id="a side without requests"),
        pytest.param(
            {"arrivals_per_s": 1.0, "spilled_per_s": 0.5, "owned_latency": latency(30.0)},
            {"end_to_end_attainment_percent"},
            id="no word from a side that serves",
        ),
    ],
)
def test_attainment_is_absent_where_it_is_unknown(readings: dict[str, Any], absent: set[str]) -> None:
    assert not absent & set(slo(**readings))


def test_gaps_between_tokens_count_on_both_sides_and_failures_missed_them() -> None:
    found = slo(
        arrivals_per_s=4.0,
        spilled_per_s=1.0,
        failed_per_s=0.5,
        owned_latency=latency(60.0, paced=50.0, within_inter_token=1.0, inter_token_p95_ms=41.2),
        hosted_latency=latency(20.0, paced=20.0, within_inter_token=0.5, inter_token_p95_ms=88.8),
        inter_token_within_ratio=0.2,  # of own replicas' requests, streamed or not: the gateway knows better
    )
    # 50 + 10 of 50 + 20 and of the 30 failed 70 in 210.
    assert found["inter_token_latency_attainment_percent"] == "75.0"
    assert (found["owned"]["inter_token_p95_ms"], found["hosted"]["inter_token_p95_ms"]) == (41, 89)
    assert found["hosted"]["attainment_percent"] == "50.0"


def test_without_a_stream_own_replicas_tell_their_gaps_for_all_that_they_kept() -> None:
    found = slo(
        arrivals_per_s=2.0,
        spilled_per_s=0.5,
        owned_latency=latency(0.0),
        hosted_latency=latency(30.0, paced=30.0, within_inter_token=0.5),
        inter_token_within_ratio=1.0,
    )
    assert found["inter_token_latency_attainment_percent"] == "87.5"  # 90 x 1 + 30 x 0.5 of 120


def test_where_nobody_streams_a_failed_request_is_no_late_first_token() -> None:
    plain = {"arrivals_per_s": 10.0, "failed_per_s": 0.1, "owned_latency": latency(0.0, within_end_to_end=1.0)}
    found = slo(**plain)
    assert not found.keys() & {"time_to_first_token_attainment_percent", "inter_token_latency_attainment_percent"}
    assert found["attainment_percent"] == found["end_to_end_attainment_percent"] == "99.0"


@pytest.mark.parametrize(
    ("streams", "attained"),
    [
        pytest.param(1.0, "99.0", id="one that streams among hundreds that do not"),
        pytest.param(594.0, "99.0", id="all stream"),
    ],
)
def test_of_the_failed_as_many_count_as_streams_as_of_the_answered(streams: float, attained: str) -> None:
    mixed = {"arrivals_per_s": 10.0, "failed_per_s": 0.1, "owned_latency": latency(streams, within_end_to_end=1.0)}
    found = slo(**mixed)
    assert (found["time_to_first_token_attainment_percent"], found["attainment_percent"]) == (attained, attained)


def test_a_stream_that_failed_is_a_stream_whatever_others_are() -> None:
    mixed = {"arrivals_per_s": 10.0, "failed_per_s": 0.05, "owned_latency": latency(6.0)}
    found = slo(**mixed, stream_errors_per_s=0.05)
    assert found["time_to_first_token_attainment_percent"] == "66.6"  # 6 of 6 and 3 failed
    assert slo(**mixed | {"owned_latency": latency(0.0)}, stream_errors_per_s=0.05)["time_to_first_token_attainment_percent"] == "0.0"


def test_a_hosted_stream_that_broke_off_counts_once() -> None:
    found = slo(
        arrivals_per_s=10.0,
        spilled_per_s=10.0,  # all that have begun
        failed_per_s=5.0,
        stream_errors_per_s=5.0,
        hosted_latency=latency(300.0, within_ttft=1.0, within_end_to_end=1.0, paced=300.0, within_inter_token=1.0),
    )
    assert (found["time_to_first_token_attainment_percent"], found["end_to_end_attainment_percent"]) == ("50.0", "50.0")


def test_where_everybody_fails_every_target_is_missed() -> None:
    found = slo(arrivals_per_s=10.0, failed_per_s=9.0, cancelled_per_s=1.0)
    assert (found["time_to_first_token_attainment_percent"], found["end_to_end_attainment_percent"]) == ("0.0", "0.0")


def test_requests_that_clients_gave_up_count_neither_way() -> None:
    found = slo(
        arrivals_per_s=4.0,
        spilled_per_s=1.0,
        cancelled_per_s=2.0,
        owned_latency=latency(60.0, within_end_to_end=1.0),
        hosted_latency=latency(60.0, within_end_to_end=0.5),
    )
    assert found["end_to_end_attainment_percent"] == "75.0"


def test_only_promised_targets_count() -> None:
    wanted = workload(slo={"endToEndMs": 9000})
    readings = signals(
        arrivals_per_s=1.0, owned_latency=latency(60.0, within_ttft=0.1, within_end_to_end=0.9), inter_token_within_ratio=0.2
    )
    found = status_of(wanted, observe(1, signals=readings)).slo
    assert found is not None
    assert found.owned is not None
    assert (found.attainment_percent, found.owned.attainment_percent) == ("90.0", "90.0")
    assert (found.time_to_first_token_attainment_percent, found.inter_token_latency_attainment_percent) == (None, None)


@pytest.mark.parametrize(("window", "text"), [(60.0, "1m"), (300.0, "5m"), (90.0, "90s")])
def test_window(window: float, text: str) -> None:
    found = status_of(PROMISED, observe(1, signals=signals(window_s=window))).slo
    assert found is not None
    assert found.window == text


def test_nothing_promised_nothing_attained() -> None:
    assert status_of().slo is None


# Numbers once a minute


def test_numbers_are_written_at_most_once_a_minute_and_the_rest_at_once() -> None:
    wanted, calm = PROMISED, observe(1, signals=signals(arrivals_per_s=1.0, gpu_utilization_percent=10.0))
    decision, memory = one_pass(wanted, calm)
    first = report(wanted, calm, decision, ApplyOutcome(), memory, NOW)
    again = replace(wanted, previous_status=first.model_dump(mode="json", by_alias=True, exclude_none=True))
    busy = observe(1, signals=signals(arrivals_per_s=9.0, running=16.0, gpu_utilization_percent=99.0), replicas=(replica(ready=False),))

    decision, memory = one_pass(again, busy, memory, later(30))
    soon = report(again, busy, decision, ApplyOutcome(), memory, later(30))
    assert (soon.traffic, soon.slo, soon.cost) == (first.traffic, first.slo, first.cost)
    assert soon.dedicated is not None
    assert first.dedicated is not None
    assert (soon.dedicated.gpu_utilization_percent, soon.dedicated.capacity) == (10, first.dedicated.capacity)
    assert (soon.replicas_summary, soon.dedicated.desired_replicas) == ("0/4", 4)
    assert soon.decisions[0].what == "replicas 1 -> 4"
    assert soon.placement == first.placement

    decision, memory = one_pass(again, busy, memory, later(60))
    minute = report(again, busy, decision, ApplyOutcome(), memory, later(60))
    assert minute.traffic is not None
    assert minute.dedicated is not None
    assert (minute.traffic.requests_per_second, minute.dedicated.gpu_utilization_percent) == ("9", 99)


def test_numbers_are_written_when_the_clock_was_set_back() -> None:
    _, memory = one_pass(at=later(3600))
    assert one_pass(memory=memory)[1].numbers_written_at == NOW


def test_numbers_are_written_where_none_were() -> None:
    decision, memory = one_pass()
    decision, memory = one_pass(PROMISED, observe(1), memory, later(15))
    status = report(PROMISED, observe(1), decision, ApplyOutcome(), memory, later(15))
    assert None not in (status.traffic, status.slo, status.cost, status.dedicated)


def test_a_placement_keeps_the_time_at_which_it_was_decided() -> None:
    first = status_of()
    stored = first.model_dump(mode="json", by_alias=True)
    same = replace(workload(), previous_status=stored)
    decision, memory = one_pass(same, at=later(600))
    assert report(same, observe(1), decision, ApplyOutcome(), memory, later(600)).placement == first.placement
    other = replace(workload("Hosted"), previous_status=stored)
    decision, memory = one_pass(other, at=later(600))
    placement = report(other, observe(1), decision, ApplyOutcome(), memory, later(600)).placement
    assert placement is not None
    assert placement.evaluated_at == later(600)


def test_a_status_that_something_else_wrote_is_replaced() -> None:
    assert status_of(workload(previous_status={"cost": "free", "conditions": []})).cost is not None


# Rounding


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0.0, "0"),
        (4.0, "4"),
        (1234.5678, "1235"),
        (0.000123456, "0.0001235"),
        (1234567.0, "1235000"),
        (None, None),
        (float("nan"), None),
        (float("inf"), None),
        (-1.0, None),
    ],
)
def test_money(amount: float | None, text: str | None) -> None:
    assert rounding.usd(amount) == text


@pytest.mark.parametrize(("share", "text"), [(0.98765, "98.8"), (1.0, "100.0"), (1.2, "100.0"), (0.0, "0.0"), (None, None)])
def test_shares(share: float | None, text: str | None) -> None:
    assert rounding.percent(share) == text


def test_a_status_that_was_read_before_counts_only_while_it_is_the_one_that_is_there() -> None:
    first = status_of(workload(), observe(1, signals=signals(running=8.0)))
    wanted = workload(previous_status=first.model_dump(mode="json", by_alias=True, exclude_none=True))
    read, other = read_stored(wanted.previous_status), read_stored({"conditions": []})
    seen = observe(1, signals=blind())
    decision, memory = one_pass(wanted, seen, None, later(15))
    memory = replace(memory, numbers_written_at=NOW)  # numbers are not due, so they are the stored ones
    plain, spared, misled = (
        report(wanted, seen, decision, ApplyOutcome(), memory, later(15), stored=stored) for stored in (None, read, other)
    )
    assert plain.traffic == first.traffic
    assert plain == spared == misled
