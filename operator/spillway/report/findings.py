"""What each condition says. One function per condition; none of them puts a live number into a message."""

import re
from datetime import datetime, timedelta

from spillway.api.vocabulary import ConditionType, Reason
from spillway.plan import observation
from spillway.plan.gateway.permit import why_stopped
from spillway.plan.gateway.spill import ready_replicas
from spillway.plan.observation import Missing, Observation, Reading, ReplicaPod
from spillway.plan.readings import number, value
from spillway.plan.scaling.no_place import has_no_place, no_node
from spillway.plan.scaling.scale import lower_bound
from spillway.report.access_finding import access_controlled
from spillway.report.budget_finding import within_budget
from spillway.report.conditions import Finding, no, unknown, yes
from spillway.report.economics_finding import self_hosting_economic
from spillway.report.hosted_finding import hosted_backend_ready, hosted_troubles
from spillway.report.last_words import advise
from spillway.report.passed import Pass
from spillway.report.placement_finding import is_unplaceable, placement_resolved
from spillway.report.scaling_finding import no_place, scaling_limited
from spillway.report.slo import attainment, has_targets
from spillway.report.spill_finding import hosted_backend_equivalent, spill_active

FIRST_SCRAPE = timedelta(seconds=60)  # a replica that has just become ready has not been scraped yet

DUST = 1e-9  # of a share: 99 of 100 come out of divisions as a little less
LATELY = timedelta(minutes=15)  # replicas that their nodes put out before are no reason for one that is not ready now
PREPARED_BY = timedelta(minutes=3)  # a volume is attached and mounted within a minute or two

_UNPREPARED = "The volumes or network of a pod are not set up on its node, see its Events (kubectl describe pod); check {}."
# By the hook or the kubelet, when the start-up probe gave up, or by the kernel of a node without memory, which is seldom told as OOMKilled.
_KILLED = (
    "It was killed: it started more slowly than its startup probe allows (slow weight download, too little CPU, accelerators waiting for "
    "each other), or its node ran out of memory."
)
_OUT_OF_REACH = "Gateways cannot reach any ready replica: allow egress to replicas and DNS, see the namespace's NetworkPolicies."
_NOT_THERE = "Prometheus has no samples of {what}"
_GAPS = {
    Reason.METRICS_STALE: "Prometheus has only stale samples of {what}",
    Reason.PROMETHEUS_ERROR: "Prometheus cannot be queried for {what}",
}
_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")


def find_all(this: Pass) -> dict[ConditionType, Finding]:
    """Return a finding for every condition."""
    hosted = hosted_backend_ready(this)
    owned = replicas_ready(this)
    return {
        ConditionType.READY: ready(this, owned, hosted),
        ConditionType.SPEC_VALID: spec_valid(this),
        ConditionType.PLACEMENT_RESOLVED: placement_resolved(this),
        ConditionType.REPLICAS_READY: owned,
        ConditionType.HOSTED_BACKEND_READY: hosted,
        ConditionType.HOSTED_BACKEND_EQUIVALENT: hosted_backend_equivalent(this),
        ConditionType.GATEWAY_READY: gateway_ready(this),
        ConditionType.ACCESS_CONTROLLED: access_controlled(this),
        ConditionType.DEGRADED: degraded(this, owned, hosted),
        ConditionType.SLO_MET: slo_met(this),
        ConditionType.WITHIN_BUDGET: within_budget(this),
        ConditionType.METRICS_AVAILABLE: metrics_available(this),
        ConditionType.SCALING_LIMITED: scaling_limited(this),
        ConditionType.SPILL_ACTIVE: spill_active(this),
        ConditionType.SELF_HOSTING_ECONOMIC: self_hosting_economic(this),
    }


def ready(this: Pass, owned: Finding, hosted: Finding) -> Finding:  # noqa: PLR0911  one return per state
    """Ready: the gateway is up and at least one permitted backend serves, or is what requests wait for at the gateway."""
    if not this.gateway_up:
        return _without_gateway(this)
    stopped = _stopped(this)
    cut_off = _is_cut_off(this)
    if (ready_replicas(this.seen) and not cut_off) or (hosted.status == "True" and stopped is None):
        return yes(Reason.AS_EXPECTED, "The gateway is up and a backend is ready.")
    if cut_off:
        return no(Reason.NO_BACKEND, _OUT_OF_REACH)
    if _is_waited_for(this, owned):
        return yes(Reason.AS_EXPECTED, "The gateway is up; requests wait there until a replica is ready.")
    if stopped is not None:
        return no(stopped, "No replica is ready, and no request may go to a hosted backend, see SpillActive.")
    if hosted.status == "Unknown" and hosted.reason is not Reason.NOT_REQUESTED:
        return unknown(Reason.NO_EVIDENCE, "No replica is ready, and the hosted backends' health is not known yet.")
    return no(Reason.NO_BACKEND, "The gateway is up but no backend is ready, see ReplicasReady and HostedBackendReady.")


def _without_gateway(this: Pass) -> Finding:
    if is_unplaceable(this):
        return no(Reason.NOTHING_FEASIBLE, "No request is served: no placement is feasible, see PlacementResolved.")
    if this.decision.problems:
        return no(Reason.INVALID_SPEC, "No request is served: the spec cannot be applied, see SpecValid.")
    return no(Reason.GATEWAY_STARTING, "No gateway is ready, see GatewayReady.")


def _is_cut_off(this: Pass) -> bool:
    """Whether replicas have been ready for a while, and no gateway finds one of them well."""
    return value(this.seen.signals.owned_in_reach) is False and any(_long_ready(pod, this.now) for pod in this.seen.replicas)


def _is_waited_for(this: Pass, owned: Finding) -> bool:
    """Whether no replica need run, and requests wait at the gateway for one that comes when they do."""
    spec = this.workload.spec
    return spec.holds and not lower_bound(spec) and owned.reason in (Reason.SCALED_TO_ZERO, Reason.REPLICAS_STARTING)


def _stopped(this: Pass) -> Reason | None:
    """Return why no request may go to hosted backends; None: it may, or none ever does."""
    spec = this.workload.spec
    return why_stopped(spec, this.decision.gateway.permit, this.now) if spec.rents else None


def spec_valid(this: Pass) -> Finding:
    """SpecValid: everything the spec refers to exists and fits."""
    problems = [each for each in this.decision.problems if each.reason is not Reason.NOTHING_FEASIBLE]
    if not problems:
        return yes(Reason.VALID, "The spec is valid.")
    return no(problems[0].reason, " ".join(problem.message for problem in problems))


def replicas_ready(this: Pass) -> Finding:
    """ReplicasReady: as many own replicas serve as are wanted."""
    if not this.workload.spec.owns:
        return unknown(Reason.NOT_REQUESTED, "Mode Hosted runs no replicas.")
    if has_no_place(this.seen, this.pool_name):
        return no(Reason.UNSCHEDULABLE, no_place(this))
    if (stuck := _stuck(this)) is not None:
        return no(
            Reason.CRASH_LOOP,
            f"A replica cannot start ({stuck}). {_next_step(this)}See its events and log (kubectl describe pod, kubectl logs --previous).",
        )
    if not this.desired:
        return yes(Reason.SCALED_TO_ZERO, "No replicas are needed now.")
    if ready_replicas(this.seen) >= this.desired:
        return yes(Reason.REPLICAS_READY, "All desired replicas are ready.")
    return no(Reason.REPLICAS_STARTING, " ".join(["Replicas are starting.", *_delays(this)]))


def gateway_ready(this: Pass) -> Finding:
    """GatewayReady: the stable URL is served."""
    if this.gateway_up:
        return yes(Reason.GATEWAY_READY, " ".join(["The gateway is up.", *_gateway_troubles(this.seen, this.now)]))
    return no(Reason.GATEWAY_STARTING, " ".join(["No gateway is ready.", *_gateway_troubles(this.seen, this.now)]))


def _gateway_troubles(seen: Observation, now: datetime) -> list[str]:
    """Return why pods of the gateway cannot be, or cannot start."""
    refused = [] if seen.gateway_refused is None else [f"The API server rejects its pods ({seen.gateway_refused})."]
    grounds = no_node(pod.unschedulable for pod in seen.gateways if pod.unschedulable)
    nowhere = (
        []
        if grounds is None
        else [f"No node accepts its pods ({grounds}). Check gateway.podTemplate and its defaults in the chart's values."]
    )
    unprepared = (
        [_UNPREPARED.format("runtimeClassName and the cluster network")]
        if any(_is_unprepared(pod.preparing_since, now) for pod in seen.gateways)
        else []
    )
    return [*refused, *nowhere, *unprepared, *sorted({pod.config_mounted_problem for pod in seen.gateways if pod.config_mounted_problem})]


def degraded(this: Pass, owned: Finding, hosted: Finding) -> Finding:  # noqa: PLR0911  one return per state
    """Degraded: something that was asked for does not serve."""
    if this.outcome.failures:
        return yes(
            Reason.APPLY_FAILED,
            f"Could not apply: {'; '.join(sorted(this.outcome.failures))}. "
            "Retrying, at least every five minutes and when the spec changes.",
        )
    if is_unplaceable(this):
        return yes(Reason.NOTHING_FEASIBLE, "No placement is feasible, see PlacementResolved. What is running is kept.")
    if this.decision.problems:
        return yes(Reason.INVALID_SPEC, "The latest spec is not applied, see SpecValid. What is running is kept.")
    if (blocked := _blocked(this)) is not None:
        return yes(Reason.ROLLOUT_BLOCKED, blocked)
    if not this.gateway_up:
        return yes(Reason.GATEWAY_STARTING, "No gateway is ready.")
    if this.workload.spec.owns and (missing := _not_serving(this, owned)) is not None:
        return yes(Reason.OWNED_UNAVAILABLE, missing)
    if (stopped := _stopped(this)) is not None and not ready_replicas(this.seen) and not _is_waited_for(this, owned):
        return yes(stopped, "No request may go to a hosted backend and no replica is ready, see SpillActive.")
    if hosted.status == "False":
        return yes(Reason.HOSTED_UNAVAILABLE, "No hosted backend can serve, see HostedBackendReady.")
    if this.workload.spec.rents and hosted_troubles(this):
        return yes(Reason.HOSTED_UNAVAILABLE, "Some hosted backends cannot serve, see HostedBackendReady.")
    return no(Reason.FULLY_SERVING, "Everything requested is serving.")


def _not_serving(this: Pass, owned: Finding) -> str | None:
    """Return which own replicas should serve and do not; None: all that are wanted do, or are on their way."""
    if _is_cut_off(this):
        return _OUT_OF_REACH
    if this.desired > 0 and not ready_replicas(this.seen):
        return "No replica is ready, see ReplicasReady."
    return "Some replicas are not ready, see ReplicasReady." if owned.reason is Reason.CRASH_LOOP else None


def _blocked(this: Pass) -> str | None:
    """Return what keeps a changed spec from being rolled out while that of before serves; None: nothing does."""
    pools = [pool for pool in this.seen.pools if this.pool_name in {None, pool.name}]
    blocked = next((pool.rollout_blocked for pool in pools if pool.rollout_blocked), None)
    if blocked is not None:
        return f"The latest spec cannot be rolled out: {blocked}"
    if this.gateway_up and _gateway_troubles(this.seen, this.now):
        # A rollout goes on only once the new pod is ready: until then the others send where the spec of before lets them.
        return "Not all gateway pods can start, and the latest spec waits for them, see GatewayReady."
    return None


def slo_met(this: Pass) -> Finding:
    """SLOMet: the promised share of requests met every target."""
    slo, signals = this.workload.spec.slo, this.seen.signals
    if slo is None or not has_targets(slo):
        return unknown(Reason.NO_SLO, "No target is set in slo.")
    arrivals = number(signals.arrivals_per_s)
    if arrivals is None:
        return unknown(Reason.METRICS_MISSING, "No measurements are available, see MetricsAvailable.")
    if not arrivals:
        return unknown(Reason.NO_TRAFFIC, "There were no requests.")
    measured = attainment(slo, signals)
    if measured.lowest is None:
        return unknown(Reason.NO_EVIDENCE, "No request has been measured against a target yet.")
    promised = slo.attainment_percent / 100
    by_target = {
        "timeToFirstTokenMs": measured.first_token,
        "interTokenLatencyMs": measured.inter_token,
        "endToEndMs": measured.end_to_end,
    }
    missed = [name for name, share in by_target.items() if share is not None and share < promised - DUST]
    if missed:
        return no(Reason.SLO_MISSED, f"Attainment of {' and '.join(missed)} is below slo.attainmentPercent.")
    return yes(Reason.SLO_MET, "Every target is met at slo.attainmentPercent.")


def metrics_available(this: Pass) -> Finding:
    """MetricsAvailable: the readings that scaling needs are there."""
    signals = this.seen.signals
    if not this.gateway_up:
        return unknown(Reason.NO_EVIDENCE, "No gateway is up to report metrics.")
    gap, what = _gap(signals.arrivals_per_s), "the gateway's metrics"
    if gap is None and any(_long_ready(pod, this.now) for pod in this.seen.replicas):
        gap, what = _gap(signals.running), "the replicas' metrics"
    if gap is None:
        return yes(Reason.METRICS_FOUND, "Gateway and replica metrics are available.")
    return no(
        gap.reason,
        f"{_GAPS.get(gap.reason, _NOT_THERE).format(what=what)}{_detail(gap)}; the replica count is held, traffic is still served.",
    )


def _detail(gap: Missing) -> str:
    """Return the error of Prometheus, without what changes from call to call. Other details are counts and ages: live numbers."""
    if gap.reason is not Reason.PROMETHEUS_ERROR or not gap.detail:
        return ""
    return f" ({_ADDRESS.sub('0x…', gap.detail)})"


def _gap(reading: Reading[float]) -> Missing | None:
    """Return why there is no number; None when there is one."""
    if isinstance(reading, Missing):
        return reading
    return Missing(reason=Reason.METRICS_MISSING) if number(reading) is None else None


def _stuck(this: Pass) -> str | None:
    found = {f"{pod.waiting_reason}: {pod.waiting_words}" if pod.waiting_words else pod.waiting_reason or "" for pod in _stuck_pods(this)}
    return "; ".join(sorted(found)) or None


def _stuck_pods(this: Pass) -> list[ReplicaPod]:
    return [pod for pod in this.replicas if pod.is_stuck]


def _delays(this: Pass) -> list[str]:
    """Return what keeps replicas from starting before any container does: their nodes put them out, or cannot prepare for them."""
    told, now = [], this.now
    put_out = sorted({pod.ended_words for pod in this.replicas if pod.ended_words and pod.ended_at and now - pod.ended_at <= LATELY})
    if put_out:
        told.append(f"Others were evicted or rejected by their nodes ({'; '.join(put_out)}).")
    if any(words.startswith("Evicted") for words in put_out):
        told.append("Keep weights on a claim (dedicated.modelCache), and check the nodes' disk and memory.")
    if any(words.startswith(("UnexpectedAdmissionError", "OutOf")) for words in put_out):
        told.append("Check the device plugin and accelerators of these nodes (kubectl describe node).")
    alive = [pod for pod in this.replicas if pod.stays]
    if any(pod.fell_silent for pod in alive):
        told.append("One that was ready stopped responding, see its node and log (kubectl get node, kubectl logs).")
    if any(_is_unprepared(pod.preparing_since, now) for pod in alive):
        told.append(_UNPREPARED.format("runtimeClassName and whether a claim is in use elsewhere"))
    return told


def _is_unprepared(since: datetime | None, now: datetime) -> bool:
    return since is not None and now - since > PREPARED_BY


def _next_step(this: Pass) -> str:
    """Return what to do about replicas that cannot start, as far as that is known; then with a space behind it."""
    steps = {_step(pod) for pod in _stuck_pods(this)}
    return "".join(f"{step} " for step in sorted(step for step in steps if step))


def _step(pod: ReplicaPod) -> str | None:
    match pod.waiting_reason:
        case observation.CRASH_LOOP if pod.waiting_words == "OOMKilled":
            return "It needs more memory than dedicated.podTemplate.resources.limits or the namespace's LimitRange allows."
        case observation.CRASH_LOOP:
            return advise(pod.last_words or "") or (_KILLED if pod.waiting_words == "exit code 137" else None)
        case observation.NOT_PULLED | "InvalidImageName" | "ErrImageNeverPull":
            return "Check its image name, access to the registry, and dedicated.podTemplate.imagePullSecrets."
        case "CreateContainerConfigError":
            return "Create or correct the object named there."
    return None


def _long_ready(pod: ReplicaPod, now: datetime) -> bool:
    return pod.ready and not pod.terminating and pod.ready_since is not None and now - pod.ready_since > FIRST_SCRAPE
