"""What serves a workload and what it carries, as its status tells, put to the planner's own arithmetic.

What runs and what could run are costed alike, so that a saving is not the difference between a measurement and a model.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from spillway.api.catalogue import AcceleratorClassSpec, HostedProviderSpec
from spillway.api.workload import ApplyMode, InferenceWorkloadSpec, PlacementMode
from spillway.plan.comparing.choice import all_options
from spillway.plan.comparing.offers import Offers
from spillway.plan.comparing.options import Cause, Option, Question, ServedBy
from spillway.plan.comparing.owning import all_sizes
from spillway.plan.decision import Problem
from spillway.plan.money.economics import MonthlyCost, Pricing
from spillway.plan.place.placed import ObservedLoad
from spillway.plan.replica.sizing import ReplicaSize
from spillway.plan.traffic.load import HOURS_PER_MONTH, Load, declared_load
from spillway.plan.traffic.observed_load import as_declared

MOST_SCALED = 4.0  # a measured replica that is further than this from its estimate is taken as a reading gone wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What is known of a running workload; None where it is not."""

    mode: ServedBy | None = None  # what serves now
    accelerator_class: str | None = None
    tensor_parallel_size: int | None = None
    desired_replicas: int | None = None
    seen: ObservedLoad | None = None  # of the traffic
    seen_over: str = "in the last minutes"  # the time that it is of, in words
    measured_requests_per_s: float | None = None  # of one replica, where the engine was measured
    prefix_hit_ratio: float | None = None  # share of prompt tokens found in the replicas' caches, 0 to 1
    owned_usd_per_hour: float | None = None  # billed now
    hosted_usd_per_hour: float | None = None  # likewise


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A workload as it runs, and everything it could be served by instead at the load that was seen."""

    question: Question  # with the traffic that was seen
    usage: Usage
    load: Load
    sized: tuple[ReplicaSize, ...] | Problem
    options: tuple[Option, ...]  # at on-demand prices, cheapest first; barred ones too
    current: Option  # what runs now; it always has a cost
    providers: Mapping[str, HostedProviderSpec] = field(default_factory=dict)  # all that the workload could name

    @property
    def spec(self) -> InferenceWorkloadSpec:
        """What was asked for, with the traffic that was seen."""
        return self.question.spec

    @property
    def usd(self) -> float:
        """What runs now, USD a month, by the planner's arithmetic."""
        return self.current.usd or 0.0

    @property
    def moves_itself(self) -> bool:
        """Whether the operator does by itself what the spec lets it do."""
        return self.spec.placement.mode is PlacementMode.AUTO and self.spec.placement.apply is ApplyMode.AUTOMATIC

    @property
    def accelerator(self) -> AcceleratorClassSpec | None:
        """The class that runs; None where nothing is owned."""
        return self.question.classes.get(self.current.size.accelerator_class) if self.current.size else None


def case_of(question: Question, usage: Usage, providers: Mapping[str, HostedProviderSpec]) -> Case | None:
    """Return the case of a running workload; None where what serves it, what it carries or what that costs is not known.

    `providers` are all that the workload could name, whether it does or not.
    """
    seen = usage.seen
    if usage.mode is None or seen is None or not seen.mean_per_s or not seen.input_tokens or not seen.output_tokens:
        return None
    asked = replace(
        question,
        spec=as_declared(question.spec, seen),
        offers=_answering(question.offers, usage),
        running_tensor_parallel_size=usage.tensor_parallel_size,
    )
    load = declared_load(asked.spec)
    if load is None:
        return None
    sized = _as_measured(all_sizes(asked), usage)
    options = on_demand(all_options(asked, sized, load))
    current = next((option for option in options if _runs(option, usage, asked)), None)
    if current is not None and current.usd is None:
        current = _as_billed(current, usage, asked)
    if current is None:
        return None
    return Case(question=asked, usage=usage, load=load, sized=sized, options=options, current=current, providers=providers)


def on_demand(options: Iterable[Option]) -> tuple[Option, ...]:
    """Return those that are paid by the hour: how it is paid in fact no object of the cluster tells."""
    return tuple(option for option in options if option.pricing in {None, Pricing.ON_DEMAND})


def cheapest(options: Iterable[Option], *relaxed: Cause, where: Callable[[Option], bool]) -> Option | None:
    """Return the cheapest option of those wanted that is possible once `relaxed` are out of its way; None without any."""
    able = [each for each in options if each.usd is not None and where(each) and all(one.cause in relaxed for one in each.obstacles)]
    return min(able, key=lambda each: each.usd or 0.0, default=None)


def _as_billed(current: Option, usage: Usage, question: Question) -> Option | None:
    """Return what runs at what it costs now, where the planner would not have it run: an estimate does not forbid what is there."""
    owned, hosted, replicas = usage.owned_usd_per_hour, usage.hosted_usd_per_hour, usage.desired_replicas
    if owned is None or hosted is None or replicas is None:
        return None
    cost = MonthlyCost(
        owned_usd=owned * HOURS_PER_MONTH,
        hosted_usd=hosted * HOURS_PER_MONTH,
        replicas_mean=float(replicas),
        replicas_peak=replicas,
        utilization=None,
    )
    overflow = question.offers.found[0] if usage.mode is ServedBy.HYBRID and question.offers.found else None
    return replace(current, mode=usage.mode or current.mode, offer=overflow, cost=cost)


def _as_measured(sized: tuple[ReplicaSize, ...] | Problem, usage: Usage) -> tuple[ReplicaSize, ...] | Problem:
    """Return the sizes, all of them scaled by how the running one compares with its measurement: they err together."""
    measured = usage.measured_requests_per_s
    if isinstance(sized, Problem) or not measured:
        return sized
    running = next((size for size in sized if _is_size(size, usage) and size.requests_per_s), None)
    if running is None:
        return sized
    expected = running.behind_cap if usage.mode is ServedBy.HYBRID else running
    factor = measured / expected.requests_per_s
    return tuple(size.scaled(factor) for size in sized) if 1 / MOST_SCALED <= factor <= MOST_SCALED else sized


def _answering(offers: Offers, usage: Usage) -> Offers:
    """Return the offers with what takes the overflow of what runs: the first backend that is named, whatever others ask."""
    return replace(offers, in_order=usage.mode is ServedBy.HYBRID and not offers.by_name)


def _runs(option: Option, usage: Usage, question: Question) -> bool:
    if option.size is not None:
        possible = option.mode is usage.mode or not option.size.feasible  # one that is not stands for every way to own it
        return usage.mode in {ServedBy.DEDICATED, ServedBy.HYBRID} and possible and _is_size(option.size, usage)
    if option.mode is not usage.mode or option.owns:
        return False
    backends = question.spec.hosted.backends if question.spec.hosted else []
    preferred = f"{backends[0].provider_ref.name}/{backends[0].model}" if backends else None
    return option.offer is not None and preferred in {None, option.offer.label}


def _is_size(size: ReplicaSize, usage: Usage) -> bool:
    return (size.accelerator_class, size.tensor_parallel_size) == (usage.accelerator_class, usage.tensor_parallel_size)
