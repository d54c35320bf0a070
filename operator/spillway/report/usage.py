"""What a status tells of a running workload, for advice: what is absent stays unknown."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from spillway.api.status import Basis, InferenceWorkloadStatus, ObservedLoadStatus
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.comparing.case import Usage
from spillway.plan.comparing.options import ServedBy
from spillway.plan.money.periods import month_start
from spillway.plan.place.placed import ObservedLoad
from spillway.plan.readings import finite

LEAST_OBSERVED_S = 3600  # less than an hour says no more than the last minutes
LEAST_WATCHED = timedelta(days=1)  # a mean over less is no mean over day and night


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An InferenceWorkload as read from the cluster. `status` is None where there is none, or it cannot be read."""

    namespace: str
    name: str
    spec: InferenceWorkloadSpec
    created_at: datetime
    status: InferenceWorkloadStatus | None

    @property
    def label(self) -> str:
        """`<namespace>/<name>`."""
        return f"{self.namespace}/{self.name}"


def number(text: str | None) -> float | None:
    """Return the number that a status holds as text; None without one, or where it is none that an operator writes."""
    try:
        return None if text is None else finite(float(text))
    except ValueError:
        return None


def usage_of(seen: Seen, now: datetime) -> Usage:
    """Return what runs and what it carries."""
    status = seen.status
    if status is None:
        return Usage()
    dedicated, cost = status.dedicated, status.cost
    load, over = _load(seen, status, now)
    capacity = dedicated.capacity if dedicated else None
    return Usage(
        mode=_mode(status),
        accelerator_class=dedicated.accelerator_class if dedicated else None,
        tensor_parallel_size=dedicated.tensor_parallel_size if dedicated else None,
        desired_replicas=dedicated.desired_replicas if dedicated else None,
        seen=load,
        seen_over=over,
        measured_requests_per_s=number(capacity.requests_per_second) if capacity and capacity.basis is Basis.MEASURED else None,
        prefix_hit_ratio=dedicated.prefix_hit_percent / 100 if dedicated and dedicated.prefix_hit_percent is not None else None,
        owned_usd_per_hour=number(cost.dedicated_usd_per_hour) if cost else None,
        hosted_usd_per_hour=number(cost.hosted_usd_per_hour) if cost else None,
    )


def _mode(status: InferenceWorkloadStatus) -> ServedBy | None:
    mode = status.placement.mode.value if status.placement else None
    return ServedBy(mode) if mode in set(ServedBy) else None


def _load(seen: Seen, status: InferenceWorkloadStatus, now: datetime) -> tuple[ObservedLoad | None, str]:
    """Return the traffic and the time it is of: what placement has watched, else the month's mean, else the last minutes'."""
    watched = status.placement.observed if status.placement else None
    if watched is not None and watched.seconds >= LEAST_OBSERVED_S:
        return _observed(watched), f"in the last {watched.seconds / 3600:.0f} h"
    traffic = status.traffic
    lately = number(traffic.requests_per_second) if traffic else None
    monthly = _mean_of_month(seen, status, now)
    if traffic is None or lately is None:
        return None, ""
    mean = lately if monthly is None else monthly
    load = ObservedLoad(
        mean_per_s=mean,
        peak_per_s=max(mean, lately),
        input_tokens=traffic.input_tokens_mean,
        output_tokens=traffic.output_tokens_mean,
        at=now,
    )
    return load, "in the last minutes" if monthly is None else "on average this month"


def _observed(watched: ObservedLoadStatus) -> ObservedLoad | None:
    mean, peak = number(watched.requests_per_second_mean), number(watched.requests_per_second_peak)
    if mean is None or peak is None:
        return None
    return ObservedLoad(
        mean_per_s=mean,
        peak_per_s=peak,
        input_tokens=watched.input_tokens_mean,
        output_tokens=watched.output_tokens_mean,
        watched_s=watched.seconds,
        at=watched.until,
    )


def _mean_of_month(seen: Seen, status: InferenceWorkloadStatus, now: datetime) -> float | None:
    """Return requests per second since the first of the month: its tokens, from its cost and their price, over tokens per request."""
    cost, traffic = status.cost, status.traffic
    spent = number(cost.month_to_date_usd) if cost else None
    per_million = number(cost.usd_per_million_tokens) if cost else None
    each = (traffic.input_tokens_mean or 0) + (traffic.output_tokens_mean or 0) if traffic else 0
    age = now - max(month_start(now), seen.created_at)
    watched = age - timedelta(seconds=min(age.total_seconds(), cost.unaccounted_seconds if cost else 0))
    if not spent or not per_million or not each or watched < LEAST_WATCHED:
        return None
    return spent / per_million * 1e6 / each / watched.total_seconds()
