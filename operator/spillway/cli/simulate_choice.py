"""What of the manifests is simulated: the class and size that a plan for the trace would own, and the offer it would spill to."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal

from spillway.api.catalogue import HostedProviderSpec, ProviderModel
from spillway.cli.bad_input import BadInputError
from spillway.plan.comparing.case import cheapest, on_demand
from spillway.plan.comparing.choice import all_options
from spillway.plan.comparing.offers import Offer
from spillway.plan.comparing.options import Cause, Option, Question
from spillway.plan.comparing.owning import all_sizes
from spillway.plan.comparing.renting import hosted_options, overflow_offer
from spillway.plan.decision import Problem
from spillway.plan.money.economics import replica_price
from spillway.plan.place.placed import ObservedLoad
from spillway.plan.replica.sizing import ReplicaSize
from spillway.plan.traffic.load import declared_load
from spillway.plan.traffic.observed_load import as_declared
from spillway.simulate.trace import Trace, busiest_minute

OUTPUT_OVER_INPUT = 4  # price of an answer's token over a prompt's where only --kappa says what renting costs: usual of hosted models
ASSUMED_PROVIDER = "hosted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What to own and where to spill."""

    accelerator_class: str
    tensor_parallel_size: int
    usd_per_hour: float  # of a replica, on demand
    calibrated: str  # how the planner knows its speed: Calibrated or Estimated
    offer: Offer | None
    assumed_offer: bool = False  # only --kappa prices it
    misses: str | None = None  # which target a replica misses for such requests, by the planner; None: none


def choose(question: Question, trace: Trace, *, kappa: float | None, where: str) -> Chosen:
    """Return the cheapest to own for the trace, and where its spill would go. `where`: file and workload, for BadInputError."""
    seen = replace(question, spec=as_declared(question.spec, observed(trace)))
    load, sized = declared_load(seen.spec), all_sizes(seen)
    if isinstance(sized, Problem):
        raise BadInputError(f"{where}: {sized.message}")
    if load is None:
        raise BadInputError(f"{where}: the trace has no load; give one with requests")
    options = on_demand(all_options(seen, sized, load))
    size = _size(options, seen)
    usd_per_hour = None if size is None else _usd_per_hour(seen, size)
    if size is None or usd_per_hour is None:
        reason = next((one.message for each in options if each.owns for one in each.obstacles), "no accelerator class has a price.")
        raise BadInputError(f"{where}: nothing that could be owned serves this trace: {reason} `spillway plan` shows every option")
    named = seen.spec.hosted is not None and seen.spec.hosted.backends and seen.offers.found
    offer = seen.offers.found[0] if named else overflow_offer(seen, hosted_options(seen, load))
    offer = offer if seen.may_leave else None
    assumed = offer is None and kappa is not None and seen.may_leave
    return Chosen(
        accelerator_class=size.accelerator_class,
        tensor_parallel_size=size.tensor_parallel_size,
        usd_per_hour=usd_per_hour,
        calibrated=size.basis.value,
        offer=_assumed(seen) if assumed else offer,
        assumed_offer=assumed,
        misses=size.problem,
    )


def _size(options: Sequence[Option], question: Question) -> ReplicaSize | None:
    """Return what the cheapest way to own runs on; where none keeps the promises, the cheapest replica that holds the model."""
    owned = cheapest(options, Cause.BUDGET, Cause.TOO_MANY, where=lambda each: each.owns and each.size is not None)
    if owned is not None:
        return owned.size
    allowed = {Cause.BUDGET, Cause.TOO_MANY, Cause.SIZE}
    holding = [
        (_usd_per_hour(question, each.size), index, each.size)
        for index, each in enumerate(options)
        if each.size is not None and each.size.memory.fits and {one.cause for one in each.obstacles} <= allowed
    ]
    priced = [(usd, index, size) for usd, index, size in holding if usd is not None]
    return min(priced)[2] if priced else None


def _usd_per_hour(question: Question, size: ReplicaSize) -> float | None:
    accelerator = question.classes[size.accelerator_class]
    price = replica_price(accelerator.price, tensor_parallel_size=size.tensor_parallel_size, per_node=accelerator.per_node)
    return None if price is None else price.on_demand


def observed(trace: Trace) -> ObservedLoad:
    """Return a trace as the traffic that would have been seen; its peak is the busiest minute's."""
    mean = trace.requests / max(trace.duration_s, 1.0)
    return ObservedLoad(
        mean_per_s=mean,
        peak_per_s=max(mean, busiest_minute(trace)),
        input_tokens=float(trace.input_tokens.mean()),
        output_tokens=float(trace.output_tokens.mean()),
        watched_s=trace.duration_s,
        at=datetime(1970, 1, 1, tzinfo=UTC),
    )


def _assumed(question: Question) -> Offer:
    listing = ProviderModel(
        name=question.spec.model.id,
        input_usd_per_million_tokens=Decimal(1),
        output_usd_per_million_tokens=Decimal(OUTPUT_OVER_INPUT),
    )
    return Offer(provider_name=ASSUMED_PROVIDER, listing=listing)


def provider_of(offer: Offer, *, input_usd_per_million: float, output_usd_per_million: float) -> HostedProviderSpec:
    """Return the offer's provider with its one model at these prices, cached tokens included, as production's code is shown it."""
    listing = offer.listing.model_copy(
        update={
            "input_usd_per_million_tokens": Decimal(f"{input_usd_per_million:.9f}"),
            "output_usd_per_million_tokens": Decimal(f"{output_usd_per_million:.9f}"),
            "cached_input_usd_per_million_tokens": None,
        }
    )
    return HostedProviderSpec(base_url="https://hosted.example/v1", models=[listing], batch=offer.batch, prices=offer.prices)
