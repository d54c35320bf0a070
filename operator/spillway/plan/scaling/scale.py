"""How many replicas, and why.

Where own replicas and a hosted backend can be compared in money, a replica is owned while what it saves pays for it (scaling/worth.py).
Where they cannot, replicas follow demand, and where nothing hosted takes the peaks, the peaks that the forecast expects too.

Demand is absolute, in replicas, never "one more than now": replicas that are still starting or cannot be scheduled are therefore
counted once and not chased. A scale-up follows demand at once (or after its stabilization window); a scale-down needs a whole window in
which every evaluation wanted fewer, goes no lower than the highest of them, and never below what is in flight. What is Missing never
takes a replica away.
"""

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from spillway.api.dedicated import Scaling, ScalingMode
from spillway.api.vocabulary import Reason
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.clock import elapsed
from spillway.plan.comparing.options import MOST_REPLICAS
from spillway.plan.decision import Capacity, Counted, DemandPoint, Memory, OwnedPool, ScaleDecision, ScaleFigures, Workload
from spillway.plan.gateway.spill import is_held_from_hosted, ready_replicas
from spillway.plan.observation import Observation
from spillway.plan.readings import number, positive
from spillway.plan.replica.capacity import declared_peak, declared_rate
from spillway.plan.replica.serving import DEFAULT_ATTAINMENT_PERCENT
from spillway.plan.scaling.demand import TARGET_WHERE_NOTHING_SPILLS, Demand, measure_demand
from spillway.plan.scaling.forecast import learn
from spillway.plan.scaling.no_place import cannot_start, has_no_place, refused, unschedulable
from spillway.plan.scaling.worth import Fleet, Stakes, Weighed, forecast_within, outlook, peak_demand, weigh, worth_at
from spillway.plan.settings import PlanSettings

FULL = 0.9  # of the slots of all replicas, from which on they are taken to be full
MUCH_SPILLED = 0.2  # of what arrives, from which on that is no chance of a moment
HARDLY_USED = 0.25  # of what there is: less work than that buys no more, whatever the last hours were like
MINUTES_UNTIL_FORECAST = 60
TINY = 1e-9  # floating-point dust must not buy a replica


def lower_bound(spec: InferenceWorkloadSpec) -> int:
    """Return the fewest replicas allowed: none at all only where something hosted answers meanwhile, or requests wait at the gateway."""
    scaling = spec.own.scaling
    return scaling.min_replicas if spec.rents or spec.holds else max(1, scaling.min_replicas)


def upper_bound(spec: InferenceWorkloadSpec) -> int:
    """Return the most replicas allowed."""
    return max(spec.own.scaling.max_replicas, lower_bound(spec))


def scale(
    *,
    workload: Workload,
    seen: Observation,
    pool: OwnedPool,
    stakes: Stakes | None,
    alone: bool,
    memory: Memory,
    now: datetime,
    settings: PlanSettings,
) -> tuple[ScaleDecision, Memory]:
    """Return the replica count, and the memory with this evaluation in it.

    `stakes`: None where money cannot decide. `alone`: nothing hosted takes what own replicas do not.
    """
    spec, capacity = workload.spec, pool.capacity
    ratio, moved_from = _ratio_to_before(memory, pool), replicas_before(seen, memory)
    memory = _recounted(memory, pool, ratio)
    shown = next((each.replicas for each in seen.pools if each.name == pool.name), None)
    current = _current(shown, pool=pool.name, memory=memory, now=now, settings=settings)
    asleep = current == 0 and not ready_replicas(seen)  # where a count is only told, replicas may serve though none is wanted
    # By the batch that keeps the promise as far as is known now; replicas of a slow engine go on with a larger one, and miss it.
    demand = measure_demand(spec, seen, capacity, memory, batch=capacity.batch, asleep=asleep)
    arriving = _arriving_work(spec, seen, capacity, memory, asleep=asleep)
    if arriving is not None:
        expected = _declared_work(spec, capacity) if memory.demand_model is None else None
        memory = replace(memory, demand_model=learn(memory.demand_model, arriving, now.timestamp(), expected))
    if spec.own.scaling.mode is ScalingMode.EXTERNAL:
        return _follow(spec, seen, pool, demand, shown, current if current is not None else moved_from or None), replace(memory, demand=())
    if current is None:
        return _first(spec, seen, capacity, demand, stakes, moved_from=moved_from, ratio=ratio), replace(memory, demand=())
    weighed = _weighed(seen, pool, stakes, memory, arriving=arriving, current=current, now=now)
    if weighed is not None:
        memory = replace(memory, lazy=weighed.lazy)
    to_staff, foreseen = _expected(demand, spec, pool, memory, now) if alone else (demand, None)
    wanted = weighed.wanted if weighed is not None else _wanted(to_staff, current, settings.tolerance)
    points = _remembered(memory.demand, DemandPoint(at=now, wanted=wanted), spec.own.scaling, settings)
    choice = _Choosing(
        spec=spec,
        seen=seen,
        pool=pool.name,
        demand=demand,
        current=current,
        wanted=wanted,
        points=points,
        now=now,
        weighed=weighed is not None,
    ).choose()
    figures = weighed.figures_of(choice.replicas) if weighed is not None else foreseen
    return (
        ScaleDecision(
            replicas=choice.replicas,
            previous=shown,
            demand_replicas=demand.replicas,
            reason=choice.reason,
            why=_sentence(to_staff, choice.note)
            if weighed is None or figures is None or arriving is None
            else _worth_sentence(arriving, figures, choice.note),
            limited=choice.limited,
            figures=figures,
        ),
        replace(memory, demand=points),
    )


def replicas_before(seen: Observation, memory: Memory) -> int:
    """Return how many replicas the pool has that one takes over from which does not exist yet.

    Before a move has ended a spec may ask for the next one: then there are two pools of before, and they carried the same demand.
    """
    counts = {each.name: each.replicas for each in seen.pools}
    known = counts.get(memory.counted.pool) if memory.counted is not None else None
    return known if known is not None else max(counts.values(), default=0)


def _ratio_to_before(memory: Memory, pool: OwnedPool) -> float:
    """Return how many replicas do what one did before another pool, model or engine setting; 1 where all is the same, or not known."""
    before, each_s = memory.counted, pool.capacity.work_s_per_request
    if before is None or not each_s or not before.work_s:
        return 1.0
    return 1.0 if (before.pool, before.measured_for) == (pool.name, memory.measured_for) else each_s / before.work_s


def _recounted(memory: Memory, pool: OwnedPool, ratio: float) -> Memory:
    """Return the memory with what is known of the demand in replicas of this pool."""
    each_s, model = pool.capacity.work_s_per_request, memory.demand_model
    if ratio != 1 and model is not None:
        memory = replace(memory, demand_model=model.recounted(ratio), lazy=None)
    counted = memory.counted if each_s is None else Counted(pool=pool.name, work_s=each_s, measured_for=memory.measured_for)
    return memory if counted == memory.counted else replace(memory, counted=counted)


def _arriving_work(spec: InferenceWorkloadSpec, seen: Observation, capacity: Capacity, memory: Memory, *, asleep: bool) -> float | None:
    """Return the work that arrives, in replicas; None while it is not known. Spilled requests are part of what arrives.

    At zero replicas only a request that was for a backend counts, as in measure_demand.
    """
    signals, work, shape = seen.signals, capacity.work, memory.shape
    arrivals = number(signals.arrivals_per_s)
    if asleep:
        spilled, refused = number(signals.spilled_per_s) if spec.rents else 0.0, number(signals.refused_per_s)
        arrivals = None if spilled is None or refused is None else spilled + refused
    if arrivals is None or work is None or shape is None:
        return None
    reckoned = arrivals * work.mean_seconds(input_tokens=shape.minutes.input_tokens, output_tokens=shape.minutes.output_tokens)
    if not _overrun(seen, capacity):
        return reckoned
    demand = measure_demand(spec, seen, capacity, memory, batch=capacity.max_num_seqs, asleep=asleep)
    return reckoned if demand.replicas is None else max(reckoned, demand.replicas)


def _overrun(seen: Observation, capacity: Capacity) -> bool:
    """Whether own replicas are full and much spills: then what is in flight tells the demand, whatever a request should take."""
    signals = seen.signals
    held, arrivals, spilled = number(signals.in_flight_owned), number(signals.arrivals_per_s), number(signals.spilled_per_s)
    if held is None or not arrivals or spilled is None:
        return False
    return held >= FULL * ready_replicas(seen) * capacity.slots > 0 and spilled >= MUCH_SPILLED * arrivals


def _declared_work(spec: InferenceWorkloadSpec, capacity: Capacity) -> float | None:
    """Return the declared mean traffic, in replicas."""
    rate, each_s = declared_rate(spec), capacity.work_s_per_request
    return None if rate is None or each_s is None else rate * each_s


def _weighed(
    seen: Observation,
    pool: OwnedPool,
    stakes: Stakes | None,
    memory: Memory,
    *,
    arriving: float | None,
    current: int,
    now: datetime,
) -> Weighed | None:
    """Return the count that money decides on; None where it cannot."""
    model = memory.demand_model
    if stakes is None or arriving is None or model is None:
        return None
    weighed = weigh(
        model,
        demand=arriving,
        stakes=stakes,
        fleet=_fleet(seen, pool, stakes, current, now),
        lazy=memory.lazy,
        most=MOST_REPLICAS,  # beyond what the spec allows, too: that it is in the way is to be told
        now_s=now.timestamp(),
    )
    if model.knows_days:
        return weighed
    # Before a day was seen nothing says when more will come; the errors of busy minutes do not either. So without a request for a minute
    # nothing is wanted but what is paid for anyway, and while what there is has next to nothing to do, no more of it.
    if not arriving:
        return _overruled(weighed, min(weighed.wanted, stakes.committed))
    return _overruled(weighed, current) if weighed.wanted > current and arriving < HARDLY_USED * current else weighed


def _overruled(weighed: Weighed, wanted: int) -> Weighed:
    """Return another count than the one that pays; what replicas would save did not decide it, and is not told."""
    if weighed.wanted == wanted:
        return weighed
    untold = replace(weighed.figures, marginal_saving_usd_per_hour=None, rejected=None, rejected_saving_usd_per_hour=None)
    return replace(weighed, wanted=wanted, figures=untold, saved=None)


def _fleet(seen: Observation, pool: OwnedPool, stakes: Stakes, current: int, now: datetime) -> Fleet:
    """Return the replicas that count, `current` in all. One that has no pod or no node yet has its whole start before it."""
    ready = min(current, ready_replicas(seen))
    waits_s = pool.start_up.node_wait_s or 0.0
    left = [
        stakes.start_up_s if pod.bound_at is None else max(0.0, stakes.start_up_s - waits_s - (now - pod.bound_at).total_seconds())
        for pod in seen.replicas
        if pod.pool == pool.name and not pod.ready and pod.stays
    ]
    starting = sorted(left)[: current - ready]
    return Fleet(ready=ready, starting_s=tuple(starting + [stakes.start_up_s] * (current - ready - len(starting))))


def _expected(
    demand: Demand, spec: InferenceWorkloadSpec, pool: OwnedPool, memory: Memory, now: datetime
) -> tuple[Demand, ScaleFigures | None]:
    """Return the demand to staff for with nowhere to spill: what there is, or the peak until a start is done; and what is forecast.

    The forecast has a say once it has seen an hour: before, its spread is a guess, and a guess must not buy replicas. Nor does it where
    there is no request at all and the next one may wait at the gateway for a start.
    """
    model = memory.demand_model
    if spec.holds and not demand.replicas and not lower_bound(spec):
        return demand, None
    if demand.replicas is None or model is None or model.seen < MINUTES_UNTIL_FORECAST:
        return demand, None
    share = (spec.slo.attainment_percent if spec.slo else DEFAULT_ATTAINMENT_PERCENT) / 100
    start, waits_s = pool.start_up, pool.start_up.node_wait_s or 0.0
    within_s = start.high_s + waits_s
    ahead = forecast_within(within_s, model, now_s=now.timestamp())
    foreseen, peak = outlook(ahead, start_up_s=start.median_s + waits_s), peak_demand(ahead, share=share) / TARGET_WHERE_NOTHING_SPILLS
    if peak <= demand.replicas:
        return demand, foreseen
    told = f"{demand.figures}; p{share * 100:g} peak {peak:.2f} within {within_s:.0f} s"
    return replace(demand, replicas=peak, figures=told), foreseen


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    replicas: int
    reason: Reason
    note: str = ""
    limited: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choosing:
    """One evaluation of the count, split by direction."""

    spec: InferenceWorkloadSpec
    seen: Observation
    pool: str
    demand: Demand
    current: int
    wanted: int
    points: tuple[DemandPoint, ...]
    now: datetime
    weighed: bool  # by money

    def choose(self) -> _Choice:
        lower, upper = lower_bound(self.spec), upper_bound(self.spec)
        if self.current < lower:
            raised = min(upper, max(lower, self.wanted))
            return _Choice(replicas=raised, reason=Reason.AT_MIN_REPLICAS, note=f"minimum {lower}", limited=self._limit(upper))
        if self.current > upper:
            return _Choice(replicas=upper, reason=Reason.AT_MAX_REPLICAS, note=f"maximum {upper}", limited=self._limit(upper))
        if self.demand.replicas is None and not self.weighed:
            return _Choice(replicas=self.current, reason=Reason.HELD_METRICS_MISSING, limited=self._limit(upper))
        if self.wanted > self.current:
            return self._up(upper)
        if self.wanted < self.current:
            return self._down(lower)
        reason = Reason.WITHIN_TOLERANCE if self.demand.complete else Reason.HELD_METRICS_MISSING
        if self.weighed:
            reason = Reason.CHEAPEST_COUNT
        return _Choice(replicas=self.current, reason=reason, limited=self._limit(upper))

    def _up(self, upper: int) -> _Choice:
        limited = self._limit(upper)
        if self.current >= upper:
            note = f"{self.wanted} needed, maximum {upper}"
            return _Choice(replicas=self.current, reason=Reason.AT_MAX_REPLICAS, note=note, limited=limited)
        if self.current == 0:
            waits = self.spec.holds and (not self.spec.rents or is_held_from_hosted(self.spec, self.seen))
            woken = Reason.WOKEN_BY_WAITING if waits else Reason.WOKEN_BY_SPILL
            reason = Reason.DEMAND_ROSE if ready_replicas(self.seen) else woken  # the former where counts are only told
            return _Choice(replicas=min(self.wanted, upper), reason=reason, limited=limited)
        if limited is Reason.UNSCHEDULABLE:
            grounds = unschedulable(self.seen, self.pool)
            lack = f"cannot be scheduled ({grounds})" if grounds else f"is rejected ({refused(self.seen, self.pool)})"
            note = f"no more requested while one {lack}"
            return _Choice(replicas=self.current, reason=Reason.UNSCHEDULABLE, note=note, limited=limited)
        if cannot_start(self.seen, self.pool):
            note = "no more requested while one cannot start and none of its kind is ready"
            return _Choice(replicas=self.current, reason=Reason.CRASH_LOOP, note=note, limited=Reason.CRASH_LOOP)
        window = timedelta(seconds=self.spec.own.scaling.scale_up_stabilization_seconds)
        lasting = min((point.wanted for point in self.points if point.at >= self.now - window), default=self.wanted)
        if lasting <= self.current or not self._covered(window):
            note = f"{self.wanted} needed, not yet for {window}"
            return _Choice(replicas=self.current, reason=Reason.STABILIZING, note=note, limited=limited)
        return _Choice(replicas=min(lasting, upper), reason=Reason.DEMAND_ROSE, limited=limited)

    def _down(self, lower: int) -> _Choice:
        limited = self._limit(upper_bound(self.spec))
        if self.current == lower:
            return _Choice(replicas=lower, reason=Reason.AT_MIN_REPLICAS, note=f"minimum {lower}", limited=limited)
        window = timedelta(seconds=self.spec.own.scaling.scale_down_stabilization_seconds)
        if self.now - self.seen.watched_since < window:
            return _Choice(replicas=self.current, reason=Reason.HELD_WATCHING, note=f"not yet observed for {window}", limited=limited)
        highest = max(point.wanted for point in self.points if point.at >= self.now - window)
        if highest >= self.current or not self._covered(window):
            return _Choice(replicas=self.current, reason=Reason.STABILIZING, note=f"fewer needed, not yet for {window}", limited=limited)
        target = max(highest, lower)  # demand counts all that is in flight by batches, so this holds it: a replica has room for more
        return _Choice(replicas=target, reason=Reason.IDLE if target == 0 else Reason.DEMAND_FELL, note=f"for {window}", limited=limited)

    def _covered(self, window: timedelta) -> bool:
        """Whether the evaluations reach back over the whole window."""
        return self.points[0].at <= self.now - window

    def _limit(self, upper: int) -> Reason | None:
        if has_no_place(self.seen, self.pool):
            return Reason.UNSCHEDULABLE
        return Reason.AT_MAX_REPLICAS if self.wanted > upper else None


def _current(shown: int | None, *, pool: str, memory: Memory, now: datetime, settings: PlanSettings) -> int | None:
    """Return the count to reason from: what was decided a moment ago, even if what is shown has not caught up."""
    last = memory.settling
    if last is not None and last.pool == pool and elapsed(last.at, now) < settings.settle:
        return last.replicas
    return shown


def _wanted(demand: Demand, current: int, tolerance: float) -> int:
    """Return the count this evaluation wants: another one only when demand left the tolerance around the current one."""
    if demand.replicas is None:
        return current
    least = 1 if demand.replicas else 0  # any demand at all keeps one, whatever the tolerance
    more = max(least, math.ceil(demand.replicas / (1 + tolerance) - TINY))
    fewer = max(least, math.ceil(demand.replicas / (1 - tolerance) - TINY))
    if more > current:
        return more
    return fewer if fewer < current and demand.complete else current


def _remembered(kept: tuple[DemandPoint, ...], latest: DemandPoint, scaling: Scaling, settings: PlanSettings) -> tuple[DemandPoint, ...]:
    """Return the evaluations over the longer window and one before it. A break in them, or a clock set back, starts the windows anew."""
    window = timedelta(seconds=max(scaling.scale_up_stabilization_seconds, scaling.scale_down_stabilization_seconds))
    if kept and elapsed(kept[-1].at, latest.at) > settings.longest_break:
        kept = ()
    points = (*kept, latest)
    before = [index for index, point in enumerate(points) if point.at <= latest.at - window]
    return points[before[-1] :] if before else points


def _first(
    spec: InferenceWorkloadSpec,
    seen: Observation,
    capacity: Capacity,
    demand: Demand,
    stakes: Stakes | None,
    *,
    moved_from: int,
    ratio: float,
) -> ScaleDecision:
    """Return the count of a pool that does not exist yet: what arrives needs, else the declared traffic, or what the pool before it had.

    With nowhere to spill, the declared traffic is its peak. `ratio`: how many replicas do what one of the pool before did; of slower
    ones there are as many at least, and more only where the traffic needs them.
    """
    as_many = math.ceil(moved_from * min(1.0, ratio) - TINY)
    arriving = positive(seen.signals.arrivals_per_s)
    declared = declared_rate(spec) if spec.rents else declared_peak(spec)
    rate = declared if arriving is None else arriving
    carrying = min(upper_bound(spec), math.ceil(rate / capacity.requests_per_s - TINY)) if rate and capacity.requests_per_s else 0
    needed, each_s = carrying, capacity.work_s_per_request
    if stakes is not None and rate and each_s:
        needed = min(carrying, worth_at(rate * each_s, stakes, most=upper_bound(spec)))
    replicas = min(upper_bound(spec), max(lower_bound(spec), needed, as_many))
    if moved_from:
        worth = f", each equal to {ratio:.2f} new ones" if ratio != 1 else ""
        why = f"replaces {moved_from} replicas of another kind{worth}"
    elif carrying:
        source = "declared" if arriving is None else "arriving"
        paying = f"; {carrying} needed, {needed or 'none'} worth their cost" if needed < carrying else ""
        why = f"{source} {rate:.2f} requests/s, {capacity.requests_per_s:.2f} per replica{paying}"
    else:
        why = "no traffic that needs more than the minimum"
    return ScaleDecision(replicas=replicas, previous=None, demand_replicas=demand.replicas, reason=Reason.INITIAL, why=why)


def _follow(
    spec: InferenceWorkloadSpec, seen: Observation, pool: OwnedPool, demand: Demand, shown: int | None, there: int | None
) -> ScaleDecision:
    """Return what spec.replicas says, within the bounds; where nobody has said anything yet, what there is."""
    lower, upper = lower_bound(spec), upper_bound(spec)
    asked = spec.replicas if spec.replicas is not None else there
    replicas = min(upper, max(lower, asked if asked is not None else lower))
    limited = Reason.UNSCHEDULABLE if has_no_place(seen, pool.name) else None
    if limited is None and asked is not None and asked != replicas:
        limited = Reason.AT_MAX_REPLICAS if asked > upper else Reason.AT_MIN_REPLICAS
    return ScaleDecision(
        replicas=replicas,
        previous=shown,
        demand_replicas=demand.replicas,
        reason=Reason.EXTERNAL,
        why=_sentence(demand, f"spec.replicas is {'not set' if spec.replicas is None else spec.replicas}"),
        limited=limited,
    )


def _sentence(demand: Demand, note: str) -> str:
    figure = "demand unknown" if demand.replicas is None else f"demand {demand.replicas:.2f} replicas"
    missing = "" if demand.complete else ", some readings missing"
    return f"{figure} ({demand.figures}{missing}){': ' + note if note else ''}"


def _worth_sentence(arriving: float, figures: ScaleFigures, note: str) -> str:
    """Return what a count was weighed by, in a line."""
    parts = [
        f"demand {arriving:.2f} replicas, forecast {figures.forecast_p10:.2f} to {figures.forecast_p90:.2f} in {figures.horizon_s:.0f} s",
        *([] if figures.kappa is None else [f"kappa {figures.kappa:.2f}"]),
        *([] if figures.rejected is None else [figures.rejected]),
    ]
    return "; ".join(parts) + (f": {note}" if note else "")
