"""Each gateway pod's share of the cap on own replicas, by what each pod holds and turns away; moved without ever exceeding the cap.

Why shares move
* Envoy counts requests for itself, so the cap has to be split over gateway pods. Clients are not: a few long connections may all end at
  one pod. Split evenly, that pod would spill while the others' parts lie idle.
* Every second or two each pod is asked what it holds (`GatewayLoad`). It gets twice that, and the rest is split evenly, for what comes
  without notice. Above half of the cap all of it is split by what pods hold, above the cap by what they would.
* A newcomer is taken to get what the others get on the average, until it has had time to get its own.

How they move
* A share that falls is told at once. One rises only by what nobody can hold any more: a pod may hold what it was told last, what its
  Envoy still goes by, or what it has in flight, whichever is most. So it rises once the fallen ones are in force and their requests done.
* A pod that cannot be asked keeps its share, and while it is not known to go by it, nothing rises. What cannot be asked for two minutes
  is taken to go by what it was told: the kubelet itself brings it within one and a half.

Law: what pods may hold together is never more than the cap, and one for each pod. The one is for a newcomer, which is never told zero.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from spillway.api.workload import InferenceWorkloadSpec

HEADROOM = 2.0  # times what a pod holds: what it gets before anything is split evenly, so that it may double before it turns away
# A move is two writes and takes two seconds, so it is made early where it is large (a crowd that gathers at one pod), and late where it is
# small: what comes and goes by chance moves nothing. Parts of the share in use, and of the cap that the share would rise by.
# A pod that turns requests away is given whatever others have to spare; where none has, a move adds nothing and has to be as large.
EARLY, EARLY_GAIN = 0.5, 0.25
LATE, LATE_GAIN = 0.7, 0.05
IDLE = 0.3  # of its share in use, at most: a pod that gives for one that is late
DEPRIVED = 0.5  # of what it should have, at most: a pod whose share was others', who need it no more
MOST_COUNTED = 10**15  # no gateway has counted more; whoever may make pods can have one say more than a float takes
BROUGHT_BY = timedelta(minutes=2)  # a changed annotation reaches a pod's file in a second, and without the kubelet's hurry in 90


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayLoad:
    """What a gateway pod says of itself, read in this order."""

    in_force: int  # the cap that its Envoy goes by
    owned: int  # requests open on own replicas
    hosted: int  # requests open on hosted backends
    turned_away: int  # ever-growing count of requests that found no room on own replicas


@dataclass(frozen=True, slots=True, kw_only=True)
class SharingGateway:
    """A gateway pod among which the cap is shared."""

    uid: str
    name: str
    told: int | None  # its share; None: it was told none, and goes by the even split
    told_at: datetime | None  # None: by an operator before this one
    started: bool  # its containers may run
    newcomer: bool  # what it holds says little yet of what it will
    leaving: bool = False  # it gets no more than it has
    stuck: bool = False  # it cannot start as things are: no node takes it, say
    load: GatewayLoad | None  # None: it could not be asked


@dataclass(frozen=True, slots=True, kw_only=True)
class LastLook:
    """What is remembered of a pod from one look to the next."""

    wanted: float | None = None  # requests it would have held
    turned_away: int | None = None
    followed: int | None = None  # the last share that it was seen to go by


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """What pods should be told, by uid; those that are missing are told nothing."""

    requests: Mapping[str, int]
    looks: Mapping[str, LastLook]
    moving: bool  # some share has yet to rise: look again soon
    busy: bool  # some pod uses half of its share or more


def is_shared(spec: InferenceWorkloadSpec) -> bool:
    """Whether gateway pods get shares of a cap: own replicas serve, behind more than one pod."""
    return spec.owns and spec.gateway.most_replicas > 1


def share_out(
    cap: int, gateways: Sequence[SharingGateway], looks: Mapping[str, LastLook], now: datetime, *, outside: Sequence[int] = ()
) -> Shares:
    """Return each pod's share of `cap` requests. `outside`: what pods hold that cannot be told, of a rollout from before there were shares.

    With no cap every share is 0. Otherwise none is below 1, and together they are no more than the cap or the number of pods.
    """
    seen = {each.uid: _look(each, looks.get(each.uid, LastLook()), now) for each in gateways}
    if not cap or not gateways:
        return Shares(requests={each.uid: 0 for each in gateways}, looks=seen, moving=False, busy=False)
    room = max(cap - sum(outside), len(gateways))
    wanted = _expected(gateways, seen)
    targets = _targets(room, wanted, leaving=frozenset(each.uid for each in gateways if each.leaving))
    current = {each.uid: _current(each) for each in gateways}
    known = {uid: share for uid, share in current.items() if share is not None}
    unknown = len(current) - len(known)
    falls = sum(known.values()) + unknown > room or _is_worth_it(room, known, targets, wanted)
    fallen = {uid: max(1, min(share, targets[uid])) if falls else max(1, share) for uid, share in known.items()}
    # One that has not started yet is told before it does; one that has, and does not answer, goes by something that nobody knows.
    fallen |= {each.uid: 1 for each in gateways if each.uid not in known and not each.started}
    held = [_may_hold(each, seen[each.uid]) for each in gateways]
    free = 0 if None in held else room - sum(max(most or 0, fallen.get(each.uid, 0)) for each, most in zip(gateways, held, strict=True))
    lacking = {uid: float(max(0, targets[uid] - share)) for uid, share in fallen.items()}
    rise = min(free, int(sum(lacking.values())))
    if rise < min(_least(room, LATE_GAIN), sum(lacking.values())):
        rise = 0
    risen = _apportioned(rise, lacking) if rise > 0 else dict.fromkeys(fallen, 0)
    requests = {uid: share + risen[uid] for uid, share in fallen.items()}
    busy = any(wanted[uid] >= share / 2 for uid, share in requests.items() if wanted[uid])
    return Shares(requests=requests, looks=seen, moving=sum(lacking.values()) > rise, busy=busy)


def _look(gateway: SharingGateway, before: LastLook, now: datetime) -> LastLook:
    """Return what is to be remembered of a pod."""
    load = gateway.load
    if load is None:
        late = gateway.told_at is not None and now - gateway.told_at >= BROUGHT_BY
        return LastLook(wanted=before.wanted, turned_away=before.turned_away, followed=gateway.told if late else before.followed)
    return LastLook(wanted=_wanted(load, before), turned_away=load.turned_away, followed=load.in_force)


def _wanted(load: GatewayLoad, before: LastLook) -> float:
    """Return how many requests a pod would have on own replicas if it could.

    What it turned away counts by what it has on hosted backends, or by the number of them, at most as many as it holds: it doubles until
    it is enough. Without any turned away, what is open on hosted backends is of the past, and will not come back.
    """
    turned_away = 0 if before.turned_away is None else max(0, load.turned_away - before.turned_away)
    if not turned_away:
        return float(load.owned)
    return float(load.owned + max(load.hosted, min(turned_away, max(load.owned, 1))))


def _expected(gateways: Sequence[SharingGateway], seen: Mapping[str, LastLook]) -> dict[str, float]:
    """Return what each pod is expected to want: what it wanted, the others' mean where that is not known or says little.

    Nothing, while it cannot start: that may last, and meanwhile the others have all the clients.
    """
    known = {each.uid: wanted for each in gateways if (wanted := seen[each.uid].wanted) is not None}
    settled = [known[each.uid] for each in gateways if each.uid in known and not each.newcomer]
    mean = sum(settled) / len(settled) if settled else 0.0
    expected = {each.uid: max(known.get(each.uid, 0.0), mean) if each.newcomer else known.get(each.uid, mean) for each in gateways}
    return expected | {each.uid: 0.0 for each in gateways if each.stuck and each.load is None}


def _targets(room: int, wanted: Mapping[str, float], *, leaving: frozenset[str]) -> dict[str, int]:
    """Return whole shares of at least 1 that make up `room`, which is no less than the number of pods."""
    total, pods = sum(wanted.values()), len(wanted)
    needs = {uid: max(1.0, each if uid in leaving else HEADROOM * each) for uid, each in wanted.items()}
    rest, staying = room - sum(needs.values()), pods - len(leaving)
    if rest >= 0:
        weights = {uid: each - 1 + (0 if uid in leaving and staying else rest / (staying or pods)) for uid, each in needs.items()}
    else:
        factor = max(1.0, room / total)
        weights = {uid: max(0.0, factor * each - 1) for uid, each in wanted.items()}
    return {uid: 1 + more for uid, more in _apportioned(room - pods, weights).items()}


def _current(gateway: SharingGateway) -> int | None:
    """Return the share that a pod goes by or soon will; None where that is not known."""
    if gateway.told is not None:
        return gateway.told
    return None if gateway.load is None else gateway.load.in_force


def _may_hold(gateway: SharingGateway, look: LastLook) -> int | None:
    """Return how many requests a pod may have on own replicas now; None when nobody can say."""
    told = gateway.told
    if gateway.load is not None:
        return max(told or 0, gateway.load.in_force, gateway.load.owned)
    if not gateway.started:
        return told or 1
    return told if look.followed == told else None


def _is_worth_it(room: int, current: Mapping[str, int], targets: Mapping[str, int], wanted: Mapping[str, float]) -> bool:
    """Whether shares should fall for others to rise: one that is used up, or may soon be, would rise enough."""
    givers = [uid for uid, share in current.items() if targets[uid] < share]
    spare = any(current[uid] - wanted[uid] >= 1 for uid in givers)
    idle = any(wanted[uid] <= IDLE * current[uid] for uid in givers)
    little, much = _least(room, LATE_GAIN), _least(room, EARLY_GAIN)

    def enough(uid: str) -> float:
        """Return how much a pod's share would have to rise by."""
        used = wanted[uid] / current[uid] if current[uid] else math.inf
        if used > 1:
            return little if spare else max(2, much)
        if used > LATE and idle:
            return little
        return much if used > EARLY or current[uid] <= DEPRIVED * targets[uid] else math.inf

    return any(targets[uid] - share >= enough(uid) for uid, share in current.items())


def _least(room: int, part: float) -> int:
    return max(1, math.floor(room * part))


def _apportioned(whole: int, weights: Mapping[str, float]) -> dict[str, int]:
    """Return whole parts that make up `whole`, by the largest remainders; evenly where nothing has weight."""
    total = sum(weights.values())
    exact = {uid: whole * (weight / total if total else 1 / len(weights)) for uid, weight in weights.items()}
    parts = {uid: math.floor(part) for uid, part in exact.items()}
    for uid in sorted(exact, key=lambda uid: (parts[uid] - exact[uid], uid))[: whole - sum(parts.values())]:
        parts[uid] += 1
    return parts
