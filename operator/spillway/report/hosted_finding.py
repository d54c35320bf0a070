"""HostedBackendReady: whether what is rented would answer."""

from collections.abc import Mapping

from spillway.api.vocabulary import ConditionType, Reason
from spillway.plan.gateway.hosted_keys import backend_labels
from spillway.plan.readings import value
from spillway.report.conditions import Finding, no, unknown, yes
from spillway.report.passed import Pass

_LASTING = (Reason.HOSTED_HEALTHY, Reason.HOSTED_UNREACHABLE)  # what is still true of hosted backends that are out of sight


def hosted_backend_ready(this: Pass) -> Finding:
    """HostedBackendReady: some hosted backend would answer. The gateway's own signals say so; the operator cannot read the keys."""
    if not this.workload.spec.rents:
        return unknown(Reason.NOT_REQUESTED, "No request may go to a hosted backend in this mode.")
    labels, troubles = backend_labels(this.workload.spec), hosted_troubles(this)
    told = " ".join(_sentence(this, reason, [each for each in labels if troubles.get(each) is reason]) for reason in _once(troubles))
    if any(_healthy(this, label) for label in labels if label not in troubles):
        return yes(Reason.HOSTED_HEALTHY, " ".join(["A hosted backend passes its health check.", *([told] if told else [])]))
    if labels and all(label in troubles for label in labels):
        return no(troubles[labels[0]], told)
    before = this.previous.get(ConditionType.HOSTED_BACKEND_READY)
    if before is not None and (before.observed_generation != this.workload.generation or before.reason not in _LASTING):
        before = None  # of another spec, of another version, or what a request has since shown to be over
    if this.gateway_up and before is not None and before.status != "Unknown":
        # Losing sight of a backend is no news of it: MetricsAvailable says that this is what was known last.
        return Finding(status=before.status, reason=Reason(before.reason), message=before.message)
    return unknown(Reason.NO_EVIDENCE, "No gateway has reported on the hosted backends yet.")


def hosted_troubles(this: Pass) -> dict[str, Reason]:
    """Return why hosted backends would not answer, by backend in order of preference."""
    labels = backend_labels(this.workload.spec)
    keys = this.decision.key_trouble
    found = {label: Reason.HOSTED_UNREACHABLE if _healthy(this, label) is False else None for label in labels}
    return {label: reason for label in labels if (reason := keys.get(label) or found[label]) is not None}


def _healthy(this: Pass, label: str) -> bool | None:
    reading = this.seen.signals.hosted_healthy.get(label)
    return None if reading is None else value(reading)


def _once(troubles: Mapping[str, Reason]) -> list[Reason]:
    return list(dict.fromkeys(troubles.values()))


def _sentence(this: Pass, reason: Reason, labels: list[str]) -> str:
    names = " and ".join(labels)
    match reason:
        case Reason.HOSTED_CREDENTIAL_MISSING:
            return f"No gateway has a key for {names}; create {_secrets(this, labels)}. No restart is needed."
        case Reason.HOSTED_CREDENTIAL_REJECTED:
            return f"{names} rejects the key (401 or 403) or has not been paid (402); check {_secrets(this, labels)}, and the account."
        case _:
            return f"No gateway can reach {names} over TLS; check baseURL, tls and egress."


def _secrets(this: Pass, labels: list[str]) -> str:
    refs = (this.seen.catalogue.providers.get(label.partition("/")[0]) for label in labels)
    names = sorted({f"key {each.auth.secret_ref.key!r} of Secret {each.auth.secret_ref.name!r}" for each in refs if each and each.auth})
    return " and ".join(names) or "the provider's Secret"
