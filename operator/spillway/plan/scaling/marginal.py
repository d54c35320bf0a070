"""Own the k-th replica iff the spill it saves pays for it, its cold start included: one small dynamic programme per replica.

For a level k (the k-th replica) and a slot h of the forecast, owning it saves what it carries that k - 1 replicas would not, at the price
of hosting it, and costs its own price: g_k(h). With a start-up time D,

    V_on(h)  = g_k(h) + max(V_on(h+1), V_off(h+1) - exit)
    V_off(h) = max(V_off(h+1), V_on(h+D) - entry)

The level is kept while V_on beats V_off, and started when starting now beats starting a slot later. What k replicas carry is concave in
k, so the levels nest and the plan is one number. Source: the two-state programme for right-sizing with convex costs (Lin et al., Dynamic
right-sizing for power-proportional data centers; Albers and Quedenfeld, Optimal algorithms for right-sizing data centers).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STEPS_PER_REPLICA = 20  # demands per replica in the table of what is carried
MOST_BY_PLACES = 64  # replicas beyond which chance evens out: there each carries what comes, up to one replica's work
TINY = 1e-9
LARGEST_BATCH = 64  # beyond which chance evens out within a replica too


@lru_cache(maxsize=64)
def carried(*, batch: int, slots: int, most: int) -> Floats:
    """Return the demand that n replicas carry, in replicas: (demands in steps of 1 / STEPS_PER_REPLICA, n from 0 to most).

    Requests come at random and find `slots` places per replica, of which `batch` work: what M/M/c/K turns away, with c = n x batch and
    K = n x slots, spills. Erlang's recursion place by place, and its closed form for those that only wait.
    """
    demands = np.arange(2 * most * STEPS_PER_REPLICA + 1) / STEPS_PER_REPLICA
    working = min(batch, LARGEST_BATCH)
    waiting = round(working * (slots - batch) / batch)
    load = np.maximum(demands * working, TINY)
    turned_away = np.ones_like(load)
    table = np.zeros((len(demands), most + 1))
    for count in range(1, most + 1):
        for place in range((count - 1) * working + 1, count * working + 1):
            turned_away = load * turned_away / (place + load * turned_away)
        lost = _after_waiting(turned_away, load / (count * working), count * waiting)
        table[:, count] = np.minimum(demands * (1 - lost), count)
    return table


@lru_cache(maxsize=64)
def _carried_more(*, batch: int, slots: int, most: int) -> Floats:
    """Return what the k-th replica carries beside k - 1 others: (demands as in `carried`, k from 1 to most)."""
    return np.diff(carried(batch=batch, slots=slots, most=most), axis=1)


def _after_waiting(lost: Floats, busy: Floats, places: int) -> Floats:
    """Return the share turned away with places to wait in: each turns x into busy x / (1 + busy x), so 1/x grows as a geometric sum."""
    if not places:
        return lost
    inverse = 1 / np.maximum(busy, 1e-3)
    with np.errstate(over="ignore"):
        powers = inverse**places
        near = np.abs(inverse - 1) < TINY
        summed = np.where(near, float(places), (powers - 1) / np.where(near, 1.0, inverse - 1))
        return np.asarray(1 / (powers / np.maximum(lost, 1e-300) + summed))


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the plan is made with. Money in units of one replica's second: `kappa` is what hosting a replica's second of work costs."""

    kappa: float
    start_up_s: float  # from asking for a replica until it serves
    entry_s: float  # of those billed: a wait for a node is not
    exit_s: float  # billed after a replica is let go: drain, and what a billing increment rounds up
    batch: int
    slots: int
    most: int
    free: int = 0  # first replicas that cost nothing more


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """By level, k = 1 to most: what keeping and what starting is worth, in replica-seconds' price."""

    keep: Floats  # V_on(0) - (V_off(0) - exit)
    start: Floats  # V_on(D) - entry - V_off(1)
    gain: Floats  # g_k at the start-up horizon, per second
    pending: Floats  # (slots) x levels: V_on(h) - V_off(0), to be read at what is left of a start, whose price comes off


def values(samples: Floats, slot_s: float, terms: Terms) -> Values:
    """Return what each level is worth under a forecast: `samples` of demand in replicas, (slots, quantiles)."""
    gains = _gains(samples, terms)
    slots, levels = gains.shape
    price = prices(terms)
    entry, leave = price * terms.entry_s, price * terms.exit_s
    whole, part = divmod(terms.start_up_s / slot_s, 1)
    ahead = int(whole)
    worth = gains * slot_s
    nothing = np.zeros(levels)
    on = [nothing] * (slots + ahead + 2)
    between = [nothing] * (slots + ahead + 2)  # V_on a part of a slot later
    off = later = nothing
    for slot in range(slots - 1, -1, -1):
        on[slot] = worth[slot] + np.maximum(on[slot + 1], off - leave)
        between[slot] = (1 - part) * on[slot] + part * on[slot + 1] if part else on[slot]
        off, later = np.maximum(off, between[slot + ahead] - entry), off
    return Values(
        keep=on[0] - (off - leave),
        start=between[ahead] - entry - later,
        gain=gains[min(slots - 1, round(terms.start_up_s / slot_s))],
        pending=np.stack(on[: ahead + 2]) - off,
    )


def prices(terms: Terms) -> Floats:
    """Return what a second of each level costs, in units of a replica's: nothing for those that are paid for anyway."""
    return np.where(np.arange(terms.most) < terms.free, 0.0, 1.0)


def entry_prices(terms: Terms) -> Floats:
    """Return what a start of each level and its end cost."""
    return prices(terms) * max(1.0, terms.entry_s + terms.exit_s)


def realized_gains(demand: float, terms: Terms) -> Floats:
    """Return what each level saves per second at this demand."""
    return np.asarray(_gains(np.array([[demand]]), terms)[0])


def _gains(samples: Floats, terms: Terms) -> Floats:
    """Return the saving of each level in each slot, per second: (slots, levels)."""
    return np.asarray(terms.kappa * _carried_at(samples, terms).mean(axis=1) - prices(terms))


def _carried_at(samples: Floats, terms: Terms) -> Floats:
    """Return what each level carries beside those before it at each of these demands: (slots, quantiles, levels)."""
    if terms.most > MOST_BY_PLACES:  # without a table: one of a thousand replicas has 300 MiB
        return np.clip(samples[..., None] - np.arange(terms.most), 0.0, 1.0)
    more = _carried_more(batch=terms.batch, slots=terms.slots, most=terms.most)
    place = np.minimum(samples * STEPS_PER_REPLICA, len(more) - 1.001)
    low = place.astype(int)
    share = (place - low)[..., None]
    return np.asarray((1 - share) * more[low] + share * more[low + 1])
