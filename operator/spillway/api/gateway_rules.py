"""The rules of what a spec says of its gateway, and of who may call it."""

from spillway.api.rule import PORT, Rule

GATEWAY_RULES = (
    Rule(
        name="hold-within-request",
        model="Gateway",
        rule="!has(self.hold) || self.hold.seconds < self.maxRequestSeconds",
        message="hold.seconds counts towards maxRequestSeconds (default 600): set it lower, to leave time for an answer",
        at=".hold.seconds",
    ),
    Rule(
        name="prefix-without-hash",
        model="Gateway",
        rule="!has(self.prefixBytes) || self.routing == 'PrefixHash'",
        message="prefixBytes applies to routing PrefixHash only: set that routing, or remove prefixBytes",
        reason="FieldValueForbidden",
        at=".prefixBytes",
    ),
    Rule(
        name="gateway-autoscaling-bounds",
        model="Gateway",
        rule="!has(self.autoscaling) || self.autoscaling.maxReplicas > self.replicas",
        message="gateway.replicas (default 2) is the minimum with autoscaling: raise gateway.autoscaling.maxReplicas above it, or lower it",
        at=".autoscaling.maxReplicas",
    ),
    Rule(
        name="access-limit-of-whom",
        model="Access",
        rule="has(self.keysSecretRef) || has(self.jwt) || (!has(self.requestsPerMinute) && !has(self.tokensPerMinute) "
        "&& (!has(self.clients) || size(self.clients) == 0))",
        message="limits are per client, and clients are identified by keys or tokens: set keysSecretRef or jwt, or remove "
        "requestsPerMinute, tokensPerMinute and clients",
        at=".requestsPerMinute",
    ),
    Rule(
        name="access-client-limit",
        model="ClientLimit",
        rule="has(self.requestsPerMinute) || has(self.tokensPerMinute)",
        message="a listed client needs requestsPerMinute or tokensPerMinute; remove it if the general limits apply",
        reason="FieldValueRequired",
    ),
    Rule(
        name="access-keys-or-tokens",
        model="Access",
        rule="!has(self.keysSecretRef) || !has(self.jwt)",
        message="clients authenticate with keys (keysSecretRef) or tokens (jwt): remove one",
        at=".jwt",
    ),
    Rule(
        name="jwks-source",
        model="Jwt",
        rule="has(self.jwksURI) != has(self.jwksConfigMapRef)",
        message="the issuer's keys need exactly one of jwksURI and jwksConfigMapRef",
    ),
    Rule(
        name="jwks-https",
        model="Jwt",
        rule=f"!has(self.jwksURI) || self.jwksURI.matches('^https://[A-Za-z0-9.-]+(:{PORT})?(/.*)?$')",
        message="jwksURI must be an https:// URL with a host, otherwise keys could be replaced in transit",
        at=".jwksURI",
    ),
    Rule(
        name="otlp-endpoint",
        model="Tracing",
        rule=f"self.otlpEndpoint.matches('^https?://[A-Za-z0-9.-]+(:{PORT})?/?$')",
        message="otlpEndpoint must be http:// or https:// with a host and an optional port, without a path: use your own collector, "
        "which can forward spans with a key",
        at=".otlpEndpoint",
    ),
    Rule(
        name="otlp-authority",
        model="Tracing",
        rule="!has(self.tls) || self.otlpEndpoint.startsWith('https://')",
        message="tls needs an https:// otlpEndpoint: change the endpoint to https://, or remove tls",
        at=".tls",
    ),
    Rule(
        name="access-client-twice",
        model="Access",
        field="clients",
        rule="self.all(a, self.exists_one(b, b.name == a.name))",
        message="a client is listed twice: list each once",
    ),
)
