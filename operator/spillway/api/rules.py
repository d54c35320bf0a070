"""The CEL rules of the CRDs: what the API server refuses, and what it says then. A message tells what to do.

Each rule has an accept and a reject case in tests/apiserver/cel/<name>/. A rule reads only fields with bounds, since the API
server refuses a CRD whose rules could become expensive.
"""

from dataclasses import dataclass
from typing import Any

from spillway.api.quantities import DECIMAL_PATTERN

NAME_LIMIT = 40
OWN_SUFFIX = 23  # what may be added to a workload's name; 40 + 23 = 63, the longest Service name and label value

ARGUMENTS_WITH_A_FIELD = {
    "--model": "set model.id",
    "--served-model-name": "set model.servedName",
    "--max-model-len": "set model.maxContextTokens",
    "--revision": "set model.source.huggingFace.revision",
    "--tokenizer-revision": "set model.source.huggingFace.revision",
    "--hf-token": "set model.source.huggingFace.tokenSecretRef",
    "--download-dir": "set dedicated.modelCache",
    "--tensor-parallel-size": "set dedicated.engine.tensorParallelSize",
    "-tp": "set dedicated.engine.tensorParallelSize",
    "--gpu-memory-utilization": "set dedicated.engine.gpuMemoryUtilizationPercent",
    "--max-num-seqs": "set dedicated.engine.maxNumSeqs",
    "--max-num-batched-tokens": "set dedicated.engine.maxNumBatchedTokens",
    "--shutdown-timeout": "set gateway.maxRequestSeconds, from which the drain follows",
    "--max-num-queued-reqs": "remove it, the limit follows from slo and dedicated.engine.maxNumSeqs",
    "--max-num-queued-tokens": "remove it, the limit follows from slo and dedicated.engine.maxNumSeqs",
    "--host": "remove it, the gateway finds replicas on the address that Spillway sets",
    "--port": "remove it, the gateway finds replicas on the port that Spillway sets",
    "--uds": "remove it, the gateway finds replicas on the port that Spillway sets",
    "--root-path": "remove it, the gateway finds replicas at /v1",
    "--api-key": "remove it, the gateway is what admits clients and sends no key to replicas",
    "--ssl-keyfile": "remove it, the gateway talks plain HTTP to replicas",
    "--ssl-certfile": "remove it, the gateway talks plain HTTP to replicas",
    "--config": "give the arguments themselves, a file could contradict what Spillway sets",
    "--disable-log-stats": "remove it, scaling and cost are computed from these metrics",
    "--pipeline-parallel-size": "remove it, a replica is tensor parallel within one node (dedicated.engine.tensorParallelSize)",
    "-pp": "remove it, a replica is tensor parallel within one node (dedicated.engine.tensorParallelSize)",
    "--data-parallel-size": "remove it, replicas are what scales (dedicated.scaling)",
    "-dp": "remove it, replicas are what scales (dedicated.scaling)",
    "--nnodes": "remove it, a replica runs within one node",
    "-n": "remove it, a replica runs within one node",
    "--node-rank": "remove it, a replica runs within one node",
    "-r": "remove it, a replica runs within one node",
    "--headless": "remove it, a replica has to serve HTTP",
}
"""Arguments of `vllm serve` that Spillway sets or relies on, and what to do instead of giving them."""

VARIABLES_WITH_A_FIELD = {
    "HF_TOKEN": "set model.source.huggingFace.tokenSecretRef",
    "HUGGING_FACE_HUB_TOKEN": "set model.source.huggingFace.tokenSecretRef",
    "HF_HOME": "set dedicated.modelCache",
    "HF_HUB_CACHE": "set dedicated.modelCache",
    "HOME": "remove it, Spillway points it to a writable folder",
    "VLLM_API_KEY": "remove it, the gateway is what admits clients and sends no key to replicas",
    "VLLM_HOST_IP": "remove it, Spillway sets it",
    "VLLM_PORT": "remove it, the gateway finds replicas on the port that Spillway sets",
    "CUDA_VISIBLE_DEVICES": "remove it, the device plugin assigns accelerators (dedicated.engine.tensorParallelSize)",
    "NVIDIA_VISIBLE_DEVICES": "remove it, the device plugin assigns accelerators (dedicated.engine.tensorParallelSize)",
}
"""Environment variables that Spillway sets or relies on, and what to do instead of giving them."""

RESERVED_PREFIXES = ("spillway.dev/", "app.kubernetes.io/", "llm-d.ai/")
COMPUTE_RESOURCES = ("cpu", "memory", "ephemeral-storage")
# A gateway of one request of 16 MB, the longest that is taken, was seen to have 153 MB; with a limit of 128 MiB it refuses them all.
LEAST_GATEWAY_MEMORY = "256Mi"
# Held to it by the kernel, a gateway was ready after 2 s, answered its probes within 0.3 s under load, and served 130 requests/s of 1 KiB.
LEAST_GATEWAY_CPU = "100m"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One CEL rule: where it hangs, what must hold, what the user reads when it does not."""

    name: str
    model: str  # name of the model class; "InferenceWorkload" and "HostedProvider" are the whole objects
    field: str | None = None  # a field of the model, as it is written; None: the model itself
    each_item: bool = False  # the rule holds for each item of the field
    rule: str
    message: str
    message_expression: str | None = None  # when the message names what was written
    reason: str = "FieldValueInvalid"  # with FieldValueDuplicate the server would not print the message
    at: str | None = None  # fieldPath: which field below is the one to change

    def as_validation(self) -> dict[str, Any]:
        """Return the entry of `x-kubernetes-validations`."""
        entry = {"rule": self.rule, "message": self.message}
        if self.message_expression:
            entry["messageExpression"] = self.message_expression
        entry["reason"] = self.reason
        if self.at:
            entry["fieldPath"] = self.at
        return entry


def _literal(values: dict[str, str]) -> str:
    return "{" + ", ".join(f"'{key}': '{value}'" for key, value in values.items()) + "}"


def _list(values: tuple[str, ...]) -> str:
    return "[" + ", ".join(f"'{value}'" for value in values) + "]"


_ARGUMENT = "self.split('=', 2)[0].replace('_', '-')"
_DECIMAL = f"matches('{DECIMAL_PATTERN.replace(chr(92), chr(92) * 2)}')"
_FREE_KEY = " && ".join(f"!k.startsWith('{prefix}')" for prefix in RESERVED_PREFIXES)
_RESERVED = ", ".join(RESERVED_PREFIXES)

_WAITS = "(has(self.hosted) && has(self.hosted.overflow) && has(self.hosted.overflow.maxWaitMs) && self.hosted.overflow.maxWaitMs > 0)"
_WHEN_EXCEEDED_WAITS = "(has(self.hosted) && has(self.hosted.overflow) && self.hosted.overflow.whenExceeded == 'Wait')"
_SPILLS_LONG = "(has(self.hosted) && has(self.hosted.overflow) && self.hosted.overflow.longPrompts == 'Spill')"
_BACKENDS = "(has(self.hosted) && has(self.hosted.backends) && size(self.hosted.backends) > 0)"

_PORT = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"

WORKLOAD_RULES = (
    Rule(
        name="name-length",
        model="InferenceWorkload",
        rule=f"size(self.metadata.name) <= {NAME_LIMIT}",
        message=f"metadata.name must have at most {NAME_LIMIT} characters: children add up to {OWN_SUFFIX} (such as -engine-0123abcd) and "
        f"Kubernetes allows {NAME_LIMIT} + {OWN_SUFFIX} = 63; choose a shorter name",
    ),
    Rule(
        name="name-form",
        model="InferenceWorkload",
        rule="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        message="metadata.name becomes the name of a Service: start with a letter and use only lower-case letters, digits and -",
    ),
    Rule(
        name="hosted-without-backend",
        model="InferenceWorkloadSpec",
        rule=f"self.placement.mode in ['Dedicated', 'Auto'] || {_BACKENDS}",
        message="placement.mode Hosted and Hybrid need a hosted backend: add one to hosted.backends, or choose mode Dedicated",
        reason="FieldValueRequired",
    ),
    Rule(
        name="dedicated-missing",
        model="InferenceWorkloadSpec",
        rule="self.placement.mode in ['Hosted', 'Auto'] || has(self.dedicated)",
        message="placement.mode Dedicated and Hybrid need own replicas: add dedicated (dedicated: {} takes any accelerator class and one "
        "replica), or choose mode Hosted",
        reason="FieldValueRequired",
    ),
    Rule(
        name="auto-without-choice",
        model="InferenceWorkloadSpec",
        rule=f"self.placement.mode != 'Auto' || has(self.dedicated) || {_BACKENDS}",
        message="placement.mode Auto needs something to choose from: add hosted.backends, dedicated (dedicated: {} takes any accelerator "
        "class), or both",
        reason="FieldValueRequired",
    ),
    Rule(
        name="auto-external",
        model="InferenceWorkloadSpec",
        rule="self.placement.mode != 'Auto' || !has(self.dedicated) || self.dedicated.scaling.mode != 'External'",
        message="placement.mode Auto decides the replicas itself: remove dedicated.scaling.mode External, or choose Dedicated or Hybrid",
        at=".dedicated.scaling.mode",
    ),
    Rule(
        name="offline-latency",
        model="InferenceWorkloadSpec",
        rule="!has(self.traffic) || self.traffic.latency != 'Offline' || !has(self.slo) "
        "|| (!has(self.slo.timeToFirstTokenMs) && !has(self.slo.interTokenLatencyMs))",
        message="traffic.latency Offline means that answers may take hours: remove slo.timeToFirstTokenMs and slo.interTokenLatencyMs, or "
        "choose Background",
        at=".traffic.latency",
    ),
    Rule(
        name="cluster-only-backend",
        model="InferenceWorkloadSpec",
        # Of another mode the rule cluster-only-mode speaks: one mistake, one message.
        rule="self.placement.dataResidency != 'ClusterOnly' || !(self.placement.mode in ['Dedicated', 'Auto']) || !has(self.hosted) "
        "|| !has(self.hosted.backends) || size(self.hosted.backends) == 0",
        message="placement.dataResidency ClusterOnly lets no request leave the cluster: remove hosted.backends, or choose HostedAllowed",
        reason="FieldValueForbidden",
        at=".hosted",
    ),
    Rule(
        name="cluster-only-mode",
        model="Placement",
        rule="self.dataResidency != 'ClusterOnly' || self.mode in ['Dedicated', 'Auto']",
        message="dataResidency ClusterOnly needs mode Dedicated or Auto and no hosted.backends, as Hosted and Hybrid send requests "
        "out of the cluster",
        at=".mode",
    ),
    Rule(
        name="scale-to-zero-without-hosted",
        model="InferenceWorkloadSpec",
        rule=f"!has(self.dedicated) || self.dedicated.scaling.minReplicas > 0 || self.placement.mode in ['Hosted', 'Hybrid'] "
        f"|| (self.placement.mode == 'Auto' && {_BACKENDS}) || (has(self.gateway) && has(self.gateway.hold))",
        message="dedicated.scaling.minReplicas 0 needs a hosted backend to answer while no replica runs, or requests that wait: set it to "
        "1 or more, choose placement.mode Hybrid, or set gateway.hold.seconds to longer than a replica takes to start",
        at=".dedicated.scaling.minReplicas",
    ),
    Rule(
        name="hold-with-hosted",
        model="InferenceWorkloadSpec",
        rule="!has(self.gateway) || !has(self.gateway.hold) || (has(self.dedicated) && (self.placement.mode == 'Dedicated' "
        f"|| (self.placement.mode == 'Auto' && !{_BACKENDS}) || (self.placement.mode in ['Hybrid', 'Auto'] && {_WHEN_EXCEEDED_WAITS})))",
        message="gateway.hold lets requests wait for own replicas where nothing else may answer: remove it, or choose placement.mode "
        "Dedicated, or Auto without hosted.backends; with hosted backends a cold start is bridged by them, and with "
        "hosted.overflow.whenExceeded Wait requests wait that no limit lets go there",
        at=".gateway.hold",
    ),
    Rule(
        name="hold-within-request",
        model="Gateway",
        rule="!has(self.hold) || self.hold.seconds < self.maxRequestSeconds",
        message="hold.seconds is part of a request's time: set it below maxRequestSeconds (default 600), so that there is time for an "
        "answer",
        at=".hold.seconds",
    ),
    Rule(
        name="replicas-not-external",
        model="InferenceWorkloadSpec",
        rule="!has(self.replicas) || (has(self.dedicated) && self.dedicated.scaling.mode == 'External')",
        message="replicas is decided by Spillway: remove it and set dedicated.scaling.minReplicas and maxReplicas, or let HPA, KEDA or "
        "kubectl scale decide with dedicated.scaling.mode External",
        reason="FieldValueForbidden",
        at=".replicas",
    ),
    Rule(
        name="external-without-replicas",
        model="InferenceWorkloadSpec",
        rule="has(self.replicas) || !has(self.dedicated) || self.dedicated.scaling.mode != 'External' || self.placement.mode == 'Hosted'",
        message="dedicated.scaling.mode External needs replicas to start from: HPA and KEDA cannot read the scale of an object without it; "
        "add replicas, such as 1",
        reason="FieldValueRequired",
        at=".replicas",
    ),
    Rule(
        name="routing-without-replicas",
        model="InferenceWorkloadSpec",
        rule="self.gateway.routing != 'PrefixHash' || self.placement.mode != 'Hosted'",
        message="gateway.routing PrefixHash chooses among own replicas, and placement.mode Hosted has none: remove it, or choose another "
        "mode",
        reason="FieldValueForbidden",
        at=".gateway.routing",
    ),
    Rule(
        name="prefix-without-hash",
        model="Gateway",
        rule="!has(self.prefixBytes) || self.routing == 'PrefixHash'",
        message="prefixBytes says what routing PrefixHash goes by: set that routing, or remove it",
        reason="FieldValueForbidden",
        at=".prefixBytes",
    ),
    Rule(
        name="cache-without-download",
        model="InferenceWorkloadSpec",
        rule="!has(self.dedicated) || !has(self.dedicated.modelCache) || !has(self.model.source) "
        "|| !has(self.model.source.persistentVolumeClaim)",
        message="dedicated.modelCache keeps downloads, and weights of model.source.persistentVolumeClaim are never downloaded: remove one",
        reason="FieldValueForbidden",
        at=".dedicated.modelCache",
    ),
    Rule(
        name="model-source",
        model="ModelSource",
        rule="has(self.huggingFace) != has(self.persistentVolumeClaim)",
        message="model.source needs exactly one of huggingFace and persistentVolumeClaim; leave source out to fetch model.id from "
        "Hugging Face",
    ),
    Rule(
        name="model-path",
        model="PersistentVolumeClaimSource",
        rule="!self.path.split('/').exists(part, part == '..')",
        message="path must stay on the volume: write it without ..",
        at=".path",
    ),
    Rule(
        name="architecture-heads",
        model="Architecture",
        rule="self.attentionHeads % self.keyValueHeads == 0",
        message="attentionHeads must be a multiple of keyValueHeads; take both from the model's config.json "
        "(num_attention_heads, num_key_value_heads)",
        at=".keyValueHeads",
    ),
    Rule(
        name="architecture-active",
        model="Architecture",
        rule="!has(self.activeParameters) || self.activeParameters <= self.parameters",
        message="activeParameters (used per token) cannot exceed parameters (in all)",
        at=".activeParameters",
    ),
    Rule(
        name="architecture-window",
        model="Architecture",
        rule="has(self.slidingWindowLayers) == has(self.slidingWindowTokens)",
        message="slidingWindowLayers and slidingWindowTokens go together: give both, or neither for a model without windows",
    ),
    Rule(
        name="architecture-layers",
        model="Architecture",
        rule="(!has(self.attentionLayers) || self.attentionLayers <= self.layers) && "
        "(!has(self.slidingWindowLayers) || self.slidingWindowLayers <= self.layers)",
        message="attentionLayers and slidingWindowLayers are counted among the layers: neither can exceed layers",
        at=".layers",
    ),
    Rule(
        name="slo-without-target",
        model="Slo",
        rule="has(self.timeToFirstTokenMs) || has(self.interTokenLatencyMs) || has(self.endToEndMs)",
        message="slo needs a target: set timeToFirstTokenMs, interTokenLatencyMs or endToEndMs, or remove slo",
        reason="FieldValueRequired",
    ),
    Rule(
        name="slo-order",
        model="Slo",
        rule="!has(self.endToEndMs) || !has(self.timeToFirstTokenMs) || self.endToEndMs >= self.timeToFirstTokenMs",
        message="endToEndMs is the time of the whole request: it cannot be below timeToFirstTokenMs",
        at=".endToEndMs",
    ),
    Rule(
        name="traffic-rate-twice",
        model="Traffic",
        rule="!has(self.requestsPerSecond) || !has(self.requestsPerMonth)",
        message="give requestsPerSecond or requestsPerMonth, not both: they state the same thing",
    ),
    Rule(
        name="traffic-peak",
        model="RequestRate",
        rule=f"!has(self.peak) || !self.peak.{_DECIMAL} || !self.mean.{_DECIMAL} || double(self.peak) >= double(self.mean)",
        message="peak cannot be below mean; raise it, or leave it out to plan for a steady rate",
        at=".peak",
    ),
    Rule(
        name="tokens-p95",
        model="TokenLengths",
        rule="!has(self.p95) || self.p95 >= self.mean",
        message="p95 cannot be below mean; raise it, or leave it out",
        at=".p95",
    ),
    Rule(
        name="scaling-bounds",
        model="Scaling",
        rule="self.minReplicas <= self.maxReplicas",
        message="minReplicas cannot exceed maxReplicas; raise maxReplicas (default 1) or lower minReplicas",
        at=".maxReplicas",
    ),
    Rule(
        name="gateway-autoscaling-bounds",
        model="Gateway",
        rule="!has(self.autoscaling) || self.autoscaling.maxReplicas > self.replicas",
        message="gateway.replicas (default 2) is the fewest with autoscaling: raise gateway.autoscaling.maxReplicas above it, or lower it",
        at=".autoscaling.maxReplicas",
    ),
    Rule(
        name="cache-shared",
        model="Dedicated",
        rule="!has(self.modelCache) || self.modelCache.accessMode != 'ReadWriteOnce' || self.scaling.maxReplicas <= 1",
        message="a ReadWriteOnce cache serves one node: use a ReadWriteMany claim and set modelCache.accessMode to it, or set "
        "scaling.maxReplicas to 1",
        at=".modelCache.accessMode",
    ),
    Rule(
        name="accelerator-twice",
        model="Dedicated",
        field="accelerators",
        rule="self.all(a, self.exists_one(b, b == a))",
        message="an accelerator class is listed twice: name each once, in order of preference",
    ),
    Rule(
        name="backend-twice",
        model="Hosted",
        field="backends",
        rule="self.all(a, self.exists_one(b, b.providerRef.name == a.providerRef.name && b.model == a.model))",
        message="a model of a provider is listed twice: name each once, in order of preference",
    ),
    Rule(
        name="extra-args",
        model="Engine",
        field="extraArgs",
        each_item=True,
        rule=f"!({_ARGUMENT} in {_literal(ARGUMENTS_WITH_A_FIELD)})",
        message="this argument of vllm serve is set by Spillway; use the field for it, or remove it",
        message_expression=f"self.split('=', 2)[0] + ' cannot be given in extraArgs: ' + {_literal(ARGUMENTS_WITH_A_FIELD)}[{_ARGUMENT}]",
        reason="FieldValueForbidden",
    ),
    Rule(
        name="extra-args-split",
        model="Engine",
        field="extraArgs",
        each_item=True,
        # No shell takes it apart: vllm serve ends with "unrecognized arguments".
        rule="!self.matches('^-[^= ]* ')",
        message="an argument of vllm serve and its value are two entries of extraArgs, or one with = between them, such as --seed=7",
    ),
    Rule(
        name="env-owned",
        model="EnvVar",
        rule=f"!(self.name in {_literal(VARIABLES_WITH_A_FIELD)})",
        message="this environment variable is set by Spillway; use the field for it, or remove it",
        message_expression=f"self.name + ' cannot be given in env: ' + {_literal(VARIABLES_WITH_A_FIELD)}[self.name]",
        reason="FieldValueForbidden",
        at=".name",
    ),
    Rule(
        name="access-limit-of-whom",
        model="Access",
        rule="has(self.keysSecretRef) || has(self.jwt) || (!has(self.requestsPerMinute) && !has(self.tokensPerMinute) "
        "&& (!has(self.clients) || size(self.clients) == 0))",
        message="limits are per client, and without keys or tokens a client is not known: set keysSecretRef or jwt, or remove "
        "requestsPerMinute, tokensPerMinute and clients",
        at=".requestsPerMinute",
    ),
    Rule(
        name="access-client-limit",
        model="ClientLimit",
        rule="has(self.requestsPerMinute) || has(self.tokensPerMinute)",
        message="a client that is listed needs requestsPerMinute or tokensPerMinute; leave it out when the general limits are its own",
        reason="FieldValueRequired",
    ),
    Rule(
        name="access-keys-or-tokens",
        model="Access",
        rule="!has(self.keysSecretRef) || !has(self.jwt)",
        message="clients show keys (keysSecretRef) or tokens (jwt): remove one",
        at=".jwt",
    ),
    Rule(
        name="jwks-source",
        model="Jwt",
        rule="has(self.jwksURI) != has(self.jwksConfigMapRef)",
        message="the issuer's keys come from exactly one of jwksURI and jwksConfigMapRef",
    ),
    Rule(
        name="jwks-https",
        model="Jwt",
        rule=f"!has(self.jwksURI) || self.jwksURI.matches('^https://[A-Za-z0-9.-]+(:{_PORT})?(/.*)?$')",
        message="jwksURI must be an https:// URL with a host, otherwise anybody on the way could put in keys of their own",
        at=".jwksURI",
    ),
    Rule(
        name="otlp-endpoint",
        model="Tracing",
        rule=f"self.otlpEndpoint.matches('^https?://[A-Za-z0-9.-]+(:{_PORT})?/?$')",
        message="otlpEndpoint must be http:// or https:// with a host and perhaps a port, without a path: a collector of your own, which "
        "may pass spans on with a key",
        at=".otlpEndpoint",
    ),
    Rule(
        name="otlp-authority",
        model="Tracing",
        rule="!has(self.tls) || self.otlpEndpoint.startsWith('https://')",
        message="tls says whom TLS trusts, which an otlpEndpoint with http:// does not have: give that with https://, or leave tls out",
        at=".tls",
    ),
    Rule(
        name="access-client-twice",
        model="Access",
        field="clients",
        rule="self.all(a, self.exists_one(b, b.name == a.name))",
        message="a client is listed twice: name each once",
    ),
    Rule(
        name="budget-positive",
        model="Budget",
        rule=f"!self.monthlyUSD.{_DECIMAL} || double(self.monthlyUSD) > 0.0",
        message="monthlyUSD must be more than 0; remove budget when there is none",
        at=".monthlyUSD",
    ),
    Rule(
        name="budget-stop-without-hosted",
        model="InferenceWorkloadSpec",
        rule="!has(self.budget) || self.budget.whenExceeded != 'StopSpilling' || self.placement.mode != 'Dedicated'",
        message="budget.whenExceeded StopSpilling stops what goes to hosted backends, and placement.mode Dedicated sends nothing there: "
        "choose Report, or another mode",
        at=".budget.whenExceeded",
    ),
    Rule(
        name="overflow-positive",
        model="Overflow",
        rule=f"!has(self.maxUSDPerDay) || !self.maxUSDPerDay.{_DECIMAL} || double(self.maxUSDPerDay) > 0.0",
        message="maxUSDPerDay must be more than 0; choose placement.mode Dedicated to spill nothing",
        at=".maxUSDPerDay",
    ),
    Rule(
        name="overflow-share-without-replicas",
        model="InferenceWorkloadSpec",
        rule="!has(self.hosted) || !has(self.hosted.overflow) || !has(self.hosted.overflow.maxSharePercent) "
        "|| (self.placement.mode != 'Hosted' && has(self.dedicated))",
        message="hosted.overflow.maxSharePercent needs own replicas for the rest of the answers: add dedicated and choose mode Hybrid or "
        "Auto, or limit hosted.overflow.maxUSDPerDay",
        at=".hosted.overflow.maxSharePercent",
    ),
    Rule(
        name="overflow-wait-without-replicas",
        model="InferenceWorkloadSpec",
        rule="!has(self.hosted) || !has(self.hosted.overflow) || self.hosted.overflow.whenExceeded != 'Wait' "
        "|| (self.placement.mode != 'Hosted' && has(self.dedicated))",
        message="hosted.overflow.whenExceeded Wait waits for own replicas: add dedicated and choose mode Hybrid or Auto, or choose Refuse",
        at=".hosted.overflow.whenExceeded",
    ),
    Rule(
        name="max-wait-without-both",
        model="InferenceWorkloadSpec",
        rule=f"!{_WAITS} || (self.placement.mode in ['Hybrid', 'Auto'] && has(self.dedicated) && {_BACKENDS})",
        message="hosted.overflow.maxWaitMs waits for own replicas before a request goes to a hosted backend: it needs both, so add "
        "dedicated and hosted.backends and choose mode Hybrid or Auto, or remove it",
        at=".hosted.overflow.maxWaitMs",
    ),
    Rule(
        name="max-wait-within-target",
        model="InferenceWorkloadSpec",
        rule=f"!{_WAITS} || !has(self.slo) || !has(self.slo.timeToFirstTokenMs) "
        "|| self.hosted.overflow.maxWaitMs < self.slo.timeToFirstTokenMs",
        message="hosted.overflow.maxWaitMs is part of the time to the first token: set it below slo.timeToFirstTokenMs, by more than a "
        "hosted backend takes to begin",
        at=".hosted.overflow.maxWaitMs",
    ),
    Rule(
        name="long-prompts-without-both",
        model="InferenceWorkloadSpec",
        rule=f"!{_SPILLS_LONG} || (self.placement.mode in ['Hybrid', 'Auto'] && has(self.dedicated) && {_BACKENDS})",
        message="hosted.overflow.longPrompts Spill chooses between own replicas and hosted backends: it needs both, so add dedicated and "
        "hosted.backends and choose mode Hybrid or Auto, or choose Keep",
        at=".hosted.overflow.longPrompts",
    ),
    Rule(
        name="long-prompts-without-limit",
        model="InferenceWorkloadSpec",
        rule=f"!{_SPILLS_LONG} || has(self.hosted.overflow.longPromptTokens) || (has(self.slo) && has(self.slo.timeToFirstTokenMs))",
        message="hosted.overflow.longPrompts Spill needs to know which prompts are long: set slo.timeToFirstTokenMs, or say so in "
        "longPromptTokens",
        at=".hosted.overflow.longPrompts",
    ),
    Rule(
        name="long-prompt-tokens-without-spill",
        model="Overflow",
        rule="!has(self.longPromptTokens) || self.longPrompts == 'Spill'",
        message="longPromptTokens is the limit of longPrompts Spill: choose that, or remove it",
        at=".longPromptTokens",
    ),
)

TOLERATION_RULES = (
    Rule(
        name="toleration-key",
        model="Toleration",
        rule="(has(self.key) && self.key != '') || (has(self.operator) && self.operator == 'Exists')",
        message="a toleration without a key tolerates every taint and needs operator Exists; name the key, or set operator Exists",
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
        message="tolerationSeconds has a meaning with effect NoExecute only; set that effect, or remove it",
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
            message=f"labels that begin with {_RESERVED} and pod-template-hash belong to Spillway and Kubernetes, selectors rely on them: "
            "use a prefix of your own",
            reason="FieldValueForbidden",
        ),
        Rule(
            name="pod-annotations",
            model=template,
            field="annotations",
            rule=f"self.all(k, {_FREE_KEY})",
            message=f"annotations that begin with {_RESERVED} belong to Spillway: use a prefix of your own",
            reason="FieldValueForbidden",
        ),
        Rule(
            name="resource-requests",
            model=resources,
            field="requests",
            rule=f"self.all(k, k in {_list(COMPUTE_RESOURCES)})",
            message="requests may name cpu, memory and ephemeral-storage; accelerators follow from dedicated.engine.tensorParallelSize and "
            "the accelerator class",
            reason="FieldValueForbidden",
        ),
        Rule(
            name="resource-limits",
            model=resources,
            field="limits",
            rule=f"self.all(k, k in {_list(COMPUTE_RESOURCES)})",
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
            message="a request cannot exceed its limit; raise the limit, or leave it out",
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
        message=f"limits.memory of a gateway is at least {LEAST_GATEWAY_MEMORY}: with less there is no room for the body of a long "
        "request; raise it, or leave it out for 2Gi",
        at=".limits",
    ),
    Rule(
        name="gateway-cpu",
        model="GatewayResources",
        rule=_least_limit("cpu", LEAST_GATEWAY_CPU),
        message=f"limits.cpu of a gateway is at least {LEAST_GATEWAY_CPU}, which it requests by default; raise it, or leave it out for "
        "no limit",
        at=".limits",
    ),
    Rule(
        name="node-affinity-values",
        model="NodeSelectorRequirement",
        rule="self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 : self.operator in ['Gt', 'Lt'] "
        "? has(self.values) && size(self.values) == 1 && self.values[0].matches('^[0-9]{1,18}$') "
        ": !has(self.values) || size(self.values) == 0",
        message="In and NotIn take some values, Gt and Lt one whole number, Exists and DoesNotExist none",
        at=".values",
    ),
)


def _not_above(name: str, *, model: str, field: str, bound: str, message: str) -> Rule:
    """Return the rule that a price is no higher than another one. What is no decimal, the schema refuses already."""
    return Rule(
        name=name,
        model=model,
        rule=f"!has(self.{field}) || !self.{field}.{_DECIMAL} || !self.{bound}.{_DECIMAL} || double(self.{field}) <= double(self.{bound})",
        message=message,
        at=f".{field}",
    )


PROVIDER_RULES = (
    Rule(
        name="provider-name",
        model="HostedProvider",
        rule=f"size(self.metadata.name) <= {NAME_LIMIT} && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        message=f"metadata.name becomes part of volume and Envoy cluster names: at most {NAME_LIMIT} characters, a letter first, then "
        "lower-case letters, digits and -",
    ),
    Rule(
        name="provider-https",
        model="HostedProviderSpec",
        rule="self.baseURL.startsWith('https://')",
        message="baseURL must start with https://, otherwise prompts and the API key would travel in the clear",
        at=".baseURL",
    ),
    Rule(
        name="provider-port",
        model="HostedProviderSpec",
        rule=f"self.baseURL.matches('^[a-z]+://([^/:]*|[[][^/]*[]])(:{_PORT})?(/.*)?$')",
        message="the port in baseURL must be from 1 to 65535; leave it out for 443",
        at=".baseURL",
    ),
    Rule(
        name="provider-base-url",
        model="HostedProviderSpec",
        rule="!self.baseURL.endsWith('/completions') && !self.baseURL.endsWith('/completions/')",
        message="baseURL ends with the API's version, such as https://api.example.com/v1: remove /completions or /chat/completions",
        at=".baseURL",
    ),
    Rule(
        name="provider-limits-empty",
        model="ProviderLimits",
        rule="has(self.requestsPerMinute) || has(self.tokensPerMinute)",
        message="limits needs requestsPerMinute or tokensPerMinute; remove it when the account has none",
        reason="FieldValueRequired",
    ),
    _not_above(
        "cached-input-price",
        model="ProviderModel",
        field="cachedInputUSDPerMillionTokens",
        bound="inputUSDPerMillionTokens",
        message="cachedInputUSDPerMillionTokens cannot be above inputUSDPerMillionTokens; leave it out where cached tokens cost the same",
    ),
)


ACCELERATOR_RULES = (
    _not_above(
        "reserved-price",
        model="AcceleratorPrice",
        field="reservedUSDPerHour",
        bound="onDemandUSDPerHour",
        message="reservedUSDPerHour cannot be above onDemandUSDPerHour: give the price of one hour under the commitment, for the same "
        "machine",
    ),
    _not_above(
        "spot-price",
        model="AcceleratorPrice",
        field="spotUSDPerHour",
        bound="onDemandUSDPerHour",
        message="spotUSDPerHour cannot be above onDemandUSDPerHour: give both for the same machine, or leave spot out",
    ),
    Rule(
        name="accelerator-resource",
        model="AcceleratorClassSpec",
        rule="self.resourceName.contains('/') && !self.resourceName.startsWith('kubernetes.io/') "
        "&& !self.resourceName.startsWith('requests.')",
        message="resourceName is what the device plugin advertises on the node, such as nvidia.com/gpu or nvidia.com/mig-3g.40gb",
        at=".resourceName",
    ),
)


RULES = {
    "InferenceWorkload": WORKLOAD_RULES + POD_RULES + TOLERATION_RULES,
    "HostedProvider": PROVIDER_RULES,
    "AcceleratorClass": ACCELERATOR_RULES + TOLERATION_RULES,
}
"""Kind → its rules."""
