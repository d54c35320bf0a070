"""The rules of what a spec says of its gateway, and of who may call it."""

from spillway.api.rule import PORT, Rule

GATEWAY_RULES = (
    Rule(
        name="hold-within-request",
        model="Gateway",
        rule="!has(self.hold) || self.hold.seconds < self.maxRequestSeconds",
        message="hold.seconds is part of a request's time: set it below maxRequestSeconds (default 600), so that there is time for an "
        "answer",
        at=".hold.seconds",
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
        name="gateway-autoscaling-bounds",
        model="Gateway",
        rule="!has(self.autoscaling) || self.autoscaling.maxReplicas > self.replicas",
        message="gateway.replicas (default 2) is the fewest with autoscaling: raise gateway.autoscaling.maxReplicas above it, or lower it",
        at=".autoscaling.maxReplicas",
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
        rule=f"!has(self.jwksURI) || self.jwksURI.matches('^https://[A-Za-z0-9.-]+(:{PORT})?(/.*)?$')",
        message="jwksURI must be an https:// URL with a host, otherwise anybody on the way could put in keys of their own",
        at=".jwksURI",
    ),
    Rule(
        name="otlp-endpoint",
        model="Tracing",
        rule=f"self.otlpEndpoint.matches('^https?://[A-Za-z0-9.-]+(:{PORT})?/?$')",
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
)
