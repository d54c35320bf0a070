"""On what replicas run: the accelerator class and how many of them a replica takes; and the spec with all of that resolved."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from spillway.api.catalogue import AcceleratorClassSpec
from spillway.api.vocabulary import Reason
from spillway.api.workload import InferenceWorkloadSpec, PlacementMode
from spillway.plan.decision import Problem
from spillway.plan.model.models import known_model
from spillway.plan.model.told_shape import as_stated
from spillway.plan.names import pool_name
from spillway.plan.observation import Catalogue, Pool
from spillway.plan.place.placed import Placed
from spillway.plan.replica.capacity import usd_per_replica_hour
from spillway.plan.replica.sizing import ReplicaSize, sizes
from spillway.plan.same import of_the_same
from spillway.plan.traffic.lengths import declared_lengths
from spillway.plan.validate import misfit, misshapen, unreadable

MODE_REASONS = {
    PlacementMode.DEDICATED: Reason.MODE_DEDICATED,
    PlacementMode.HOSTED: Reason.MODE_HOSTED,
    PlacementMode.HYBRID: Reason.MODE_HYBRID,
    PlacementMode.AUTO: Reason.MODE_AUTO,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The accelerators of a replica."""

    name: str  # of their class
    accelerator: AcceleratorClassSpec
    tensor_parallel_size: int = 1


def choose_accelerator(
    workload_name: str, spec: InferenceWorkloadSpec, catalogue: Catalogue, pools: tuple[Pool, ...], *, kept: Placed | None = None
) -> Choice | Problem:
    """Return the accelerators of a workload that owns replicas, or why there are none. `kept` is what was decided last.

    A list of preferences is followed strictly: the first class that exists and fits. An empty list means the cheapest that fits, but a
    running pool stays where it is while its class still fits: a price that moved is no reason to restart replicas. So does the tensor
    parallel size where the spec leaves it open. What only a replica told of its model's shape is no reason either: it counts for classes
    that are new.
    """
    preferred = spec.own.accelerators
    known = [name for name in preferred if name in catalogue.accelerator_classes] if preferred else sorted(catalogue.accelerator_classes)
    if not known:
        return _unknown(preferred, catalogue)
    running = {name: _running_sizes(workload_name, name, catalogue.accelerator_classes[name], pools) for name in known}
    misfits: list[Problem] = []
    for name in known if preferred else _by_need(spec, catalogue, running, kept):
        stays = bool(running[name]) or (kept is not None and kept.accelerator_class == name)
        known_of = as_stated(spec) if stays else spec
        found = _first_that_fits(known_of, _shapes(known_of, name, catalogue.accelerator_classes[name], running[name], kept))
        if isinstance(found, Choice):
            return found
        misfits.append(found)
    return misfits[0]


@of_the_same
def effective_spec(spec: InferenceWorkloadSpec, placed: Placed, *, starts: bool = False) -> InferenceWorkloadSpec:
    """Return the spec with its mode, class and tensor parallel size as they are resolved, so that nothing else need know how.

    It is one object for one resolution, so that what was worked out for it in the last pass holds in this one. With `starts` it wants a
    replica though nothing asks for one: it is about to take over.
    """
    placement = spec.placement.model_copy(update={"mode": placed.mode})
    dedicated = spec.dedicated
    if dedicated is not None and placed.accelerator_class is not None:
        engine = dedicated.engine.model_copy(update={"stated_tensor_parallel_size": placed.tensor_parallel_size})
        least = max(1, dedicated.scaling.min_replicas) if starts else dedicated.scaling.min_replicas
        scaling = dedicated.scaling.model_copy(update={"min_replicas": least})
        dedicated = dedicated.model_copy(update={"accelerators": [placed.accelerator_class], "engine": engine, "scaling": scaling})
    return spec.model_copy(update={"placement": placement, "dedicated": dedicated})


def impossible(placed: Placed, spec: InferenceWorkloadSpec, catalogue: Catalogue) -> Problem | None:  # noqa: PLR0911  one per ground
    """Return why a workload of mode Auto cannot be served so: the spec or the catalogue rules it out, whatever it costs."""
    if placed.rents and not spec.rents:
        return Problem(reason=Reason.PLACEMENT_IMPOSSIBLE, message="The spec allows no hosted backend or lists none.")
    if not placed.owns:
        return None
    name, dedicated = placed.accelerator_class or "", spec.dedicated
    if dedicated is None:
        return Problem(reason=Reason.PLACEMENT_IMPOSSIBLE, message="The spec has no dedicated section, so no replicas may run.")
    if dedicated.accelerators and name not in dedicated.accelerators:
        return Problem(reason=Reason.PLACEMENT_IMPOSSIBLE, message=f"dedicated.accelerators does not list {name!r}.")
    accelerator = catalogue.accelerator_classes.get(name)
    if name in catalogue.unreadable_classes:
        return _unreadable(name, catalogue, Reason.PLACEMENT_IMPOSSIBLE)
    if accelerator is None:
        return Problem(reason=Reason.PLACEMENT_IMPOSSIBLE, message=f"AcceleratorClass {name!r} no longer exists.")
    if dedicated.engine.stated_tensor_parallel_size not in {None, placed.tensor_parallel_size}:
        return Problem(reason=Reason.PLACEMENT_IMPOSSIBLE, message="dedicated.engine.tensorParallelSize has another value.")
    shape = Choice(name=name, accelerator=accelerator, tensor_parallel_size=placed.tensor_parallel_size or 1)
    return _unfit(as_stated(spec), shape)  # what a replica told rules out nothing that runs


def unlisted(spec: InferenceWorkloadSpec, catalogue: Catalogue) -> Problem | None:
    """Return the problem that a list of classes of which none exists is."""
    preferred = spec.own.accelerators
    return _unknown(preferred, catalogue) if preferred and not any(name in catalogue.accelerator_classes for name in preferred) else None


def tensor_parallel_size(spec: InferenceWorkloadSpec) -> int:
    """Return how many accelerators one replica takes, once that is resolved."""
    return spec.own.engine.tensor_parallel_size


def _running_sizes(workload_name: str, name: str, accelerator: AcceleratorClassSpec, pools: tuple[Pool, ...]) -> dict[int, int]:
    """Return the tensor parallel sizes of this class that there are pools of, with the ready replicas of each."""
    ready = {pool.name: pool.ready_replicas for pool in pools}
    if not ready:
        return {}
    names = {size: pool_name(workload_name, name, size) for size in range(1, accelerator.per_node + 1)}
    return {size: ready[found] for size, found in names.items() if found in ready}


def _first_that_fits(spec: InferenceWorkloadSpec, shapes: Iterator[Choice]) -> Choice | Problem:
    problem = _unfit(spec, shape := next(shapes))
    for other in shapes if problem is not None else ():
        problem = _unfit(spec, shape := other)
        if problem is None:
            break
    return shape if problem is None else problem


def _shapes(
    spec: InferenceWorkloadSpec, name: str, accelerator: AcceleratorClassSpec, running: Mapping[int, int], kept: Placed | None
) -> Iterator[Choice]:
    """Return the class with the size that is stated, else with the one decided last, those that run, and the planner's, until one fits."""
    stated = spec.dedicated.engine.stated_tensor_parallel_size if spec.dedicated else 1
    if stated is not None:
        yield Choice(name=name, accelerator=accelerator, tensor_parallel_size=stated)
        return
    if kept is not None and kept.accelerator_class == name and kept.tensor_parallel_size is not None:
        yield Choice(name=name, accelerator=accelerator, tensor_parallel_size=kept.tensor_parallel_size)
    for size in sorted(running, key=lambda each: -running[each]):
        yield Choice(name=name, accelerator=accelerator, tensor_parallel_size=size)
    yield Choice(name=name, accelerator=accelerator, tensor_parallel_size=_planned_size(spec, name, accelerator))


def _planned_size(spec: InferenceWorkloadSpec, name: str, accelerator: AcceleratorClassSpec) -> int:
    """Return the size at which a request takes the least accelerators; without one that keeps the promises, the smallest that fits."""
    found = _sizes(spec, name, accelerator)
    able = [size for size in found if size.feasible and size.requests_per_s]
    if able:
        return min(able, key=_accelerators_per_request).tensor_parallel_size
    shapes = [Choice(name=name, accelerator=accelerator, tensor_parallel_size=size.tensor_parallel_size) for size in found]
    fitting = [shape.tensor_parallel_size for shape in shapes if _unfit(spec, shape) is None]
    return min(fitting, default=max((shape.tensor_parallel_size for shape in shapes), default=1))


def _sizes(spec: InferenceWorkloadSpec, name: str, accelerator: AcceleratorClassSpec) -> tuple[ReplicaSize, ...]:
    """Return what a replica of each tensor parallel size sustains; nothing for an unknown shape."""
    known = known_model(spec.model)
    if known is None or spec.dedicated is None:
        return ()
    return sizes(
        known.architecture,
        quantization=known.quantization,
        accelerator_class=name,
        accelerator=accelerator,
        engine=spec.dedicated.engine,
        lengths=declared_lengths(spec),
        slo=spec.slo,
        max_context_tokens=spec.model.max_context_tokens,
    )


def _accelerators_per_request(size: ReplicaSize) -> float:
    return size.tensor_parallel_size / size.requests_per_s


def _unfit(spec: InferenceWorkloadSpec, shape: Choice) -> Problem | None:
    return _why_unfit(spec, shape.name, shape.accelerator, shape.tensor_parallel_size)


@of_the_same
def _why_unfit(spec: InferenceWorkloadSpec, name: str, accelerator: AcceleratorClassSpec, size: int) -> Problem | None:
    sized = effective_spec(spec, Placed(mode=PlacementMode.DEDICATED, accelerator_class=name, tensor_parallel_size=size))
    return misshapen(sized) or misfit(sized, name, accelerator)


def _by_need(
    spec: InferenceWorkloadSpec, catalogue: Catalogue, running: Mapping[str, Mapping[int, int]], kept: Placed | None
) -> Iterator[str]:
    """Return the classes to try: those that run, with the most ready replicas first, the one decided last, and then the cheapest."""
    there = sorted((name for name in running if running[name]), key=lambda name: -max(running[name].values()))
    last = kept.accelerator_class if kept is not None else None
    if last is not None and last in running and last not in there:
        there.append(last)
    yield from there
    yield from sorted((name for name in running if name not in there), key=lambda name: _cost_rank(spec, name, catalogue))


def _cost_rank(spec: InferenceWorkloadSpec, name: str, catalogue: Catalogue) -> tuple[bool, bool, float, str]:
    """Return the order of a class: by the price of a request where the size is the planner's, else by the price of a replica."""
    accelerator = catalogue.accelerator_classes[name]
    stated = spec.dedicated.engine.stated_tensor_parallel_size if spec.dedicated else 1
    able = [size for size in _sizes(spec, name, accelerator) if size.feasible and size.requests_per_s] if stated is None else []
    best = min(able, key=_accelerators_per_request, default=None)
    usd = usd_per_replica_hour(
        accelerator.price, tensor_parallel_size=best.tensor_parallel_size if best else stated or 1, per_node=accelerator.per_node
    )
    each = usd if usd is None or best is None else usd / best.requests_per_s
    return best is None and stated is None, each is None, each or 0.0, name


def _unreadable(name: str, catalogue: Catalogue, reason: Reason) -> Problem:
    return Problem(reason=reason, message=unreadable(f"AcceleratorClass {name!r}", catalogue.unreadable_classes[name]))


def _unknown(preferred: list[str], catalogue: Catalogue) -> Problem:
    odd = next((name for name in preferred or sorted(catalogue.unreadable_classes) if name in catalogue.unreadable_classes), None)
    if odd is not None:
        return _unreadable(odd, catalogue, Reason.UNKNOWN_ACCELERATOR_CLASS)
    if not preferred:
        return Problem(
            reason=Reason.UNKNOWN_ACCELERATOR_CLASS,
            message="the cluster has no AcceleratorClass; create one, or install the chart's catalogue.",
        )
    names = ", ".join(repr(name) for name in preferred)
    return Problem(
        reason=Reason.UNKNOWN_ACCELERATOR_CLASS,
        message=f"AcceleratorClass {names} does not exist; create it or correct dedicated.accelerators (kubectl get acceleratorclasses).",
    )
