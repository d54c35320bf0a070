"""What of a running workload could be had for less."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spillway.api.catalogue import HostedProviderSpec
from spillway.api.gateway import Gateway
from spillway.api.routing import Routing
from spillway.api.status import Basis
from spillway.api.workload import InferenceWorkloadSpec
from spillway.cli.questions import default_classes
from spillway.plan.comparing.case import Case, Usage, case_of
from spillway.plan.comparing.offers import Offers, find_offers
from spillway.plan.comparing.options import Question, ServedBy
from spillway.plan.place.placed import ObservedLoad
from spillway.plan.saving.advice import advise
from spillway.plan.saving.opportunity import Opportunity, Takes, Topic
from spillway.plan.saving.smaller import candidates
from spillway.plan.saving.worthwhile import LEAST_USD
from tests.unit.plan.planning import accelerator, provider

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
LLAMA_8B, LLAMA_70B = "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.3-70B-Instruct"
H100, A100, L40S, L4 = "nvidia-h100-80gb", "nvidia-a100-80gb", "nvidia-l40s", "nvidia-l4"
CLASSES = {name: spec for name, spec in default_classes().items() if name in {H100, A100, L40S}}
MONTH_S = 720 * 3600


def workload(name: str = LLAMA_8B, **changes: Any) -> InferenceWorkloadSpec:
    plain: dict[str, Any] = {
        "model": {"id": name},
        "placement": {"mode": "Dedicated", "dataResidency": "ClusterOnly"},
        "dedicated": {"accelerators": [H100]},
        "traffic": {"requestsPerSecond": {"mean": "1", "peak": "2"}},
    }
    return InferenceWorkloadSpec.model_validate(plain | changes)


def owned(name: str = H100, parallel: int = 1, **changes: Any) -> Usage:
    plain: dict[str, Any] = {
        "mode": ServedBy.DEDICATED,
        "accelerator_class": name,
        "tensor_parallel_size": parallel,
        "desired_replicas": 1,
    }
    load: dict[str, Any] = {"mean_per_s": 1.0, "peak_per_s": 1.0, "input_tokens": 1000, "output_tokens": 250, "at": NOW}
    load |= {name: changes.pop(name) for name in load.keys() & changes.keys()}
    load["peak_per_s"] = max(load["mean_per_s"], load["peak_per_s"])
    return Usage(**({"seen": ObservedLoad(**load)} | plain | changes))


def rented(**changes: Any) -> Usage:
    return owned(mode=ServedBy.HOSTED, accelerator_class=None, tensor_parallel_size=None, desired_replicas=None, **changes)


def hosted(name: str = LLAMA_8B, *, backend: str = "llama-3.1-8b", **changes: Any) -> InferenceWorkloadSpec:
    plain: dict[str, Any] = {
        "placement": {"mode": "Hosted"},
        "dedicated": None,
        "hosted": {"backends": [{"providerRef": {"name": "acme"}, "model": backend}]},
    }
    return workload(name, **(plain | changes))


def acme(usd_in: str = "0.5", usd_out: str = "1.5", *, name: str = "llama-3.1-8b", **changes: Any) -> dict[str, HostedProviderSpec]:
    return {"acme": provider(usd_in, usd_out, model={"name": name}, **changes)}


def case(
    spec: InferenceWorkloadSpec,
    usage: Usage,
    *,
    classes: dict[str, Any] | None = None,
    providers: dict[str, HostedProviderSpec] | None = None,
) -> Case | None:
    known = providers or {}
    offers = find_offers(spec, known)
    assert isinstance(offers, Offers), offers
    question = Question(name="chat", spec=spec, classes=CLASSES if classes is None else classes, offers=offers)
    return case_of(question, usage, known)


def advice(spec: InferenceWorkloadSpec, usage: Usage, **more: Any) -> dict[Topic, Opportunity]:
    found = case(spec, usage, **more)
    assert found is not None
    return {each.topic: each for each in advise(found)}


@pytest.mark.parametrize("missing", ["mode", "seen", "input_tokens", "output_tokens", "accelerator_class"])
def test_nothing_is_advised_where_a_figure_is_missing(missing: str) -> None:
    unknown: dict[str, Any] = {missing: None}
    assert case(workload(), owned(**unknown)) is None


def test_nothing_is_advised_where_no_traffic_came() -> None:
    assert case(workload(), owned(mean_per_s=0.0)) is None


def test_nothing_is_advised_where_what_runs_has_no_price() -> None:
    unpriced = {H100: CLASSES[H100].model_copy(update={"price": None}), A100: CLASSES[A100]}
    assert case(workload(), owned(), classes=unpriced) is None


def test_the_traffic_that_was_seen_counts_and_not_what_was_declared() -> None:
    found = case(workload(), owned(mean_per_s=7.0, peak_per_s=20.0, input_tokens=300))
    assert found is not None
    assert (found.load.mean_per_s, found.load.peak_per_s, found.question.lengths.input_mean) == (7.0, 20.0, 300.0)


def test_an_idle_gpu_gives_way_to_renting() -> None:
    spec = workload(placement={"mode": "Dedicated"})
    found = advice(spec, owned(mean_per_s=0.05), providers=acme())[Topic.PLACEMENT]
    hosted_usd = 0.05 * MONTH_S * (1000 * 0.5 + 250 * 1.5) / 1e6
    price = CLASSES[H100].price
    assert price is not None
    owned_usd = 720 * float(price.on_demand_usd_per_hour) / (1 if price.per == "Accelerator" else CLASSES[H100].per_node)
    assert found.usd_per_month == pytest.approx(owned_usd - hosted_usd)
    assert found.settings["placement.mode"] == "Hosted"
    assert found.settings["hosted.backends"] == "[{providerRef: {name: acme}, model: llama-3.1-8b}]"


@pytest.mark.parametrize(("most", "told"), [(8, False), (1, True)], ids=["there is room", "there is none"])
def test_a_bound_is_named_where_it_has_to_be_raised_and_never_to_be_lowered(most: int, told: bool) -> None:  # noqa: FBT001  a table's column
    spec = hosted(dedicated={"accelerators": [L40S], "scaling": {"maxReplicas": most}})
    usage = rented(mean_per_s=8.0, peak_per_s=10.0)
    found = advice(spec, usage, providers=acme("5", "15"))[Topic.PLACEMENT]
    assert found.settings["placement.mode"] in {"Dedicated", "Hybrid"}
    assert ("dedicated.scaling.maxReplicas" in found.settings) == told


def test_an_offer_found_by_the_models_name_is_to_be_checked() -> None:
    found = advice(workload(placement={"mode": "Dedicated"}), owned(mean_per_s=0.05), providers=acme())[Topic.PLACEMENT]
    assert found.takes is Takes.QUALITY_CHECK
    assert "matched by the model's name" in found.message


def test_what_must_stay_in_the_cluster_is_not_advised_to_leave_it() -> None:
    assert Topic.PLACEMENT not in advice(workload(), owned(mean_per_s=0.05), providers=acme())


@pytest.mark.parametrize(("apply", "told"), [("Automatic", False), ("Recommend", True)], ids=["applies itself", "only tells"])
def test_auto_is_advised_to_move_only_where_it_does_not_by_itself(apply: str, told: bool) -> None:  # noqa: FBT001  a table's column
    spec = workload(placement={"mode": "Auto", "apply": apply})
    found = advice(spec, owned(mean_per_s=0.05), providers=acme())
    assert (Topic.PLACEMENT in found) is told
    assert not told or found[Topic.PLACEMENT].settings == {"placement.apply": "Automatic"}


def test_auto_that_applies_itself_is_told_of_a_class_only_where_the_spec_bars_it() -> None:
    auto = {"mode": "Auto", "apply": "Automatic", "dataResidency": "ClusterOnly"}
    assert Topic.ACCELERATOR_CLASS in advice(workload(placement=auto), owned(H100))
    assert Topic.ACCELERATOR_CLASS not in advice(workload(placement=auto, dedicated={}), owned(H100))


def test_a_class_that_does_the_same_for_less_is_named() -> None:
    found = advice(workload(), owned(H100))[Topic.ACCELERATOR_CLASS]
    assert found.settings["dedicated.accelerators"] in {f"[{A100}]", f"[{L40S}]"}
    assert found.basis is Basis.ESTIMATED


def test_a_class_that_saves_less_than_the_estimates_err_is_not_named() -> None:
    twins = {"x": accelerator("2.0", perNode=1), "y": accelerator("1.9", perNode=1)}
    assert Topic.ACCELERATOR_CLASS not in advice(workload(dedicated={"accelerators": ["x"]}), owned("x"), classes=twins)


def test_needless_tensor_parallelism_is_named() -> None:
    spec = workload(dedicated={"accelerators": [H100], "engine": {"tensorParallelSize": 4}})
    found = advice(spec, owned(parallel=4), classes={H100: CLASSES[H100]})[Topic.TENSOR_PARALLEL]
    assert found.settings["dedicated.engine.tensorParallelSize"] == "1"


def test_tensor_parallelism_that_the_model_needs_is_left_alone() -> None:
    spec = workload(LLAMA_70B, dedicated={"accelerators": [H100], "engine": {"tensorParallelSize": 4}})
    assert Topic.TENSOR_PARALLEL not in advice(spec, owned(parallel=4, output_tokens=300), classes={H100: CLASSES[H100]})


def floored(floor: int, **changes: Any) -> InferenceWorkloadSpec:
    scaling = {"minReplicas": floor, "maxReplicas": 8} | changes.pop("scaling", {})
    return workload(dedicated={"accelerators": [H100], "scaling": scaling, **changes})


def test_replicas_that_the_busiest_minute_does_not_need_are_named() -> None:
    found = advice(floored(4), owned(desired_replicas=4))[Topic.MIN_REPLICAS]
    one = case(floored(1), owned())
    assert one is not None
    assert found.settings == {"dedicated.scaling.minReplicas": "1"}
    assert found.usd_per_month == pytest.approx(3 * one.usd)


@pytest.mark.parametrize(
    ("spec", "usage"),
    [
        (floored(1), owned(desired_replicas=1)),
        (floored(4), owned(desired_replicas=5)),
        (floored(4), owned(desired_replicas=None)),
        (floored(4), owned(desired_replicas=4, peak_per_s=1000.0)),
        (floored(4, scaling={"mode": "External"}), owned(desired_replicas=4)),
        (floored(4, committedReplicas=4), owned(desired_replicas=4)),
    ],
    ids=["one", "more run than the floor", "not known how many run", "the peak needs them", "others scale", "paid for already"],
)
def test_a_floor_is_left_alone_where(spec: InferenceWorkloadSpec, usage: Usage) -> None:
    assert Topic.MIN_REPLICAS not in advice(spec, usage)


def test_weights_of_half_the_size_that_halve_the_accelerators_are_named() -> None:
    spec = workload(LLAMA_70B, dedicated={"accelerators": [H100], "engine": {"tensorParallelSize": 4}})
    found = advice(spec, owned(parallel=4, output_tokens=300), classes={H100: CLASSES[H100]})[Topic.QUANTIZATION]
    assert found.settings["model.quantization"] == "fp8"
    assert found.takes is Takes.QUALITY_CHECK


@pytest.mark.parametrize(
    ("model", "name"),
    [({"id": LLAMA_70B}, A100), ({"id": LLAMA_70B, "quantization": "fp8"}, H100), ({"id": f"{LLAMA_70B}-FP8"}, H100)],
    ids=["the class computes no fp8", "it is fp8 already", "its id says fp8"],
)
def test_fp8_is_not_named_where(model: dict[str, str], name: str) -> None:
    spec = workload(model=model, dedicated={"accelerators": [name], "engine": {"tensorParallelSize": 4}})
    assert Topic.QUANTIZATION not in advice(spec, owned(name, 4, output_tokens=300), classes={name: CLASSES[name]})


def prefixed(share: int, *arguments: str) -> InferenceWorkloadSpec:
    return workload(
        dedicated={"accelerators": [H100], "engine": {"extraArgs": ["--seed=1", *arguments]}},
        traffic={"requestsPerSecond": {"mean": "1"}, "cachedInputPercent": share},
    )


def test_a_cache_of_prompts_that_is_off_is_named_where_prompts_repeat() -> None:
    found = advice(prefixed(60, "--no-enable-prefix-caching"), owned())[Topic.PREFIX_CACHE]
    assert found.usd_per_month is None
    assert found.settings == {"dedicated.engine.extraArgs": "[--seed=1]"}


@pytest.mark.parametrize("spec", [prefixed(0, "--no-enable-prefix-caching"), prefixed(60)], ids=["no prompt repeats", "it is on"])
def test_a_cache_of_prompts_is_left_alone_where(spec: InferenceWorkloadSpec) -> None:
    assert Topic.PREFIX_CACHE not in advice(spec, owned())


def test_caches_that_find_few_of_the_prompts_that_repeat_want_one_replica_for_one_beginning() -> None:
    found = advice(prefixed(60), owned(desired_replicas=3, prefix_hit_ratio=0.2))[Topic.PREFIX_CACHE]
    assert found.settings == {"gateway.routing": "PrefixHash"}
    assert found.basis is Basis.MEASURED
    assert "60 %" in found.message
    assert "the 3 replicas find 20 %" in found.message


@pytest.mark.parametrize(
    ("share", "replicas", "found", "routing"),
    [
        (60, 3, 0.3, "LeastLoad"),
        (60, 1, 0.0, "LeastLoad"),
        (60, 3, None, "LeastLoad"),
        (60, 3, 0.0, "PrefixHash"),
        (0, 3, 0.0, "LeastLoad"),
    ],
    ids=["half is found", "there is one replica", "nobody knows", "it is so already", "nothing is said to repeat"],
)
def test_the_way_to_replicas_is_left_alone_where(share: int, replicas: int, found: float | None, routing: str) -> None:
    spec = prefixed(share).model_copy(update={"gateway": Gateway(routing=Routing(routing))})
    assert Topic.PREFIX_CACHE not in advice(spec, owned(desired_replicas=replicas, prefix_hit_ratio=found))


def test_shorter_prompts_are_priced_by_their_share_of_the_bill() -> None:
    found = advice(hosted(), rented(input_tokens=4000, output_tokens=100), providers=acme("1", "1"))
    bill = MONTH_S * 4100 / 1e6
    assert found[Topic.PROMPTS].usd_per_month == pytest.approx(bill * (4000 / 4100) / 5)
    assert found[Topic.PROMPTS].settings == {"traffic.inputTokens.mean": "3200"}
    assert found[Topic.PROMPTS].basis is Basis.MEASURED
    assert found[Topic.PROMPTS].takes is Takes.APPLICATION
    assert Topic.ANSWERS not in found


def test_cached_answers_are_priced_by_the_tenth() -> None:
    found = advice(hosted(), rented(input_tokens=100, output_tokens=1000), providers=acme("1", "1"))
    assert found[Topic.ANSWERS].usd_per_month == pytest.approx(MONTH_S * 1100 / 1e6 / 10)
    assert Topic.PROMPTS not in found


def test_a_rate_to_set_is_written_as_the_api_takes_it() -> None:
    found = advice(hosted(), rented(input_tokens=100, output_tokens=1000, mean_per_s=2000.0), providers=acme("1", "1"))
    assert found[Topic.ANSWERS].settings == {"traffic.requestsPerSecond.mean": "1800"}


def test_tokens_of_owned_replicas_are_not_priced() -> None:
    found = advice(workload(), owned(input_tokens=4000, output_tokens=10))
    assert not {Topic.PROMPTS, Topic.ANSWERS} & found.keys()


def test_a_smaller_model_of_the_family_is_named_with_the_name_clients_send_kept() -> None:
    spec = workload(LLAMA_70B, dedicated={"accelerators": [H100], "engine": {"tensorParallelSize": 4}})
    found = advice(spec, owned(parallel=4, output_tokens=300), classes={H100: CLASSES[H100]})[Topic.SMALLER_MODEL]
    assert found.settings["model.id"] == LLAMA_8B
    assert found.settings["model.servedName"] == "Llama-3.3-70B-Instruct"
    assert found.takes is Takes.QUALITY_CHECK


def test_a_smaller_model_is_named_with_the_replicas_that_it_takes() -> None:
    spec = workload(LLAMA_70B, dedicated={"accelerators": [H100], "engine": {"tensorParallelSize": 4}, "scaling": {"maxReplicas": 2}})
    usage = owned(parallel=4, output_tokens=300, mean_per_s=40.0, peak_per_s=100.0, desired_replicas=2)
    found = advice(spec, usage, classes={H100: CLASSES[H100]})[Topic.SMALLER_MODEL]
    assert int(found.settings["dedicated.scaling.maxReplicas"]) > 2


def test_a_smaller_model_takes_contexts_as_long_as_those_that_are_served() -> None:
    model = {"id": "mistralai/Mistral-Small-3.1-24B-Instruct-2503", "maxContextTokens": 100_000}
    spec = workload(model=model, dedicated={"accelerators": [H100], "engine": {"tensorParallelSize": 4}})
    found = advice(spec, owned(parallel=4, desired_replicas=1), classes={H100: CLASSES[H100]})[Topic.SMALLER_MODEL]
    assert found.settings["model.id"] == "mistralai/Mistral-Nemo-Instruct-2407", "Codestral 22B has 32,768"


def test_own_weights_have_no_smaller_sibling() -> None:
    model = {"id": LLAMA_70B, "source": {"persistentVolumeClaim": {"claimName": "weights"}}}
    spec = workload(model=model, dedicated={"accelerators": [H100], "engine": {"tensorParallelSize": 4}})
    assert Topic.SMALLER_MODEL not in advice(spec, owned(parallel=4, output_tokens=300), classes={H100: CLASSES[H100]})


def test_candidates_are_smaller_ones_of_the_family_largest_first() -> None:
    assert candidates("Qwen/Qwen2.5-32B-Instruct")[:2] == ("Qwen/Qwen2.5-14B-Instruct", "Qwen/Qwen2.5-7B-Instruct")


def test_an_older_generation_of_a_much_shorter_context_is_no_candidate() -> None:
    assert not [each for each in candidates(LLAMA_70B) if "Llama-2" in each]


def test_a_model_with_published_distillates_has_those_as_candidates() -> None:
    assert candidates("deepseek-ai/DeepSeek-R1")[0] == "deepseek-ai/DeepSeek-R1-Distill-Llama-70B"


def test_a_model_that_nobody_knows_has_no_candidate() -> None:
    assert candidates("acme/secret-13b") == ()


BATCH: dict[str, Any] = {"batch": {"discountPercent": 50, "completionWindowHours": 24}}


@pytest.mark.parametrize(("latency", "told"), [("Interactive", False), ("Background", True), ("Offline", True)])
def test_a_batch_is_named_where_no_person_waits(latency: str, told: bool) -> None:  # noqa: FBT001  a table's column
    spec = hosted(traffic={"requestsPerSecond": {"mean": "1"}, "latency": latency})
    found = advice(spec, rented(), providers=acme(**BATCH))
    assert (Topic.BATCH in found) is told
    if told:
        assert found[Topic.BATCH].usd_per_month == pytest.approx(MONTH_S * (1000 * 0.5 + 250 * 1.5) / 1e6 / 2)
        assert found[Topic.BATCH].settings == ({} if latency == "Offline" else {"traffic.latency": "Offline"})


@pytest.mark.parametrize("target", ["endToEndMs", "timeToFirstTokenMs", "interTokenLatencyMs"])
def test_a_batch_is_not_named_where_the_promise_is_shorter_than_its_window(target: str) -> None:
    spec = hosted(traffic={"requestsPerSecond": {"mean": "1"}, "latency": "Background"}, slo={target: 60_000})
    assert Topic.BATCH not in advice(spec, rented(), providers=acme(**BATCH))


def test_another_provider_that_lists_the_model_for_less_is_named() -> None:
    both = acme() | {"cheap": provider("0.1", "0.3", model={"name": LLAMA_8B})}
    found = advice(hosted(), rented(), providers=both)[Topic.PROVIDER]
    assert found.settings == {"hosted.backends": f"[{{providerRef: {{name: cheap}}, model: {LLAMA_8B}}}]"}
    assert found.usd_per_month == pytest.approx(MONTH_S * (1000 * 0.4 + 250 * 1.2) / 1e6)


def test_what_a_hybrid_workload_rents_costs_what_its_first_backend_asks() -> None:
    both = acme("5", "15") | {"cheap": provider("0.1", "0.3", model={"name": LLAMA_8B})}
    backends = [{"providerRef": {"name": "acme"}, "model": "llama-3.1-8b"}, {"providerRef": {"name": "cheap"}, "model": LLAMA_8B}]
    spec = workload(
        placement={"mode": "Hybrid"},
        dedicated={"accelerators": [H100], "scaling": {"maxReplicas": 1}},
        hosted={"backends": backends},
    )
    usage = owned(mode=ServedBy.HYBRID, mean_per_s=20.0, peak_per_s=60.0)
    found = case(spec, usage, providers=both)
    assert found is not None
    assert found.current.offer is not None
    assert found.current.offer.label == "acme/llama-3.1-8b", "the second one answers when the first does not"
    alone = case(spec, usage, providers={"acme": both["acme"], "cheap": provider("9", "9", model={"name": LLAMA_8B})})
    assert alone is not None
    assert found.usd == alone.usd


@pytest.mark.parametrize(
    ("providers", "topic"),
    [
        pytest.param(
            acme("5", "15") | {"second": provider("0.01", "0.03", model={"name": "mine"})}, Topic.PLACEMENT, id="to rent all of it"
        ),
        pytest.param(acme("5", "15") | {"second": provider("0.1", "0.3", model={"name": "mine"}, **BATCH)}, Topic.BATCH, id="in batches"),
    ],
)
def test_what_another_backend_that_is_named_could_do_alone_is_advised(providers: dict[str, Any], topic: Topic) -> None:
    backends = [{"providerRef": {"name": "acme"}, "model": "llama-3.1-8b"}, {"providerRef": {"name": "second"}, "model": "mine"}]
    spec = workload(
        placement={"mode": "Hybrid"},
        traffic={"requestsPerSecond": {"mean": "1"}, "latency": "Background"},
        dedicated={"accelerators": [H100], "scaling": {"maxReplicas": 1}},
        hosted={"backends": backends},
    )
    found = advice(spec, owned(mode=ServedBy.HYBRID, mean_per_s=20.0, peak_per_s=60.0), providers=providers)
    assert "second" in found[topic].message


def test_a_provider_of_another_model_is_not_named() -> None:
    both = acme() | {"cheap": provider("0.01", "0.01", model={"name": "another-8b"})}
    assert Topic.PROVIDER not in advice(hosted(), rented(), providers=both)


def budgeted(usd: str) -> InferenceWorkloadSpec:
    return workload(budget={"monthlyUSD": usd}, dedicated={"accelerators": [H100], "scaling": {"minReplicas": 1, "maxReplicas": 2}})


def test_a_budget_that_cannot_be_kept_is_named_with_what_could() -> None:
    found = advice(budgeted("10"), owned())[Topic.BUDGET]
    assert int(found.settings["budget.monthlyUSD"]) > 10
    assert found.usd_per_month == 0.0


def test_a_budget_that_no_bill_reaches_is_named_with_the_highest_bill() -> None:
    one = case(budgeted("1"), owned())
    assert one is not None
    found = advice(budgeted("1000000"), owned())[Topic.BUDGET]
    assert float(found.settings["budget.monthlyUSD"]) == pytest.approx(2 * one.usd * 31 / 30, abs=1), "months have up to 31 days"


@pytest.mark.parametrize("replicas", [1.5, 2.03], ids=["half of the time", "in a month of 31 days"])
def test_a_budget_that_a_busy_month_reaches_is_left_alone(replicas: float) -> None:
    one = case(budgeted("1"), owned())
    assert one is not None
    assert Topic.BUDGET not in advice(budgeted(f"{replicas * one.usd:.0f}"), owned())


def test_what_the_planner_would_not_have_run_is_costed_as_it_is_billed() -> None:
    spec = workload(slo={"timeToFirstTokenMs": 1})
    billed = case(spec, owned(owned_usd_per_hour=3.0, hosted_usd_per_hour=0.0))
    assert billed is not None
    assert billed.usd == pytest.approx(3 * 720)
    assert case(spec, owned()) is None


def test_a_replica_that_was_measured_scales_every_estimate() -> None:
    plain = case(workload(), owned())
    assert plain is not None
    assert plain.current.size is not None
    half = plain.current.size.requests_per_s / 2
    measured = case(workload(), owned(measured_requests_per_s=half))
    assert measured is not None
    assert measured.current.size is not None
    assert measured.current.size.requests_per_s == pytest.approx(half)
    rates = {(each.size.accelerator_class, each.size.tensor_parallel_size): each.size.requests_per_s for each in plain.options if each.size}
    for option in measured.options:
        if option.size is not None:
            before = rates[option.size.accelerator_class, option.size.tensor_parallel_size]
            assert option.size.requests_per_s == pytest.approx(before / 2)


rates = st.floats(0.01, 50)
tokens = st.integers(20, 6000)


@settings(max_examples=40, deadline=None)
@given(rate=rates, prompt=tokens, answer=st.integers(1, 1500), floor=st.integers(1, 4), rents=st.booleans())
def test_a_saving_is_never_more_than_the_bill_nor_too_small_to_tell(rate: float, prompt: int, answer: int, floor: int, rents: bool) -> None:  # noqa: FBT001
    spec = hosted() if rents else floored(floor).model_copy(update={"placement": workload(placement={"mode": "Dedicated"}).placement})
    usage = (rented if rents else owned)(mean_per_s=rate, input_tokens=prompt, output_tokens=answer)
    found = case(spec, usage, providers=acme(**BATCH), classes={H100: CLASSES[H100], A100: CLASSES[A100]})
    if found is None:
        return
    told = advise(found)
    assert told == advise(found)
    for each in told:
        assert each.usd_per_month is None or 0 <= each.usd_per_month <= found.usd + 0.01
        if each.usd_per_month:
            assert each.usd_per_month >= LEAST_USD
    known = [each.usd_per_month for each in told if each.usd_per_month]
    assert known == sorted(known, reverse=True)
