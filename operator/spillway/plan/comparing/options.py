"""What a plan weighs: ways to serve a workload, what each costs a month, what it promises, and what stands in its way."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from spillway.api.catalogue import AcceleratorClassSpec
from spillway.api.workload import DataResidency, InferenceWorkloadSpec
from spillway.plan.comparing.offers import Offer, Offers
from spillway.plan.money.economics import Fleet, MonthlyCost, Pricing, break_even_requests, request_usd
from spillway.plan.replica.sizing import ReplicaSize
from spillway.plan.traffic.lengths import Lengths, declared_lengths
from spillway.plan.traffic.load import Load

MOST_REPLICAS = 1000  # what dedicated.scaling.maxReplicas allows


class ServedBy(StrEnum):
    """The ways to serve, from the fewest things to run on: of two that cost the same the first is taken."""

    HOSTED = "Hosted"
    BATCH = "Batch"
    DEDICATED = "Dedicated"
    HYBRID = "Hybrid"


class Cause(StrEnum):
    """Why an option is not possible: what to relax is told by cause."""

    RESIDENCY = "Residency"
    OWN_WEIGHTS = "OwnWeights"
    NO_OFFER = "NoHostedOffer"
    OFFER = "HostedOffer"
    NOT_OFFLINE = "NotOffline"
    UNKNOWN_MODEL = "UnknownModel"
    SIZE = "Capacity"
    NOT_LISTED = "NotListed"
    NO_PRICE = "NoPrice"
    SPOT = "Spot"
    TOO_MANY = "TooManyReplicas"
    BUDGET = "Budget"


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """What keeps an option from being possible, as a sentence."""

    cause: Cause
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """What an option owns for which load, and what a request would cost rented."""

    fleet: Fleet
    load: Load
    rented_usd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One way to serve. What could not be computed is None."""

    mode: ServedBy
    obstacles: tuple[Obstacle, ...] = ()
    size: ReplicaSize | None = None  # of one replica, where any are owned
    pricing: Pricing | None = None
    offer: Offer | None = None  # where anything is rented
    cost: MonthlyCost | None = None
    usd_per_million_tokens: float | None = None
    stranded_usd: float | None = None  # a month of the accelerators that share the replicas' nodes and that nothing here uses
    kappa: float | None = None
    owned: Owned | None = None  # where replicas are

    @property
    def feasible(self) -> bool:
        """Whether nothing is in its way."""
        return not self.obstacles

    @property
    def break_even_requests(self) -> int | None:
        """Volume a month from which own replicas save more than they cost. Computed when asked: a sweep never asks."""
        return None if self.owned is None else break_even_requests(self.owned.load, self.owned.fleet, self.owned.rented_usd)

    @property
    def usd(self) -> float | None:
        """USD a month."""
        return None if self.cost is None else self.cost.usd

    @property
    def affordable_aside(self) -> bool:
        """Whether it is possible but for the budget."""
        return all(each.cause is Cause.BUDGET for each in self.obstacles)

    @property
    def error_usd(self) -> float:
        """How far off the cost may be: the part that is owned, by the error of the size it rests on."""
        return 0.0 if self.cost is None or self.size is None else self.cost.owned_usd * self.size.error_percent / 100

    @property
    def owns(self) -> bool:
        """Whether replicas are owned."""
        return self.mode in {ServedBy.DEDICATED, ServedBy.HYBRID}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a plan is asked about: the workload, what could be owned and what could be rented."""

    name: str
    spec: InferenceWorkloadSpec
    classes: Mapping[str, AcceleratorClassSpec]
    offers: Offers
    most_replicas: int = MOST_REPLICAS  # that may be owned
    running_tensor_parallel_size: int | None = None  # of the replicas there are

    @property
    def lengths(self) -> Lengths:
        """Tokens of a request."""
        return declared_lengths(self.spec)

    @property
    def cached_share(self) -> float:
        """Share of prompt tokens that a provider may bill as cached, 0 to 1."""
        return self.spec.cached_input_share

    @property
    def may_leave(self) -> bool:
        """Whether requests may leave the cluster."""
        return self.spec.placement.data_residency is DataResidency.HOSTED_ALLOWED

    def request_usd(self, offer: Offer, *, batch: bool = False) -> float:
        """Return what a request of mean lengths costs there."""
        usd = request_usd(offer.listing, self.lengths, cached_share=self.cached_share)
        return usd * (1 - offer.batch.discount_percent / 100) if batch and offer.batch else usd


def over_budget(spec: InferenceWorkloadSpec, cost: MonthlyCost) -> tuple[Obstacle, ...]:
    """Return the obstacle that a cost above the budget is."""
    if spec.budget is None or cost.usd <= float(spec.budget.monthly_usd):
        return ()
    return (Obstacle(cause=Cause.BUDGET, message=f"Costs more than budget.monthlyUSD {spec.budget.monthly_usd:f}."),)
