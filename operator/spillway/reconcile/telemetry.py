"""The operator's own metrics, made anew from the latest snapshots at each scrape: a deleted workload simply stops appearing."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from spillway.api.status import Condition, InferenceWorkloadStatus
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.decision import Decision, Key, ScaleFigures, Workload
from spillway.plan.gateway.spill import ready_replicas
from spillway.plan.observation import Observation
from spillway.plan.readings import number
from spillway.plan.same import of_the_same

_LABELS = ("namespace", "workload")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The numbers of one workload's last pass. None is unknown, and not exported."""

    desired_replicas: float | None
    ready_replicas: float
    demand_replicas: float | None
    usd_per_hour: float | None
    month_to_date_usd: float | None
    spilled_ratio: float | None
    cap: float
    problems: int
    recommended_replicas: float | None = None
    figures: ScaleFigures | None = None
    kappa: float | None = None
    start_up_s: float | None = None
    owned_usd_per_hour: float | None = None
    hosted_usd_per_hour: float | None = None
    projected_monthly_usd: float | None = None

    @classmethod
    def of(cls, seen: Observation, decision: Decision) -> "Snapshot":
        """Return the numbers of a pass."""
        arrivals, spilled = number(seen.signals.arrivals_per_s), number(seen.signals.spilled_per_s)
        figures = decision.scale.figures if decision.scale else None
        return cls(
            desired_replicas=decision.scale.replicas if decision.scale else None,
            ready_replicas=ready_replicas(seen),
            demand_replicas=decision.scale.demand_replicas if decision.scale else None,
            recommended_replicas=decision.scale.recommended if decision.scale else None,
            figures=figures,
            kappa=figures.kappa if figures is not None and figures.kappa is not None else decision.cost.kappa,
            usd_per_hour=decision.cost.usd_per_hour,
            month_to_date_usd=decision.cost.month_to_date_usd,
            spilled_ratio=spilled / arrivals if arrivals and spilled is not None else None,
            cap=decision.gateway.cap_total,
            problems=len(decision.problems),
            start_up_s=decision.pool.start_up.median_s if decision.pool else None,
            owned_usd_per_hour=decision.cost.dedicated_usd_per_hour,
            hosted_usd_per_hour=decision.cost.hosted_usd_per_hour,
            projected_monthly_usd=decision.cost.projected_monthly_usd,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What one workload is called and what it promises. None was not asked for, and is not exported."""

    model: str
    objective_ratio: float | None
    budget_monthly_usd: float | None

    @staticmethod
    @of_the_same
    def of(spec: InferenceWorkloadSpec) -> "Promise":
        """Return what a spec promises."""
        return Promise(
            model=spec.served_name,
            objective_ratio=spec.slo.attainment_percent / 100 if spec.slo else None,
            budget_monthly_usd=float(spec.budget.monthly_usd) if spec.budget else None,
        )


@dataclass(slots=True, eq=False)
class Telemetry(Collector):
    """What is exported on /metrics."""

    queue_depth: Callable[[], float]
    queue_delay_s: Callable[[], float]
    leading: Callable[[], bool]
    requests: Callable[[], float]
    snapshots: dict[Key, Snapshot] = field(default_factory=dict)
    attainment: dict[Key, float] = field(default_factory=dict)
    conditions: dict[Key, tuple[Condition, ...]] = field(default_factory=dict)
    promises: dict[Key, Promise] = field(default_factory=dict)
    passes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    pass_seconds: float = 0.0

    def tell(self, workload: Workload, status: InferenceWorkloadStatus) -> None:
        """Take over what a pass reported: attainment and conditions, beside what the spec promises."""
        self.promises[workload.key] = Promise.of(workload.spec)
        self.conditions[workload.key] = tuple(status.conditions)
        if status.slo is not None and status.slo.attainment_percent is not None:
            self.attainment[workload.key] = float(status.slo.attainment_percent) / 100
        else:
            self.attainment.pop(workload.key, None)

    def forget(self, key: Key) -> None:
        """Drop a workload that is no more."""
        self.snapshots.pop(key, None)
        self.attainment.pop(key, None)
        self.conditions.pop(key, None)
        self.promises.pop(key, None)

    def collect(self) -> Iterator[Metric]:
        """Return all families."""
        yield _gauge("spillway_lease_held", "1 while this operator replica is the leader.", float(self.leading()))
        yield _gauge("spillway_workloads", "InferenceWorkloads reconciled at least once.", len(self.snapshots))
        yield _gauge("spillway_queue_depth", "Due workloads waiting for a worker.", self.queue_depth())
        yield _gauge(
            "spillway_queue_delay_seconds", "Longest current wait of a due workload, or duration of a running pass.", self.queue_delay_s()
        )
        yield _counters("spillway_passes", "Reconciliation passes, by result.", "result", self.passes)
        yield _counters("spillway_errors", "Failed passes, by kind of error.", "error", self.errors)
        yield _counters("spillway_decisions", "Decisions taken, by reason.", "reason", self.decisions)
        yield CounterMetricFamily("spillway_pass_seconds", "Duration of passes.", value=self.pass_seconds)
        yield CounterMetricFamily("spillway_writes", "Write requests sent to the API server for workloads' objects.", value=self.requests())
        yield self._per_workload("spillway_desired_replicas", "Desired replicas.", lambda each: each.desired_replicas)
        yield self._per_workload("spillway_ready_replicas", "Ready replicas.", lambda each: each.ready_replicas)
        yield self._per_workload(
            "spillway_demand_replicas", "Demand in replicas, unrounded and unbounded; for HPA and KEDA.", lambda each: each.demand_replicas
        )
        yield self._per_workload(
            "spillway_recommended_replicas",
            "Recommended replicas, under placement.apply Recommend.",
            lambda each: each.recommended_replicas,
        )
        yield self._forecasts()
        yield self._per_workload(
            "spillway_marginal_saving_usd_per_hour",
            "Net saving of the last replica decided on; negative: net cost.",
            _figure(lambda figures: figures.marginal_saving_usd_per_hour),
        )
        yield self._per_workload(
            "spillway_rejected_saving_usd_per_hour",
            "Net saving of the replica that the rejected alternative differs by; negative: net cost.",
            _figure(lambda figures: figures.rejected_saving_usd_per_hour),
        )
        yield self._per_workload("spillway_kappa", "Hosted price divided by own cost of the same work.", lambda each: each.kappa)
        yield self._per_workload("spillway_usd_per_hour", "Cost per hour now, owned plus hosted.", lambda each: each.usd_per_hour)
        yield self._sides()
        yield self._per_workload("spillway_projected_monthly_usd", "Projected cost of this month.", lambda each: each.projected_monthly_usd)
        yield self._per_workload(
            "spillway_month_to_date_usd", "Cost since the first of the month (UTC).", lambda each: each.month_to_date_usd
        )
        yield self._per_workload("spillway_spilled_ratio", "Share of requests served by hosted backends.", lambda each: each.spilled_ratio)
        yield self._per_workload("spillway_gateway_cap_requests", "Concurrent requests allowed on replicas.", lambda each: each.cap)
        yield self._per_workload("spillway_problems", "Problems that make the spec invalid.", lambda each: each.problems)
        yield self._per_workload(
            "spillway_start_up_seconds", "Expected time of the next replica from scheduled to ready.", lambda each: each.start_up_s
        )
        yield from self._promised()
        yield self._conditions()
        attainment = GaugeMetricFamily("spillway_slo_attainment_ratio", "Share of requests that met every target.", labels=_LABELS)
        for key, value in list(self.attainment.items()):
            attainment.add_metric((key.namespace, key.name), value)
        yield attainment

    def _sides(self) -> Metric:
        family = GaugeMetricFamily("spillway_side_usd_per_hour", "Cost per hour now, by side.", labels=(*_LABELS, "side"))
        for key, snapshot in list(self.snapshots.items()):
            for side, found in (("owned", snapshot.owned_usd_per_hour), ("hosted", snapshot.hosted_usd_per_hour)):
                if found is not None:
                    family.add_metric((key.namespace, key.name, side), found)
        return family

    def _promised(self) -> Iterator[Metric]:
        model = GaugeMetricFamily("spillway_workload_model", "1, with the name that clients send.", labels=(*_LABELS, "model"))
        objective = GaugeMetricFamily("spillway_slo_objective_ratio", "Share of requests that must meet every target.", labels=_LABELS)
        budget = GaugeMetricFamily("spillway_budget_monthly_usd", "Monthly budget.", labels=_LABELS)
        for key, promise in list(self.promises.items()):
            names = (key.namespace, key.name)
            model.add_metric((*names, promise.model), 1)
            if promise.objective_ratio is not None:
                objective.add_metric(names, promise.objective_ratio)
            if promise.budget_monthly_usd is not None:
                budget.add_metric(names, promise.budget_monthly_usd)
        yield from (model, objective, budget)

    def _conditions(self) -> Metric:
        labels = (*_LABELS, "type", "status", "reason")
        family = GaugeMetricFamily("spillway_condition", "1 for the current state of a condition; Unknown ones are omitted.", labels=labels)
        for key, conditions in list(self.conditions.items()):
            for each in conditions:
                if each.status != "Unknown":
                    family.add_metric((key.namespace, key.name, each.type, each.status, each.reason), 1)
        return family

    def _forecasts(self) -> Metric:
        text = "Forecast demand when a replica requested now would serve, in replicas."
        family = GaugeMetricFamily("spillway_forecast_replicas", text, labels=(*_LABELS, "quantile"))
        for key, snapshot in list(self.snapshots.items()):
            figures = snapshot.figures
            if figures is not None:
                quantiles = {"0.1": figures.forecast_p10, "0.5": figures.forecast_p50, "0.9": figures.forecast_p90}
                for quantile, found in quantiles.items():
                    family.add_metric((key.namespace, key.name, quantile), found)
        return family

    def _per_workload(self, name: str, text: str, value: Callable[[Snapshot], float | None]) -> Metric:
        family = GaugeMetricFamily(name, text, labels=_LABELS)
        for key, snapshot in list(self.snapshots.items()):
            found = value(snapshot)
            if found is not None:
                family.add_metric((key.namespace, key.name), found)
        return family


def _figure(pick: Callable[[ScaleFigures], float | None]) -> Callable[[Snapshot], float | None]:
    return lambda each: None if each.figures is None else pick(each.figures)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counters(name: str, text: str, label: str, counts: Counter[str]) -> Metric:
    family = CounterMetricFamily(name, text, labels=(label,))
    for each, count in list(counts.items()):
        family.add_metric((each,), count)
    return family
