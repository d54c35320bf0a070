"""The operator's own metrics: from the latest snapshots, and nothing of what is gone."""

from prometheus_client import CollectorRegistry, generate_latest

from spillway.plan.decision import Key
from spillway.reconcile.telemetry import Snapshot, Telemetry

KEY = Key(namespace="ns", name="x")


def telemetry() -> Telemetry:
    return Telemetry(queue_depth=lambda: 3, queue_delay_s=lambda: 1.5, leading=lambda: True, requests=lambda: 13)


def text(found: Telemetry) -> str:
    registry = CollectorRegistry()
    registry.register(found)
    return generate_latest(registry).decode()


def snapshot(**changes: float | None) -> Snapshot:
    values: dict[str, float | None] = {
        "desired_replicas": 2,
        "ready_replicas": 1,
        "demand_replicas": 1.4,
        "usd_per_hour": 3.5,
        "month_to_date_usd": 12,
        "spilled_ratio": 0.25,
        "cap": 8,
        "problems": 0,
        "start_up_s": 95.0,
    }
    return Snapshot(**(values | changes))  # type: ignore[arg-type]  # numbers all


def test_names_end_with_their_unit_and_carry_the_workload() -> None:
    found = telemetry()
    found.snapshots[KEY] = snapshot()
    found.attainment[KEY] = 0.99
    found.passes["done"] += 2
    said = text(found)
    for line in (
        "spillway_lease_held 1.0",
        "spillway_queue_depth 3.0",
        'spillway_passes_total{result="done"} 2.0',
        'spillway_demand_replicas{namespace="ns",workload="x"} 1.4',
        'spillway_usd_per_hour{namespace="ns",workload="x"} 3.5',
        'spillway_month_to_date_usd{namespace="ns",workload="x"} 12.0',
        'spillway_spilled_ratio{namespace="ns",workload="x"} 0.25',
        'spillway_start_up_seconds{namespace="ns",workload="x"} 95.0',
        'spillway_slo_attainment_ratio{namespace="ns",workload="x"} 0.99',
    ):
        assert line in said.splitlines()


def test_what_is_unknown_is_not_exported_as_zero() -> None:
    found = telemetry()
    found.snapshots[KEY] = snapshot(demand_replicas=None, usd_per_hour=None)
    said = text(found)
    assert "spillway_demand_replicas{" not in said
    assert "spillway_usd_per_hour{" not in said


def test_a_workload_that_is_gone_stops_appearing() -> None:
    found = telemetry()
    found.snapshots[KEY] = snapshot()
    found.attainment[KEY] = 1
    found.forget(KEY)
    assert 'workload="x"' not in text(found)
