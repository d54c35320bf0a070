"""The plan: every option, the one that is recommended, and why; what is nearly as good; what it all rests on."""

from collections.abc import Sequence
from dataclasses import dataclass

from spillway.api.vocabulary import Reason
from spillway.api.workload import DataResidency, PlacementMode
from spillway.plan.comparing.offers import has_own_weights
from spillway.plan.comparing.options import Cause, Obstacle, Option, Question, ServedBy
from spillway.plan.comparing.owning import Renting, owned_options
from spillway.plan.comparing.renting import batch_options, cheapest_request_usd, hosted_options, no_overflow, overflow_offer
from spillway.plan.decision import Problem
from spillway.plan.place.placed import Verdict
from spillway.plan.replica.sizing import ReplicaSize
from spillway.plan.traffic.load import Load

_ORDER = {mode: index for index, mode in enumerate(ServedBy)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What serves now, as far as is known."""

    mode: ServedBy
    accelerator_class: str | None = None
    tensor_parallel_size: int | None = None

    def matches(self, option: Option) -> bool:
        """Whether an option is what serves now."""
        if option.mode is not self.mode:
            return False
        if option.size is None or self.accelerator_class is None:
            return True
        same_size = self.tensor_parallel_size in {None, option.size.tensor_parallel_size}
        return option.size.accelerator_class == self.accelerator_class and same_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Engineering:
    """What people cost, for owning. It is shown apart and decides nothing."""

    once_usd: float = 0.0
    monthly_usd: float = 0.0
    amortise_months: int = 12

    @property
    def usd_per_month(self) -> float:
        """A month's part of it."""
        return self.once_usd / self.amortise_months + self.monthly_usd


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The answer."""

    question: Question
    load: Load
    options: tuple[Option, ...]  # possible ones first, cheapest first
    cheapest: Option | None  # of the possible ones
    recommended: Option | None  # the cheapest, or what runs now where that is as good within the error
    near: tuple[Option, ...]  # possible options of other kinds whose cost is within the error of the cheapest
    verdict: Verdict
    break_even: Option | None  # the way of owning that pays from the lowest volume on

    @property
    def feasible(self) -> tuple[Option, ...]:
        """The possible options, cheapest first."""
        return tuple(option for option in self.options if option.feasible)


def all_options(question: Question, sized: tuple[ReplicaSize, ...] | Problem, load: Load) -> tuple[Option, ...]:
    """Return every way to serve this load: the possible ones first and cheapest first, then by what is in their way."""
    hosted, batch = hosted_options(question, load), batch_options(question, load)
    if isinstance(sized, Problem):
        unknown = Option(mode=ServedBy.DEDICATED, obstacles=(Obstacle(cause=Cause.UNKNOWN_MODEL, message=sized.message),))
        return tuple(sorted((*hosted, *batch, unknown), key=_rank))
    renting = Renting(overflow=overflow_offer(question, hosted), cheapest_usd=cheapest_request_usd(question, (*hosted, *batch)))
    owned = [option for size in sized for option in owned_options(question, size, load, renting)]
    if renting.overflow is None:
        owned.append(Option(mode=ServedBy.HYBRID, obstacles=no_overflow(hosted)))
    return tuple(sorted((*hosted, *batch, *owned), key=_rank))


def make_plan(question: Question, sized: tuple[ReplicaSize, ...] | Problem, load: Load, *, running: Running | None = None) -> Plan:
    """Return the plan for this load. `running` is what serves now, which a near-tie leaves alone."""
    options = all_options(question, sized, load)
    possible = [option for option in options if option.feasible]
    cheapest = possible[0] if possible else None
    near = _near(cheapest, possible) if cheapest else ()
    stays = next((option for option in near if running is not None and running.matches(option)), None)
    keeps = cheapest is not None and running is not None and running.matches(cheapest)
    volumes = [(option.break_even_requests, option) for option in options if option.owns and option.affordable_aside]
    pays = [(volume, option) for volume, option in volumes if volume is not None]
    return Plan(
        question=question,
        load=load,
        options=options,
        cheapest=cheapest,
        recommended=cheapest if keeps or stays is None else stays,
        near=near,
        verdict=judge_owning(question, options),
        break_even=min(pays, key=lambda each: (each[0], _rank(each[1])))[1] if pays else None,
    )


def running_of(question: Question) -> Running | None:
    """Return what the spec itself asks for, taken as what runs now; None under mode Auto."""
    spec = question.spec
    if spec.placement.mode is PlacementMode.AUTO:
        return None
    listed = spec.own.accelerators
    known = listed[0] if spec.owns and listed else None
    return Running(
        mode=ServedBy(spec.placement.mode.value),
        accelerator_class=known,
        tensor_parallel_size=spec.own.engine.stated_tensor_parallel_size if known else None,
    )


def judge_owning(question: Question, options: Sequence[Option]) -> Verdict:  # noqa: PLR0911  one return per state
    """Return whether owning pays at this load, with the reasons that SelfHostingEconomic has."""
    spec = question.spec
    able = [option for option in options if option.affordable_aside and option.usd is not None]
    owned = min((option.usd or 0.0 for option in able if option.owns), default=None)
    rented = min((option.usd or 0.0 for option in able if not option.owns), default=None)
    if spec.placement.data_residency is DataResidency.CLUSTER_ONLY:
        return Verdict(
            economic=None, reason=Reason.RESIDENCY_FORCES_DEDICATED, message="No request may leave the cluster, so it is self-hosted."
        )
    if has_own_weights(spec) and not question.offers.found:
        return Verdict(economic=None, reason=Reason.OWN_WEIGHTS_FORCE_DEDICATED, message="No hosted backend serves these weights.")
    if rented is None:
        message = "No hosted backend meets the requirements." if question.offers.found else "There is no hosted price to compare with."
        return Verdict(economic=None, reason=Reason.NO_HOSTED_ALTERNATIVE, message=message)
    if owned is None:
        missing = {Cause.UNKNOWN_MODEL, Cause.NO_PRICE}  # the shape of the model, or the price of a class that could serve it
        unknown = any(all(each.cause in missing for each in option.obstacles) for option in options if option.owns)
        message = "The cost of self-hosting is unknown." if unknown else "No accelerator class here meets the requirements."
        return Verdict(economic=None, reason=Reason.NO_EVIDENCE, message=message)
    if owned < rented:
        return Verdict(
            economic=True, reason=Reason.SELF_HOSTING_CHEAPER, message="Self-hosting costs less than hosted backends at this load."
        )
    if all(option.kappa is not None and option.kappa < 1 for option in able if option.owns):
        return Verdict(
            economic=False,
            reason=Reason.HOSTED_CHEAPER_AT_ANY_LOAD,
            message="Even a fully used replica costs more than the same work hosted (kappa is below 1).",
        )
    return Verdict(economic=False, reason=Reason.BELOW_BREAK_EVEN, message="Too few requests to keep a replica busy enough.")


def _near(cheapest: Option, possible: list[Option]) -> tuple[Option, ...]:
    """Return the cheapest option of each other kind whose cost differs by less than either's error."""
    if cheapest.usd is None:
        return ()
    found: dict[tuple[ServedBy, str | None], Option] = {_kind(cheapest): cheapest}
    for option in possible:
        if option.usd is not None and option.usd - cheapest.usd <= max(option.error_usd, cheapest.error_usd):
            found.setdefault(_kind(option), option)
    return tuple(option for option in found.values() if option is not cheapest)


def _kind(option: Option) -> tuple[ServedBy, str | None]:
    return option.mode, option.size.accelerator_class if option.size else None


def _rank(option: Option) -> tuple[object, ...]:
    """Return the order of options. Costs that differ by less than a cent are the same cost."""
    size = option.size
    return (
        not option.feasible,
        len(option.obstacles) if not option.feasible else 0,
        option.usd is None,
        round(option.usd or 0.0, 2),
        0.0 if option.feasible or size is None else -size.memory.kv_cache_gib,  # what fits least badly first
        _ORDER[option.mode],
        size.tensor_parallel_size if size else 0,
        size.accelerator_class if size else "",
        option.pricing or "",
        option.offer.label if option.offer else "",
    )
