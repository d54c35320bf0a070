"""The plan as the operator keeps it: what is recommended, what can be done, what stands in the way."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spillway.api.vocabulary import Reason
from spillway.api.workload import PlacementMode
from spillway.plan.observation import Catalogue
from spillway.plan.place.evaluation import Subject, evaluate
from spillway.plan.place.placed import Evaluation, ObservedLoad, Placed
from tests.unit.plan.situations import LLAMA_8B, NOW, accelerator, catalogue, provider, spec

MODE = PlacementMode
BUSY = {"requestsPerSecond": {"mean": "8"}, "inputTokens": {"mean": 1000}, "outputTokens": {"mean": 250}}
OWNED = Placed(mode=MODE.DEDICATED, accelerator_class="h100", tensor_parallel_size=1)
HOSTED = Placed(mode=MODE.HOSTED)


def listed(usd_in: str, usd_out: str, name: str = "llama-8b") -> dict[str, str]:
    return {"name": name, "inputUSDPerMillionTokens": usd_in, "outputUSDPerMillionTokens": usd_out}


DEAR = catalogue(providers={"acme": provider(models=[listed("5", "15")])})


def plan(
    mode: str = "Auto",
    serving: Placed | None = None,
    known: Catalogue = DEAR,
    observed: ObservedLoad | None = None,
    without: str | None = None,
    **changes: Any,
) -> Evaluation:
    asked = spec(mode, **({"model": {"architecture": LLAMA_8B}, "traffic": BUSY} | changes))
    if without is not None:
        asked = asked.model_copy(update={without: None})
    return evaluate(Subject(name="chat", spec=asked, catalogue=known, serving=serving, observed=observed), NOW)


def recommended(found: Evaluation) -> str:
    assert found.recommended is not None
    return found.recommended.mode


def test_without_a_volume_there_is_no_plan_and_it_says_so() -> None:
    found = plan(traffic=None)
    assert (found.recommended, found.target, found.is_stuck) == (None, None, False)
    assert "No traffic" in (found.unknown or "")


def test_without_a_shape_there_is_no_plan_of_owning_and_so_none_at_all() -> None:
    found = plan(model={})
    assert (found.recommended, found.target, found.is_stuck) == (None, None, False)
    assert "model.architecture" in (found.unknown or "")


def test_what_is_not_named_may_be_advised_and_not_done() -> None:
    found = plan("Hosted", serving=HOSTED)
    assert recommended(found) in {"Dedicated", "Hybrid"}
    assert found.target == HOSTED


def test_auto_is_advised_only_what_it_can_do() -> None:
    found = plan(without="dedicated")
    assert recommended(found) == "Hosted"
    assert found.target == HOSTED


def test_a_stated_tensor_parallel_size_is_the_only_one_that_can_be_done() -> None:
    found = plan(engine={"maxNumSeqs": 64, "tensorParallelSize": 2}, hosted=None)
    assert found.target is not None
    assert found.target.tensor_parallel_size == 2


def test_more_replicas_than_are_allowed_are_no_way_to_own_everything() -> None:
    many = BUSY | {"requestsPerSecond": {"mean": "400"}}
    found = plan(traffic=many, hosted=None, scaling={"maxReplicas": 1})
    assert found.is_stuck
    assert any("maxReplicas" in each for each in found.relax)
    hybrid = plan(traffic=many, scaling={"maxReplicas": 1})
    assert recommended(hybrid) == "Hybrid"
    assert hybrid.recommended is not None
    assert hybrid.recommended.replicas_peak == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"slo": {"interTokenLatencyMs": 1}, "hosted": None}, "relax slo", id="no class is fast enough"),
        pytest.param({"budget": {"monthlyUSD": "1"}}, "raise budget.monthlyUSD", id="nothing is within the budget"),
        pytest.param({"dedicated": {"accelerators": ["h100"]}, "hosted": None, "slo": {"endToEndMs": 10}}, "relax slo", id="one class"),
    ],
)
def test_when_nothing_is_possible_it_says_what_to_relax_without_figures(changes: dict[str, Any], words: str) -> None:
    found = plan(**changes)
    assert found.is_stuck
    assert any(words in each for each in found.relax)
    assert not any(char.isdigit() for each in found.relax for char in each)
    assert found.barred


def test_a_difference_within_the_error_leaves_alone_what_serves() -> None:
    owned = plan(serving=OWNED, hosted=None)
    assert owned.usd is not None
    assert owned.recommended is not None
    requests_per_month = 8 * 2_592_000
    same = f"{owned.usd * 0.95 / requests_per_month * 1e6 / 1250:.6f}"
    near = catalogue(providers={"acme": provider(models=[listed(same, same)])})
    assert plan(serving=OWNED, known=near).target == OWNED
    assert plan(serving=HOSTED, known=near).target == HOSTED


def test_a_size_that_nobody_would_choose_is_weighed_where_it_serves() -> None:
    threes = LLAMA_8B | {"attentionHeads": 24, "keyValueHeads": 24, "vocabularySize": 64 * 120}
    serving = Placed(mode=MODE.DEDICATED, accelerator_class="h100", tensor_parallel_size=3)
    found = plan(serving=serving, model={"architecture": threes}, hosted=None)
    assert found.serving_feasible
    assert found.usd is not None
    assert plan(model={"architecture": threes}, hosted=None).target == OWNED


def test_the_first_backend_is_what_renting_costs_since_it_is_the_one_that_answers() -> None:
    models = [listed("5", "15"), listed("0.01", "0.01", name="cheap")]
    known = catalogue(providers={"acme": provider(models=models)})
    backends = [{"providerRef": {"name": "acme"}, "model": name} for name in ("llama-8b", "cheap")]
    assert recommended(plan(known=known, hosted={"backends": backends})) != "Hosted"
    assert recommended(plan(known=known, hosted={"backends": backends[::-1]})) == "Hosted"


def test_a_commitment_that_nobody_made_does_not_make_owning_cheaper() -> None:
    price = {"onDemandUSDPerHour": "40", "per": "Accelerator", "asOf": "2026-07-20", "source": "a list"}
    promised = {"h100": accelerator(price=price | {"reservedUSDPerHour": "0.01", "spotUSDPerHour": "0.01"})}
    cheap = {"acme": provider()}
    assert recommended(plan(known=catalogue(promised, cheap))) == recommended(
        plan(known=catalogue({"h100": accelerator(price=price)}, cheap))
    )


def test_no_traffic_at_all_is_cheapest_rented_and_tells_what_owning_costs() -> None:
    nothing = ObservedLoad(mean_per_s=0.0, peak_per_s=0.0, at=NOW)
    found = plan(serving=OWNED, observed=nothing)
    assert recommended(found) == "Hosted"
    assert found.target_saving == 1.0
    assert plan(serving=HOSTED, observed=nothing).target_saving == 0.0


def test_what_costs_more_than_what_serves_and_breaks_the_promise_is_told_as_more() -> None:
    slow = catalogue(providers={"acme": provider(models=[listed("0.01", "0.01") | {"timeToFirstTokenMs": 9000}])})
    found = plan(serving=HOSTED, known=slow, slo={"timeToFirstTokenMs": 2000})
    assert found.target is not None
    assert found.target.owns
    assert " % more; declared traffic" in found.target_why
    assert "saving" not in found.target_why


def test_what_serves_and_breaks_the_budget_is_not_feasible() -> None:
    found = plan(serving=HOSTED, budget={"monthlyUSD": "20000"})
    assert not found.serving_feasible
    assert found.target is not None
    assert found.target.owns


def test_the_verdict_on_owning_comes_with_it() -> None:
    found = plan("Hosted")
    assert found.verdict is not None
    assert (found.verdict.economic, found.verdict.reason) == (True, Reason.SELF_HOSTING_CHEAPER)


@st.composite
def extreme(draw: st.DrawFn) -> Subject:
    """Return a workload at the bounds of what the API takes, and readings beyond them."""

    def whole(low: int, high: int) -> int:
        return draw(st.integers(low, high) | st.sampled_from([low, high]))

    heads = draw(st.sampled_from([1, 8, 1024]))
    shape = {
        "parameters": whole(1, 10**13),
        "layers": whole(1, 1000),
        "attentionHeads": heads,
        "keyValueHeads": heads,
        "headSize": whole(1, 1024),
    }
    traffic = {
        "requestsPerSecond": {"mean": draw(st.sampled_from(["0", "0.000000001", "1", "999999999999"]))},
        "inputTokens": {"mean": whole(1, 10**7)},
        "outputTokens": {"mean": whole(1, 10**7)},
        "pattern": draw(st.sampled_from(["Steady", "Bursty"])),
    }
    usd = draw(st.sampled_from(["0", "0.000000001", "999999999999"]))
    price = {"onDemandUSDPerHour": usd, "per": draw(st.sampled_from(["Node", "Accelerator"])), "asOf": "2026-07-20", "source": "a list"}
    h100 = accelerator(memoryGiB=whole(1, 10**4), memoryBandwidthGBps=whole(1, 10**6), perNode=draw(st.sampled_from([1, 8])), price=price)
    seen = st.builds(
        ObservedLoad,
        mean_per_s=st.sampled_from([0.0, 5e-324, 1.0, 1e9]),
        peak_per_s=st.sampled_from([0.0, 1.0, 1e12]),
        input_tokens=st.sampled_from([None, 0.1, 1e7]),
        output_tokens=st.sampled_from([None, 0.1, 1e7]),
        at=st.just(NOW),
    )
    return Subject(
        name="chat",
        spec=spec(
            draw(st.sampled_from(["Auto", "Hybrid"])),
            model={"architecture": shape},
            traffic=traffic,
            slo={"interTokenLatencyMs": whole(1, 60_000), "attainmentPercent": whole(1, 100)},
            scaling={"maxReplicas": whole(1, 1000)},
        ),
        catalogue=catalogue({"h100": h100}, {"acme": provider(models=[listed(usd, usd)])}),
        serving=draw(st.sampled_from([None, HOSTED, OWNED])),
        observed=draw(st.none() | seen),
    )


@settings(max_examples=60, deadline=None)
@given(subject=extreme())
def test_whatever_is_declared_or_read_a_plan_comes_to_an_end_and_recommends_what_can_be_done(subject: Subject) -> None:
    found = evaluate(subject, NOW)
    assert found.is_stuck == (found.target is None)
    if found.target is not None and found.target.owns:
        assert found.recommended is not None
        assert found.recommended.replicas_peak <= 1000
