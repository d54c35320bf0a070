"""A plan of a workload as the operator needs it: the same options and costs as `spillway plan`, in the few figures that are kept.

Two differences to the command: capacity costs its on-demand price, since how it is paid for in fact no object of the cluster tells; and
where backends are named the first one is what renting costs, since that is the one that answers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from spillway.api.catalogue import AcceleratorClassSpec
from spillway.api.status import PlanBasis
from spillway.api.workload import DataResidency, InferenceWorkloadSpec, PlacementMode
from spillway.plan.comparing.choice import Running, judge_owning, make_plan
from spillway.plan.comparing.offers import Offers, find_offers
from spillway.plan.comparing.options import MOST_REPLICAS, Cause, Option, Question, ServedBy
from spillway.plan.comparing.owning import all_sizes
from spillway.plan.decision import Problem
from spillway.plan.model.told_shape import told_architecture
from spillway.plan.observation import Catalogue
from spillway.plan.place.measured_pace import MeasuredPace, at_pace
from spillway.plan.place.placed import Evaluation, ObservedLoad, Placed, PlannedTraffic, Recommendation
from spillway.plan.replica.capacity import blind_batch
from spillway.plan.rounding import rate, usd
from spillway.plan.traffic.lengths import Lengths
from spillway.plan.traffic.load import Load, declared_load
from spillway.plan.traffic.observed_load import as_declared

GIVE_A_PRICE = "set spec.price in the AcceleratorClass"
CANNOT = "By the plan, it cannot meet the SLO, budget and limits."  # told of a mode that was asked for, and read back after a restart

_RELAXED = {
    Cause.BUDGET: "raise budget.monthlyUSD",
    Cause.RESIDENCY: "set placement.dataResidency HostedAllowed and add hosted.backends",
    Cause.OWN_WEIGHTS: "add a provider that serves your weights to hosted.backends",
    Cause.NO_OFFER: "add a provider that lists the model to hosted.backends",
    Cause.OFFER: "choose another hosted backend or relax slo, which the backend's stated figures miss",
    Cause.UNKNOWN_MODEL: "set model.architecture",
    Cause.SIZE: "relax slo, set model.quantization, or allow larger accelerator classes",
    Cause.NOT_LISTED: "add a class to dedicated.accelerators",
    Cause.NO_PRICE: GIVE_A_PRICE,
    Cause.TOO_MANY: "raise dedicated.scaling.maxReplicas",
}
"""What to do about an obstacle, without figures: it goes into a condition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is evaluated: a workload, what it could use, what serves it, and what was seen of its traffic."""

    name: str
    spec: InferenceWorkloadSpec
    catalogue: Catalogue
    serving: Placed | None
    observed: ObservedLoad | None  # None: the declared traffic counts
    pace: MeasuredPace | None = None  # of its replicas; None: none was measured


def evaluate(subject: Subject, now: datetime) -> Evaluation:
    """Return the plan for what was seen, else for what is declared; without figures where no volume or no shape is known."""
    spec = subject.spec if subject.observed is None else as_declared(subject.spec, subject.observed)
    load = declared_load(spec)
    if load is None:
        return Evaluation(at=now, unknown="No traffic is declared, and too little has been observed.")
    question = _question(subject, spec)
    basis = PlanBasis.DECLARED if subject.observed is None else PlanBasis.OBSERVED
    traffic = _traffic(basis, load, question.lengths)
    sized = all_sizes(question)
    if isinstance(sized, Problem):
        return Evaluation(at=now, traffic=traffic, unknown=f"The cost of self-hosting cannot be estimated: {sized.message}")
    options = make_plan(question, at_pace(sized, subject.pace), load).options
    return _Weighing(subject=subject, question=question, traffic=traffic, options=options, now=now).weigh()


def asked_classes(spec: InferenceWorkloadSpec, catalogue: Catalogue) -> dict[str, AcceleratorClassSpec]:
    """Return the classes that a workload may use: those it lists, else all."""
    listed = spec.own.accelerators
    return {name: each for name, each in catalogue.accelerator_classes.items() if not listed or name in listed}


def as_made(spec: InferenceWorkloadSpec) -> InferenceWorkloadSpec:
    """Return the spec with the batch that replicas are made with where only they tell the model's shape: they get none that follows it."""
    if spec.dedicated is None or told_architecture(spec.model) is None:
        return spec
    engine = spec.dedicated.engine.model_copy(update={"max_num_seqs": blind_batch(spec)})
    return spec.model_copy(update={"dedicated": spec.dedicated.model_copy(update={"engine": engine})})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weighing:
    """The options of a plan, weighed against what serves."""

    subject: Subject
    question: Question
    traffic: PlannedTraffic
    options: Sequence[Option]
    now: datetime

    def weigh(self) -> Evaluation:
        able = [option for option in self.options if _can_be_done(option, self.subject.spec)]
        serving = self._serving_option()
        told = _pick(self._tellable(), serving)
        target = _pick(able, serving)
        stuck = not any(option.feasible for option in able)
        return Evaluation(
            at=self.now,
            traffic=self.traffic,
            recommended=None if told is None else self._recommendation(told, serving),
            target=None if target is None else _placed(target),
            target_why="" if target is None else self._why(target, serving),
            usd=None if serving is None else serving.usd,
            saving=_saving(serving, told),
            target_saving=_saving(serving, target),
            serving_feasible=serving is not None and serving.feasible,
            relax=self._relaxations(able) if stuck else (),
            barred=_barred(able) if stuck else "",
            verdict=judge_owning(self.question, self.options),
        )

    def _tellable(self) -> list[Option]:
        """Return what may be recommended: under Auto what it can do and batches, else anything."""
        if self.subject.spec.placement.mode is not PlacementMode.AUTO:
            return list(self.options)
        return [option for option in self.options if option.mode is ServedBy.BATCH or _can_be_done(option, self.subject.spec)]

    def _serving_option(self) -> Option | None:
        placed = self.subject.serving
        if placed is None or placed.mode is PlacementMode.AUTO:
            return None
        running = Running(
            mode=ServedBy(placed.mode.value), accelerator_class=placed.accelerator_class, tensor_parallel_size=placed.tensor_parallel_size
        )
        return next((option for option in self.options if running.matches(option)), None)

    def _recommendation(self, option: Option, serving: Option | None) -> Recommendation:
        cost = option.cost
        return Recommendation(
            mode=option.mode.value,
            accelerator_class=option.size.accelerator_class if option.size else None,
            tensor_parallel_size=option.size.tensor_parallel_size if option.size else None,
            replicas_mean=cost.replicas_mean if cost else 0.0,
            replicas_peak=cost.replicas_peak if cost else 0,
            monthly_usd=option.usd or 0.0,
            usd_per_million_tokens=option.usd_per_million_tokens,
            why=self._why(option, serving),
        )

    def _why(self, option: Option, serving: Option | None) -> str:
        """Return both monthly costs, the saving and what the plan was based on."""
        parts = [f"{_called(option)} costs {usd(option.usd)} USD a month"]
        if serving is not None and serving is not option and serving.usd is not None:
            barred = "" if serving.feasible else f" ({' '.join(each.message for each in serving.obstacles)})"
            parts.append(f"{_called(serving)}, serving now, costs {usd(serving.usd)}{barred}{_told_saving(_saving(serving, option))}")
        traffic = self.traffic
        parts.append(
            f"{traffic.basis.value.lower()} traffic: {rate(traffic.mean_per_s)} requests/s, {rate(traffic.peak_per_s)} at the peak, "
            f"{traffic.input_tokens:.0f} tokens in and {traffic.output_tokens:.0f} out"
        )
        if self.subject.pace is not None and any(each is not None and each.size is not None for each in (option, serving)):
            parts.append(str(self.subject.pace))
        return "; ".join(parts)

    def _relaxations(self, able: Iterable[Option]) -> tuple[str, ...]:
        """Return what to change, each alone making something possible; without that, what stands in the way of most."""
        spec, barred = self.subject.spec, list(able)
        fewest = min((len(option.obstacles) for option in barred), default=0)
        causes = dict.fromkeys(option.obstacles[0].cause for option in barred if len(option.obstacles) == fewest)
        found = [_RELAXED[cause] for cause in causes if cause in _RELAXED]
        if not spec.rents and spec.placement.data_residency is DataResidency.HOSTED_ALLOWED and spec.placement.mode is PlacementMode.AUTO:
            found.append("add hosted.backends")
        if spec.dedicated is None:
            found.append("add dedicated, to run replicas")
        return tuple(dict.fromkeys(found)) or ("relax slo or the budget",)


def _question(subject: Subject, spec: InferenceWorkloadSpec) -> Question:
    classes = {
        name: each.model_copy(update={"price": each.price.model_copy(update={"reserved_usd_per_hour": None, "spot_usd_per_hour": None})})
        if each.price is not None
        else each
        for name, each in asked_classes(spec, subject.catalogue).items()
    }
    offers = find_offers(spec, subject.catalogue.providers)
    if isinstance(offers, Problem):
        offers = Offers(found=(), by_name=False)
    elif not offers.by_name:
        offers = replace(offers, found=offers.found[:1])
    most = spec.dedicated.scaling.max_replicas if spec.dedicated else MOST_REPLICAS
    return Question(
        name=subject.name,
        spec=as_made(spec),
        classes=classes,
        offers=offers,
        most_replicas=most,
        running_tensor_parallel_size=None if subject.serving is None else subject.serving.tensor_parallel_size,
    )


def _can_be_done(option: Option, spec: InferenceWorkloadSpec) -> bool:
    """Whether the operator can do this without an edit of the spec."""
    owns, rents = option.mode in {ServedBy.DEDICATED, ServedBy.HYBRID}, option.mode in {ServedBy.HOSTED, ServedBy.HYBRID}
    if option.mode is ServedBy.BATCH or (owns and spec.dedicated is None) or (rents and not spec.rents):
        return False
    stated = spec.own.engine.stated_tensor_parallel_size
    return option.size is None or stated in {None, option.size.tensor_parallel_size}


def _pick(options: Iterable[Option], serving: Option | None) -> Option | None:
    """Return the cheapest possible option; what serves instead where that is as good within the error of the estimate."""
    cheapest = next((option for option in options if option.feasible and option.usd is not None), None)
    if cheapest is None or serving is None or not serving.feasible or serving.usd is None or cheapest.usd is None:
        return cheapest
    return serving if serving.usd - cheapest.usd <= max(serving.error_usd, cheapest.error_usd) else cheapest


def _saving(serving: Option | None, other: Option | None) -> float | None:
    if serving is None or other is None or serving.usd is None or other.usd is None:
        return None
    if not serving.usd:
        return 0.0 if not other.usd else -1.0
    return (serving.usd - other.usd) / serving.usd


def _told_saving(saving: float | None) -> str:
    if saving is None:
        return ""
    share = f"{abs(saving) * 100:.0f} %"
    return f"; saving {share}" if saving >= 0 else f"; {share} more"


def _placed(option: Option) -> Placed:
    size = option.size
    return Placed(
        mode=PlacementMode(option.mode.value),
        accelerator_class=size.accelerator_class if size else None,
        tensor_parallel_size=size.tensor_parallel_size if size else None,
    )


def _called(option: Option) -> str:
    if option.size is not None:
        return f"{option.mode} on {option.size.tensor_parallel_size} x {option.size.accelerator_class}"
    return f"{option.mode} at {option.offer.label}" if option.offer else option.mode.value


def _barred(options: Iterable[Option]) -> str:
    """Return, for each way to serve, what is in the way of its nearest option."""
    nearest: dict[ServedBy, Option] = {}
    for option in options:
        nearest.setdefault(option.mode, option)
    return "; ".join(f"{_called(option)}: {' '.join(each.message for each in option.obstacles)}" for option in nearest.values())


def _traffic(basis: PlanBasis, load: Load, lengths: Lengths) -> PlannedTraffic:
    return PlannedTraffic(
        basis=basis,
        mean_per_s=load.mean_per_s,
        peak_per_s=load.peak_per_s,
        input_tokens=lengths.input_mean,
        output_tokens=lengths.output_mean,
    )
