"""How fast requests leave the queue that a gateway's cap allows behind a replica's batch.

It is the load at which the targets are kept by a queue with as many servers as the batch has places and exponential answers (M/M/B, Erlang
C), whose prompts do not wait for prompts, though they come no faster than they are computed. That is more than a replica by itself keeps
(replica/first_token.py), but a cap lets nobody wait longer than a share of the target, and what does not fit is spilled. The share was
chosen with this pace (replica/capacity.py), and two others are worse with it (benchmarks/autoscaling, kappa 1.5, five seeds): at the pace
of a full batch azure2023_conv keeps 99.88 % and not 99.97, at the load that a replica by itself keeps azure2023_code costs 1.7 % more.
"""

import math
from functools import lru_cache

from spillway.api.traffic import Slo
from spillway.plan.replica.first_token import erlang_c
from spillway.plan.replica.serving import ANSWERS, Service, largest_load
from spillway.plan.traffic.lengths import length_at


@lru_cache(maxsize=ANSWERS)
def queue_pace(service: Service, slo: Slo | None, *, bound: int) -> float:
    """Return the requests per second at which the queue behind a batch of `bound` empties, not derated."""
    return service.requests_per_s(largest_load(lambda batch: _keeps(service, slo, batch, bound), bound=bound))


def _keeps(service: Service, slo: Slo | None, batch: float, bound: int) -> bool:
    if slo is None or (slo.time_to_first_token_ms is None and slo.end_to_end_ms is None):
        return True
    if batch >= bound or not service.keeps_up(batch):
        return False
    met = max(1.0, min(float(bound), batch + service.z * math.sqrt(batch)))
    waiting, each_ms = erlang_c(bound, batch), service.residence_ms(batch) / (bound - batch)
    longest_ms = each_ms * math.log(waiting / service.late_share) if waiting > service.late_share else 0.0
    first_ms = max(
        service.first_token_ms(met, _long_prompt(service)) + waiting * each_ms,
        service.first_token_ms(met, service.lengths.input_mean) + longest_ms,
    )
    whole_ms = first_ms + (service.long_answer - 1) * service.inter_token_ms(met)
    first, whole = slo.time_to_first_token_ms, slo.end_to_end_ms
    return (first is None or first_ms <= first) and (whole is None or whole_ms <= whole)


def _long_prompt(service: Service) -> float:
    lengths, bound = service.lengths, service.longest_prompt_tokens
    longest = length_at(service.attainment_percent, mean=lengths.input_mean, p95=lengths.input_p95)
    return longest if bound is None else max(lengths.input_mean, min(longest, bound))
