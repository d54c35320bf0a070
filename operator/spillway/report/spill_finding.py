"""What the conditions about hosted backends' answers and limits say."""

from spillway.api.vocabulary import Reason
from spillway.api.workload import InferenceWorkloadSpec, PlacementMode
from spillway.plan.gateway.equivalence import differences, unstated
from spillway.plan.gateway.permit import why_stopped
from spillway.plan.observation import Catalogue
from spillway.plan.readings import number
from spillway.plan.same import of_the_same
from spillway.plan.validate import resolve_backends
from spillway.report.conditions import Finding, no, unknown, yes
from spillway.report.passed import Pass

_STOPPED = {
    Reason.SPILL_PERMIT_MISSING: "No request goes to hosted backends: limits need a permit, which cannot be renewed without the gateway's "
    "metrics, see MetricsAvailable.",
    Reason.SPILL_LIMIT_REACHED: "Requests are refused: a limit of hosted.overflow or the budget is reached, or leaves too little for "
    "requests with the longest possible answers.",
}


def hosted_backend_equivalent(this: Pass) -> Finding:
    """HostedBackendEquivalent: hosted models answer what own replicas do, as far as their providers state it."""
    return _equivalence(this.workload.spec, this.seen.catalogue)


@of_the_same
def _equivalence(spec: InferenceWorkloadSpec, catalogue: Catalogue) -> Finding:
    backends, _ = resolve_backends(spec, catalogue)
    if not spec.rents or not backends:
        return unknown(Reason.NOT_REQUESTED, "No request may go to a hosted backend in this mode, or none is known.")
    found = differences(spec, backends)
    if found:
        return no(found[0].reason, " ".join(each.message for each in found))
    silent = unstated(backends)
    if silent:
        return unknown(Reason.HOSTED_NOT_STATED, f"No mismatch found, but the provider does not state everything ({'; '.join(silent)}).")
    return yes(Reason.HOSTED_EQUIVALENT, "Hosted models match the replicas, as far as their providers state.")


def spill_active(this: Pass) -> Finding:
    """SpillActive: hosted backends answer what own replicas do not. Under mode Hosted only that they may not, when a limit says so."""
    mode, rents = this.decision.mode, this.workload.spec.rents
    stopped = why_stopped(this.workload.spec, this.decision.gateway.permit, this.now) if rents else None
    if stopped is not None and mode in {PlacementMode.HYBRID, PlacementMode.HOSTED}:
        return no(stopped, _STOPPED[stopped])
    if mode is not PlacementMode.HYBRID or not rents:
        return no(Reason.NOT_REQUESTED, f"Mode {mode} does not spill.")
    spilled = number(this.seen.signals.spilled_per_s)
    if spilled is None:
        return unknown(Reason.METRICS_MISSING, "No measurements are available, see MetricsAvailable.")
    if spilled:
        return yes(Reason.SPILLING, "Some requests are served by hosted backends.")
    return no(Reason.NOT_SPILLING, "Replicas serve every request.")
