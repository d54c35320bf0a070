"""The rules of a workload as a whole: what its parts say of each other, its traffic, its promises and its budget."""

from spillway.api.rule import DECIMAL, NAME_LIMIT, OWN_SUFFIX, Rule

_WAITS = "(has(self.hosted) && has(self.hosted.overflow) && has(self.hosted.overflow.maxWaitMs) && self.hosted.overflow.maxWaitMs > 0)"
_WHEN_EXCEEDED_WAITS = "(has(self.hosted) && has(self.hosted.overflow) && self.hosted.overflow.whenExceeded == 'Wait')"
_SPILLS_LONG = "(has(self.hosted) && has(self.hosted.overflow) && self.hosted.overflow.longPrompts == 'Spill')"
_BACKENDS = "(has(self.hosted) && has(self.hosted.backends) && size(self.hosted.backends) > 0)"

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
        message="metadata.name becomes a Service name: start with a letter and use only lower-case letters, digits and -",
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
        message="placement.mode Dedicated and Hybrid need replicas: add dedicated (dedicated: {} means any accelerator class and one "
        "replica), or choose mode Hosted",
        reason="FieldValueRequired",
    ),
    Rule(
        name="auto-without-choice",
        model="InferenceWorkloadSpec",
        rule=f"self.placement.mode != 'Auto' || has(self.dedicated) || {_BACKENDS}",
        message="placement.mode Auto needs options: add hosted.backends, dedicated (dedicated: {} means any accelerator class), or both",
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
        message="traffic.latency Offline allows answers to take hours: remove slo.timeToFirstTokenMs and slo.interTokenLatencyMs, or "
        "choose Background",
        at=".traffic.latency",
    ),
    Rule(
        name="cluster-only-backend",
        model="InferenceWorkloadSpec",
        # Of another mode the rule cluster-only-mode speaks: one mistake, one message.
        rule="self.placement.dataResidency != 'ClusterOnly' || !(self.placement.mode in ['Dedicated', 'Auto']) || !has(self.hosted) "
        "|| !has(self.hosted.backends) || size(self.hosted.backends) == 0",
        message="placement.dataResidency ClusterOnly keeps all requests in the cluster: remove hosted.backends, or choose HostedAllowed",
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
        message="dedicated.scaling.minReplicas 0 needs a hosted backend to serve while no replica runs, or requests that wait: set it "
        "to 1 or more, choose placement.mode Hybrid, or set gateway.hold.seconds to more than a replica's start takes",
        at=".dedicated.scaling.minReplicas",
    ),
    Rule(
        name="hold-with-hosted",
        model="InferenceWorkloadSpec",
        rule="!has(self.gateway) || !has(self.gateway.hold) || (has(self.dedicated) && (self.placement.mode == 'Dedicated' "
        f"|| (self.placement.mode == 'Auto' && !{_BACKENDS}) || (self.placement.mode in ['Hybrid', 'Auto'] && {_WHEN_EXCEEDED_WAITS})))",
        message="gateway.hold lets requests wait for replicas where nothing else may serve them: remove it, choose placement.mode "
        "Dedicated, or Auto without hosted.backends, or set hosted.overflow.whenExceeded Wait, with which requests wait that a limit "
        "keeps from hosted backends",
        at=".gateway.hold",
    ),
    Rule(
        name="replicas-not-external",
        model="InferenceWorkloadSpec",
        rule="!has(self.replicas) || (has(self.dedicated) && self.dedicated.scaling.mode == 'External')",
        message="Spillway decides replicas: remove it and set dedicated.scaling.minReplicas and maxReplicas, or let HPA, KEDA or "
        "kubectl scale decide with dedicated.scaling.mode External",
        reason="FieldValueForbidden",
        at=".replicas",
    ),
    Rule(
        name="external-without-replicas",
        model="InferenceWorkloadSpec",
        rule="has(self.replicas) || !has(self.dedicated) || self.dedicated.scaling.mode != 'External' || self.placement.mode == 'Hosted'",
        message="dedicated.scaling.mode External needs replicas: without it, HPA and KEDA cannot read the scale; add replicas, such as 1",
        reason="FieldValueRequired",
        at=".replicas",
    ),
    Rule(
        name="routing-without-replicas",
        model="InferenceWorkloadSpec",
        rule="self.gateway.routing != 'PrefixHash' || self.placement.mode != 'Hosted'",
        message="gateway.routing PrefixHash chooses among replicas, and placement.mode Hosted has none: remove it, or choose another mode",
        reason="FieldValueForbidden",
        at=".gateway.routing",
    ),
    Rule(
        name="cache-without-download",
        model="InferenceWorkloadSpec",
        rule="!has(self.dedicated) || !has(self.dedicated.modelCache) || !has(self.model.source) "
        "|| !has(self.model.source.persistentVolumeClaim)",
        message="dedicated.modelCache caches downloads, and model.source.persistentVolumeClaim downloads nothing: remove one",
        reason="FieldValueForbidden",
        at=".dedicated.modelCache",
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
        message="endToEndMs covers the whole request: it cannot be below timeToFirstTokenMs",
        at=".endToEndMs",
    ),
    Rule(
        name="traffic-rate-twice",
        model="Traffic",
        rule="!has(self.requestsPerSecond) || !has(self.requestsPerMonth)",
        message="set requestsPerSecond or requestsPerMonth, not both",
    ),
    Rule(
        name="traffic-peak",
        model="RequestRate",
        rule=f"!has(self.peak) || !self.peak.{DECIMAL} || !self.mean.{DECIMAL} || double(self.peak) >= double(self.mean)",
        message="peak cannot be below mean; raise it, or omit it to use the default",
        at=".peak",
    ),
    Rule(
        name="tokens-p95",
        model="TokenLengths",
        rule="!has(self.p95) || self.p95 >= self.mean",
        message="p95 cannot be below mean; raise it, or omit it",
        at=".p95",
    ),
    Rule(
        name="backend-twice",
        model="Hosted",
        field="backends",
        rule="self.all(a, self.exists_one(b, b.providerRef.name == a.providerRef.name && b.model == a.model))",
        message="a model of a provider is listed twice: list each once, in order of preference",
    ),
    Rule(
        name="budget-positive",
        model="Budget",
        rule=f"!self.monthlyUSD.{DECIMAL} || double(self.monthlyUSD) > 0.0",
        message="monthlyUSD must be more than 0; remove budget if there is none",
        at=".monthlyUSD",
    ),
    Rule(
        name="budget-stop-without-hosted",
        model="InferenceWorkloadSpec",
        rule="!has(self.budget) || self.budget.whenExceeded != 'StopSpilling' || self.placement.mode != 'Dedicated'",
        message="budget.whenExceeded StopSpilling has no effect in placement.mode Dedicated, which never spills: choose Report, or "
        "another mode",
        at=".budget.whenExceeded",
    ),
    Rule(
        name="overflow-positive",
        model="Overflow",
        rule=f"!has(self.maxUSDPerDay) || !self.maxUSDPerDay.{DECIMAL} || double(self.maxUSDPerDay) > 0.0",
        message="maxUSDPerDay must be more than 0; choose placement.mode Dedicated to spill nothing",
        at=".maxUSDPerDay",
    ),
    Rule(
        name="overflow-share-without-replicas",
        model="InferenceWorkloadSpec",
        rule="!has(self.hosted) || !has(self.hosted.overflow) || !has(self.hosted.overflow.maxSharePercent) "
        "|| (self.placement.mode != 'Hosted' && has(self.dedicated))",
        message="hosted.overflow.maxSharePercent needs replicas to serve the rest: add dedicated and choose mode Hybrid or "
        "Auto, or limit hosted.overflow.maxUSDPerDay",
        at=".hosted.overflow.maxSharePercent",
    ),
    Rule(
        name="overflow-wait-without-replicas",
        model="InferenceWorkloadSpec",
        rule="!has(self.hosted) || !has(self.hosted.overflow) || self.hosted.overflow.whenExceeded != 'Wait' "
        "|| (self.placement.mode != 'Hosted' && has(self.dedicated))",
        message="hosted.overflow.whenExceeded Wait waits for replicas: add dedicated and choose mode Hybrid or Auto, or choose Refuse",
        at=".hosted.overflow.whenExceeded",
    ),
    Rule(
        name="max-wait-without-both",
        model="InferenceWorkloadSpec",
        rule=f"!{_WAITS} || (self.placement.mode in ['Hybrid', 'Auto'] && has(self.dedicated) && {_BACKENDS})",
        message="hosted.overflow.maxWaitMs waits for replicas before spilling to a hosted backend and needs both: add dedicated and "
        "hosted.backends and choose mode Hybrid or Auto, or remove it",
        at=".hosted.overflow.maxWaitMs",
    ),
    Rule(
        name="max-wait-within-target",
        model="InferenceWorkloadSpec",
        rule=f"!{_WAITS} || !has(self.slo) || !has(self.slo.timeToFirstTokenMs) "
        "|| self.hosted.overflow.maxWaitMs < self.slo.timeToFirstTokenMs",
        message="hosted.overflow.maxWaitMs counts towards slo.timeToFirstTokenMs: set it lower, by more than a hosted backend's time "
        "to first token",
        at=".hosted.overflow.maxWaitMs",
    ),
    Rule(
        name="long-prompts-without-both",
        model="InferenceWorkloadSpec",
        rule=f"!{_SPILLS_LONG} || (self.placement.mode in ['Hybrid', 'Auto'] && has(self.dedicated) && {_BACKENDS})",
        message="hosted.overflow.longPrompts Spill chooses between replicas and hosted backends and needs both: add dedicated and "
        "hosted.backends and choose mode Hybrid or Auto, or choose Keep",
        at=".hosted.overflow.longPrompts",
    ),
    Rule(
        name="long-prompts-without-limit",
        model="InferenceWorkloadSpec",
        rule=f"!{_SPILLS_LONG} || has(self.hosted.overflow.longPromptTokens) || (has(self.slo) && has(self.slo.timeToFirstTokenMs))",
        message="hosted.overflow.longPrompts Spill needs a limit for long prompts: set slo.timeToFirstTokenMs or longPromptTokens",
        at=".hosted.overflow.longPrompts",
    ),
    Rule(
        name="long-prompt-tokens-without-spill",
        model="Overflow",
        rule="!has(self.longPromptTokens) || self.longPrompts == 'Spill'",
        message="longPromptTokens applies to longPrompts Spill only: set that, or remove longPromptTokens",
        at=".longPromptTokens",
    ),
)
