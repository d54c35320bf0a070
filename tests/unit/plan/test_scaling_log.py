"""What the log of decisions says of a changed count, with the figures that it was weighed by."""

from dataclasses import replace

import pytest

from spillway.api.status import DecisionStatus
from spillway.plan.decide import decide
from spillway.plan.decision import Memory, ScaleFigures
from spillway.plan.scaling.scaling_log import scaling_entries
from tests.unit.plan.situations import NOW, SETTINGS, observe, signals, workload

FIGURES = ScaleFigures(
    forecast_p10=0.8123,
    forecast_p50=1.5,
    forecast_p90=2.75,
    horizon_s=180.4,
    kappa=2.5001,
    marginal_saving_usd_per_hour=1.23456,
    rejected="1 replica: +1.20 USD/h",
    start_up_s=175,
)


def entry(figures: ScaleFigures | None) -> DecisionStatus:
    decision, _ = decide(workload(), observe(1, signals=signals(running=32.0)), Memory(), NOW, SETTINGS)
    assert decision.scale is not None
    (found,) = scaling_entries(replace(decision, scale=replace(decision.scale, figures=figures)), Memory(), NOW)
    return found


def test_a_changed_count_carries_forecast_kappa_saving_and_the_rejected_alternative() -> None:
    found = entry(FIGURES).model_dump(by_alias=True, exclude_none=True)
    assert found["forecast"] == {"p10": "0.812", "p50": "1.5", "p90": "2.75", "horizonSeconds": 180}
    assert (found["kappa"], found["marginalSavingUSDPerHour"]) == ("2.5", "1.235")
    assert (found["rejected"], found["usdPerHour"]) == ("1 replica: +1.20 USD/h", "16")


@pytest.mark.parametrize(("saving", "said"), [(-0.25, "-0.25"), (0.0, "0"), (-0.0, "0"), (None, None), (float("nan"), None)])
def test_a_saving_has_its_sign_and_is_absent_where_it_is_no_number(saving: float | None, said: str | None) -> None:
    assert entry(replace(FIGURES, marginal_saving_usd_per_hour=saving)).marginal_saving_usd_per_hour == said


def test_a_forecast_with_a_figure_that_is_no_number_is_absent_as_a_whole() -> None:
    assert entry(replace(FIGURES, forecast_p90=float("inf"))).forecast is None


def test_a_count_decided_without_figures_has_none() -> None:
    found = entry(None).model_dump(by_alias=True, exclude_none=True)
    assert not {"forecast", "kappa", "marginalSavingUSDPerHour", "rejected"} & found.keys()
