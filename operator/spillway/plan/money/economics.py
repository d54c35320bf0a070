"""What a month costs, owned, rented or both, and from which volume on owning pays. Pure arithmetic: docs/economics.md derives it.

Idle capacity is paid: a replica costs its hour whether or not it is used, so utilisation divides the price of a token. The cost of
owning is a sum over replicas in the order in which the load needs them: the k-th one runs while the load is above what k - 1 carry, and
always where the load is Bursty, which leaps faster than a replica starts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from spillway.api.catalogue import AcceleratorPrice, PricePer, ProviderModel
from spillway.api.traffic import TrafficPattern
from spillway.plan.traffic.lengths import Lengths
from spillway.plan.traffic.load import FLOOR, HOURS_PER_MONTH, SECONDS_PER_MONTH, Load, replicas_for

BREAK_EVEN_STEPS = 60  # about eight are needed
BREAK_EVEN_PRECISION = 1e-9
HALVED_TO = 1e-5  # of a mean rate that is looked for among costs, which take longer


class Pricing(StrEnum):
    """How owned capacity is paid for."""

    ON_DEMAND = "OnDemand"
    RESERVED = "Reserved"  # a commitment for the replicas that run nearly always, on demand for the rest
    SPOT = "Spot"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaPrice:
    """What one replica costs for an hour, USD."""

    on_demand: float
    reserved: float | None = None
    spot: float | None = None

    def usd(self, pricing: Pricing, *, share: float) -> float:
        """Return the mean cost of an hour of a replica that runs this share of the time."""
        if pricing is Pricing.SPOT and self.spot is not None:
            return self.spot * share
        if pricing is Pricing.RESERVED and self.reserved is not None:
            return min(self.reserved, self.on_demand * share)
        return self.on_demand * share

    def always(self, pricing: Pricing) -> float:
        """Return the cost of an hour of a replica that runs always."""
        return self.usd(pricing, share=1.0)

    @property
    def pricings(self) -> tuple[Pricing, ...]:
        """The ways to pay that have a price."""
        optional = ((Pricing.RESERVED, self.reserved), (Pricing.SPOT, self.spot))
        return (Pricing.ON_DEMAND, *(pricing for pricing, usd in optional if usd is not None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What is owned of one size: how fast a replica is, what it costs, and what is there anyway."""

    requests_per_s: float  # of one replica, within the promises
    price: ReplicaPrice
    pricing: Pricing = Pricing.ON_DEMAND
    least: int = 1  # replicas that always run
    committed: int = 0  # of them paid for already: they cost nothing more
    most: int | None = None  # replicas that there may be where the rest can be rented; None: any number


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthlyCost:
    """A month of one way to serve a load."""

    owned_usd: float
    hosted_usd: float
    replicas_mean: float
    replicas_peak: int
    utilization: float | None  # share of what the running replicas could carry; None without replicas
    paid_shares: tuple[float, ...] = ()  # of the time for which each replica is paid, in the order in which they are needed

    @property
    def usd(self) -> float:
        """Everything that is billed."""
        return self.owned_usd + self.hosted_usd


def replica_share(price: AcceleratorPrice, *, tensor_parallel_size: int, per_node: int) -> float:
    """Return how many times the stated price a replica costs: a node's price is shared by the accelerators in it."""
    return tensor_parallel_size / per_node if price.per is PricePer.NODE else float(tensor_parallel_size)


def replica_price(price: AcceleratorPrice | None, *, tensor_parallel_size: int, per_node: int) -> ReplicaPrice | None:
    """Return what one replica costs for an hour, each way it can be paid for; None without a price."""
    if price is None:
        return None
    share = replica_share(price, tensor_parallel_size=tensor_parallel_size, per_node=per_node)
    return ReplicaPrice(
        on_demand=float(price.on_demand_usd_per_hour) * share,
        reserved=None if price.reserved_usd_per_hour is None else float(price.reserved_usd_per_hour) * share,
        spot=None if price.spot_usd_per_hour is None else float(price.spot_usd_per_hour) * share,
    )


def stranded_share(price: AcceleratorPrice, *, paid_shares: Sequence[float], tensor_parallel_size: int, per_node: int) -> float:
    """Return what the unused accelerators of the nodes cost, as a share of what the replicas cost; 0 where nodes are not what is billed.

    Nodes come and go with replicas: a second that fills a node at the peak leaves most of it to nobody while it is away.
    """
    if price.per is not PricePer.NODE:
        return 0.0
    used = left = 0.0
    for count, (share, next_share) in enumerate(pairwise((*paid_shares, 0.0)), start=1):
        accelerators, nodes = count * tensor_parallel_size, math.ceil(count / (per_node // tensor_parallel_size))
        used += (share - next_share) * accelerators
        left += (share - next_share) * (nodes * per_node - accelerators)
    return left / used if used else 0.0


def request_usd(listing: ProviderModel, lengths: Lengths, *, cached_share: float = 0.0) -> float:
    """Return what a provider bills for a request of mean lengths, of whose prompt this share (0 to 1) is billed as cached."""
    prompt = listed_input_usd_per_million(listing, cached_share=cached_share)
    return (lengths.input_mean * prompt + lengths.output_mean * float(listing.output_usd_per_million_tokens)) / 1e6


def cached_input_usd_per_million(listing: ProviderModel) -> float:
    """Return what a provider bills for a million prompt tokens that it finds in its cache."""
    price = listing.cached_input_usd_per_million_tokens
    return float(listing.input_usd_per_million_tokens if price is None else price)


def listed_input_usd_per_million(listing: ProviderModel, *, cached_share: float) -> float:
    """Return what a provider bills for a million prompt tokens, of which this share (0 to 1) is billed as cached."""
    full, cached = float(listing.input_usd_per_million_tokens), cached_input_usd_per_million(listing)
    return input_usd_per_million(full=full, cached=cached, cached_share=cached_share)


def input_usd_per_million(*, full: float, cached: float, cached_share: float) -> float:
    """Return the mean price of a million prompt tokens, of which this share (0 to 1) is billed as cached."""
    return cached_share * cached + (1 - cached_share) * full


def hosted_cost(load: Load, usd_per_request: float) -> MonthlyCost:
    """Return a month of renting everything."""
    return MonthlyCost(
        owned_usd=0.0, hosted_usd=load.requests_per_month * usd_per_request, replicas_mean=0.0, replicas_peak=0, utilization=None
    )


def dedicated_cost(load: Load, fleet: Fleet) -> MonthlyCost:
    """Return a month of owning enough for the peak."""
    peak = max(1, fleet.least, replicas_for(load.peak_per_s, fleet.requests_per_s))
    return _owned(load, fleet, _running_shares(load, fleet, peak), hosted_usd=0.0)


def hybrid_cost(load: Load, fleet: Fleet, usd_per_request: float) -> MonthlyCost:
    """Return a month of owning the number of replicas, one at least, that costs least, and renting what is above it."""
    needed = replicas_for(load.peak_per_s, fleet.requests_per_s)
    shares = _running_shares(load, fleet, max(1, fleet.least, needed if fleet.most is None else min(fleet.most, needed)))
    owned = sum(_usd_per_hour(fleet, index, share) for index, share in enumerate(shares[: max(1, fleet.least)]))
    best, cheapest = 0, math.inf
    for count in range(max(1, fleet.least), len(shares) + 1):
        if count > max(1, fleet.least):
            owned += _usd_per_hour(fleet, count - 1, shares[count - 1])
        total = owned * HOURS_PER_MONTH + _spilled_usd(load, fleet, count, usd_per_request)
        if total < cheapest:
            best, cheapest = count, total
    return _owned(load, fleet, shares[:best], hosted_usd=_spilled_usd(load, fleet, best, usd_per_request))


def kappa(*, hosted_usd_per_request: float | None, usd_per_replica_hour: float | None, requests_per_s: float | None) -> float | None:
    """Return the hosted price of a request over its share of a fully used replica; below 1 owning loses at any load."""
    if hosted_usd_per_request is None or not usd_per_replica_hour or not requests_per_s:
        return None
    return hosted_usd_per_request / (usd_per_replica_hour / 3600 / requests_per_s)


def break_even_of_replica(*, hosted_usd_per_request: float | None, usd_per_replica_hour: float | None) -> int | None:
    """Return how many hosted requests in 30 days cost as much as one replica that always runs."""
    if not hosted_usd_per_request or usd_per_replica_hour is None:
        return None
    return math.ceil(usd_per_replica_hour * HOURS_PER_MONTH / hosted_usd_per_request)


def break_even_requests(load: Load, fleet: Fleet, usd_per_request: float | None) -> int | None:
    """Return the volume, in requests per 30 days of this load's shape, from which own replicas save more than they cost.

    None where they never do: kappa is below 1, or nothing is billed for a request.
    """
    if not usd_per_request:
        return None
    least = max(1, fleet.least)
    paid = max(0, least - fleet.committed) * fleet.price.always(fleet.pricing) * HOURS_PER_MONTH
    capacity = least * fleet.requests_per_s
    served = paid / usd_per_request / SECONDS_PER_MONTH  # what must be kept from the hosted side
    if served > capacity:
        return None
    first = _mean_that_fills(load, served, capacity)
    return math.ceil(_mean_of_any(load, fleet, usd_per_request, first=first, capacity_per_s=capacity) * SECONDS_PER_MONTH - 1e-3)


def _mean_that_fills(load: Load, served_per_s: float, capacity_per_s: float) -> float:
    """Return the mean rate, of a load of this shape, of which a capacity serves this much.

    What is served rises with the mean, from at most the mean itself up to the capacity, which the floor of the load fills at last. The root
    between is found by false position (with Illinois' halving), to nine digits.
    """
    shape = load.at(SECONDS_PER_MONTH)  # of mean 1
    if served_per_s * shape.peak_per_s <= capacity_per_s:
        return served_per_s

    def missing(mean: float) -> float:
        return mean * shape.served_per_s(capacity_per_s / mean) - served_per_s

    low, high = served_per_s, capacity_per_s / FLOOR[load.pattern]
    below, above = missing(low), missing(high)
    for _ in range(BREAK_EVEN_STEPS):
        middle = low - below * (high - low) / (above - below)
        found = missing(middle)
        if abs(found) <= BREAK_EVEN_PRECISION * served_per_s:
            return middle
        if found >= 0:
            high, above, below = middle, found, below / 2
        else:
            low, below, above = middle, found, above / 2
    return high


def _mean_of_any(load: Load, fleet: Fleet, usd_per_request: float, *, first: float, capacity_per_s: float) -> float:
    """Return the mean rate from which any number of replicas pays, given that from which the first do, which carry so much.

    Of Steady traffic with high peaks that is less: those after the first are paid only while the load needs them, and are busy then.
    """
    shape = load.at(SECONDS_PER_MONTH)  # of mean 1
    if load.pattern is TrafficPattern.BURSTY or first * shape.peak_per_s <= capacity_per_s:
        return first
    low, high = 0.0, first
    while high - low > HALVED_TO * high:
        middle = (low + high) / 2
        at = shape.scaled(middle)
        pays = hybrid_cost(at, fleet, usd_per_request).usd <= hosted_cost(at, usd_per_request).usd
        low, high = (low, middle) if pays else (middle, high)
    return high


def usd_per_million_tokens(usd: float, load: Load, lengths: Lengths) -> float | None:
    """Return the blended price of a million tokens, prompts and answers alike; None without traffic."""
    tokens = load.requests_per_month * (lengths.input_mean + lengths.output_mean)
    return usd / tokens * 1e6 if tokens else None


def _running_shares(load: Load, fleet: Fleet, count: int) -> list[float]:
    """Return the share of the time in which each replica runs: the least always, the others while the load needs them.

    A replica takes minutes to start, so it cannot follow a load that leaps: under Bursty all of them run always.
    """
    if load.pattern is TrafficPattern.BURSTY:
        return [1.0] * count
    return [1.0 if index < max(1, fleet.least) else load.share_above(index * fleet.requests_per_s) for index in range(count)]


def _usd_per_hour(fleet: Fleet, index: int, share: float) -> float:
    return 0.0 if index < fleet.committed else fleet.price.usd(fleet.pricing, share=share)


def _paid_share(fleet: Fleet, index: int, share: float) -> float:
    """Return the share of the time for which a replica is paid: all of it where it is committed or reserved, else while it runs."""
    reserved = fleet.price.reserved if fleet.pricing is Pricing.RESERVED else None
    always = index < fleet.committed or (reserved is not None and reserved < fleet.price.on_demand * share)
    return 1.0 if always else share


def _spilled_usd(load: Load, fleet: Fleet, count: int, usd_per_request: float) -> float:
    return (load.mean_per_s - load.served_per_s(count * fleet.requests_per_s)) * SECONDS_PER_MONTH * usd_per_request


def _owned(load: Load, fleet: Fleet, shares: Sequence[float], *, hosted_usd: float) -> MonthlyCost:
    mean = sum(shares)
    return MonthlyCost(
        owned_usd=HOURS_PER_MONTH * sum(_usd_per_hour(fleet, index, share) for index, share in enumerate(shares)),
        hosted_usd=hosted_usd,
        replicas_mean=mean,
        replicas_peak=len(shares),
        utilization=load.served_per_s(len(shares) * fleet.requests_per_s) / (mean * fleet.requests_per_s),
        paid_shares=tuple(_paid_share(fleet, index, share) for index, share in enumerate(shares)),
    )
