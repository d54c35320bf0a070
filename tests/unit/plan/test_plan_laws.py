"""Laws of whole plans, from the model's shape to the recommendation: what costs more must never be asked less, or the other way round."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spillway.api.catalogue import AcceleratorClassSpec, HostedProviderSpec
from spillway.api.workload import InferenceWorkloadSpec
from spillway.cli.questions import default_classes
from spillway.plan.comparing.choice import Plan, make_plan
from spillway.plan.comparing.offers import find_offers
from spillway.plan.comparing.options import Option, Question
from spillway.plan.comparing.owning import all_sizes
from spillway.plan.decision import Problem
from spillway.plan.traffic.load import declared_load
from tests.unit.plan.planning import provider

MODELS = ("meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-32B-FP8", "openai/gpt-oss-20b", "Qwen/Qwen3-30B-A3B")
SAME = 2e-3  # of a cost: rates are found by halving
laws = settings(max_examples=12, deadline=None)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a plan is asked about, in numbers that a law can move."""

    model: str
    mean_per_s: float
    peak_ratio: float
    pattern: str
    input_tokens: int
    output_tokens: int
    slo: Mapping[str, int]
    least: int
    classes: Mapping[str, AcceleratorClassSpec]
    providers: Mapping[str, HostedProviderSpec]
    dedicated: Mapping[str, Any]

    @property
    def plan(self) -> Plan:
        rates = {"mean": f"{self.mean_per_s:.6f}", "peak": f"{self.mean_per_s * self.peak_ratio + 1e-6:.6f}"}
        spec = InferenceWorkloadSpec.model_validate(
            {
                "model": {"id": self.model, "maxContextTokens": 32_768},
                "placement": {"mode": "Auto"},
                "slo": {"attainmentPercent": 95, **self.slo},
                "traffic": {
                    "requestsPerSecond": rates,
                    "pattern": self.pattern,
                    "inputTokens": {"mean": self.input_tokens},
                    "outputTokens": {"mean": self.output_tokens},
                },
                "dedicated": {"scaling": {"minReplicas": self.least, "maxReplicas": 1000}, **self.dedicated},
            }
        )
        offers = find_offers(spec, self.providers)
        assert not isinstance(offers, Problem), offers
        question, load = Question(name="chat", spec=spec, classes=self.classes, offers=offers), declared_load(spec)
        assert load is not None
        return make_plan(question, all_sizes(question), load)

    @property
    def usd(self) -> float:
        """USD a month of the cheapest way; without end where there is none."""
        cheapest = self.plan.cheapest
        return math.inf if cheapest is None or cheapest.usd is None else cheapest.usd


@st.composite
def asked(draw: st.DrawFn) -> Asked:
    catalogue, model = default_classes(), draw(st.sampled_from(MODELS))
    names = draw(st.lists(st.sampled_from(sorted(catalogue)), min_size=1, max_size=3, unique=True))
    prices = draw(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 600)), max_size=2))
    return Asked(
        model=model,
        mean_per_s=draw(st.floats(0.01, 200)),
        peak_ratio=draw(st.floats(1, 6)),
        pattern=draw(st.sampled_from(["Steady", "Bursty"])),
        input_tokens=draw(st.integers(10, 8000)),
        output_tokens=draw(st.integers(5, 2000)),
        slo={"timeToFirstTokenMs": draw(st.integers(200, 10_000)), "interTokenLatencyMs": draw(st.integers(10, 200))},
        least=draw(st.integers(0, 2)),
        classes={name: catalogue[name] for name in names},
        providers={
            f"p{index}": provider(f"{prompt / 100}", f"{answer / 100}", model={"name": model})
            for index, (prompt, answer) in enumerate(prices)
        },
        dedicated={},
    )


def priced(spec: AcceleratorClassSpec, factor: Decimal) -> AcceleratorClassSpec:
    assert spec.price is not None
    usd = spec.price.on_demand_usd_per_hour * factor
    return spec.model_copy(update={"price": spec.price.model_copy(update={"on_demand_usd_per_hour": usd})})


def rented_at(spec: HostedProviderSpec, factor: Decimal) -> HostedProviderSpec:
    names = ("input_usd_per_million_tokens", "output_usd_per_million_tokens")
    return spec.model_copy(
        update={"models": [each.model_copy(update={name: getattr(each, name) * factor for name in names}) for each in spec.models]}
    )


def no_dearer(one: Asked, other: Asked) -> bool:
    return one.usd <= other.usd * (1 + SAME) + 0.02


@laws
@given(asked(), st.floats(1, 4))
def test_more_traffic_never_costs_less(less: Asked, factor: float) -> None:
    """Not so of a higher peak over the same mean, which leaves Steady traffic fewer replicas most of the time, nor of longer answers.

    Over few tokens the pace of one request swings more, so that a tight pace asks for more room.
    """
    assert no_dearer(less, replace(less, mean_per_s=less.mean_per_s * factor))
    assert no_dearer(less, replace(less, input_tokens=math.ceil(less.input_tokens * factor)))


@laws
@given(asked(), st.sampled_from(["timeToFirstTokenMs", "interTokenLatencyMs", "attainmentPercent"]), st.floats(1.1, 4))
def test_a_stricter_promise_never_costs_less(loose: Asked, target: str, factor: float) -> None:
    stricter = 99 if target == "attainmentPercent" else max(1, int(loose.slo[target] / factor))
    assert no_dearer(loose, replace(loose, slo={**loose.slo, target: stricter}))


@laws
@given(asked(), st.data(), st.floats(0.1, 1))
def test_a_cheaper_class_never_makes_it_dearer(dear: Asked, data: st.DataObject, factor: float) -> None:
    name = data.draw(st.sampled_from(sorted(dear.classes)))
    cheap = replace(dear, classes={**dear.classes, name: priced(dear.classes[name], Decimal(repr(factor)))})
    assert no_dearer(cheap, dear)


@laws
@given(asked(), st.data(), st.sampled_from([1, 2, 4, 8]))
def test_fewer_choices_never_make_it_cheaper(free: Asked, data: st.DataObject, parallel: int) -> None:
    name = data.draw(st.sampled_from(sorted(free.classes)))
    assert no_dearer(free, replace(free, classes={each: spec for each, spec in free.classes.items() if each != name}))
    assert no_dearer(free, replace(free, providers=dict(list(free.providers.items())[1:])))
    assert no_dearer(free, replace(free, dedicated={"accelerators": [name]}))
    assert no_dearer(free, replace(free, dedicated={"engine": {"tensorParallelSize": parallel}}))
    assert no_dearer(free, replace(free, least=free.least + 1))


@laws
@given(asked())
def test_twice_the_prices_are_twice_the_cost(once: Asked) -> None:
    two = Decimal(2)
    twice = replace(
        once,
        classes={name: priced(each, two) for name, each in once.classes.items()},
        providers={name: rented_at(each, two) for name, each in once.providers.items()},
    )
    assert twice.usd == pytest.approx(2 * once.usd)


@laws
@given(asked(), st.randoms(use_true_random=False))
def test_the_order_of_classes_and_providers_decides_nothing(one: Asked, chance: Random) -> None:
    def shuffled(given_in_order: Mapping[str, Any]) -> dict[str, Any]:
        return dict(chance.sample(list(given_in_order.items()), len(given_in_order)))

    def told(option: Option) -> tuple[object, ...]:
        size = option.size
        where = None if size is None else (size.accelerator_class, size.tensor_parallel_size)
        return option.mode, where, option.usd, option.offer.label if option.offer else None

    other = replace(one, classes=shuffled(one.classes), providers=shuffled(one.providers))
    assert [told(each) for each in other.plan.options] == [told(each) for each in one.plan.options]
