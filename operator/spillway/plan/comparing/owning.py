"""Ways to own: every class, tensor parallel size and way to pay, with and without renting the peaks."""

from collections.abc import Iterator
from dataclasses import dataclass

from spillway.api.catalogue import AcceleratorClassSpec
from spillway.api.traffic import LatencyNeed
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.comparing.offers import Offer
from spillway.plan.comparing.options import MOST_REPLICAS, Cause, Obstacle, Option, Owned, Question, ServedBy, over_budget
from spillway.plan.decision import Problem
from spillway.plan.model.models import resolve_model
from spillway.plan.money.economics import (
    Fleet,
    MonthlyCost,
    Pricing,
    ReplicaPrice,
    dedicated_cost,
    hybrid_cost,
    kappa,
    replica_price,
    stranded_share,
    usd_per_million_tokens,
)
from spillway.plan.replica.sizing import ReplicaSize, sizes
from spillway.plan.traffic.load import Load

_TOO_MANY_FOR_ANY = Obstacle(cause=Cause.TOO_MANY, message=f"Needs more than {MOST_REPLICAS} replicas, the most a workload may have.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Renting:
    """What renting costs, to compare with and to spill to."""

    overflow: Offer | None  # where peaks go; None: nowhere
    cheapest_usd: float | None  # a request where it is cheapest to rent; None: nothing can be rented


def all_sizes(question: Question) -> tuple[ReplicaSize, ...] | Problem:
    """Return one size for each class and tensor parallel size; a problem where the model's shape is not known. They hold for any load."""
    known = resolve_model(question.spec.model)
    if isinstance(known, Problem):
        return known
    return tuple(
        size
        for name, accelerator in sorted(question.classes.items())
        for size in sizes(
            known.architecture,
            quantization=known.quantization,
            accelerator_class=name,
            accelerator=accelerator,
            engine=question.spec.own.engine,
            lengths=question.lengths,
            slo=question.spec.slo,
            max_context_tokens=question.spec.model.max_context_tokens,
            running_tensor_parallel_size=question.running_tensor_parallel_size,
        )
    )


def owned_options(question: Question, size: ReplicaSize, load: Load, renting: Renting) -> Iterator[Option]:
    """Return the ways to serve on replicas of this size; one that says why where there is none."""
    accelerator = question.classes[size.accelerator_class]
    price = replica_price(accelerator.price, tensor_parallel_size=size.tensor_parallel_size, per_node=accelerator.per_node)
    barred = _barred(question.spec, size, priced=price is not None)
    if not size.feasible or price is None:
        yield Option(mode=ServedBy.DEDICATED, obstacles=barred, size=size)
        return
    # What needs more than any workload may have is not costed, replica by replica: the load may be any number.
    endless = load.peak_per_s > MOST_REPLICAS * size.requests_per_s
    if endless:
        yield Option(mode=ServedBy.DEDICATED, obstacles=(*barred, _TOO_MANY_FOR_ANY), size=size)
    rented = () if renting.overflow is None else (renting.overflow,)
    for pricing in price.pricings:
        for overflow in rented if endless else (None, *rented):
            seen = size if overflow is None else size.behind_cap
            fleet = _fleet(question, seen, price, pricing, spills=overflow is not None)
            yield _option(question, seen, load, fleet, overflow, renting, barred)


def _option(
    question: Question,
    size: ReplicaSize,
    load: Load,
    fleet: Fleet,
    overflow: Offer | None,
    renting: Renting,
    barred: tuple[Obstacle, ...],
) -> Option:
    cost = dedicated_cost(load, fleet) if overflow is None else hybrid_cost(load, fleet, question.request_usd(overflow))
    spot = overflow is None and fleet.pricing is Pricing.SPOT
    return Option(
        mode=ServedBy.DEDICATED if overflow is None else ServedBy.HYBRID,
        obstacles=(
            *barred,
            *(_spot_barred(question.spec) if spot else ()),
            *_too_many(cost, question.most_replicas),
            *over_budget(question.spec, cost),
        ),
        size=size,
        pricing=fleet.pricing,
        offer=overflow,
        cost=cost,
        usd_per_million_tokens=usd_per_million_tokens(cost.usd, load, question.lengths),
        stranded_usd=_stranded_usd(cost, size, question.classes[size.accelerator_class]),
        kappa=kappa(
            hosted_usd_per_request=renting.cheapest_usd,
            usd_per_replica_hour=fleet.price.always(fleet.pricing),
            requests_per_s=size.requests_per_s,
        ),
        owned=Owned(fleet=fleet, load=load, rented_usd=renting.cheapest_usd),
    )


def _fleet(question: Question, size: ReplicaSize, price: ReplicaPrice, pricing: Pricing, *, spills: bool) -> Fleet:
    least = question.spec.own.scaling.min_replicas
    return Fleet(
        requests_per_s=size.requests_per_s,
        price=price,
        pricing=pricing,
        least=least if spills else max(1, least),
        committed=_committed(question.spec, size),
        most=question.most_replicas,
    )


def _committed(spec: InferenceWorkloadSpec, size: ReplicaSize) -> int:
    """Return how many replicas of this size are paid for: those of the classes and the tensor parallel size that the spec runs."""
    own = spec.own
    if own.engine.stated_tensor_parallel_size not in {None, size.tensor_parallel_size}:
        return 0
    return own.committed_replicas if not own.accelerators or size.accelerator_class in own.accelerators else 0


def _barred(spec: InferenceWorkloadSpec, size: ReplicaSize, *, priced: bool) -> tuple[Obstacle, ...]:
    found: list[Obstacle] = []
    if size.problem is not None:
        found.append(Obstacle(cause=Cause.SIZE, message=size.problem))
    listed = spec.own.accelerators
    if listed and size.accelerator_class not in listed:
        found.append(Obstacle(cause=Cause.NOT_LISTED, message="Not in dedicated.accelerators."))
    stated = spec.own.engine.stated_tensor_parallel_size
    if stated not in {None, size.tensor_parallel_size}:
        found.append(Obstacle(cause=Cause.NOT_LISTED, message=f"dedicated.engine.tensorParallelSize is {stated}."))
    if not priced:
        message = f"AcceleratorClass {size.accelerator_class!r} has no price; set its spec.price."
        found.append(Obstacle(cause=Cause.NO_PRICE, message=message))
    return tuple(found)


def _spot_barred(spec: InferenceWorkloadSpec) -> tuple[Obstacle, ...]:
    if spec.traffic is not None and spec.traffic.latency is not LatencyNeed.INTERACTIVE:
        return ()
    return (Obstacle(cause=Cause.SPOT, message="Spot capacity can be reclaimed, and nothing else would serve Interactive requests."),)


def _too_many(cost: MonthlyCost, most: int) -> tuple[Obstacle, ...]:
    if cost.replicas_peak <= most:
        return ()
    return (Obstacle(cause=Cause.TOO_MANY, message=f"Needs {cost.replicas_peak} replicas; at most {most} are allowed."),)


def _stranded_usd(cost: MonthlyCost, size: ReplicaSize, accelerator: AcceleratorClassSpec) -> float:
    if accelerator.price is None:
        return 0.0
    return cost.owned_usd * stranded_share(
        accelerator.price,
        paid_shares=cost.paid_shares,
        tensor_parallel_size=size.tensor_parallel_size,
        per_node=accelerator.per_node,
    )
