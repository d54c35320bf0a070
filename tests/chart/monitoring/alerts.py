"""The chart's alerts. docs/runbooks.md has a section for each, in this order."""

from dataclasses import dataclass
from typing import Any, Literal

RUNBOOKS = "https://spillway.dev/docs/runbooks"  # the value prometheusRule.runbookURL takes its place
BY = "by (namespace, workload)"
ON = "on (namespace, workload)"
_BURN_FAST, _BURN_SLOW = 14.4, 6  # times the budget of misses: 2 % of a month's in 1 h, 5 % in 6 h (Google, SRE workbook, ch. 5)
_OWNS_NONE = 'spillway_condition{type="ScalingLimited",reason="NotRequested"}'  # placed as Hosted, which is no alarm by itself
_BURN_MOST = 0.5  # a promise below 97 % could never burn that fast; then half of the requests must miss


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert. `expr` has a sample for each that fires; its section in docs/runbooks.md is headed by its name."""

    name: str
    expr: str
    hold: str
    severity: Literal["critical", "warning", "info"]
    summary: str
    subject: str = "{{ $labels.namespace }}/{{ $labels.workload }}: "

    def rule(self) -> dict[str, Any]:
        """Return it as Prometheus reads it."""
        annotations = {"summary": f"{self.subject}{self.summary}", "runbook_url": f"{RUNBOOKS}#{self.name.lower()}"}
        labels = {"severity": self.severity}
        return {"alert": self.name, "expr": self.expr, "for": self.hold, "labels": labels, "annotations": annotations}


def _condition(kind: str, status: str, *reasons: str) -> str:
    of = f',reason=~"{"|".join(reasons)}"' if reasons else ""
    return f'max by (namespace, workload, reason) (spillway_condition{{type="{kind}",status="{status}"{of}}}) == 1'


def _burning(rate: float, *windows: str) -> str:
    allowed = f"clamp_max({rate} * (1 - max {BY} (spillway_slo_objective_ratio)), {_BURN_MOST})"
    missed = [f"(1 - avg {BY} (avg_over_time(spillway_slo_attainment_ratio[{window}]))) > {ON} {allowed}" for window in windows]
    return f" and {ON} ".join(f"({each})" for each in missed)


def _share(part: str, window: str, *, by: str, of: str) -> str:
    return f"sum {by} (rate({of.format(part)}[{window}])) / (sum {by} (rate({of.format('')}[{window}])) > 0)"


def alerts() -> tuple[Alert, ...]:
    """Return all alerts, those about the operator first, then about what clients see, then about money."""
    failed = _share('{code=~"5.."}', "5m", by=BY, of="envoy_spillway_requests{}")
    hosted = "by (namespace, workload, envoy_cluster_name)"
    asked = 'envoy_cluster_upstream_rq{{envoy_cluster_name=~"hosted-.*"{}}}'
    refused = _share(',envoy_response_code=~"40[1-58]|41[02]|42[49]|5.."', "5m", by=hosted, of=asked)
    return (
        Alert(
            name="SpillwayNobodyActs",
            expr="max(spillway_lease_held) < 1 or absent(spillway_lease_held)",
            hold="2m",
            severity="critical",
            summary="no operator is active: nothing is scaled, no permit renewed; gateways keep running unchanged",
            subject="",
        ),
        Alert(
            name="SpillwayPassesFail",
            expr="sum by (error) (increase(spillway_errors_total[10m])) > 0",
            hold="15m",
            severity="warning",
            summary="reconciliation of workloads fails with {{ $labels.error }}",
            subject="",
        ),
        Alert(
            name="SpillwaySpecInvalid",
            expr=_condition("SpecValid", "False"),
            hold="5m",
            severity="warning",
            summary="the spec is invalid and not applied ({{ $labels.reason }})",
        ),
        Alert(
            name="SpillwayMetricsMissing",
            expr=_condition("MetricsAvailable", "False"),
            hold="5m",
            severity="warning",
            summary="metrics are missing ({{ $labels.reason }}); the replica count is held",
        ),
        Alert(
            name="SpillwayGatewayDown",
            expr=f'max {BY} (spillway_workload_model) unless {ON} (up{{component="gateway"}} == 1)',
            hold="3m",
            severity="critical",
            summary="Prometheus can scrape no gateway",
        ),
        Alert(
            name="SpillwayNotReady",
            expr=_condition("Ready", "False"),
            hold="5m",
            severity="critical",
            summary="no requests are served ({{ $labels.reason }})",
        ),
        Alert(
            name="SpillwayRequestsFail",
            expr=f"{failed} > 0.01",
            hold="5m",
            severity="critical",
            summary="more than 1 % of requests get a 5xx",
        ),
        Alert(
            name="SpillwayStreamsFail",
            expr=f"sum {BY} (rate(envoy_spillway_stream_errors[5m])) > 0",
            hold="10m",
            severity="warning",
            summary="streams fail after starting with status 200",
        ),
        Alert(
            name="SpillwaySLOBurnsFast",
            expr=_burning(_BURN_FAST, "1h", "5m"),
            hold="2m",
            severity="critical",
            summary="SLO error budget is burning fast enough to be spent in two days",
        ),
        Alert(
            name="SpillwaySLOBurnsSlowly",
            expr=_burning(_BURN_SLOW, "6h", "30m"),
            hold="15m",
            severity="warning",
            summary="SLO error budget is burning fast enough to be spent in five days",
        ),
        Alert(
            name="SpillwayDegraded",
            expr=_condition("Degraded", "True"),
            hold="15m",
            severity="warning",
            summary="part of the workload is not serving ({{ $labels.reason }})",
        ),
        Alert(
            name="SpillwayReplicasNotReady",
            expr=_condition("ReplicasReady", "False"),
            hold="30m",
            severity="warning",
            summary="replicas do not become ready ({{ $labels.reason }})",
        ),
        Alert(
            name="SpillwayScalingLimited",
            expr=_condition("ScalingLimited", "True", "Unschedulable", "AtMaxReplicas"),
            hold="30m",
            severity="warning",
            summary="more replicas are needed than possible ({{ $labels.reason }})",
        ),
        Alert(
            name="SpillwayHostedBackendDown",
            expr=_condition("HostedBackendReady", "False"),
            hold="5m",
            severity="warning",
            summary="no hosted backend can be used ({{ $labels.reason }})",
        ),
        Alert(
            name="SpillwayHostedBackendFails",
            expr=f"{refused} > 0.1",
            hold="10m",
            severity="warning",
            summary="hosted backend {{ $labels.envoy_cluster_name }} refuses or fails more than 10 % of its requests",
        ),
        Alert(
            name="SpillwayHostedBackendDiffers",
            expr=_condition("HostedBackendEquivalent", "False"),
            hold="1h",
            severity="info",
            summary="a hosted model does not match the replicas ({{ $labels.reason }})",
        ),
        Alert(
            name="SpillwayGatewayOpen",
            expr=_condition("AccessControlled", "False", "GatewayOpen"),
            hold="1h",
            severity="warning",
            summary="anyone who can reach the gateway may call it",
        ),
        Alert(
            name="SpillwayKeysMissing",
            expr=_condition("AccessControlled", "False", "APIKeysMissing"),
            hold="5m",
            severity="critical",
            summary="the API keys' Secret is missing or empty; no client may call",
        ),
        Alert(
            name="SpillwaySpillStopped",
            expr=_condition("SpillActive", "False", "SpillLimitReached", "SpillPermitMissing"),
            hold="5m",
            severity="warning",
            summary="spilling has stopped ({{ $labels.reason }})",
        ),
        Alert(
            name="SpillwaySpillsMost",
            expr=f"max {BY} (spillway_spilled_ratio) > 0.5 unless {ON} {_OWNS_NONE}",
            hold="1h",
            severity="info",
            summary="hosted backends serve more than half of the requests",
        ),
        Alert(
            name="SpillwayBudgetExceeded",
            expr=_condition("WithinBudget", "False"),
            hold="15m",
            severity="warning",
            summary="this month's cost exceeds its budget, or will ({{ $labels.reason }})",
        ),
        Alert(
            name="SpillwaySelfHostingUneconomic",
            expr=f"({_condition('SelfHostingEconomic', 'False')}) unless {ON} {_OWNS_NONE}",
            hold="1d",
            severity="info",
            summary="replicas have cost more than hosted would for a day ({{ $labels.reason }})",
        ),
    )
