"""What a pass may see of the world, gathered from the watches, the last tick and the applier; no input or output of its own."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from spillway.apply.known import KnownObjects, Ref
from spillway.observe.cluster import ClusterView
from spillway.observe.signals import Target, all_missing
from spillway.plan.decision import Key, Workload
from spillway.plan.observation import Missing, Observation, Signals
from spillway.render import names

# A pod that has been ready for this long should have been scraped; before, its absence from Prometheus says nothing.
SCRAPED_BY = timedelta(seconds=45)


@dataclass(slots=True)
class World:
    """The latest of everything."""

    view: ClusterView
    known: KnownObjects
    window_s: float
    unasked: Missing  # what there is to say before Prometheus has been asked
    leading_since: datetime | None = None
    signals: Mapping[Key, Signals] = field(default_factory=dict)
    signals_of: Mapping[Key, str] = field(default_factory=dict)  # uids of the workloads that had these names when Prometheus was asked

    def observation(self, workload: Workload, now: datetime) -> Observation:
        """Return what one pass knows besides the spec."""
        key = workload.key
        return Observation(
            catalogue=self.view.catalogue(key.namespace),
            replicas=self.view.replicas(key, now),
            gateways=self.view.gateways(key, now),
            pools=self.view.pools(key, workload.uid),
            foreign_objects=tuple(sorted(f"{ref.kind}/{ref.name}" for ref in self.foreign(workload))),
            signals=self._signals(workload),
            watched_since=self._watched_since(key, now),
            provider_users=self._provider_users(key.namespace),
            gateway_refused=self.view.gateway_refused(key, workload.uid),
        )

    def foreign(self, workload: Workload) -> tuple[Ref, ...]:
        """Return the objects that have a name this workload's children need, and are not its own."""
        others = ((ref, record) for ref, record in self.known.of(workload.key) if record.controller_uid != workload.uid)
        return tuple(ref for ref, _ in others if _is_child_name(workload.key.name, ref))

    def targets(self, now: datetime) -> dict[Key, Target]:
        """Return what to ask Prometheus for."""
        found = {}
        for key, seen in self.view.workloads.items():
            workload = seen.as_workload()
            if workload is not None and not seen.terminating:
                found[key] = self._target(workload, now)
        return found

    def _target(self, workload: Workload, now: datetime) -> Target:
        slo = workload.spec.slo
        long_ready = [
            pod
            for pod in self.view.replicas(workload.key, now)
            if pod.ready and not pod.terminating and pod.ready_since is not None and now - pod.ready_since >= SCRAPED_BY
        ]
        return Target(
            ttft_ms=slo.time_to_first_token_ms if slo else None,
            inter_token_ms=slo.inter_token_latency_ms if slo else None,
            end_to_end_ms=slo.end_to_end_ms if slo else None,
            backends=_backends(workload),
            engines=len(long_ready),
            gateways=self.view.gateways_ready_before(workload.key, now - SCRAPED_BY),
        )

    def _provider_users(self, namespace: str) -> dict[str, int]:
        """Return how many workloads of the namespace may send requests to each provider whose account has limits, by its name."""
        limited = {name for (where, name), each in self.view.providers.items() if where == namespace and each.spec and each.spec.limits}
        if not limited:
            return {}  # as nearly always: then nobody need be counted
        users: Counter[str] = Counter()
        for key, seen in self.view.workloads.items():
            spec = seen.parsed.spec
            if key.namespace == namespace and not seen.terminating and spec is not None and spec.rents and spec.hosted is not None:
                users.update({each.provider_ref.name for each in spec.hosted.backends} & limited)
        return dict(users)

    def _signals(self, workload: Workload) -> Signals:
        """Return the last tick's; none where these are of another workload, which had its name before."""
        found = self.signals.get(workload.key)
        if found is None or self.signals_of.get(workload.key, workload.uid) != workload.uid:
            return all_missing(self.window_s, self.unasked, _backends(workload))
        return found

    def _watched_since(self, key: Key, now: datetime) -> datetime:
        """Return since when the workload is watched; what lies ahead is of a clock that was set back, since then at the latest."""
        seen = self.view.workloads.get(key)
        first = seen.seen_since if seen is not None else now
        if self.leading_since is not None:
            self.leading_since = min(now, self.leading_since)
        leading = self.leading_since or now
        return max(first, leading) if first <= now else leading


def _backends(workload: Workload) -> tuple[tuple[str, str], ...]:
    hosted = workload.spec.hosted
    return tuple((each.provider_ref.name, each.model) for each in hosted.backends) if hosted is not None else ()


def _is_child_name(workload: str, ref: Ref) -> bool:
    """Whether a child of this workload could have this kind and name."""
    fixed = {
        "Service": {names.service(workload), names.replicas(workload)},
        "ServiceAccount": {names.service_account(workload)},
        "ConfigMap": {names.gateway(workload), names.gateway_cap(workload), names.ledger(workload), names.learned(workload)},
        "PodDisruptionBudget": {names.gateway(workload), names.engine(workload)},
        "NetworkPolicy": {names.gateway(workload), names.engine(workload)},
        "HorizontalPodAutoscaler": {names.gateway(workload)},
        "Deployment": {names.gateway(workload)},
    }
    return ref.name in fixed.get(ref.kind, ()) or (ref.kind == "Deployment" and ref.name.startswith(f"{names.engine(workload)}-"))
