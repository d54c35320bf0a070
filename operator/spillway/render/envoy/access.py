"""Who may call: the edge's filters that find the client of a request, refuse it or count it against the client's limit.

Envoy's own api_key_auth was not taken: its keys stand in the listener's configuration, for which the operator would have to read the
Secret, and it finds a key in a hash map. Here the keys come from the mounted Secret (SDS), so that they are followed when they change, and
a script compares digests. Scripts fail open; the filter behind this one does not.
"""

from spillway.api.access import Access
from spillway.plan.decision import Workload
from spillway.render.envoy.address import GatewayAddresses
from spillway.render.envoy.http import LIMITED, EnvoyConfig, ErrorText, error_reply, expression, extension, http_filter, lua
from spillway.render.envoy.jwt import issuer_mount, token_filter
from spillway.render.envoy.metrics import CLIENT_METADATA, MANY_CLIENTS
from spillway.render.envoy.secrets import Mount, mounted, secret_file
from spillway.render.envoy.tokens import token_limit_replies, token_limits

KEYS_FILE = "clients"  # the entry of the Secret, and the file in the pod
_KEYS_SOURCE = "access-keys.yaml"
_KEYS_NAME = "access-keys"
_MINUTE = "60s"
_DENIED = ErrorText(message="the client of this request is not permitted to call", kind="invalid_request_error", code="access_denied")
_REFUSED = ErrorText(message="%LOCAL_REPLY_BODY%", kind="invalid_request_error", code="invalid_api_key")
_REFUSED_TOKEN = ErrorText(message="%LOCAL_REPLY_BODY%", kind="invalid_request_error", code="invalid_token")
_DENIED_TOKEN = ErrorText(message="%LOCAL_REPLY_BODY%", kind="invalid_request_error", code="access_denied")  # for another audience
_LIMITED = ErrorText(
    message="requests-per-minute limit of this client reached; Retry-After says when to try again",
    kind="rate_limit_error",
    code="rate_limit_exceeded",
)


def access_filters(workload: Workload, addresses: GatewayAddresses) -> list[EnvoyConfig]:
    """Return the edge's first filters: before the body is read, and before anything is asked of a backend."""
    access = workload.spec.gateway.access
    if access.jwt is not None:
        client = [token_filter(access.jwt), lua("sha256", "token", name="spillway.token")]
    elif access.keys_secret_ref is not None:
        client = [_keys(addresses), lua("sha256", "keys", name="spillway.keys")]
    else:
        return []
    return [*client, _only_clients(), *_limit(access, workload.spec.gateway.most_replicas)]


def token_filters(workload: Workload) -> list[EnvoyConfig]:
    """Return the edge's filter of tokens per minute, for behind the one that has read the body."""
    access = workload.spec.gateway.access
    return token_limits(access, workload.spec.gateway.most_replicas) if access.authenticates else []


def access_replies(access: Access) -> list[EnvoyConfig]:
    """Return how refusals read to an OpenAI client."""
    if not access.authenticates:
        return []
    refused, denied = (_REFUSED, _DENIED) if access.jwt is None else (_REFUSED_TOKEN, _DENIED_TOKEN)
    limited = [*([_limited()] if access.limits_requests else []), *token_limit_replies(access)]
    return [error_reply(401, **refused), error_reply(403, **denied), *limited]


def access_resources(access: Access, addresses: GatewayAddresses) -> dict[str, EnvoyConfig]:
    """Return the file that tells Envoy where the keys are, by its name."""
    if access.keys_secret_ref is None:
        return {}
    keys = {"secret": {"filename": f"{addresses.access_folder}/{KEYS_FILE}"}}
    return {_KEYS_SOURCE: secret_file(_KEYS_NAME, generic_secret=keys)}


def access_mount(access: Access, addresses: GatewayAddresses) -> tuple[Mount, ...]:
    """Return the Secret of the keys as gateway pods mount it. Where it is not there, there is a file without a client."""
    if access.jwt is not None:
        return issuer_mount(access.jwt, addresses)
    if access.keys_secret_ref is None:
        return ()
    absent = {KEYS_FILE: "# no Secret\n"}
    return (Mount(name="keys", source_name=access.keys_secret_ref.name, mount_path=addresses.access_folder, absent=absent),)


def _keys(addresses: GatewayAddresses) -> EnvoyConfig:
    """Return the filter that hands the Secret's text to the script."""
    source = mounted(addresses, file=_KEYS_SOURCE, folder=addresses.access_folder)
    secret = extension(
        "envoy.formatter.generic_secret",
        "envoy.extensions.formatter.generic_secret.v3.GenericSecret",
        secret_configs={"keys": {"name": _KEYS_NAME, "sds_config": source}},
    )
    value = {
        "object_key": "spillway.keys",
        "factory_key": "envoy.string",
        "format_string": {"text_format_source": {"inline_string": "%SECRET(keys)%"}, "formatters": [secret]},
    }
    return http_filter("set_filter_state", "Config", on_request_headers=[value])


def _only_clients() -> EnvoyConfig:
    """Return the filter that refuses what the script has not given a client: scripts fail open."""
    known = {"metadata_matcher": {**CLIENT_METADATA, "value": {"present_match": True}}}
    policy = {"permissions": [{"any": True}], "principals": [{"sourced_metadata": known}]}
    return http_filter("rbac", "RBAC", rules_stat_prefix="client_", rules={"action": "ALLOW", "policies": {"client": policy}})


def _limit(access: Access, gateways: int) -> list[EnvoyConfig]:
    """Return the limit of each client. A pod counts alone, so it has its share, rounded up."""
    if not access.limits_requests:
        return []
    special = [
        _bucket(each.requests_per_minute, gateways, client=each.name) for each in access.clients if each.requests_per_minute is not None
    ]
    general = [_bucket(access.requests_per_minute, gateways)] if access.requests_per_minute else []
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    by_client = {"metadata": {"descriptor_key": "client", "source": "DYNAMIC", "metadata_key": _metadata_key()}}
    return [
        http_filter(
            "local_ratelimit",
            "LocalRateLimit",
            stat_prefix="client",
            filter_enabled=always,
            filter_enforced=always,
            rate_limits=[{"actions": [by_client]}],
            descriptors=[*special, *general],
            max_dynamic_descriptors=MANY_CLIENTS,  # Envoy forgets who has not called for longest once there are more; its default is 20
            enable_x_ratelimit_headers="DRAFT_VERSION_03",
            enable_retry_after_header=True,
        )
    ]


def _metadata_key() -> EnvoyConfig:
    return {"key": CLIENT_METADATA["filter"], "path": CLIENT_METADATA["path"]}


def _bucket(requests_per_minute: int, gateways: int, *, client: str | None = None) -> EnvoyConfig:
    """Return the bucket of one client, or of each client that has none of its own."""
    share = -(-requests_per_minute // gateways)
    entry = {"key": "client"} | ({"value": client} if client else {})
    return {"entries": [entry], "token_bucket": {"max_tokens": share, "tokens_per_fill": share, "fill_interval": _MINUTE}}


def _limited() -> EnvoyConfig:
    """Return the reply to a client over its limit; a 429 from elsewhere reads otherwise."""
    reply = error_reply(429, **_LIMITED)
    return {**reply, "filter": expression(LIMITED)}
