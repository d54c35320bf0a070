"""The clairvoyant optimum: what a scaler that knew all of the traffic would own and rent.

    min  sum_t c n_t dt + sum_t f_t(n_t) + c D sum_t (n_t - n_{t-1})^+

n_t replicas are ready in slot t, f_t is the fractional knapsack of what must be rented, c the price of a replica-second and D the
start-up time: who knows the future launches exactly D early, so the delay is nothing but a price for a start. Because f_t is convex,
the problem falls apart into one on/off problem per replica level, each with two states; savings fall with the level, so the levels'
answers nest and their sum is the exact integer optimum.
"""

from dataclasses import dataclass, replace

import numpy as np

from spillway.simulate.knapsack import Savings, levels_of, savings_of
from spillway.simulate.policy import Seen
from spillway.simulate.trace import Floats, Trace, Whole

LARGEST_PENALTY = 4.0**20  # by then a whole week on pays for a millisecond of work


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What owning costs and how it may be done."""

    own_usd_per_s: float  # of a replica, from its launch on
    start_up_s: float
    max_replicas: int | None = None
    warm_replicas: int = 0  # ready when the trace begins, for nothing
    headroom: float = 1.0  # share of a replica that a plan counts on: 1 in a bound, less in a plan that queues must be able to follow
    slack_s: float = 0.0  # how much later than in its slot work may be done: a credit on the capacity of every slot

    def room_s(self, slot_s: float) -> float:
        """Return the work that one replica does of a slot's arrivals."""
        return slot_s * self.headroom + self.slack_s


@dataclass(frozen=True, slots=True, kw_only=True)
class OraclePlan:
    """The optimum and, as a policy, its replay: what is needed until now + start-up is up or on its way."""

    slot_s: float
    counts: Whole  # replicas ready, per slot
    start_up_s: float
    own_usd: float  # starts left out
    start_usd: float
    hosted_usd: float
    starts: int
    spilled_share: float  # of the work
    tick_s: float = 10.0
    window_s: float = 10.0

    @property
    def cost_usd(self) -> float:
        """Return what it costs in all."""
        return self.own_usd + self.start_usd + self.hosted_usd

    def replicas(self, seen: Seen) -> int:
        """Return what replicas_at() says: of what is seen, only the time counts."""
        return self.replicas_at(seen.now_s)

    def replicas_at(self, now_s: float) -> int:
        """Return the most that is needed from now until what would be launched at the next tick is ready.

        The largest count in that time, and not only those at its two ends: a replica on its way up is needed by then, not now. A
        replica that is idle for less than a start-up never pays for a new start, so nothing is held that the plan gave up.
        """
        first = min(int(now_s // self.slot_s), len(self.counts) - 1)
        end = now_s + self.start_up_s + self.tick_s
        last = max(first + 1, int(np.ceil(end / self.slot_s - 1e-9)))
        return int(self.counts[first:last].max())


def solve(savings: Savings, terms: Terms) -> OraclePlan:
    """Return the cheapest plan for the savings of a trace: exact for slots of fluid work, up to rounding of floats."""
    room_s = terms.room_s(savings.slot_s)
    levels = levels_of(savings, room_s)
    if terms.max_replicas is not None:
        levels = min(levels, terms.max_replicas)
    marginal = savings.marginal_usd(room_s, levels)
    states = cheapest_states(
        terms.own_usd_per_s * savings.slot_s - marginal, start_usd=terms.own_usd_per_s * terms.start_up_s, warm=terms.warm_replicas
    )
    return _plan(savings, terms, states.sum(axis=1).astype(np.int64))


def cheapest_states(keep_usd: Floats, *, start_usd: float, warm: int) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Return which levels to have on in which slots, shape (slots, levels): the cheapest sequence of each level, by itself.

    `keep_usd[t, k]`: cost of having it on in slot t (negative: it earns); going on costs `start_usd`, going off nothing. The first `warm`
    levels begin on. For each level only d = cost of being on - cost of being off matters: d_t = keep_t + clip(d_{t-1}, 0, start).
    """
    slots, levels = keep_usd.shape
    lead = np.empty((slots, levels))
    before = np.where(np.arange(levels) < warm, 0.0, start_usd)
    for slot in range(slots):
        np.add(keep_usd[slot], before, out=lead[slot])
        before = np.minimum(np.maximum(lead[slot], 0.0), start_usd)
    states = np.empty((slots, levels), dtype=np.bool_)
    on = np.zeros(levels, dtype=np.bool_)
    stays = lead <= start_usd
    better = lead < 0
    for slot in range(slots - 1, -1, -1):
        on = better[slot] | (on & stays[slot])
        states[slot] = on
    return states


def without_overflow(trace: Trace, work_s: Floats, slot_s: float, terms: Terms, *, served_share: float = 0.99) -> OraclePlan:
    """Return the cheapest plan of its kind that serves at least that share of the work with nothing to rent.

    Work left undone costs a penalty per replica-second, found by bisection; with a cap on replicas that makes the
    share impossible, the plan that leaves least undone. The penalty is no money: `hosted_usd` is zero.
    """
    savings = savings_of(trace, work_s, work_s, slot_s)
    low, high = 1.0, 1.0  # penalties, in prices of a replica-second
    plan = _unserved(savings, terms, high)
    while 1 - plan.spilled_share < served_share and high < LARGEST_PENALTY:
        low, high = high, high * 4
        plan = _unserved(savings, terms, high)
    while high / low > 1 + 1e-3:
        middle = (low * high) ** 0.5
        candidate = _unserved(savings, terms, middle)
        if 1 - candidate.spilled_share >= served_share:
            high, plan = middle, candidate
        else:
            low = middle
    return plan


def _unserved(savings: Savings, terms: Terms, penalty: float) -> OraclePlan:
    plan = solve(replace(savings, usd=savings.work_s * (penalty * terms.own_usd_per_s)), terms)
    return replace(plan, hosted_usd=0.0)


def _plan(savings: Savings, terms: Terms, counts: Whole) -> OraclePlan:
    room_s = terms.room_s(savings.slot_s)
    base = savings.work_s[savings.edges[:-1]]
    done_s = np.minimum(counts * room_s, savings.slot_work_s)
    saved = np.interp(base + done_s, savings.work_s, savings.usd) - savings.usd[savings.edges[:-1]]
    starts = int(np.maximum(np.diff(counts, prepend=min(terms.warm_replicas, int(counts[0]))), 0).sum())
    work_s = float(savings.work_s[-1])
    return OraclePlan(
        slot_s=savings.slot_s,
        counts=counts,
        start_up_s=terms.start_up_s,
        own_usd=terms.own_usd_per_s * savings.slot_s * int(counts.sum()),
        start_usd=terms.own_usd_per_s * terms.start_up_s * starts,
        hosted_usd=float(savings.usd[-1] - saved.sum()),
        starts=starts,
        spilled_share=1 - float(done_s.sum()) / work_s if work_s > 0 else 0.0,
    )
