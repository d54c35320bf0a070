"""What no scaler can undercut: the oracle's programme, relaxed until every policy of a system with queues fits into it.

Take any policy; n(u) is how many replicas it has ready at time u, L the slack, how much later than it arrives work may begin. What
arrives in [u, u + dt) is done in [u, u + dt + L); let m be the mean of n over that time. Then

    work done of it <= (dt + L) m        starts(m) <= starts(n)        mean over all begins of slots of sum dt m = integral of n

(a moving mean has no more ups than what it is taken of; each moment lies in dt + L of the dt possible begins). So the programme of the
oracle with room (dt + L) a replica and with any fraction of replicas costs, on the mean over the begins, no more than the policy.

A policy may also be rounded up to whole replicas in whole slots, which adds less than two slots and the slack to each start, and a slot
to what was warm: a bound too, and often the better one where a start-up takes longer than that.

Numerically two begins stand for all of them (only where there is slack) and parts of 1/4 for any fraction: see PARTS for what that is.
What is argued and not proven is work in a batch: it is spread evenly over the fastest and over the slowest pace that keeps the promise,
and the cheaper is taken.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from spillway.simulate.knapsack import savings_of
from spillway.simulate.oracle import Terms, solve
from spillway.simulate.trace import Floats, Trace

PARTS = 4  # of a replica; 16 lower the bound of the servegen_mlarge week at a mean of four replicas by 0.2 %
BEGINS = 2


def lower_bound_usd(
    trace: Trace,
    work_s: Floats,
    hosted_usd: Floats,
    terms: Terms,
    *,
    residences_s: Sequence[Floats | None],
    slot_lengths_s: Sequence[float] = (60.0,),
) -> float:
    """Return USD that no scaler can undercut, the highest of what the slot lengths prove.

    `work_s`: replica-seconds of each request in the ideal, at a full batch without interference; `residences_s`: for each pace, how
    long every request is in a batch (None: no time at all); `terms.slack_s`: the promised time to first token. Requests may be split.
    """
    return max(
        min(_bound_usd(trace, work_s, hosted_usd, replace(terms, headroom=1.0), residence_s, slot_s) for residence_s in residences_s)
        for slot_s in slot_lengths_s
    )


def _bound_usd(trace: Trace, work_s: Floats, hosted_usd: Floats, terms: Terms, residence_s: Floats | None, slot_s: float) -> float:
    begins = BEGINS if terms.slack_s else 1
    shifted = [_later(trace, slot_s * index / begins) for index in range(begins)]
    parts = [
        solve(savings_of(each, work_s * PARTS, hosted_usd, slot_s, residence_s=residence_s), _in_parts(terms)).cost_usd for each in shifted
    ]
    bounds = [float(np.mean(parts))]
    rounded_s = terms.start_up_s - 2 * slot_s - terms.slack_s
    if rounded_s >= 0:
        whole = savings_of(trace, work_s, hosted_usd, slot_s, residence_s=residence_s)
        unstarted_usd = terms.own_usd_per_s * slot_s * terms.warm_replicas  # those have no start to put their last slot on
        bounds.append(solve(whole, replace(terms, start_up_s=rounded_s)).cost_usd - unstarted_usd)
    return max(bounds)


def _in_parts(terms: Terms) -> Terms:
    """Return the terms of small replicas: each takes as many times longer for a request as it is cheaper."""
    most = None if terms.max_replicas is None else terms.max_replicas * PARTS
    return replace(terms, own_usd_per_s=terms.own_usd_per_s / PARTS, max_replicas=most, warm_replicas=terms.warm_replicas * PARTS)


def _later(trace: Trace, seconds: float) -> Trace:
    return replace(trace, arrival_s=trace.arrival_s + seconds, duration_s=trace.duration_s + seconds)
