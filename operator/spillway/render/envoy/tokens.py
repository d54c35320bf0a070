"""Tokens per minute of each client: a script at the edge that charges answers by their reported usage.

Envoy's own local_ratelimit takes its tokens when a request comes, when nobody knows how long the answer will be (ADR 0012).
"""

from hashlib import sha256

from spillway.api.access import Access
from spillway.plan.gateway.permit import WORKERS
from spillway.render.envoy.http import EnvoyConfig, ErrorText, error_reply, expression, lua

# Whether a client was over its tokens, in CEL: the only 429 that a script of the edge answers.
TOKENS_LIMITED = "response.code_details == 'lua_response' && response.code == 429"
_LIMITED = ErrorText(
    message="tokens-per-minute limit of this client reached; Retry-After says when to try again",
    kind="rate_limit_error",
    code="rate_limit_exceeded",
)


def client_hash(client: str) -> str:
    """Return how metrics, logs and scripts call a client."""
    return sha256(client.encode()).hexdigest()[:12]


def token_limits(access: Access, gateways: int) -> list[EnvoyConfig]:
    """Return the filter that keeps clients' limits. A worker thread counts alone, so it has its share, rounded up."""
    if not access.limits_tokens:
        return []
    general = "nil" if access.tokens_per_minute is None else str(_share(access.tokens_per_minute, gateways))
    special = ", ".join(
        f'["{client_hash(each.name)}"] = {_share(each.tokens_per_minute, gateways)}'
        for each in access.clients
        if each.tokens_per_minute is not None
    )
    shares = f"local SHARE, SHARES = {general}, {{ {special} }}\n"
    return [lua("usage", "tokens", name="spillway.tokens", above=shares)]


def token_limit_replies(access: Access) -> list[EnvoyConfig]:
    """Return how a refusal reads to an OpenAI client."""
    return [{**error_reply(429, **_LIMITED), "filter": expression(TOKENS_LIMITED)}] if access.limits_tokens else []


def _share(tokens_per_minute: int, gateways: int) -> int:
    return -(-tokens_per_minute // (gateways * WORKERS))
