"""What serves a workload and what should, as values: handed from pass to pass and told in the status."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from spillway.api.catalogue import AcceleratorClassSpec, HostedProviderSpec
from spillway.api.status import PlanBasis
from spillway.api.vocabulary import Reason
from spillway.api.workload import InferenceWorkloadSpec, PlacementMode

MOVING = {PlacementMode.DEDICATED: Reason.MOVING_TO_DEDICATED, PlacementMode.HOSTED: Reason.MOVING_TO_HOSTED}
"""Where a move ends that passes through Hybrid → how that is told, and remembered across restarts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Where requests are served, and on what where replicas are owned."""

    mode: PlacementMode
    accelerator_class: str | None = None
    tensor_parallel_size: int | None = None

    @property
    def owns(self) -> bool:
        """Whether replicas are owned."""
        return self.mode is not PlacementMode.HOSTED

    @property
    def rents(self) -> bool:
        """Whether requests may be rented."""
        return self.mode is not PlacementMode.DEDICATED

    def __str__(self) -> str:
        """Return it in words: "Hybrid on 2 x h100 per replica"."""
        return called(self.mode, self.accelerator_class, self.tensor_parallel_size)


def called(mode: str, accelerator_class: str | None, tensor_parallel_size: int | None) -> str:
    """Return a way to serve in words."""
    return str(mode) if accelerator_class is None else f"{mode} on {tensor_parallel_size} x {accelerator_class} per replica"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedLoad:
    """What has been seen of the traffic, over a time that fades out behind."""

    mean_per_s: float
    peak_per_s: float
    input_tokens: float | None = None  # of a mean request; None: none was seen yet
    output_tokens: float | None = None
    watched_s: float = 0.0  # how much time of watching it rests on
    at: datetime  # of the last reading in it


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """What the plan finds cheapest within the promises."""

    mode: str  # a PlacementMode, or Batch
    accelerator_class: str | None
    tensor_parallel_size: int | None
    replicas_mean: float
    replicas_peak: int
    monthly_usd: float
    usd_per_million_tokens: float | None
    why: str  # the figures

    def __str__(self) -> str:
        """Return it in words."""
        return called(self.mode, self.accelerator_class, self.tensor_parallel_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTraffic:
    """The traffic that a plan was made for."""

    basis: PlanBasis
    mean_per_s: float
    peak_per_s: float
    input_tokens: float
    output_tokens: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether owning pays; `economic` is None where there is nothing to compare."""

    economic: bool | None
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One plan of a workload, in the few figures that are kept."""

    at: datetime
    traffic: PlannedTraffic | None = None  # None: no volume is known, so there is no plan
    unknown: str | None = None  # why there is no plan, or none of owning
    recommended: Recommendation | None = None
    target: Placed | None = None  # the best that this spec lets be done at once
    target_why: str = ""
    usd: float | None = None  # of what serves, in 30 days
    saving: float | None = None  # share of that which the recommended saves, 0 to 1
    target_saving: float | None = None  # likewise for the target
    serving_feasible: bool = True  # whether what serves keeps the promises and the budget
    relax: tuple[str, ...] = ()  # when nothing is possible: what to change, each alone
    barred: str = ""  # the same with its figures
    verdict: Verdict | None = None
    observed: ObservedLoad | None = None  # what had been seen by then

    @property
    def is_stuck(self) -> bool:
        """Whether there is a plan, and nothing in it is possible."""
        return bool(self.relax)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What an evaluation was made from, besides traffic: when this changes it is made anew."""

    spec: InferenceWorkloadSpec
    classes: Mapping[str, AcceleratorClassSpec]
    providers: Mapping[str, HostedProviderSpec]
    serving: Placed | None  # what it is compared with


@dataclass(frozen=True, slots=True, kw_only=True)
class Placing:
    """What is remembered of placing a workload."""

    placed: Placed | None = None  # what is in force; None: nothing has been decided
    destination: PlacementMode | None = None  # where a move ends that passes through Hybrid now
    observed: ObservedLoad | None = None
    evaluation: Evaluation | None = None
    evidence_at: datetime | None = None  # of the last evaluation that rested on readings
    saving_since: datetime | None = None  # since when all of those found enough to save
    asked: Asked | None = None
    told: str | None = None  # recommendation last told, in words
    planned_at: datetime | None = None  # by the operator before this one
    told_stuck: bool = False  # that one has told that nothing is possible

    @property
    def serving(self) -> Placed | None:
        """What serves once a move has ended."""
        if self.placed is None or self.destination is None:
            return self.placed
        if self.destination is PlacementMode.HOSTED:
            return Placed(mode=PlacementMode.HOSTED)
        return Placed(
            mode=self.destination,
            accelerator_class=self.placed.accelerator_class,
            tensor_parallel_size=self.placed.tensor_parallel_size,
        )
