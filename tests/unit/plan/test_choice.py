from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.api.traffic import TrafficPattern
from spillway.api.vocabulary import Reason
from spillway.plan.comparing.choice import Engineering, Running, all_options, make_plan, running_of
from spillway.plan.comparing.offers import canonical_name, find_offers
from spillway.plan.comparing.options import Cause, Option, ServedBy
from spillway.plan.comparing.sweep import sweep, volumes
from spillway.plan.decision import Problem
from spillway.plan.money.economics import Pricing
from tests.unit.plan.planning import MODEL, accelerator, load, provider, question, size, spec

OWN_WEIGHTS = {"id": MODEL, "source": {"persistentVolumeClaim": {"claimName": "weights"}}}
TRAFFIC: dict[str, Any] = {"inputTokens": {"mean": 1000}, "outputTokens": {"mean": 250}}


def the(options: tuple[Option, ...], mode: ServedBy) -> Option:
    return next(option for option in options if option.mode is mode)


def causes(option: Option) -> set[Cause]:
    return {each.cause for each in option.obstacles}


# Which one is recommended


def test_a_quiet_workload_is_rented_and_a_busy_one_is_owned() -> None:
    quiet, busy = (make_plan(question(), (size(),), load(mean)) for mean in (0.1, 20.0))
    assert quiet.recommended is not None
    assert busy.recommended is not None
    assert quiet.recommended.mode is ServedBy.HOSTED
    assert quiet.verdict.reason is Reason.BELOW_BREAK_EVEN
    assert busy.recommended.mode is ServedBy.DEDICATED
    assert busy.verdict.reason is Reason.SELF_HOSTING_CHEAPER


def test_short_peaks_over_a_steady_base_are_rented() -> None:
    plan = make_plan(question(), (size(),), load(5.0, peak=20.0, pattern=TrafficPattern.BURSTY))
    assert plan.recommended is not None
    assert plan.recommended.mode is ServedBy.HYBRID
    assert plan.recommended.cost is not None
    assert plan.recommended.cost.hosted_usd > 0
    assert plan.recommended.usd == min(option.usd for option in plan.options if option.usd is not None)


def test_below_kappa_one_owning_loses_at_any_load() -> None:
    plan = make_plan(question(classes={"x": accelerator("20")}), (size(),), load(50.0))
    assert plan.recommended is not None
    assert plan.recommended.mode is ServedBy.HOSTED
    assert plan.verdict.reason is Reason.HOSTED_CHEAPER_AT_ANY_LOAD
    assert plan.break_even is None


def test_the_smallest_size_is_taken_unless_a_larger_one_is_cheaper_per_request() -> None:
    slow, twice = size(requests_per_s=2.0), size(requests_per_s=4.0, tensor_parallel_size=2)
    more_than_twice = replace(twice, requests_per_s=5.0)
    for larger, expected in ((twice, 1), (more_than_twice, 2)):
        plan = make_plan(question(), (slow, larger), load(20.0))
        assert plan.recommended is not None
        assert plan.recommended.size is not None
        assert plan.recommended.size.tensor_parallel_size == expected


def test_offline_traffic_is_sent_in_batches_at_the_batch_price() -> None:
    offline = spec(traffic=TRAFFIC | {"latency": "Offline"})
    asked = question(offline, providers={"acme": provider(batch={"discountPercent": 50})})
    plan = make_plan(asked, (size(),), load(0.5))
    assert plan.recommended is not None
    assert plan.recommended.mode is ServedBy.BATCH
    assert plan.recommended.usd == pytest.approx((the(plan.options, ServedBy.HOSTED).usd or 0) / 2)


def test_a_batch_is_no_option_for_those_who_wait_and_none_where_no_price_is_stated() -> None:
    with_batch = question(providers={"acme": provider(batch={"discountPercent": 50})})
    assert causes(the(all_options(with_batch, (size(),), load()), ServedBy.BATCH)) == {Cause.NOT_OFFLINE}
    offline = question(spec(traffic=TRAFFIC | {"latency": "Offline"}))
    assert causes(the(all_options(offline, (size(),), load()), ServedBy.BATCH)) == {Cause.NO_OFFER}


def test_a_batch_that_answers_too_late_is_no_option() -> None:
    late = spec(traffic=TRAFFIC | {"latency": "Offline"}, slo={"endToEndMs": 3_600_000})
    asked = question(late, providers={"acme": provider(batch={"discountPercent": 50, "completionWindowHours": 24})})
    assert causes(the(all_options(asked, (size(),), load()), ServedBy.BATCH)) == {Cause.OFFER}


# What is in the way


def test_what_must_stay_in_the_cluster_is_owned_whatever_it_costs() -> None:
    inside = question(spec(placement={"mode": "Auto", "dataResidency": "ClusterOnly"}))
    plan = make_plan(inside, (size(),), load(0.01))
    assert plan.recommended is not None
    assert plan.recommended.mode is ServedBy.DEDICATED
    assert plan.verdict.reason is Reason.RESIDENCY_FORCES_DEDICATED
    for mode in (ServedBy.HOSTED, ServedBy.HYBRID):
        assert Cause.RESIDENCY in causes(the(plan.options, mode))


def test_own_weights_are_rented_only_where_the_spec_names_who_serves_them() -> None:
    alone = make_plan(question(spec(model=OWN_WEIGHTS)), (size(),), load(0.01))
    assert alone.verdict.reason is Reason.OWN_WEIGHTS_FORCE_DEDICATED
    assert causes(the(alone.options, ServedBy.HOSTED)) == {Cause.OWN_WEIGHTS}
    backends = {"backends": [{"providerRef": {"name": "acme"}, "model": "chat-8b"}]}
    named = make_plan(question(spec(model=OWN_WEIGHTS, hosted=backends)), (size(),), load(0.01))
    assert named.recommended is not None
    assert named.recommended.mode is ServedBy.HOSTED


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ({"timeToFirstTokenMs": 900}, {"slo": {"timeToFirstTokenMs": 500}}),
        ({"interTokenLatencyMs": 60}, {"slo": {"interTokenLatencyMs": 50}}),
        ({"timeToFirstTokenMs": 500, "interTokenLatencyMs": 20}, {"slo": {"endToEndMs": 5000}}),
        ({"contextTokens": 4096}, {"model": {"id": MODEL, "maxContextTokens": 8192}}),
    ],
    ids=["a slow first token", "slow tokens", "a long whole", "a short context"],
)
def test_an_offer_that_breaks_a_promise_is_neither_rented_nor_spilled_to(model: dict[str, Any], changes: dict[str, Any]) -> None:
    options = all_options(question(spec(**changes), providers={"acme": provider(model=model)}), (size(),), load())
    assert causes(the(options, ServedBy.HOSTED)) == {Cause.OFFER}
    assert causes(the(options, ServedBy.HYBRID)) == {Cause.OFFER}


def test_an_answer_of_one_token_is_whole_with_its_first() -> None:
    stated = {"acme": provider(model={"timeToFirstTokenMs": 100, "interTokenLatencyMs": 50})}
    asked = spec(traffic=TRAFFIC | {"outputTokens": {"mean": 1}}, slo={"endToEndMs": 120})
    assert the(all_options(question(asked, providers=stated), (size(),), load()), ServedBy.HOSTED).feasible


def test_an_offer_that_states_no_latency_passes() -> None:
    options = all_options(question(spec(slo={"timeToFirstTokenMs": 5})), (size(),), load())
    assert the(options, ServedBy.HOSTED).feasible


def test_spot_capacity_serves_those_who_wait_only_where_peaks_can_be_rented() -> None:
    spot = {"x": accelerator("2", price={"spotUSDPerHour": "1"})}

    def modes(latency: str) -> set[ServedBy]:
        asked = question(spec(traffic=TRAFFIC | {"latency": latency}), classes=spot)
        options = all_options(asked, (size(),), load())
        return {option.mode for option in options if option.pricing is Pricing.SPOT and option.feasible}

    assert modes("Interactive") == {ServedBy.HYBRID}
    assert modes("Background") == {ServedBy.HYBRID, ServedBy.DEDICATED}


def test_a_class_that_cannot_serve_or_is_not_listed_or_has_no_price_says_so() -> None:
    classes = {"x": accelerator(), "y": accelerator(), "z": accelerator().model_copy(update={"price": None})}
    given_sizes = (size("x", problem="it does not fit"), size("y"), size("z"))
    options = all_options(question(spec(dedicated={"accelerators": ["x", "z"]}), classes=classes), given_sizes, load())
    found = {option.size.accelerator_class: causes(option) for option in options if option.size and option.mode is ServedBy.DEDICATED}
    assert found == {"x": {Cause.SIZE}, "y": {Cause.NOT_LISTED}, "z": {Cause.NO_PRICE}}


def test_a_class_that_could_serve_and_has_no_price_is_not_said_to_be_unable_to() -> None:
    classes = {"x": accelerator().model_copy(update={"price": None})}
    able, unable = (make_plan(question(classes=classes), (each,), load()) for each in (size(), size(problem="it does not fit")))
    assert able.verdict.message == "The cost of self-hosting is unknown."
    assert unable.verdict.message == "No accelerator class here meets the requirements."


def test_an_offer_that_may_not_serve_is_not_said_to_be_none() -> None:
    barred = question(providers={"acme": provider(model={"contextTokens": 16})})
    verdict = make_plan(barred, (size(),), load()).verdict
    assert (verdict.reason, verdict.message) == (Reason.NO_HOSTED_ALTERNATIVE, "No hosted backend meets the requirements.")


def test_what_is_over_the_budget_is_not_possible() -> None:
    plan = make_plan(question(spec(budget={"monthlyUSD": "10"})), (size(),), load(4.0))
    assert plan.recommended is None
    assert all(Cause.BUDGET in causes(option) for option in plan.options if option.usd is not None)


def test_a_model_of_unknown_shape_can_still_be_rented() -> None:
    plan = make_plan(question(), Problem(reason=Reason.INVALID_SPEC, message="unknown shape"), load(0.1))
    assert plan.recommended is not None
    assert plan.recommended.mode is ServedBy.HOSTED
    assert causes(the(plan.options, ServedBy.DEDICATED)) == {Cause.UNKNOWN_MODEL}


def test_more_replicas_than_a_workload_may_have_are_not_possible() -> None:
    options = all_options(question(), (size(requests_per_s=0.001),), load(4.0))
    assert Cause.TOO_MANY in causes(the(options, ServedBy.DEDICATED))


# What is nearly as good


def test_what_runs_stays_while_the_cheapest_is_within_the_error() -> None:
    classes = {"x": accelerator("2"), "y": accelerator("2.1")}
    sized = (size("x"), size("y"))
    alone = make_plan(question(classes=classes), sized, load(8.0))
    kept = make_plan(question(classes=classes), sized, load(8.0), running=Running(mode=ServedBy.DEDICATED, accelerator_class="y"))
    assert alone.recommended is not None
    assert kept.recommended is not None
    assert alone.recommended.size is sized[0]
    assert kept.recommended.size is sized[1]
    assert any(option.size is sized[1] for option in alone.near)


def test_what_runs_is_left_when_the_saving_is_beyond_the_error() -> None:
    classes = {"x": accelerator("2"), "y": accelerator("4")}
    running = Running(mode=ServedBy.DEDICATED, accelerator_class="y")
    plan = make_plan(question(classes=classes), (size("x"), size("y")), load(8.0), running=running)
    assert plan.recommended is not None
    assert plan.recommended.size is not None
    assert plan.recommended.size.accelerator_class == "x"


def test_the_mode_that_is_asked_for_is_what_runs() -> None:
    assert running_of(question()) is None
    hosted = {"backends": [{"providerRef": {"name": "acme"}, "model": "chat-8b"}]}
    asked = question(spec(placement={"mode": "Hybrid"}, hosted=hosted, dedicated={"accelerators": ["x"]}))
    assert running_of(asked) == Running(mode=ServedBy.HYBRID, accelerator_class="x")


def test_people_are_amortised() -> None:
    assert Engineering(once_usd=6000, monthly_usd=100, amortise_months=12).usd_per_month == 600


# Laws

RATES = st.floats(0.01, 30)
USD = st.integers(10, 5000).map(lambda cents: f"{cents / 100:.2f}")
SPEEDS = st.floats(0.5, 20)


def best(prices: dict[str, str], speeds: dict[str, float], token_usd: str, mean: float, ratio: float, pattern: TrafficPattern) -> float:
    asked = question(classes={name: accelerator(usd) for name, usd in prices.items()}, providers={"acme": provider(token_usd, token_usd)})
    sized = tuple(size(name, speed) for name, speed in speeds.items())
    found = make_plan(asked, sized, load(mean, peak=mean * ratio, pattern=pattern)).cheapest
    assert found is not None
    assert found.usd is not None
    return found.usd


@given(USD, USD, SPEEDS, SPEEDS, USD, RATES, st.floats(1, 8), st.sampled_from(TrafficPattern), st.floats(1, 4))
def test_the_best_plan_never_gets_dearer_by_a_faster_or_cheaper_class_and_never_cheaper_by_more_load(
    one: str, other: str, slow: float, fast: float, token_usd: str, mean: float, ratio: float, pattern: TrafficPattern, factor: float
) -> None:
    prices, speeds = {"x": one, "y": other}, {"x": slow, "y": fast}
    usd = best(prices, speeds, token_usd, mean, ratio, pattern)
    cheaper = prices | {"x": f"{float(one) / factor:.4f}"}
    cent = 0.01  # options are ordered by the cent
    assert best(prices, speeds | {"x": slow * factor}, token_usd, mean, ratio, pattern) <= usd + cent
    assert best(cheaper, speeds, token_usd, mean, ratio, pattern) <= usd + cent
    assert best(prices, speeds, token_usd, mean * factor, ratio, pattern) >= usd - cent
    assert best({"x": one}, {"x": slow}, token_usd, mean, ratio, pattern) >= usd - cent  # a class more never hurts


@given(st.permutations(["a", "b", "c"]), RATES)
def test_the_plan_does_not_depend_on_the_order_of_what_it_is_given(order: list[str], mean: float) -> None:
    def plan(names: list[str]) -> tuple[Option, ...]:
        classes = {name: accelerator("2") for name in names}
        providers = {name: provider() for name in names}
        return make_plan(question(classes=classes, providers=providers), tuple(size(name) for name in names), load(mean)).options

    assert [(each.mode, each.usd, each.size, each.offer) for each in plan(order)] == [
        (each.mode, each.usd, each.size, each.offer) for each in plan(["a", "b", "c"])
    ]


# Volumes and names


def test_a_sweep_finds_the_cheapest_of_each_mode_at_each_volume() -> None:
    points = list(sweep(question(), (size(),), load(1.0), volumes(1e5, 3e7, 4)))
    assert [point.requests_per_month for point in points] == pytest.approx([1e5, 1.00666667e7, 2.00333333e7, 3e7])
    assert points[0].cheapest is points[0].by_mode[ServedBy.HOSTED]
    assert points[-1].cheapest is points[-1].by_mode[ServedBy.DEDICATED]
    assert ServedBy.BATCH not in points[0].by_mode


@pytest.mark.parametrize(
    "name",
    ["meta-llama/Llama-3.1-8B-Instruct", "llama-v3p1-8b-instruct", "meta.llama3-1-8b-instruct-v1:0", "llama-3.1-8b-instant", "llama3.1-8b"],
)
def test_a_model_is_known_by_the_names_that_providers_give_it(name: str) -> None:
    assert canonical_name(name) == "llama318b"


def test_models_of_another_size_or_version_are_others() -> None:
    names = ["Llama-3.1-8B", "Llama-3.1-70B", "Llama-3.3-70B", "Qwen3-32B", "Qwen2.5-32B", "gpt-oss-20b", "gpt-oss-120b"]
    assert len({canonical_name(name) for name in names}) == len(names)


def test_a_backend_that_does_not_exist_is_a_problem_and_not_left_out() -> None:
    backends = {"backends": [{"providerRef": {"name": "nobody"}, "model": "chat-8b"}]}
    found = find_offers(spec(hosted=backends), {"acme": provider()})
    assert isinstance(found, Problem)
    assert "nobody" in found.message


def test_a_stated_tensor_parallel_size_is_kept_to() -> None:
    stated = spec(dedicated={"engine": {"tensorParallelSize": 2}, "committedReplicas": 1})
    options = all_options(question(stated), (size(), size(tensor_parallel_size=2)), load(2.0))
    found = {option.size.tensor_parallel_size: option for option in options if option.size and option.mode is ServedBy.DEDICATED}
    assert causes(found[1]) == {Cause.NOT_LISTED}
    assert found[2].feasible
    assert found[1].usd == 1440
    assert found[2].usd == 0  # of the committed replicas it is known which size they are
