"""All baselines, with where their rule is written down, its defaults, and the values to try when tuned with hindsight."""

from collections.abc import Callable
from dataclasses import dataclass

from spillway.simulate.baselines.apa import Apa
from spillway.simulate.baselines.dynamo import Dynamo
from spillway.simulate.baselines.facts import Facts
from spillway.simulate.baselines.hpa import HpaConcurrency, HpaUtilisation
from spillway.simulate.baselines.keda import KedaQueue, KedaQueueAndCache
from spillway.simulate.baselines.kpa import AIBRIX, Kpa
from spillway.simulate.baselines.kubeai import KubeAi
from spillway.simulate.baselines.llmd import SloLoop
from spillway.simulate.baselines.static import Static
from spillway.simulate.baselines.wva import WvaSaturation, WvaTokenBudget
from spillway.simulate.policy import Policy

Values = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A baseline. Every one is our re-implementation of the documented rule, not its project's code."""

    name: str
    source: str
    parameters: tuple[str, ...]
    build: Callable[[Facts, Values], Policy]
    defaults: tuple[Values, ...]  # documented; the first is the project's own
    grid: tuple[Values, ...]  # for hindsight; () where there is nothing to tune
    never_spills: bool = False
    never_owns: bool = False

    def policy(self, facts: Facts, values: Values | None = None) -> Policy:
        """Return a fresh policy, by default with the project's own values."""
        return self.build(facts, self.defaults[0] if values is None else values)


def _each(*values: float) -> tuple[Values, ...]:
    return tuple((value,) for value in values)


SHARES = _each(0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
COUNTS = _each(*(step / 32 for step in range(1, 33)))  # of the peak

RULES: tuple[Rule, ...] = (
    Rule(
        name="all-hosted",
        source="everything rented",
        parameters=(),
        build=lambda facts, _: Static(facts, share_of_peak=0.0),
        defaults=((),),
        grid=(),
        never_owns=True,
    ),
    Rule(
        name="all-owned",
        source="replicas for the busiest moment and no hosted side",
        parameters=(),
        build=lambda facts, _: Static(facts),
        defaults=((),),
        grid=(),
        never_spills=True,
    ),
    Rule(
        name="static",
        source="a fixed count; by default for the busiest moment, tuned: the best fixed count",
        parameters=("share of peak",),
        build=lambda facts, values: Static(facts, share_of_peak=values[0]),
        defaults=((1.0,),),
        grid=COUNTS,
    ),
    Rule(
        name="hpa-utilisation",
        source="Kubernetes HPA v2 on GPU utilisation (v1.37 documentation)",
        parameters=("target",),
        build=lambda facts, values: HpaUtilisation(facts, target=values[0]),
        defaults=((0.8,), (0.6,)),
        grid=_each(0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98),
    ),
    Rule(
        name="hpa-concurrency",
        source="Kubernetes HPA v2 on requests in flight per replica (v1.37 documentation)",
        parameters=("target share of slots",),
        build=lambda facts, values: HpaConcurrency(facts, target=values[0]),
        defaults=((0.8,), (0.6,)),
        grid=SHARES,
    ),
    Rule(
        name="keda-queue",
        source="KEDA on vllm:num_requests_waiting (vLLM production-stack tutorial 20, 2026-08)",
        parameters=("waiting per replica",),
        build=lambda facts, values: KedaQueue(facts, waiting_each=values[0]),
        defaults=((5.0,), (30.0,)),
        grid=_each(0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0),
    ),
    Rule(
        name="keda-queue-kv",
        source="KEDA on queue and KV use (llm-d-autoscaling PR #1517, 2026-08)",
        parameters=("waiting per replica", "KV use"),
        build=lambda facts, values: KedaQueueAndCache(facts, waiting_each=values[0], kv_usage_ratio=values[1]),
        defaults=((5.0, 0.6),),
        grid=tuple((waiting, kv) for waiting in (1.0, 5.0) for kv in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)),
    ),
    Rule(
        name="kubeai",
        source="KubeAI internal/modelautoscaler/autoscaler.go (v0.22.1, f442a2cd)",
        parameters=("target share of slots",),
        build=lambda facts, values: KubeAi(facts, target_share=values[0] if values else None),
        defaults=((), (0.8,)),
        grid=SHARES,
    ),
    Rule(
        name="knative-kpa",
        source="knative/serving pkg/autoscaler/scaling/autoscaler.go (00a4a55c)",
        parameters=("target share of slots",),
        build=lambda facts, values: Kpa(facts, target=values[0]),
        defaults=((0.7,),),
        grid=SHARES,
    ),
    Rule(
        name="aibrix-kpa",
        source="AIBrix pkg/controller/podautoscaler/algorithm/kpa.go (2026-08)",
        parameters=("target share of slots",),
        build=lambda facts, values: Kpa(facts, target=values[0], pace=AIBRIX),
        defaults=((0.7,),),
        grid=SHARES,
    ),
    Rule(
        name="aibrix-apa",
        source="AIBrix pkg/controller/podautoscaler/algorithm/apa.go (4148b7a1)",
        parameters=("KV use",),
        build=lambda facts, values: Apa(facts, kv_usage_ratio=values[0]),
        defaults=((0.5,),),
        grid=_each(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
    ),
    Rule(
        name="llmd-slo",
        source="llm-d guides/workload-autoscaling/README.slo-aware.md (d38c9f0c, 2026-08)",
        parameters=("up above", "down below"),
        build=lambda facts, values: SloLoop(facts, up=values[0], down=values[1]),
        defaults=((0.55, 0.40),),
        grid=((0.45, 0.30), (0.55, 0.40), (0.65, 0.50), (0.75, 0.60), (0.85, 0.70), (0.95, 0.80)),
    ),
    Rule(
        name="wva-v1",
        source="llm-d workload-variant-autoscaler docs/saturation-analyzer.md (b08b1c7, 2026-02)",
        parameters=("KV use",),
        build=lambda facts, values: WvaSaturation(facts, kv_usage_ratio=values[0]),
        defaults=((0.80,),),
        grid=_each(0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    ),
    Rule(
        name="wva-v2",
        source="llm-d workload-variant-autoscaler, saturation V2 (b08b1c7, 2026-02)",
        parameters=("up above", "down below"),
        build=lambda facts, values: WvaTokenBudget(facts, up=values[0], down=values[1]),
        defaults=((0.85, 0.70),),
        grid=((0.25, 0.20), (0.35, 0.27), (0.45, 0.35), (0.55, 0.45), (0.65, 0.50), (0.75, 0.60), (0.85, 0.70), (0.95, 0.80), (1.0, 0.90)),
    ),
    Rule(
        name="dynamo",
        source="NVIDIA Dynamo planner guide and design (v1.6, 2026-08)",
        parameters=("utilisation planned with", "load loop on"),
        build=lambda facts, values: Dynamo(facts, utilisation=values[0], by_load=values[1] > 0),
        defaults=((1.0, 1.0), (1.0, 0.0)),
        grid=tuple((share, load) for load in (0.0, 1.0) for share in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)),
    ),
)


def rule(name: str) -> Rule:
    """Return the rule of that name; ValueError names those there are."""
    for each in RULES:
        if each.name == name:
            return each
    raise ValueError(f"no policy '{name}'; there are {', '.join(each.name for each in RULES)}")
