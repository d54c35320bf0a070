"""How the rest of a limit is dealt out to lanes: to all a part, most to those that are asked for most; in whole requests once it is short.

A part that is too small for a request is of no use to its lane, and lost to the others while it is held. So once lanes turn requests away,
parts are multiples of what these would have been charged; the last few are dealt out all at once, and less than one to one lane.

Law: what lanes hold and what they are dealt is together never more than what is left, however it is divided.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from spillway.plan.decision import Lane

DEALT_SHARE = 0.5
FEW = 4  # requests at their longest answers: a limit that leaves fewer turns away most
EVEN_SHARE = 0.5  # part that lanes get evenly; the other follows what was asked of them since the last permit


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What is known of one lane, in the unit of the limit (micro-USD or requests)."""

    seen: int  # its meter
    held: int  # what it may still use of what it was given
    asked: int  # requests that it sent or turned away since the last permit
    wanted: int | None  # what one that it turned away would have been charged; None: it turned none away


def deal(left: int, needs: Mapping[Lane, Need], *, held_elsewhere: int) -> dict[Lane, int]:
    """Return up to where each lane's meter may run. `held_elsewhere`: by lanes that are gone, until their permits expire."""
    if not needs:
        return {}
    units = {lane: _unit(lane, needs) for lane in needs}
    if is_short(left, [need.wanted for need in needs.values() if need.wanted is not None]):
        targets = _in_requests(left, _weights(needs, even_share=0.0), units)
    else:
        targets = _in_requests(math.ceil(left * DEALT_SHARE), _weights(needs, even_share=EVEN_SHARE), units)
    kept = {lane: min(need.held, max(targets[lane], need.wanted or 0)) for lane, need in needs.items()}
    more = {lane: max(0, targets[lane] - need.held) for lane, need in needs.items()}
    free = max(0, left - held_elsewhere - sum(need.held for need in needs.values()))
    added = more if sum(more.values()) <= free else _in_requests(free, more, units)
    parts = _with_one_request_each(added, free=free, kept=kept, needs=needs)
    return {lane: need.seen + parts[lane] + (0 if _is_crumb(lane, kept, parts, needs) else kept[lane]) for lane, need in needs.items()}


def _is_crumb(lane: Lane, kept: Mapping[Lane, int], parts: Mapping[Lane, int], needs: Mapping[Lane, Need]) -> bool:
    """Whether what the lane kept is no use to it, and is to go to another when its permit expires."""
    wanted = needs[lane].wanted
    return wanted is not None and kept[lane] + parts[lane] < wanted and lane != _most_asked(needs)[0]


def _most_asked(needs: Mapping[Lane, Need]) -> list[Lane]:
    """Return the lanes in the order in which they are given the last of a limit."""
    return sorted(needs, key=lambda lane: (needs[lane].wanted is None, -needs[lane].asked, lane))


def is_short(left: int, wanted: Collection[int]) -> bool:
    """Whether requests are turned away, and what is left is only a few like them."""
    return bool(wanted) and left < FEW * max(1, *wanted)


def _weights(needs: Mapping[Lane, Need], *, even_share: float) -> dict[Lane, float]:
    total, even = sum(need.asked for need in needs.values()), 1 / len(needs)
    return {lane: even_share * even + (1 - even_share) * (need.asked / total if total else even) for lane, need in needs.items()}


def _unit(lane: Lane, needs: Mapping[Lane, Need]) -> int:
    """Return the smallest part that is of use: what the backend's lanes would have been charged for a request that they turned away."""
    return max([1, *(need.wanted for other, need in needs.items() if need.wanted is not None and other.backend == lane.backend)])


def _in_requests(whole: int, weights: Mapping[Lane, float], units: Mapping[Lane, int]) -> dict[Lane, int]:
    """Return parts in multiples of units, by the largest remainders: the last few requests go to somebody."""
    total = sum(weights.values())
    exact = {lane: whole * weight / total / units[lane] if total else 0.0 for lane, weight in weights.items()}
    parts = {lane: math.floor(part) * units[lane] for lane, part in exact.items()}
    over = whole - sum(parts.values()) if total else 0
    for lane in sorted(exact, key=lambda lane: (math.floor(exact[lane]) - exact[lane], lane)):
        if units[lane] <= over:
            parts[lane] += units[lane]
            over -= units[lane]
    return parts


def _with_one_request_each(
    added: Mapping[Lane, int], *, free: int, kept: Mapping[Lane, int], needs: Mapping[Lane, Need]
) -> dict[Lane, int]:
    """Return the parts with enough in them for a request of each lane that turns some away, as far as it goes; most asked first.

    What was meant for nobody goes first, then what was meant for lanes that turn none away, or fewer.
    """
    parts = dict(added)
    order = _most_asked(needs)
    for place, lane in enumerate(order):
        missing = (needs[lane].wanted or 0) - kept[lane] - parts[lane]
        if missing <= 0:
            continue
        spare = min(missing, free - sum(parts.values()))
        parts[lane], missing = parts[lane] + spare, missing - spare
        for giver in reversed(order[place + 1 :]):
            given = min(missing, parts[giver])
            parts[giver], parts[lane], missing = parts[giver] - given, parts[lane] + given, missing - given
    return parts
