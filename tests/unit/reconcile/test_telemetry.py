"""The operator's own metrics: from the latest snapshots, and nothing of what is gone."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from spillway.api.status import Condition, InferenceWorkloadStatus, SloStatus
from spillway.plan.decide import decide
from spillway.plan.decision import Key, Memory, ScaleFigures
from spillway.reconcile.telemetry import Snapshot, Telemetry
from tests.unit.plan import situations

KEY = Key(namespace="ns", name="x")


def telemetry() -> Telemetry:
    return Telemetry(queue_depth=lambda: 3, queue_delay_s=lambda: 1.5, leading=lambda: True, requests=lambda: 13)


def text(found: Telemetry) -> str:
    registry = CollectorRegistry()
    registry.register(found)
    return generate_latest(registry).decode()


FIGURES = ScaleFigures(
    forecast_p10=0.8,
    forecast_p50=1.5,
    forecast_p90=2.75,
    horizon_s=180,
    kappa=2.5,
    marginal_saving_usd_per_hour=-0.5,
    rejected="1 replica: +1.20 USD/h",
    start_up_s=175,
    rejected_saving_usd_per_hour=1.2,
)


def snapshot(**changes: float | ScaleFigures | None) -> Snapshot:
    values: dict[str, float | ScaleFigures | None] = {
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
    found.errors["ApiError"] += 1
    found.decisions["DemandRose"] += 4
    said = text(found)
    for line in (
        "spillway_lease_held 1.0",
        "spillway_queue_depth 3.0",
        "spillway_queue_delay_seconds 1.5",
        "spillway_writes_total 13.0",
        'spillway_passes_total{result="done"} 2.0',
        'spillway_errors_total{error="ApiError"} 1.0',
        'spillway_decisions_total{reason="DemandRose"} 4.0',
        'spillway_desired_replicas{namespace="ns",workload="x"} 2.0',
        'spillway_ready_replicas{namespace="ns",workload="x"} 1.0',
        'spillway_gateway_cap_requests{namespace="ns",workload="x"} 8.0',
        'spillway_demand_replicas{namespace="ns",workload="x"} 1.4',
        'spillway_usd_per_hour{namespace="ns",workload="x"} 3.5',
        'spillway_month_to_date_usd{namespace="ns",workload="x"} 12.0',
        'spillway_spilled_ratio{namespace="ns",workload="x"} 0.25',
        'spillway_start_up_seconds{namespace="ns",workload="x"} 95.0',
        'spillway_slo_attainment_ratio{namespace="ns",workload="x"} 0.99',
    ):
        assert line in said.splitlines()


def test_a_decisions_figures_are_exported() -> None:
    found = telemetry()
    found.snapshots[KEY] = snapshot(figures=FIGURES, kappa=2.5, recommended_replicas=3)
    said = text(found).splitlines()
    for line in (
        'spillway_recommended_replicas{namespace="ns",workload="x"} 3.0',
        'spillway_forecast_replicas{namespace="ns",quantile="0.1",workload="x"} 0.8',
        'spillway_forecast_replicas{namespace="ns",quantile="0.5",workload="x"} 1.5',
        'spillway_forecast_replicas{namespace="ns",quantile="0.9",workload="x"} 2.75',
        'spillway_marginal_saving_usd_per_hour{namespace="ns",workload="x"} -0.5',
        'spillway_rejected_saving_usd_per_hour{namespace="ns",workload="x"} 1.2',
        'spillway_kappa{namespace="ns",workload="x"} 2.5',
    ):
        assert line in said


@pytest.mark.parametrize(
    "name", ["recommended_replicas", "forecast_replicas", "marginal_saving_usd_per_hour", "rejected_saving_usd_per_hour", "kappa"]
)
def test_a_figure_that_a_decision_does_not_have_is_not_exported(name: str) -> None:
    found = telemetry()
    found.snapshots[KEY] = snapshot()
    assert f"spillway_{name}{{" not in text(found)


@pytest.mark.parametrize(
    ("figures", "kappa"),
    [
        pytest.param(FIGURES, 2.5, id="that replicas are weighed by"),
        pytest.param(replace(FIGURES, kappa=None), 1.25, id="that of the cost where they are not"),
        pytest.param(None, 1.25, id="that of the cost where there are no figures"),
    ],
)
def test_the_kappa_of_a_pass_is(figures: ScaleFigures | None, kappa: float) -> None:
    decision, _ = decide(situations.workload(), situations.observe(1), Memory(), situations.NOW, situations.SETTINGS)
    assert decision.scale is not None
    changed = replace(decision, scale=replace(decision.scale, figures=figures), cost=replace(decision.cost, kappa=1.25))
    assert Snapshot.of(situations.observe(1), changed).kappa == kappa


def test_what_is_unknown_is_not_exported_as_zero() -> None:
    found = telemetry()
    found.snapshots[KEY] = snapshot(demand_replicas=None, usd_per_hour=None)
    said = text(found)
    assert "spillway_demand_replicas{" not in said
    assert "spillway_usd_per_hour{" not in said


def test_costs_are_told_by_side_and_an_unknown_one_is_left_out() -> None:
    found = telemetry()
    found.snapshots[KEY] = snapshot(owned_usd_per_hour=3.0, projected_monthly_usd=2190)
    said = text(found).splitlines()
    assert 'spillway_side_usd_per_hour{namespace="ns",side="owned",workload="x"} 3.0' in said
    assert not [line for line in said if 'side="hosted"' in line]
    assert 'spillway_projected_monthly_usd{namespace="ns",workload="x"} 2190.0' in said


def test_conditions_and_promises_are_told_as_the_last_pass_reported_them() -> None:
    found = telemetry()
    promising = situations.workload(budget={"monthlyUSD": "1500"}, slo={"timeToFirstTokenMs": 1000})
    since = datetime(2026, 11, 26, tzinfo=UTC)
    for status, reason, percent in (("True", "SLOMet", "99.5"), ("False", "SLOMissed", None)):
        slo = None if percent is None else SloStatus.model_validate({"attainmentPercent": percent})
        condition = Condition(type="SLOMet", status=status, reason=reason, last_transition_time=since)
        silent = Condition(type="WithinBudget", status="Unknown", reason="NoPrices", last_transition_time=since)
        found.tell(promising, InferenceWorkloadStatus(conditions=[condition, silent], slo=slo))
        said = text(found)
        where = f'namespace="{promising.key.namespace}"'
        name = f'workload="{promising.key.name}"'
        assert [line for line in said.splitlines() if line.startswith("spillway_condition{")] == [
            f'spillway_condition{{{where},reason="{reason}",status="{status}",type="SLOMet",{name}}} 1.0'
        ]
        assert ("spillway_slo_attainment_ratio{" in said) is (percent is not None)
    for line in (
        f'spillway_workload_model{{model="{promising.spec.served_name}",{where},{name}}} 1.0',
        f"spillway_slo_objective_ratio{{{where},{name}}} 0.99",
        f"spillway_budget_monthly_usd{{{where},{name}}} 1500.0",
    ):
        assert line in said.splitlines()
    found.forget(promising.key)
    assert name not in text(found)


def test_a_workload_that_is_gone_stops_appearing() -> None:
    found = telemetry()
    found.snapshots[KEY] = snapshot()
    found.attainment[KEY] = 1
    found.forget(KEY)
    assert 'workload="x"' not in text(found)
