"""Where a workload is served: the mode it asks for or, under Auto, the best plan that has proved itself; and how it gets there.

A plan is made when there is none, when the spec, a class, a provider or what serves changes, and every so often from then on. Under
Auto a better one is followed only after every plan on readings has found enough to save during a whole hold time; what is Missing neither
counts for a saving nor against it. A move between owning everything and renting everything passes through Hybrid: to Dedicated until
enough replicas are ready, to Hosted until a hosted backend is known to answer.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime

from spillway.api.vocabulary import Reason
from spillway.api.workload import ApplyMode, InferenceWorkloadSpec, PlacementMode
from spillway.plan.clock import elapsed
from spillway.plan.decision import Memory, Problem, Workload
from spillway.plan.gateway.spill import hosted_serves
from spillway.plan.names import pool_name
from spillway.plan.observation import Observation
from spillway.plan.place.evaluation import Subject, asked_classes, evaluate
from spillway.plan.place.measured_pace import measured_pace
from spillway.plan.place.placed import MOVING, Asked, Evaluation, Placed, Placing
from spillway.plan.place.placement import MODE_REASONS, Choice, choose_accelerator, effective_spec, impossible, unlisted
from spillway.plan.readings import number
from spillway.plan.settings import PlanSettings
from spillway.plan.traffic.observed_load import observe_load
from spillway.plan.validate import resolve_backends


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One change, for the log."""

    what: str
    reason: Reason
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What serves in this pass. With problems, what runs goes on running."""

    placing: Placing
    spec: InferenceWorkloadSpec  # with its mode, class and tensor parallel size resolved
    reason: Reason
    choice: Choice | None = None
    problems: tuple[Problem, ...] = ()
    told: tuple[Told, ...] = field(default=())


def resolve(workload: Workload, seen: Observation, memory: Memory, now: datetime, settings: PlanSettings) -> Resolution:
    """Return where the workload is served, and what is remembered of it. With problems, what was decided before stands."""
    before = memory.placing or Placing()
    observed = observe_load(before.observed, seen.signals, now, over=settings.placement_hold, gap=settings.longest_break)
    before = before if observed is before.observed else replace(before, observed=observed)
    if workload.spec.placement.mode is PlacementMode.AUTO:
        return _Auto(workload=workload, seen=seen, memory=memory, now=now, settings=settings).resolve(before)
    return _asked_for(workload, seen, memory, before, now=now, settings=settings)


def _asked_for(
    workload: Workload, seen: Observation, memory: Memory, before: Placing, *, now: datetime, settings: PlanSettings
) -> Resolution:
    """Return the mode that the spec asks for. Its plan is advice."""
    spec = workload.spec
    reason = MODE_REASONS[spec.placement.mode]
    if before.destination is not None or before.saving_since is not None:
        before = replace(before, destination=None, saving_since=None)
    choice = choose_accelerator(workload.key.name, spec, seen.catalogue, seen.pools, kept=before.placed) if spec.owns else None
    _, unresolved = resolve_backends(spec, seen.catalogue)
    problems = (*(unresolved if spec.rents else ()), *((choice,) if isinstance(choice, Problem) else ()))
    if isinstance(choice, Problem):
        return Resolution(placing=before, spec=spec, reason=reason, problems=problems)
    placed = _placed(spec.placement.mode, choice)
    effective = effective_spec(spec, placed)
    if problems:
        return Resolution(placing=before, spec=effective, reason=reason, choice=choice, problems=problems)
    before = before if placed == before.placed else replace(before, placed=placed)
    placing, told = _evaluated(workload, seen, memory, before, now=now, settings=settings)
    return Resolution(placing=placing, spec=effective, reason=reason, choice=choice, told=told)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Auto:
    """One pass over a workload whose mode is Auto."""

    workload: Workload
    seen: Observation
    memory: Memory
    now: datetime
    settings: PlanSettings

    def resolve(self, before: Placing) -> Resolution:
        """Return what serves: what served, unless it cannot any more or something better has proved itself."""
        spec = self.workload.spec
        _, unresolved = resolve_backends(spec, self.seen.catalogue)
        missing = unlisted(spec, self.seen.catalogue)
        if unresolved or missing is not None:
            return self._unresolved(before, *unresolved, *((missing,) if missing is not None else ()))
        placing, told = self._arrived(before)
        barred = None if placing.placed is None else impossible(placing.placed, spec, self.seen.catalogue)
        if barred is not None or (placing.placed is not None and not self._destination_possible(placing)):
            placing = replace(placing, destination=None)
        placing, advice = _evaluated(self.workload, self.seen, self.memory, placing, now=self.now, settings=self.settings)
        if placing.placed is None or barred is not None:
            return self._placed_anew(placing, (*told, *advice), barred)
        moved, move = self._moved(placing)
        return self._resolution(moved, (*told, *advice, *move))

    def _destination_possible(self, placing: Placing) -> bool:
        serving = placing.serving
        return serving is None or impossible(serving, self.workload.spec, self.seen.catalogue) is None

    def _arrived(self, placing: Placing) -> tuple[Placing, tuple[Told, ...]]:
        """End a move whose other side is seen to serve."""
        serving = placing.serving
        if placing.destination is None or serving is None or not self._serves(placing):
            return placing, ()
        why = "enough replicas are ready" if serving.owns else "a hosted backend is ready"
        told = Told(what=f"placement {serving}", reason=Reason.MOVE_COMPLETED, why=why)
        return replace(placing, placed=serving, destination=None), (told,)

    def _serves(self, placing: Placing) -> bool:
        if placing.destination is PlacementMode.HOSTED:
            backends, _ = resolve_backends(self.workload.spec, self.seen.catalogue)
            return hosted_serves(backends, self.seen, self.memory.key_trouble)
        return self._enough_ready(placing.placed)

    def _enough_ready(self, placed: Placed | None) -> bool:
        """Whether as many replicas as are wanted have been ready for long enough for the gateways to know them."""
        if placed is None or placed.accelerator_class is None:
            return False
        name = pool_name(self.workload.key.name, placed.accelerator_class, placed.tensor_parallel_size or 1)
        last = self.memory.settling
        decided = last.replicas if last is not None and last.pool == name else 0
        shown = next((each.replicas for each in self.seen.pools if each.name == name), 0)
        known = [
            pod
            for pod in self.seen.replicas
            if pod.pool == name and pod.ready and pod.stays
            if pod.ready_since is None or self.now - pod.ready_since >= self.settings.settle
        ]
        return len(known) >= max(1, decided, shown)

    def _placed_anew(self, placing: Placing, told: tuple[Told, ...], barred: Problem | None) -> Resolution:
        """Place what is placed nowhere, or cannot stay where it is: at once, since nothing else would serve it."""
        evaluation = placing.evaluation
        if evaluation is not None and evaluation.is_stuck:
            return self._unresolved(placing, _nothing_feasible(evaluation), told=told)
        target = evaluation.target if evaluation is not None else None
        why = evaluation.target_why if evaluation is not None and target is not None else ""
        if target is None:
            found = self._without_plan()
            if isinstance(found, Problem):
                return self._unresolved(placing, found, told=told)
            target = found
            why = (evaluation.unknown if evaluation is not None else None) or "no plan"
        before = placing.placed if barred is None else _remains(placing.placed, self.workload.spec)
        reason = Reason.FIRST_PLACEMENT if placing.placed is None else Reason.PLACEMENT_IMPOSSIBLE
        moved = replace(self._set_out(placing, before, target), saving_since=None)
        because = why if barred is None else f"{barred.message} {why}"
        return self._resolution(moved, (*told, _move(moved, reason, because)))

    def _without_plan(self) -> Placed | Problem:
        """Return where to begin where nothing can be reckoned: renting costs nothing while nothing comes."""
        spec = self.workload.spec
        if spec.rents:
            return Placed(mode=PlacementMode.HOSTED)
        choice = choose_accelerator(self.workload.key.name, spec, self.seen.catalogue, self.seen.pools)
        return choice if isinstance(choice, Problem) else _placed(PlacementMode.DEDICATED, choice)

    def _moved(self, placing: Placing) -> tuple[Placing, tuple[Told, ...]]:
        """Follow a better plan once it has held."""
        evaluation, since = placing.evaluation, placing.saving_since
        fresh = evaluation is not None and evaluation.at == self.now == placing.evidence_at
        if evaluation is None or evaluation.target is None or since is None or not fresh:
            return placing, ()
        if self.workload.spec.placement.apply is ApplyMode.RECOMMEND or self.now - since < self.settings.placement_hold:
            return placing, ()
        moved = replace(self._set_out(placing, placing.placed, evaluation.target), saving_since=None)
        why = f"{evaluation.target_why}; true since {since:%Y-%m-%d %H:%M}Z"
        return moved, (_move(moved, Reason.SAVING_HELD, why),)

    def _set_out(self, placing: Placing, before: Placed | None, target: Placed) -> Placing:
        """Return the first step towards a target: Hybrid, where one side is to hand over to the other."""
        if before is None or target.mode is PlacementMode.HYBRID:
            return replace(placing, placed=target, destination=None)
        if target.mode is PlacementMode.DEDICATED and before.rents:
            return replace(placing, placed=replace(target, mode=PlacementMode.HYBRID), destination=PlacementMode.DEDICATED)
        if target.mode is PlacementMode.HOSTED and before.owns:
            return replace(placing, placed=replace(before, mode=PlacementMode.HYBRID), destination=PlacementMode.HOSTED)
        return replace(placing, placed=target, destination=None)

    def _resolution(self, placing: Placing, told: tuple[Told, ...]) -> Resolution:
        spec, placed = self.workload.spec, placing.placed
        reason = Reason.MODE_AUTO if placing.destination is None else MOVING[placing.destination]
        choice: Choice | None = None
        if placed is not None and placed.accelerator_class is not None:
            choice = Choice(
                name=placed.accelerator_class,
                accelerator=self.seen.catalogue.accelerator_classes[placed.accelerator_class],
                tensor_parallel_size=placed.tensor_parallel_size or 1,
            )
        effective = spec if placed is None else effective_spec(spec, placed, starts=placing.destination is PlacementMode.DEDICATED)
        return Resolution(placing=placing, spec=effective, reason=reason, choice=choice, told=told)

    def _unresolved(self, placing: Placing, *problems: Problem, told: tuple[Told, ...] = ()) -> Resolution:
        spec, placed = self.workload.spec, placing.placed
        effective = spec if placed is None else effective_spec(spec, placed)
        return Resolution(placing=placing, spec=effective, reason=problems[0].reason, problems=problems, told=told)


def _evaluated(
    workload: Workload, seen: Observation, memory: Memory, placing: Placing, *, now: datetime, settings: PlanSettings
) -> tuple[Placing, tuple[Told, ...]]:
    """Return what is remembered with a new plan in it, where one is due."""
    spec, catalogue = workload.spec, seen.catalogue
    asked = Asked(spec=spec, classes=asked_classes(spec, catalogue), providers=catalogue.providers, serving=placing.serving)
    load = placing.observed
    watched = load is not None and load.watched_s >= settings.placement_interval.total_seconds()
    evidence = watched and number(seen.signals.arrivals_per_s) is not None
    if not _due(placing, asked, now, settings, evidence=evidence):
        return placing, ()
    pace = measured_pace(workload.key.name, spec, asked.classes, memory, seen.pools)
    subject = Subject(
        name=workload.key.name,
        spec=spec,
        catalogue=catalogue,
        serving=placing.serving,
        observed=load if watched else None,
        pace=pace,
    )
    evaluation = _redated(placing, replace(evaluate(subject, now), observed=load), settings)
    since = _saving_since(placing, evaluation, now, settings) if evidence else placing.saving_since
    told = _advice(placing, evaluation)
    return (
        replace(
            placing,
            evaluation=evaluation,
            asked=asked,
            evidence_at=now if evidence else placing.evidence_at,
            saving_since=since,
            told=placing.told if evaluation.recommended is None else str(evaluation.recommended),
        ),
        () if told is None else (told,),
    )


def _redated(placing: Placing, evaluation: Evaluation, settings: PlanSettings) -> Evaluation:
    """Return the plan with the date of the one of the operator before, where it says the same: a restart is no news."""
    before = placing.planned_at
    if placing.evaluation is not None or before is None or elapsed(before, evaluation.at) >= settings.placement_interval:
        return evaluation
    if evaluation.recommended is None or str(evaluation.recommended) != placing.told:
        return evaluation
    return replace(evaluation, at=before)


def _due(placing: Placing, asked: Asked, now: datetime, settings: PlanSettings, *, evidence: bool) -> bool:
    if placing.evaluation is None or placing.asked != asked:
        return True
    last = placing.evidence_at if evidence else placing.evaluation.at
    return last is None or elapsed(last, now) >= settings.placement_interval


def _saving_since(placing: Placing, evaluation: Evaluation, now: datetime, settings: PlanSettings) -> datetime | None:
    """Return since when plans on readings have agreed that there is something better. A gap between them begins anew."""
    target, serving = evaluation.target, placing.serving
    if serving is None or target is None or target == serving:
        return None
    enough = evaluation.target_saving is not None and evaluation.target_saving >= settings.placement_saving
    if not enough and evaluation.serving_feasible:
        return None
    last = placing.evidence_at
    unbroken = last is not None and elapsed(last, now) <= 2 * settings.placement_interval + settings.longest_break
    return placing.saving_since if unbroken and placing.saving_since is not None else now


def _advice(before: Placing, evaluation: Evaluation) -> Told | None:
    """Return what is new in a plan: another recommendation, or that nothing is possible any more."""
    if evaluation.is_stuck:
        if before.told_stuck if before.evaluation is None else before.evaluation.is_stuck:
            return None
        return Told(what="nothing feasible", reason=Reason.NOTHING_FEASIBLE, why=evaluation.barred)
    found = evaluation.recommended
    known = before.told if before.told is not None else None if before.serving is None else str(before.serving)
    if found is None or known is None or str(found) == known:
        return None
    return Told(what=f"recommendation {found}", reason=Reason.RECOMMENDATION_CHANGED, why=found.why)


def _nothing_feasible(evaluation: Evaluation) -> Problem:
    return Problem(
        reason=Reason.NOTHING_FEASIBLE,
        message=f"No placement meets the SLO, budget and limits. To make one feasible: {'; or '.join(evaluation.relax)}.",
    )


def _move(moved: Placing, reason: Reason, why: str) -> Told:
    onwards = "" if moved.destination is None else f", moving to {moved.destination}"
    return Told(what=f"placement {moved.placed}{onwards}", reason=reason, why=why)


def _remains(placed: Placed | None, spec: InferenceWorkloadSpec) -> Placed | None:
    """Return what of a placement that cannot stay may still serve meanwhile: the hosted side, where it may be used."""
    return Placed(mode=PlacementMode.HOSTED) if placed is not None and placed.rents and spec.rents else None


def _placed(mode: PlacementMode, choice: Choice | None) -> Placed:
    return Placed(
        mode=mode,
        accelerator_class=choice.name if choice else None,
        tensor_parallel_size=choice.tensor_parallel_size if choice else None,
    )
