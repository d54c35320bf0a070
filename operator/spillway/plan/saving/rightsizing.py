"""What is owned and could be less of it: class, tensor parallel size, replicas, storage of the weights, cache of prompts."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from spillway.api.dedicated import ScalingMode
from spillway.api.model import Quantization
from spillway.api.routing import Routing
from spillway.api.status import Basis
from spillway.plan.comparing.case import Case, cheapest, on_demand
from spillway.plan.comparing.choice import all_options
from spillway.plan.comparing.options import Cause, Option
from spillway.plan.comparing.owning import all_sizes
from spillway.plan.decision import Problem
from spillway.plan.model.models import resolve_model
from spillway.plan.money.economics import replica_price
from spillway.plan.replica.measuring import NO_PREFIX_CACHE
from spillway.plan.replica.sizing import ReplicaSize
from spillway.plan.rounding import dollars, figure
from spillway.plan.saving.instructions import as_list
from spillway.plan.saving.opportunity import Opportunity, Takes, Topic
from spillway.plan.saving.worthwhile import costs, pays, rate_words, worth_telling
from spillway.plan.traffic.load import BURSTY_PEAK, HOURS_PER_MONTH, replicas_for

LONGEST_MONTH_HOURS = 31 * 24.0  # a budget is of a calendar month
SEVERAL = 2  # replicas, among which prompts with one beginning are scattered
SIXTEEN_BITS = 1.9  # bytes per parameter, with some room for what is counted as one


def owned_opportunities(case: Case) -> Iterator[Opportunity]:
    """Return what could be less of what is owned."""
    if case.current.size is None:
        return
    yield from _class(case, case.current.size)
    yield from _tensor_parallel(case, case.current.size)
    yield from _min_replicas(case, case.current.size)
    yield from _quantization(case, case.current.size)
    yield from _prefix_cache(case)


def highest_owned_usd(case: Case) -> float | None:
    """Return what the longest month of all replicas that the spec allows costs; None without an own price."""
    each = _replica_usd_per_hour(case)
    if each is None or case.spec.dedicated is None:
        return None
    return max(0, case.spec.dedicated.scaling.max_replicas - case.spec.dedicated.committed_replicas) * each * LONGEST_MONTH_HOURS


def room_for(case: Case, option: Option) -> dict[str, str]:
    """Return the bound to raise, where more replicas than it allows are needed."""
    peak = option.cost.replicas_peak if option.cost else 0
    allowed = case.spec.dedicated.scaling.max_replicas if case.spec.dedicated else 0
    return {"dedicated.scaling.maxReplicas": str(peak)} if peak > allowed else {}


def _class(case: Case, size: ReplicaSize) -> Iterator[Opportunity]:
    best = _cheapest(case, case.options, lambda each: each.accelerator_class != size.accelerator_class)
    if best is None or best.size is None or best.cost is None or not pays(case, best) or _done_anyway(case, best):
        return
    chosen = best.size
    listed = case.spec.own.accelerators
    settings = {} if listed == [chosen.accelerator_class] else {"dedicated.accelerators": as_list(chosen.accelerator_class)}
    if chosen.tensor_parallel_size != size.tensor_parallel_size:
        settings["dedicated.engine.tensorParallelSize"] = str(chosen.tensor_parallel_size)
    settings |= room_for(case, best)
    yield Opportunity(
        topic=Topic.ACCELERATOR_CLASS,
        usd_per_month=case.usd - (best.usd or 0.0),
        message=f"{rate_words(case)}, {_sized(chosen)} keeps the promises for {costs(best)} a month with up to "
        f"{_replicas(best.cost.replicas_peak)} (±{chosen.error_percent} %), and {_sized(size)} costs {dollars(case.usd)}. The cluster "
        "needs such nodes.",
        settings=settings,
    )


def _tensor_parallel(case: Case, size: ReplicaSize) -> Iterator[Opportunity]:
    best = _cheapest(
        case,
        case.options,
        lambda each: each.accelerator_class == size.accelerator_class and each.tensor_parallel_size < size.tensor_parallel_size,
    )
    if best is None or best.size is None or best.cost is None or not pays(case, best) or _done_anyway(case, best):
        return
    yield Opportunity(
        topic=Topic.TENSOR_PARALLEL,
        usd_per_month=case.usd - (best.usd or 0.0),
        message=f"The model fits {_sized(best.size)} and keeps the promises there: {costs(best)} a month with up to "
        f"{_replicas(best.cost.replicas_peak)}, and {dollars(case.usd)} with {size.tensor_parallel_size} accelerators per replica.",
        settings={"dedicated.engine.tensorParallelSize": str(best.size.tensor_parallel_size), **room_for(case, best)},
    )


def _min_replicas(case: Case, size: ReplicaSize) -> Iterator[Opportunity]:
    """Advise a lower floor where the busiest minute, taken high where no peak is stated, needs fewer than always run."""
    dedicated, each = case.spec.dedicated, _replica_usd_per_hour(case)
    if dedicated is None or each is None or not size.requests_per_s or dedicated.scaling.mode is ScalingMode.EXTERNAL:
        return
    floor = dedicated.scaling.min_replicas
    if case.usage.desired_replicas is None or case.usage.desired_replicas > floor:
        return
    peak = case.load.peak_per_s if case.load.peak_per_s > case.load.mean_per_s else case.load.mean_per_s * BURSTY_PEAK
    needed = max(1, replicas_for(peak, size.requests_per_s))
    saved = (max(0, floor - dedicated.committed_replicas) - max(0, needed - dedicated.committed_replicas)) * each * HOURS_PER_MONTH
    if needed >= floor or not worth_telling(case, saved):
        return
    yield Opportunity(
        topic=Topic.MIN_REPLICAS,
        usd_per_month=saved,
        message=f"{_replicas(floor)} always run, and the busiest minute to reckon with, {figure(peak)} requests/s, needs {needed} "
        f"({figure(size.requests_per_s)} requests/s each). A replica costs {dollars(each * HOURS_PER_MONTH)} a month.",
        settings={"dedicated.scaling.minReplicas": str(needed)},
        basis=_basis_of_rate(case),
    )


def _quantization(case: Case, size: ReplicaSize) -> Iterator[Opportunity]:
    """Advise fp8, which any weights can be loaded as, where it needs half the accelerators at most."""
    known, accelerator = resolve_model(case.spec.model), case.accelerator
    if isinstance(known, Problem) or known.quantization not in {None, Quantization.BF16, Quantization.FP16}:
        return
    if (
        accelerator is None
        or accelerator.tera_flops.fp8 is None
        or _stored_small(known.architecture.weight_bytes, known.architecture.parameters)
    ):
        return
    model = case.spec.model.model_copy(update={"quantization": Quantization.FP8})
    question = replace(
        case.question,
        spec=case.spec.model_copy(update={"model": model}),
        classes={size.accelerator_class: accelerator},
    )
    options = on_demand(all_options(question, all_sizes(question), case.load))
    best = _cheapest(case, options, lambda _: True)
    before = case.current.cost.replicas_peak * size.tensor_parallel_size if case.current.cost else 0
    if best is None or best.size is None or best.cost is None or not pays(case, best):
        return
    after = best.cost.replicas_peak * best.size.tensor_parallel_size
    if 2 * after > before:
        return
    settings = {"model.quantization": "fp8"}
    if best.size.tensor_parallel_size != size.tensor_parallel_size:
        settings["dedicated.engine.tensorParallelSize"] = str(best.size.tensor_parallel_size)
    yield Opportunity(
        topic=Topic.QUANTIZATION,
        usd_per_month=case.usd - (best.usd or 0.0),
        message=f"With fp8 weights the busiest minute needs {after} accelerators instead of {before}: {costs(best)} a month instead "
        f"of {dollars(case.usd)} (±{best.size.error_percent} %). The engine converts the weights when it loads them.",
        settings=settings | room_for(case, best),
        takes=Takes.QUALITY_CHECK,
    )


def _prefix_cache(case: Case) -> Iterator[Opportunity]:
    """Advise the cache of prompts where prompts share their beginnings, by the spec, and it is switched off or finds few of them."""
    dedicated, share = case.spec.dedicated, case.question.cached_share
    if dedicated is None or not share:
        return
    if NO_PREFIX_CACHE not in dedicated.engine.extra_args:
        yield from _prefix_routing(case, share)
        return
    kept = [each for each in dedicated.engine.extra_args if each != NO_PREFIX_CACHE]
    yield Opportunity(
        topic=Topic.PREFIX_CACHE,
        usd_per_month=None,
        message=f"{share * 100:.0f} % of the prompt tokens repeat an earlier beginning (traffic.cachedInputPercent), and the engine is "
        f"told {NO_PREFIX_CACHE}: each of them is computed again. What that costs is not known before it has run.",
        settings={"dedicated.engine.extraArgs": as_list(*kept)},
    )


def _prefix_routing(case: Case, share: float) -> Iterator[Opportunity]:
    """Advise that prompts with one beginning go to one replica, where several find less than half of what repeats."""
    found, replicas = case.usage.prefix_hit_ratio, case.usage.desired_replicas or 0
    if found is None or found >= share / 2 or replicas < SEVERAL or case.spec.gateway.routing is not Routing.LEAST_LOAD:
        return
    yield Opportunity(
        topic=Topic.PREFIX_CACHE,
        usd_per_month=None,
        message=f"{share * 100:.0f} % of the prompt tokens repeat an earlier beginning (traffic.cachedInputPercent), and the {replicas} "
        f"replicas find {found * 100:.0f} % in their caches: each of them is asked with every beginning. What it saves to ask one replica "
        "with one beginning is not known before it has run.",
        settings={"gateway.routing": Routing.PREFIX_HASH.value},
        basis=Basis.MEASURED,
    )


def _done_anyway(case: Case, option: Option) -> bool:
    """Whether the operator goes there by itself: nothing in the spec is in its way."""
    return case.moves_itself and option.affordable_aside


def _cheapest(case: Case, options: tuple[Option, ...], wanted: Callable[[ReplicaSize], bool]) -> Option | None:
    """Return the cheapest option of the mode that runs on sizes that are wanted; a class need not be listed, nor the budget kept."""
    return cheapest(
        options,
        Cause.NOT_LISTED,
        Cause.BUDGET,
        where=lambda each: each.mode is case.current.mode and each.size is not None and wanted(each.size),
    )


def _replicas(count: int) -> str:
    return "1 replica" if count == 1 else f"{count} replicas"


def _sized(size: ReplicaSize) -> str:
    return f"{size.tensor_parallel_size} x {size.accelerator_class}"


def _replica_usd_per_hour(case: Case) -> float | None:
    size, accelerator = case.current.size, case.accelerator
    if size is None or accelerator is None:
        return None
    price = replica_price(accelerator.price, tensor_parallel_size=size.tensor_parallel_size, per_node=accelerator.per_node)
    return None if price is None else price.on_demand


def _basis_of_rate(case: Case) -> Basis:
    return Basis.MEASURED if case.usage.measured_requests_per_s else Basis.ESTIMATED


def _stored_small(weight_bytes: int | None, parameters: int) -> bool:
    """Whether the weights are published in less than 16 bits."""
    return weight_bytes is not None and weight_bytes < SIXTEEN_BITS * parameters
