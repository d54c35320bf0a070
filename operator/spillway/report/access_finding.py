"""AccessControlled: who may call."""

from spillway.api.access import Callers
from spillway.api.vocabulary import Reason
from spillway.plan.readings import positive
from spillway.report.conditions import Finding, no, yes
from spillway.report.passed import Pass


def access_controlled(this: Pass) -> Finding:
    """AccessControlled: not everybody who reaches the gateway may spend its tokens."""
    access = this.workload.spec.gateway.access
    if access.keys_secret_ref is not None and positive(this.seen.signals.closed_per_s) is not None:
        name = access.keys_secret_ref.name
        return no(
            Reason.API_KEYS_MISSING,
            f"No client can call: Secret {name} does not exist, or its key clients has no line 'client: key'; see docs/access.md.",
        )
    if access.jwt is not None:
        return yes(Reason.TOKENS_REQUIRED, "Requests need a token from the issuer in gateway.access.jwt.")
    if access.authenticates:
        return yes(Reason.API_KEYS_REQUIRED, "Requests need an API key from the Secret of gateway.access.keysSecretRef.")
    if access.admits is Callers.NAMESPACE:
        return yes(
            Reason.NAMESPACE_ONLY,
            "Pods in this namespace may call without a key; a NetworkPolicy blocks others, if the network plugin enforces it.",
        )
    return no(
        Reason.GATEWAY_OPEN,
        "Anyone who can reach the gateway may call: set gateway.access.keysSecretRef or jwt, or gateway.access.callers to Namespace.",
    )
