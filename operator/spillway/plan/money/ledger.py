"""The month's money: a running account that survives restarts of operator, gateway and Prometheus without counting anything twice.

How it counts
* Hosted: gateways export raw, ever-growing counters. The ledger keeps a mark per pod and backend and adds what grew beyond it. A value
  below its mark means that the container restarted: the whole value is new; where the pod has not, another Prometheus with an older scrape
  has answered, and nothing is. Prometheus restarting changes no raw value. Without samples
  nothing is counted and marks stay, so the growth is counted when samples are back. A new pod starts at zero: its whole value is new.
* Marks of pods that are gone stay for a day after their last sample, far longer than any query looks back, so that a pod which was
  counted can never come back as a new one.
* Owned: each replica costs from its binding to its end. A mark per pod says up to when it was charged, so a gap in the operator's watch
  costs nothing while the pod is still there afterwards.
* The month is the calendar month in UTC. Own cost is split exactly at its boundary; token growth across it in proportion to time.
* When a day or month ends, the ledger of before is kept beside the new one for an hour. Should the clock be set back to that day meanwhile,
  counting goes on from there: counters and replicas tell the rest once more. So it does after a clock that was behind, on the day before.
* `unaccounted_s`: a break in the watch counts only when something really slipped through it: a replica that was charged before and is gone
  without an end, or a gateway container whose counters did not continue. What is born and dies within a break leaves no trace.
* A workload made again under a deleted one's name finds that one's pods, which end their requests first. What these had counted and cost
  before it was made is not its own.
* What has no price when it is counted is kept by backend and class, and charged as soon as it has one. A class or backend that is no longer
  listed (renamed, say) while its replicas and gateways still end their requests has the last price it had.
* Requests answered without usage (aborted, or not reported) are estimated from their bytes, priced, and counted apart.
* Prompt tokens that a provider reports as found in its cache cost what it says of these. What does not report them (a provider, a gateway
  of an older version) is taken to have none, and to cost the full price.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

from spillway.plan.clock import elapsed
from spillway.plan.decision import Ledger, LedgerEntry, Workload
from spillway.plan.money.last_prices import (
    TokenPrice,
    accelerator_usd_per_hour,
    price_of,
    replica_usd_per_hour,
    token_price,
    with_last_prices,
)
from spillway.plan.money.periods import day_of, day_start, month_end, month_of, month_start
from spillway.plan.observation import Catalogue, Missing, Observation, TokenCounters
from spillway.plan.readings import finite
from spillway.plan.settings import PlanSettings

TEXT_BYTES_PER_TOKEN = 4.0  # JSON of English prose: about four characters per token in current vocabularies
EVENT_BYTES_PER_TOKEN = 200.0  # one streamed token is one SSE chunk: 190 to 220 bytes as vLLM 0.32 writes it
MARKS_KEPT = timedelta(hours=24)
# For so long after a workload was made, a gateway that is gone may have been a deleted one's: Prometheus shows the counters of such ones
# for two minutes (observe.queries), and is asked every tick.
PREDECESSORS_SHOWN = timedelta(minutes=5)
# No answer of Prometheus rests on an older scrape (its default lookback).
OLDEST_SCRAPE = timedelta(minutes=5)
FORMER_KEPT = timedelta(hours=1)  # a clock that is wrong is set right within minutes of its node's start, or stays wrong
# Beyond so many a ledger is not kept twice: a ConfigMap holds 1 MiB, and a mark has 80 bytes of a replica, 400 of a gateway.
FORMER_MARKS = 1000

COUNTED = (
    *("input_tokens", "output_tokens", "requests", "unmetered_requests", "unmetered_request_bytes", "unmetered_response_bytes"),
    "unmetered_plain_response_bytes",
)
# They alone tell nothing of a restart: the prompts that they are part of fall with them, and what stops being shown costs the full price.
CACHED = "cached_input_tokens"
MARKED = (*COUNTED, CACHED)


def advance(ledger: Ledger | None, *, workload: Workload, seen: Observation, now: datetime, settings: PlanSettings) -> Ledger:
    """Return the ledger as of now. Called again with the same observation it adds nothing."""
    held = None if ledger is None else _set_back(ledger, now)
    opened = _with_former(_of_today(_opened(held, workload, now), now), held, now)
    lost = _slipped(opened, seen, now=now, settings=settings)
    baseline = ledger is None and month_of(workload.created_at) != opened.month
    counted = _count_tokens(opened, seen, now=now, baseline=baseline, made_at=workload.created_at)
    committed = workload.spec.own.committed_replicas
    charged = _charge_replicas(counted, seen, committed=committed, now=now, made_at=workload.created_at)
    return replace(
        with_last_prices(charged, seen),
        unaccounted_s=charged.unaccounted_s + lost,
        watched_until=now,
        counted_until=opened.counted_until if isinstance(seen.signals.counters, Missing) else now,
    )


def _set_back(ledger: Ledger, now: datetime) -> Ledger:
    """Return the ledger for a clock that was ahead, or for who wrote so into it: what was counted stays counted, what comes counts at once.

    Time that replicas were charged for ahead is not charged again, as far as it is of the sums of this month.
    """
    former, today = ledger.former, day_of(now)
    if former is not None and former.day == today and (today < ledger.day or _was_behind(ledger, now)):
        return _set_back(replace(former, permit=ledger.permit, grants=ledger.grants), now)
    watched_ahead = ledger.watched_until is not None and ledger.watched_until > now
    if not watched_ahead and ledger.month <= month_of(now) and ledger.day <= today:
        return ledger
    if ledger.day > today:
        ledger = _beside(ledger, ledger, now)
    last = month_end(now)
    return replace(
        ledger,
        month=min(ledger.month, month_of(now)),
        day=min(ledger.day, today),
        watched_until=None if ledger.watched_until is None else min(ledger.watched_until, now),
        counted_until=None if ledger.counted_until is None else min(ledger.counted_until, now),
        counters={
            key: mark if mark.seen_at is None else replace(mark, seen_at=min(mark.seen_at, now)) for key, mark in ledger.counters.items()
        },
        replicas={uid: min(mark, last) for uid, mark in ledger.replicas.items()},
    )


def _was_behind(ledger: Ledger, now: datetime) -> bool:
    """Whether the clock has leapt on to another day, of which the former ledger then is: one that ended lately is no more by then."""
    return ledger.day < day_of(now) and ledger.watched_until is not None and now - ledger.watched_until > FORMER_KEPT


def _opened(ledger: Ledger | None, workload: Workload, now: datetime) -> Ledger:
    """Return this month's ledger: the one there is, a fresh month with the old marks, or the first."""
    month = month_of(now)
    if ledger is None:
        # A workload older than the month whose ledger is lost: what was spent before now is nobody's knowledge.
        unseen = 0.0 if workload.created_at >= month_start(now) else (now - month_start(now)).total_seconds()
        return Ledger(month=month, unaccounted_s=unseen)
    if ledger.month >= month:
        return ledger
    return Ledger(
        month=month,
        watched_until=ledger.watched_until,
        counted_until=ledger.counted_until,
        last_usd_per_accelerator_hour=ledger.last_usd_per_accelerator_hour,
        last_usd_per_million_tokens=ledger.last_usd_per_million_tokens,
        last_usd_per_million_cached_tokens=ledger.last_usd_per_million_cached_tokens,
        counters=ledger.counters,
        replicas=ledger.replicas,
        day=ledger.day,
        day_hosted_usd=ledger.day_hosted_usd,
        day_requests=ledger.day_requests,
        day_hosted_requests=ledger.day_hosted_requests,
        permit=ledger.permit,
        grants=ledger.grants,
        former=ledger.former,
        former_since=ledger.former_since,
    )


def _of_today(ledger: Ledger, now: datetime) -> Ledger:
    """Return the ledger with this day's sums: those there are, or none yet."""
    day = day_of(now)
    return ledger if ledger.day >= day else replace(ledger, day=day, day_hosted_usd=0.0, day_requests=0.0, day_hosted_requests=0.0)


def _with_former(ledger: Ledger, before: Ledger | None, now: datetime) -> Ledger:
    """Return the ledger with that of the day which has just ended; with none where that is a while ago."""
    if before is not None and before.day and before.day < ledger.day:
        return _beside(ledger, before, now)
    if ledger.former is None or (ledger.former_since is not None and elapsed(ledger.former_since, now) < FORMER_KEPT):
        return ledger
    return replace(ledger, former=None, former_since=None)


def _beside(ledger: Ledger, former: Ledger, now: datetime) -> Ledger:
    """Return the ledger with another beside it; with none where that has too many marks."""
    if len(former.counters) + len(former.replicas) > FORMER_MARKS:
        return replace(ledger, former=None, former_since=None)
    return replace(ledger, former=replace(former, former=None, former_since=None, permit=None, grants=()), former_since=now)


def _slipped(ledger: Ledger, seen: Observation, *, now: datetime, settings: PlanSettings) -> float:
    """Return the seconds of breaks in the watch through which something slipped; of two breaks, the longer one."""
    lost = 0.0
    there = {pod.uid for pod in seen.replicas}
    passed, counted, readings = ledger.watched_until, ledger.counted_until, seen.signals.counters
    if (
        passed is not None
        and now - passed > settings.longest_break
        and any(mark >= passed and uid not in there for uid, mark in ledger.replicas.items())
    ):
        lost = (now - max(passed, month_start(now))).total_seconds()
    if counted is not None and now - counted > settings.longest_break and not isinstance(readings, Missing):
        rows = _rows(readings.value)
        lately = counted - settings.longest_break
        live = {key: mark for key, mark in ledger.counters.items() if mark.seen_at is not None and mark.seen_at >= lately}
        if any(key not in rows or _restarted(mark, rows[key]) for key, mark in live.items()):
            lost = max(lost, (now - max(counted, month_start(now))).total_seconds())
    return lost


def _rows(counters: Iterable[TokenCounters]) -> dict[str, LedgerEntry]:
    """Return the readings by mark key. A pod scraped by two Prometheus jobs appears twice: the later reading is the higher one."""
    rows: dict[str, LedgerEntry] = {}
    for each in counters:
        values = {name: finite(float(getattr(each, name))) for name in MARKED}
        if any(found is None for found in values.values()):
            continue
        key = f"{each.pod}|{each.backend}"
        before = rows.get(key, LedgerEntry())
        rows[key] = entry_of({name: max(found or 0.0, getattr(before, name)) for name, found in values.items()})
    return rows


def entry_of(values: Mapping[str, float]) -> LedgerEntry:
    """Return what one row of counters came to, by their names in MARKED."""
    return LedgerEntry(
        input_tokens=values["input_tokens"],
        output_tokens=values["output_tokens"],
        requests=values["requests"],
        unmetered_requests=values["unmetered_requests"],
        unmetered_request_bytes=values["unmetered_request_bytes"],
        unmetered_response_bytes=values["unmetered_response_bytes"],
        unmetered_plain_response_bytes=values["unmetered_plain_response_bytes"],
        cached_input_tokens=values[CACHED],
    )


def _restarted(mark: LedgerEntry, row: LedgerEntry) -> bool:
    return any(getattr(row, name) < getattr(mark, name) for name in COUNTED)


def _growth(mark: LedgerEntry | None, row: LedgerEntry) -> LedgerEntry:
    if mark is None or _restarted(mark, row):
        mark = LedgerEntry()
    grown = {name: getattr(row, name) - getattr(mark, name) for name in MARKED}
    # A scrape may fall between the two counters of an answer, and a mark of an older version has none of the cached.
    return entry_of(grown | {CACHED: min(max(0.0, grown[CACHED]), grown["input_tokens"])})


def _count_tokens(ledger: Ledger, seen: Observation, *, now: datetime, baseline: bool, made_at: datetime) -> Ledger:
    """Return the ledger with the growth of all counters added. With `baseline`, marks are set and nothing is counted.

    Likewise at the first sight of a gateway that was there before the workload was made.
    """
    reading = seen.signals.counters
    if isinstance(reading, Missing):
        return ledger
    marks, read_at = dict(ledger.counters), min(reading.at, now)
    counted = ledger
    made = {pod.name: pod.created_at for pod in seen.gateways}
    restarts = {pod.name: pod.restarts for pod in seen.gateways}
    for key, row in _rows(reading.value).items():
        mark = marks.get(key)
        if mark is not None and mark.seen_at is not None and read_at < mark.seen_at:
            continue  # an answer older than what is already counted
        pod = key.partition("|")[0]
        begun, restarted_by = restarts.get(pod), None
        if mark is not None and mark.restarts is not None:
            if not _restarted(mark, row):
                begun, restarted_by = _begun(mark, begun, now)
            elif begun in {None, mark.restarts}:
                continue  # an answer from an older scrape, of another Prometheus
        others = now - made_at < PREDECESSORS_SHOWN if pod not in made else (made[pod] or made_at) < made_at
        if not baseline and not (mark is None and others):
            grown = _growth(mark, row)
            backend = key.partition("|")[2]
            counted = _add(counted, backend, _times(grown, _share_since(month_start(now), mark, ledger, now)), seen.catalogue)
            counted = _add_to_day(counted, backend, _times(grown, _share_since(day_start(now), mark, ledger, now)), seen.catalogue)
        marks[key] = replace(row, seen_at=read_at, restarts=begun, restarted_by=restarted_by)
    kept = {
        key: mark for key, mark in marks.items() if key.partition("|")[0] in made or mark.seen_at is None or now - mark.seen_at < MARKS_KEPT
    }
    return replace(counted, counters=kept)


def _begun(mark: LedgerEntry, shown: int | None, now: datetime) -> tuple[int | None, datetime | None]:
    """Return of which container counters are that have not fallen, and when the pod first showed a later one.

    Whatever the pod says, they are those of the container before until scrapes of it are too old to be shown. From then on they are those
    of the next one, which has counted more; one that has followed since may show nothing yet.
    """
    if shown is None or mark.restarts is None or shown == mark.restarts:
        return mark.restarts, None
    since = now if mark.restarted_by is None or mark.restarted_by > now else mark.restarted_by
    return (min(shown, mark.restarts + 1), None) if now - since >= OLDEST_SCRAPE else (mark.restarts, since)


def _share_since(start: datetime, mark: LedgerEntry | None, ledger: Ledger, now: datetime) -> float:
    """Return the part of a growth that falls behind `start`, in proportion to time."""
    since = mark.seen_at if mark is not None else ledger.counted_until
    if since is None or since >= start:
        return 1.0
    return (now - start) / (now - since)


def _times(grown: LedgerEntry, share: float) -> LedgerEntry:
    return entry_of({name: getattr(grown, name) * share for name in MARKED})


def _add(ledger: Ledger, backend: str, grown: LedgerEntry, catalogue: Catalogue) -> Ledger:
    estimated_input, estimated_output = _estimated_tokens(grown)
    usd, owed, owed_cached = 0.0, dict(ledger.unpriced_tokens), dict(ledger.unpriced_cached_tokens)
    if "/" in backend:
        tokens_in, tokens_out = grown.input_tokens + estimated_input, grown.output_tokens + estimated_output
        price = token_price(backend, catalogue, ledger)
        if price is not None:
            usd = _token_usd(price, grown)
        elif tokens_in or tokens_out:
            before_in, before_out = owed.get(backend, (0.0, 0.0))
            owed[backend] = (before_in + tokens_in, before_out + tokens_out)
            owed_cached[backend] = owed_cached.get(backend, 0.0) + grown.cached_input_tokens
    return replace(
        ledger,
        hosted_usd=ledger.hosted_usd + usd,
        unpriced_tokens=owed,
        unpriced_cached_tokens=owed_cached,
        input_tokens=ledger.input_tokens + grown.input_tokens,
        output_tokens=ledger.output_tokens + grown.output_tokens,
        estimated_requests=ledger.estimated_requests + grown.unmetered_requests,
        estimated_tokens=ledger.estimated_tokens + estimated_input + estimated_output,
    )


def _add_to_day(ledger: Ledger, backend: str, grown: LedgerEntry, catalogue: Catalogue) -> Ledger:
    hosted = "/" in backend
    price = token_price(backend, catalogue, ledger) if hosted else None
    return replace(
        ledger,
        day_hosted_usd=ledger.day_hosted_usd + (_token_usd(price, grown) if price is not None else 0.0),
        day_requests=ledger.day_requests + grown.requests,
        day_hosted_requests=ledger.day_hosted_requests + (grown.requests if hosted else 0.0),
    )


def _estimated_tokens(grown: LedgerEntry) -> tuple[float, float]:
    """Return what prompts and answers without usage are taken to have had. A plain answer is text in one piece of JSON."""
    streamed = grown.unmetered_response_bytes / EVENT_BYTES_PER_TOKEN
    plain = grown.unmetered_plain_response_bytes / TEXT_BYTES_PER_TOKEN
    return grown.unmetered_request_bytes / TEXT_BYTES_PER_TOKEN, streamed + plain


def _token_usd(price: TokenPrice, grown: LedgerEntry) -> float:
    estimated_input, estimated_output = _estimated_tokens(grown)
    return price.usd(
        prompt_tokens=grown.input_tokens + estimated_input,
        cached_tokens=grown.cached_input_tokens,
        answer_tokens=grown.output_tokens + estimated_output,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lifetime:
    """One replica's time on a node, and the part of it not yet charged."""

    uid: str
    accelerator_class: str
    accelerators: int
    bound_at: datetime
    ends_at: datetime
    charge_from: datetime
    usd_per_hour: float | None


def _charge_replicas(ledger: Ledger, seen: Observation, *, committed: int, now: datetime, made_at: datetime) -> Ledger:
    """Return the ledger with the replicas' time up to now. At any moment the `committed` oldest replicas cost nothing more."""
    start = max(month_start(now), made_at)
    lives = [
        _Lifetime(
            uid=pod.uid,
            accelerator_class=pod.accelerator_class or "",
            accelerators=pod.tensor_parallel_size,
            bound_at=pod.bound_at,
            ends_at=min(pod.ended_at or now, now),
            charge_from=max(ledger.replicas.get(pod.uid, pod.bound_at), start),
            usd_per_hour=replica_usd_per_hour(pod, seen.catalogue, ledger),
        )
        for pod in seen.replicas
        if pod.bound_at is not None and pod.bound_at <= now
    ]
    usd, owed = 0.0, dict(ledger.unpriced_accelerator_s)
    # Pods that ended and are charged may be thousands, each put out by its node to be followed by the next.
    since = min((life.charge_from for life in lives if life.charge_from < life.ends_at), default=now)
    lately = [life for life in lives if life.ends_at > since]
    edges = sorted({edge for life in lately for edge in (life.bound_at, life.charge_from, life.ends_at) if start <= edge <= now})
    for begin, end in pairwise(edges):
        alive = [life for life in lately if life.bound_at <= begin and life.ends_at >= end]
        for life in sorted(alive, key=lambda life: (life.bound_at, life.uid))[committed:]:
            if life.charge_from > begin:
                continue
            seconds = (end - begin).total_seconds()
            if life.usd_per_hour is not None:
                usd += life.usd_per_hour * seconds / 3600
            elif seconds:
                owed[life.accelerator_class] = owed.get(life.accelerator_class, 0.0) + life.accelerators * seconds
    marks = {uid: mark for uid, mark in ledger.replicas.items() if now - mark < MARKS_KEPT}
    marks |= {life.uid: max(life.charge_from, life.ends_at) for life in lives}
    return replace(ledger, dedicated_usd=ledger.dedicated_usd + usd, unpriced_accelerator_s=owed, replicas=marks)


def settle(ledger: Ledger, catalogue: Catalogue) -> Ledger:
    """Return the ledger with what had no price charged at the price it has now."""
    if not ledger.unpriced_tokens and not ledger.unpriced_accelerator_s:
        return ledger
    hosted, tokens, cached = ledger.hosted_usd, dict(ledger.unpriced_tokens), dict(ledger.unpriced_cached_tokens)
    for label, (tokens_in, tokens_out) in ledger.unpriced_tokens.items():
        listed = price_of(label, catalogue)
        if listed is not None:
            hosted += listed.usd(prompt_tokens=tokens_in, cached_tokens=cached.pop(label, 0.0), answer_tokens=tokens_out)
            del tokens[label]
    dedicated, times = ledger.dedicated_usd, dict(ledger.unpriced_accelerator_s)
    for name, seconds in ledger.unpriced_accelerator_s.items():
        each = accelerator_usd_per_hour(name, catalogue)
        if each is not None:
            dedicated += each * seconds / 3600
            del times[name]
    return replace(
        ledger,
        hosted_usd=hosted,
        unpriced_tokens=tokens,
        unpriced_cached_tokens=cached,
        dedicated_usd=dedicated,
        unpriced_accelerator_s=times,
    )
