"""The rules of what users may say about pods, and about what pods tolerate."""

from spillway.api.rule import Rule

RESERVED_PREFIXES = ("spillway.dev/", "app.kubernetes.io/", "llm-d.ai/")
_COMPUTE = "['cpu', 'memory', 'ephemeral-storage']"
# A gateway of one request of 16 MB, the longest that is taken, was seen to have 153 MB; with a limit of 128 MiB it refuses them all.
LEAST_GATEWAY_MEMORY = "256Mi"
# Held to it by the kernel, a gateway was ready after 2 s, answered its probes within 0.3 s under load, and served 130 requests/s of 1 KiB.
LEAST_GATEWAY_CPU = "100m"

_FREE_KEY = " && ".join(f"!k.startsWith('{prefix}')" for prefix in RESERVED_PREFIXES)
_RESERVED = ", ".join(RESERVED_PREFIXES)

TOLERATION_RULES = (
    Rule(
        name="toleration-key",
        model="Toleration",
        rule="(has(self.key) && self.key != '') || (has(self.operator) && self.operator == 'Exists')",
        message="a toleration without a key tolerates every taint and needs operator Exists; set the key, or operator Exists",
    ),
    Rule(
        name="toleration-value",
        model="Toleration",
        rule="!has(self.operator) || self.operator != 'Exists' || !has(self.value) || self.value == ''",
        message="operator Exists takes no value; remove value, or set operator Equal",
        at=".value",
    ),
    Rule(
        name="toleration-seconds",
        model="Toleration",
        rule="!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
        message="tolerationSeconds applies to effect NoExecute only; set that effect, or remove tolerationSeconds",
        at=".tolerationSeconds",
    ),
)


def _pod_rules(template: str, resources: str) -> tuple[Rule, ...]:
    """Return the rules of what users may say about pods, for one of the two models of it."""
    return (
        Rule(
            name="pod-labels",
            model=template,
            field="labels",
            rule=f"self.all(k, {_FREE_KEY} && k != 'pod-template-hash')",
            message=f"labels that begin with {_RESERVED} and pod-template-hash are reserved for Spillway and Kubernetes: "
            "use your own prefix",
            reason="FieldValueForbidden",
        ),
        Rule(
            name="pod-annotations",
            model=template,
            field="annotations",
            rule=f"self.all(k, {_FREE_KEY})",
            message=f"annotations that begin with {_RESERVED} are reserved for Spillway: use your own prefix",
            reason="FieldValueForbidden",
        ),
        Rule(
            name="resource-requests",
            model=resources,
            field="requests",
            rule=f"self.all(k, k in {_COMPUTE})",
            message="requests may name cpu, memory and ephemeral-storage; accelerators follow from dedicated.engine.tensorParallelSize and "
            "the accelerator class",
            reason="FieldValueForbidden",
        ),
        Rule(
            name="resource-limits",
            model=resources,
            field="limits",
            rule=f"self.all(k, k in {_COMPUTE})",
            message="limits may name cpu, memory and ephemeral-storage; accelerators follow from dedicated.engine.tensorParallelSize and "
            "the accelerator class",
            reason="FieldValueForbidden",
        ),
        Rule(
            name="resource-order",
            model=resources,
            rule="!has(self.requests) || !has(self.limits) || self.requests.all(k, !(k in self.limits) "
            "|| !isQuantity(string(self.requests[k])) || !isQuantity(string(self.limits[k])) "
            "|| quantity(string(self.requests[k])).compareTo(quantity(string(self.limits[k]))) <= 0)",
            message="a request cannot exceed its limit; raise the limit, or remove it",
            at=".limits",
        ),
    )


def _least_limit(resource: str, least: str) -> str:
    """Return the CEL expression that a limit, where it is given, is no lower."""
    given = f"string(self.limits['{resource}'])"
    return (
        f"!has(self.limits) || !('{resource}' in self.limits) || !isQuantity({given}) "
        f"|| quantity({given}).compareTo(quantity('{least}')) >= 0"
    )


POD_RULES = (
    *_pod_rules("PodTemplate", "Resources"),
    *_pod_rules("GatewayPodTemplate", "GatewayResources"),
    Rule(
        name="gateway-memory",
        model="GatewayResources",
        rule=_least_limit("memory", LEAST_GATEWAY_MEMORY),
        message=f"limits.memory of a gateway must be at least {LEAST_GATEWAY_MEMORY}, to hold the body of a long "
        "request; raise it, or remove it for 2Gi",
        at=".limits",
    ),
    Rule(
        name="gateway-cpu",
        model="GatewayResources",
        rule=_least_limit("cpu", LEAST_GATEWAY_CPU),
        message=f"limits.cpu of a gateway must be at least {LEAST_GATEWAY_CPU}, which it requests by default; raise it, or remove it for "
        "no limit",
        at=".limits",
    ),
    Rule(
        name="node-affinity-values",
        model="NodeSelectorRequirement",
        rule="self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 : self.operator in ['Gt', 'Lt'] "
        "? has(self.values) && size(self.values) == 1 && self.values[0].matches('^[0-9]{1,18}$') "
        ": !has(self.values) || size(self.values) == 0",
        message="In and NotIn need at least one value, Gt and Lt one whole number, Exists and DoesNotExist none",
        at=".values",
    ),
)
