"""How much gateways may send to hosted backends: a permit with an amount and an expiry, renewed while operator and metrics are there.

Two counts of the same money
* The ledger knows what the day has cost. What a limit leaves of it is dealt out to lanes: one for each gateway pod, worker thread and
  hosted backend, as these share nothing.
* Each lane has a meter that only grows: every request at its longest answer until its usage is known, and for good where it never is. A
  permit says up to where a meter may run. It can be delivered late, twice or never without allowing more than it says, and the same
  scrape shows meters and spend, so what happened since cannot be allowed again.

What is held
* A lane may use what it was once given until that permit expires, as nobody can tell whether its gateway has read a later one. So what
  was given and not yet seen used (`Grant`) is not dealt out a second time, also not when the gateway is gone.
* Half of what is left is dealt out at a time: it leaves something for the lane that needs it, since who will is not known before. How it
  is divided: see `dealing`.
* Lanes count what they turn away, too, and what that would have been charged. They get more, and when there is not enough for some such
  requests any more the limit is reached, whatever is left of it in crumbs.
* A request that all of the limit is too little for gets its lane nothing: for ten minutes it would hold what others could have used.

Law: what lanes hold together is never more than a limit leaves, unless the limit itself was lowered or the month's own cost took it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from spillway.api.catalogue import ProviderLimits
from spillway.api.vocabulary import Reason
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.clock import elapsed
from spillway.plan.decision import Allowance, Grant, HostedBackend, Lane, Ledger, Permit
from spillway.plan.gateway.dealing import Need, deal, is_short
from spillway.plan.gateway.lane_meters import Meters
from spillway.plan.money.periods import day_end, month_end
from spillway.plan.observation import Missing, Observation
from spillway.plan.validate import listed_backend

WORKERS = 2  # Envoy's worker threads in a gateway pod
LIFE = timedelta(minutes=10)  # for so long may gateways spill when nobody renews
RENEWED_AFTER = timedelta(minutes=2)  # well within LIFE, and rare enough for an API server with many workloads
SOONEST = timedelta(seconds=10)  # between two permits of which the second only tops up: a scrape or two
RETRY_SOON = timedelta(seconds=15)  # a tick: what a lane that ran dry is given next comes by then
RUN_LOW = 0.5  # part of an allowance that must be left, else the lane is topped up
FIRST_REQUESTS = 10  # of a day that no share limits: it begins with none answered, and a replica may have to be woken by spill
ALL_PERCENT = 100  # a share that no number of answers exceeds: of those so far all may have been hosted, and the next one too
NEARLY_SPENT = 0.99  # of a day's limit: what is left is a quarter of an hour's part of it
MICRO = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What limits leave now; None where nothing limits."""

    micro_usd: int | None
    requests: int | None
    more_at: datetime | None = None  # when there is more than that; None: all the time, or that is not known


def metered(spec: InferenceWorkloadSpec) -> bool:
    """Whether money or a share limits what is spilled, so that no permit means no spill."""
    overflow = spec.overflow
    limited = overflow is not None and (overflow.max_usd_per_day is not None or overflow.max_share_percent is not None)
    return spec.rents and (limited or stops_spilling(spec))


def stops_spilling(spec: InferenceWorkloadSpec) -> bool:
    """Whether the budget ends what goes to hosted backends."""
    return spec.budget is not None and spec.budget.when_exceeded == "StopSpilling"


def smallest_limit_usd(spec: InferenceWorkloadSpec) -> Decimal | None:
    """Return the most that hosted backends may cost in a day or a month, whichever is less; None where money limits nothing."""
    day = spec.overflow.max_usd_per_day if spec.overflow is not None else None
    month = spec.budget.monthly_usd if spec.budget is not None and stops_spilling(spec) else None
    return min((each for each in (day, month) if each is not None), default=None)


def needs_permit(spec: InferenceWorkloadSpec, backends: Iterable[HostedBackend]) -> bool:
    """Whether gateways have to be told how much they may send: by the workload's limits or by a provider's."""
    return spec.rents and (metered(spec) or any(each.provider.limits for each in backends))


def why_stopped(spec: InferenceWorkloadSpec, permit: Permit | None, now: datetime) -> Reason | None:
    """Return why nothing may be spilled now, SPILL_PERMIT_MISSING or SPILL_LIMIT_REACHED; None when something may."""
    if not metered(spec):
        return None
    if permit is None or (permit.expires_at is not None and permit.expires_at <= now):
        return Reason.SPILL_PERMIT_MISSING
    # Those that have turned requests away speak for all: another lane's part is of no use to them.
    asking = [each for each in permit.allowances if each.wanted_micro_usd is not None] or permit.allowances
    if not permit.is_short and (not asking or any(_is_open(each) for each in asking)):
        return None
    return Reason.SPILL_LIMIT_REACHED


def is_nearly_spent(spec: InferenceWorkloadSpec, ledger: Ledger) -> bool:
    """Whether so little of the day's limit is left that its parts are too small for many requests. By these alone it is never reached."""
    overflow = spec.overflow
    if overflow is None or overflow.max_usd_per_day is None:
        return False
    return ledger.day_hosted_usd >= NEARLY_SPENT * float(overflow.max_usd_per_day)


def _is_open(given: Allowance) -> bool:
    """Whether the lane was given enough for a request, as far as it is known what one is charged."""
    usd = given.micro_usd_to is None or given.micro_usd_to - given.micro_usd_from >= max(1, given.wanted_micro_usd or 0)
    return usd and (given.requests_to is None or given.requests_to > given.requests_from)


def plan_permit(
    spec: InferenceWorkloadSpec,
    backends: Sequence[HostedBackend],
    *,
    seen: Observation,
    ledger: Ledger,
    now: datetime,
) -> Ledger:
    """Return the ledger with the permit in force from now on; the one it has where that need not be renewed.

    Without meters (Prometheus silent) nothing is renewed, and what was permitted runs out. Only a permit that says nothing of money or
    share lives on without them: a provider's limits need no meter.
    """
    if needs_permit(spec, backends):
        return _renewed(spec, backends, seen=seen, ledger=ledger, now=now)
    held = _held(ledger, now)
    permit = _farewell(ledger.permit, seen, now) if ledger.permit is not None and spec.rents and backends else None
    return ledger if ledger.permit is permit and ledger.grants == held else replace(ledger, permit=permit, grants=held)


def keep_permit(spec: InferenceWorkloadSpec, permit: Permit, *, seen: Observation, ledger: Ledger, now: datetime) -> Ledger:
    """Return the ledger with the permit of gateways that go on as they are, since the spec cannot be acted upon.

    Their lanes are those of the permit they have, as far as providers still list them; the limits are those that are stated now.
    """
    labels = dict.fromkeys(each.lane.backend for each in permit.allowances)
    backends = [found for label in labels if (found := listed_backend(label, seen.catalogue)) is not None]
    return _renewed(spec, backends, seen=seen, ledger=ledger, now=now) if spec.rents and backends else ledger


def _farewell(previous: Permit, seen: Observation, now: datetime) -> Permit | None:
    """Return what lets all through at gateways that ask for a permit until the rollout that ends it has replaced them; None without any."""
    there = {pod.name for pod in seen.gateways}
    allowances = tuple(Allowance(lane=each.lane) for each in previous.allowances if each.lane.pod in there)
    return _endless(allowances, previous, now) if allowances else None


def _endless(allowances: tuple[Allowance, ...], previous: Permit | None, now: datetime) -> Permit:
    """Return a permit that no time ends: the previous one where it says just that."""
    if previous is not None and previous.expires_at is None and previous.allowances == allowances:
        return previous
    return Permit(issued_at=now, expires_at=None, retry_at=now, allowances=allowances)


def _held(ledger: Ledger, now: datetime) -> tuple[Grant, ...]:
    return tuple(each for each in ledger.grants if each.expires_at > now)


def _renewed(spec: InferenceWorkloadSpec, backends: Sequence[HostedBackend], *, seen: Observation, ledger: Ledger, now: datetime) -> Ledger:
    held, previous = _held(ledger, now), ledger.permit
    backends, lanes = _lanes(seen, backends, previous)
    rates = _rates(backends, seen, lanes)
    if not metered(spec):
        permit = _endless(tuple(_allowance(lane, rates) for lane in lanes), previous, now)
        return replace(ledger, permit=permit, grants=held)
    if isinstance(seen.signals.spill_meters, Missing) or isinstance(seen.signals.counters, Missing):
        # One that was made when only a provider's limits were known never expires, and lets all through.
        unlimited = previous is not None and previous.expires_at is None
        return replace(ledger, permit=None if unlimited else previous, grants=held)
    meters = Meters.of(seen.signals.spill_meters.value)
    left = what_is_left(spec, ledger, now)
    whole = smallest_limit_usd(spec)
    most = math.inf if whole is None else _micro(whole)
    permit = _dealt(
        left, [_allowance(lane, rates) for lane in lanes], most_micro_usd=most, previous=previous, meters=meters, held=held, now=now
    )
    if previous is not None and not _is_stale(previous, lanes, rates, left, now):
        news = _adds(permit, previous) or why_stopped(spec, permit, now) is not why_stopped(spec, previous, now)
        if not news or not _asks_for_more(previous, meters, now):
            return replace(ledger, grants=held)
    return replace(ledger, permit=permit, grants=_remembered(held, permit, now + LIFE))


def _dealt(
    left: Left,
    rated: Sequence[Allowance],
    *,
    most_micro_usd: float,
    previous: Permit | None,
    meters: Meters,
    held: Sequence[Grant],
    now: datetime,
) -> Permit:
    """Return the permit that deals out what is left. `rated`: the lanes with their rates; `most_micro_usd`: the whole limit."""
    lanes = [each.lane for each in rated]
    asked, refused = meters.asked_since(previous, lanes), meters.wanted_since(previous, lanes)
    payable = {lane: each for lane, each in refused.items() if each <= most_micro_usd}
    # What nothing pays for is news of the limit only while nothing else was ever sent: then the limit is too little for whatever comes.
    wanted = payable if any(meters.requests(lane) for lane in lanes) else refused
    usd, sent = meters.held(held, money=True), meters.held(held, money=False)
    money = {lane: Need(seen=meters.micro_usd(lane), held=usd.pop(lane, 0), asked=asked[lane], wanted=payable.get(lane)) for lane in lanes}
    turns = dict.fromkeys(payable, 1)
    requests = {lane: Need(seen=meters.requests(lane), held=sent.pop(lane, 0), asked=asked[lane], wanted=turns.get(lane)) for lane in lanes}
    usd_to = {} if left.micro_usd is None else deal(left.micro_usd, money, held_elsewhere=sum(usd.values()))
    sent_to = {} if left.requests is None else deal(left.requests, requests, held_elsewhere=sum(sent.values()))
    allowances = tuple(
        replace(
            each,
            micro_usd_from=money[each.lane].seen,
            micro_usd_to=usd_to.get(each.lane),
            requests_from=requests[each.lane].seen,
            requests_to=sent_to.get(each.lane),
            refused_from=meters.refused(each.lane),
            refused_micro_usd_from=meters.refused_micro_usd(each.lane),
            wanted_micro_usd=wanted.get(each.lane),
        )
        for each in rated
    )
    few_usd = left.micro_usd is not None and is_short(left.micro_usd, wanted.values())
    few_requests = left.requests is not None and is_short(left.requests, turns.values())
    spent = left.micro_usd is not None and left.micro_usd < min(wanted.values(), default=1)
    return Permit(
        issued_at=now,
        expires_at=now + LIFE,
        retry_at=(left.more_at if spent else None) or now + RETRY_SOON,
        allowances=allowances,
        is_short=few_usd or few_requests,
    )


def what_is_left(spec: InferenceWorkloadSpec, ledger: Ledger, now: datetime) -> Left:
    """Return what the day and the month leave, in micro-USD and in requests.

    A month whose cost is not known (something has no price) leaves nothing: a limit that cannot be kept otherwise.
    """
    overflow = spec.overflow
    amounts: list[tuple[int, datetime]] = []
    if overflow is not None and overflow.max_usd_per_day is not None:
        amounts.append((_micro(overflow.max_usd_per_day - Decimal(ledger.day_hosted_usd)), day_end(now)))
    if spec.budget is not None and stops_spilling(spec):
        known = not ledger.unpriced_accelerator_s and not ledger.unpriced_tokens
        spent = Decimal(ledger.dedicated_usd + ledger.hosted_usd)
        amounts.append((_micro(spec.budget.monthly_usd - spent) if known else 0, month_end(now)))
    micro_usd = max(0, min(amount for amount, _ in amounts)) if amounts else None
    requests = None
    if overflow is not None and overflow.max_share_percent is not None and overflow.max_share_percent < ALL_PERCENT:
        allowed = max(FIRST_REQUESTS, overflow.max_share_percent * ledger.day_requests / 100)
        requests = max(0, math.floor(allowed - ledger.day_hosted_requests))
    tightest = [until for amount, until in amounts if max(0, amount) == micro_usd]
    return Left(micro_usd=micro_usd, requests=requests, more_at=max(tightest, default=None))


def _micro(usd: Decimal) -> int:
    return math.floor(usd * MICRO)


def _lanes(
    seen: Observation, backends: Sequence[HostedBackend], previous: Permit | None
) -> tuple[Sequence[HostedBackend], tuple[Lane, ...]]:
    """Return all lanes, and the backends at their ends.

    A gateway that had a lane to another backend runs what was asked for before, and sends there until it is replaced.
    """
    labels = [each.label for each in backends]
    before = {(each.lane.pod, each.lane.backend) for each in previous.allowances} if previous is not None else set()
    others = [listed_backend(label, seen.catalogue) for label in sorted({label for _, label in before} - set(labels))]
    former = [each for each in others if each is not None]
    pods = sorted({pod.name for pod in seen.gateways if pod.unschedulable is None})  # what has no node sends nothing, for hours perhaps
    ends = {pod: [*labels, *(each.label for each in former if (pod, each.label) in before)] for pod in pods}
    lanes = tuple(Lane(pod=pod, worker=worker, backend=label) for pod in pods for worker in range(WORKERS) for label in ends[pod])
    return [*backends, *former], lanes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rate:
    """One lane's part of its provider's limits, per minute; None where there is none."""

    requests: float | None = None
    tokens: float | None = None


def _rates(backends: Sequence[HostedBackend], seen: Observation, lanes: Sequence[Lane]) -> dict[str, _Rate]:
    """Return the rate of a backend's lanes: an even part among the workloads that name its provider, then among this one's lanes."""
    found: dict[str, _Rate] = {}
    for backend in backends:
        limits = backend.provider.limits or ProviderLimits()
        mine = sum(1 for lane in lanes if lane.backend.partition("/")[0] == backend.provider_name)
        parts = max(1, mine) * max(1, seen.provider_users.get(backend.provider_name, 1))
        found[backend.label] = _Rate(
            requests=None if limits.requests_per_minute is None else limits.requests_per_minute / parts,
            tokens=None if limits.tokens_per_minute is None else limits.tokens_per_minute / parts,
        )
    return found


def _allowance(lane: Lane, rates: Mapping[str, _Rate]) -> Allowance:
    rate = rates[lane.backend]
    return Allowance(lane=lane, requests_per_minute=rate.requests, tokens_per_minute=rate.tokens)


def _is_stale(previous: Permit, lanes: Sequence[Lane], rates: Mapping[str, _Rate], left: Left, now: datetime) -> bool:
    """Whether a new permit is worth a write whatever it gives: the old one ages, or lanes or limits changed."""
    if previous.expires_at is None or elapsed(previous.issued_at, now) >= RENEWED_AFTER:
        return True
    if tuple(each.lane for each in previous.allowances) != tuple(lanes):
        return True
    if any(
        _Rate(requests=each.requests_per_minute, tokens=each.tokens_per_minute) != rates[each.lane.backend] for each in previous.allowances
    ):
        return True
    limited = {each.micro_usd_to is not None for each in previous.allowances} | {left.micro_usd is not None}
    shared = {each.requests_to is not None for each in previous.allowances} | {left.requests is not None}
    return len(limited) > 1 or len(shared) > 1


def _asks_for_more(previous: Permit, meters: Meters, now: datetime) -> bool:
    """Whether a lane ran low, or turned a request away."""
    if now - previous.issued_at < SOONEST:
        return False
    return any(_runs_low(each, meters) or meters.refused(each.lane) != each.refused_from for each in previous.allowances)


def _runs_low(given: Allowance, meters: Meters) -> bool:
    usd, sent = meters.micro_usd(given.lane), meters.requests(given.lane)
    low_usd = given.micro_usd_to is not None and given.micro_usd_to - usd <= RUN_LOW * (given.micro_usd_to - given.micro_usd_from)
    low_sent = given.requests_to is not None and given.requests_to - sent <= RUN_LOW * (given.requests_to - given.requests_from)
    restarted = usd < given.micro_usd_from or sent < given.requests_from
    return low_usd or low_sent or restarted


def _adds(permit: Permit, previous: Permit) -> bool:
    """Whether a lane may run further than before, or from where its new process is."""
    pairs = zip(permit.allowances, previous.allowances, strict=True)
    return any(
        (new.micro_usd_to or 0) > (old.micro_usd_to or 0)
        or (new.requests_to or 0) > (old.requests_to or 0)
        or new.micro_usd_from < old.micro_usd_from
        or new.requests_from < old.requests_from
        for new, old in pairs
    )


def _remembered(held: Sequence[Grant], permit: Permit, expires_at: datetime) -> tuple[Grant, ...]:
    """Return the grants that count: a later one that gives as much makes an earlier one of the same lane needless."""
    new = [Grant(allowance=each, expires_at=expires_at) for each in permit.allowances]
    given = {each.lane: each for each in permit.allowances}
    kept = [each for each in held if (later := given.get(each.allowance.lane)) is None or not _covers(later, each.allowance)]
    return (*kept, *new)


def _covers(later: Allowance, earlier: Allowance) -> bool:
    pairs = ((later.micro_usd_to, earlier.micro_usd_to), (later.requests_to, earlier.requests_to))
    return all(old is None or (new is not None and new >= old) for new, old in pairs)
