"""The second tier's way to one hosted backend: nothing of the client's but the request itself leaves the cluster."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from spillway.api.vocabulary import hosted_cluster_name
from spillway.plan.decision import HostedBackend
from spillway.render.envoy.address import Address, GatewayAddresses
from spillway.render.envoy.http import (
    MAX_ANSWER_BYTES,
    MODEL_PATHS,
    NO_CAPACITY,
    STREAMED,
    EnvoyConfig,
    breakers,
    dns_cluster,
    endpoints,
    error_reply,
    expression,
    extension,
    http1,
    http_filter,
    internal_listener,
    is_set,
    json_text,
    lua,
    seconds,
    set_header,
    socket_address,
)
from spillway.render.envoy.long import is_long
from spillway.render.envoy.metrics import token_filters, unanswered
from spillway.render.envoy.permit import GIVEN_UP, PERMITTED, meter, permitted
from spillway.render.envoy.secrets import mounted, secret_file
from spillway.render.envoy.upstream_tls import upstream_tls

_REWRITTEN = "x-spillway-rewritten"
_CONNECT_S = 3
# The shortest of common servers (uvicorn, Node.js). The gateway must be the one that closes an idle connection: a request that meets its
# end is lost, for nobody knows whether the provider has seen it, and `reset-before-request` does not cover it (envoyproxy/envoy#47468).
# Longer than _CONNECT_S, as a connection counts as idle from when it is dialled (envoyproxy/envoy#42753).
_KEEP_ALIVE_S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseUrl:
    """A provider's base URL in parts."""

    host: str
    port: int
    path: str  # without the slash at its end

    @property
    def authority(self) -> str:
        """The Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 443 else f"{host}:{self.port}"  # noqa: PLR2004


def base_url(backend: HostedBackend) -> BaseUrl:
    """Return the provider's base URL, taken apart."""
    parts = urlsplit(backend.provider.base_url)
    return BaseUrl(host=parts.hostname or "", port=parts.port or 443, path=parts.path.rstrip("/"))


def cluster_name(backend: HostedBackend) -> str:
    """Return the backend's cluster, which is also its listener."""
    return hosted_cluster_name(backend.provider_name, backend.model)


def hop_name(backend: HostedBackend) -> str:
    """Return the edge's cluster for the backend's listener."""
    return f"hop-{cluster_name(backend)}"


def key_folder(addresses: GatewayAddresses, provider: str) -> str:
    """Return where the provider's key is mounted."""
    return f"{addresses.hosted_folder}/{provider}/key"


def authority_folder(addresses: GatewayAddresses, provider: str) -> str:
    """Return where the provider's certificate authority is mounted."""
    return f"{addresses.hosted_folder}/{provider}/ca"


KEY_FILE = "key"
AUTHORITY_FILE = "ca.crt"
# What a gateway reads where a Secret is not there. An empty key is no key; an empty authority would be one that Envoy does not check.
ABSENT_FILES = {KEY_FILE: "", AUTHORITY_FILE: "no certificate authority\n"}


def hosted_listener(
    backend: HostedBackend,
    addresses: GatewayAddresses,
    *,
    served_name: str,
    owns: bool,
    longest_s: int,
    header_timeout_ms: int | None,
    guard: EnvoyConfig | None,
    long_timeout_ms: int | None,
) -> EnvoyConfig:
    """Return the listener in front of one hosted backend. `guard` is what the script of its limits must know; None: there are none.

    `long_timeout_ms`: how long a long prompt, behind which own replicas are next, waits for headers where others may take their time.
    """
    name = cluster_name(backend)
    timeouts = _Patience(streamed_ms=header_timeout_ms, long_ms=long_timeout_ms)
    routes = _routes(backend, served_name=served_name, owns=owns, patience=timeouts, guard=guard)
    permission: EnvoyConfig = {"header": is_set(_REWRITTEN)}
    if guard is not None:
        permission = {"and_rules": {"rules": [permission, permitted()]}}
    passed = {"rewritten": {"permissions": [permission], "principals": [{"any": True}]}}
    told: dict[str, object] = {} if guard is None else {"local_reply_config": {"mappers": [_broken_off(), _given_up()]}}
    return internal_listener(
        name=name,
        idle_s=longest_s + 5,
        filters=[
            lua("json", "hosted", *([] if guard is None else ["usage", "permit"])),
            *([] if guard is None else token_filters()),  # the script settles by what they read
            # Lua fails open; this does not.
            http_filter("rbac", "RBAC", rules_stat_prefix="unrewritten_", rules={"action": "ALLOW", "policies": passed}),
            *([_credential(backend, addresses)] if backend.provider.auth else []),
        ],
        routes={"name": name, "virtual_hosts": [{"name": name, "domains": ["*"], "routes": routes}]},
        access_log=[*([] if guard is None else meter(backend)), *unanswered(backend.label, keeps=guard is not None)],
        **told,
    )


def _broken_off() -> EnvoyConfig:
    """Return how it reads that a plain answer broke off, or was too long, while it was kept for its token count: no script sees that."""
    begun = "response.code_details.contains('after_response_started') || response.code_details == 'response_payload_too_large'"
    reply = error_reply(None, message="gateway error: %RESPONSE_CODE_DETAILS%", kind="server_error", code="gateway_error")
    return {**reply, "filter": expression(begun)}


def _given_up() -> EnvoyConfig:
    """Return what tells the script of a stream whose headers are late from what the provider itself has failed: it may bill this one."""
    given_up = error_reply(None, **NO_CAPACITY)
    return {
        **given_up,
        "filter": expression("response.code_details == 'upstream_per_try_timeout'"),
        "headers_to_add": [set_header(GIVEN_UP, "1")],
    }


def _credential(backend: HostedBackend, addresses: GatewayAddresses) -> EnvoyConfig:
    """Return the filter that sets the provider's key. Without a key it refuses, and the edge asks the next backend."""
    source = mounted(addresses, file=key_file(backend), folder=key_folder(addresses, backend.provider_name))
    generic = extension(
        "envoy.http.injected_credentials.generic",
        "envoy.extensions.http.injected_credentials.generic.v3.Generic",
        header="Authorization",
        header_value_prefix="Bearer ",
        credential={"name": key_name(backend), "sds_config": source},
    )
    return http_filter("credential_injector", "CredentialInjector", overwrite=True, credential=generic)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Patience:
    """How long a stream waits for headers; None: as long as it takes."""

    streamed_ms: int | None
    long_ms: int | None  # one with a long prompt


def _routes(backend: HostedBackend, *, served_name: str, owns: bool, patience: _Patience, guard: EnvoyConfig | None) -> list[EnvoyConfig]:
    metadata = {"served_name": served_name, "hosted_model_json": json_text(backend.model), **(guard or {})}
    marks = [_REWRITTEN] if guard is None else [_REWRITTEN, PERMITTED]
    url = base_url(backend)
    to: EnvoyConfig = {
        "cluster": cluster_name(backend),
        "timeout": "0s",
        "regex_rewrite": {"pattern": {"regex": "^/v1/"}, "substitution": _substitution(f"{url.path}/")},
        "host_rewrite_literal": url.authority,
    }

    def route(match: EnvoyConfig, timeout: EnvoyConfig) -> EnvoyConfig:
        retry = {
            "retry_on": "connect-failure,refused-stream,reset-before-request",
            "num_retries": 1,
            "retry_back_off": {"base_interval": "0.05s"},
            **timeout,
        }
        return {
            "match": match,
            "metadata": {"filter_metadata": {"envoy.filters.http.lua": metadata}},
            "request_headers_to_remove": marks,
            "request_body_buffer_limit": MAX_ANSWER_BYTES,
            "response_headers_to_add": [set_header("x-served-by", backend.label)],
            "route": {**to, "retry_policy": retry},
        }

    timed = [
        route({**MODEL_PATHS, "headers": [is_set(STREAMED), *more]}, {"per_try_timeout": seconds(timeout_ms / 1000)})
        for timeout_ms, more in ((patience.streamed_ms, ()), (patience.long_ms, (is_long(),)))
        if timeout_ms is not None
    ]
    # The script refuses what comes here. Own replicas may serve it when they have room again, so it is not unknown where there are any.
    refusal = {"filter_metadata": {"envoy.filters.http.lua": {"refusal": "503" if owns else "404"}}}
    return [*timed, route(MODEL_PATHS, {}), {"match": {"prefix": "/"}, "metadata": refusal, "direct_response": {"status": 404}}]


def _substitution(path: str) -> str:
    return re.sub(r"\\", r"\\\\", path)


def hosted_cluster(backend: HostedBackend, addresses: GatewayAddresses) -> EnvoyConfig:
    """Return the backend's cluster. Its health is its TLS handshake: the certificate is checked, no token is spent."""
    name, url = cluster_name(backend), base_url(backend)
    dialled = addresses.hosted.get(backend.provider_name, Address(host=url.host, port=url.port))
    return {
        "name": name,
        # One logical endpoint, whatever address its name has now: answers that rotate would otherwise drain connections all the time.
        "cluster_type": dns_cluster(all_addresses_in_single_endpoint=True),
        "connect_timeout": seconds(_CONNECT_S),
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}, "update_merge_window": "0s"},
        "load_assignment": endpoints(name, [socket_address(dialled.host, dialled.port)], hostname=url.host),
        "circuit_breakers": breakers(),
        "health_checks": [
            {
                "timeout": seconds(3),
                "interval": seconds(10),
                "no_traffic_interval": seconds(10),
                "unhealthy_interval": seconds(1),
                "unhealthy_threshold": 3,
                "healthy_threshold": 1,
                "tcp_health_check": {},
            }
        ],
        "transport_socket": _tls(backend, addresses, url),
        "typed_extension_protocol_options": http1(idle_s=_KEEP_ALIVE_S - 1),
    }


def _tls(backend: HostedBackend, addresses: GatewayAddresses, url: BaseUrl) -> EnvoyConfig:
    if backend.provider.tls is None:
        return upstream_tls(url.host, addresses, authority=None)
    source = mounted(addresses, file=authority_file(backend), folder=authority_folder(addresses, backend.provider_name))
    return upstream_tls(url.host, addresses, authority={"name": authority_name(backend), "sds_config": source})


def key_name(backend: HostedBackend) -> str:
    """Return the name of the provider's key as a secret of Envoy's."""
    return f"{backend.provider_name}-key"


def key_file(backend: HostedBackend) -> str:
    """Return the file that tells Envoy where the key is."""
    return f"hosted-{backend.provider_name}-key.yaml"


def authority_name(backend: HostedBackend) -> str:
    """Return the name of the provider's certificate authority as a secret of Envoy's."""
    return f"{backend.provider_name}-ca"


def authority_file(backend: HostedBackend) -> str:
    """Return the file that tells Envoy where the certificate authority is."""
    return f"hosted-{backend.provider_name}-ca.yaml"


def secret_resources(backend: HostedBackend, addresses: GatewayAddresses) -> dict[str, EnvoyConfig]:
    """Return the files that tell Envoy where mounted secrets are, by file name. What stands for absent ones is in cap_files."""
    provider = backend.provider
    found: dict[str, EnvoyConfig] = {}
    if provider.auth:
        path = f"{key_folder(addresses, backend.provider_name)}/{KEY_FILE}"
        key = {"secret": {"filename": path}}
        found[key_file(backend)] = secret_file(key_name(backend), generic_secret=key)
    if provider.tls:
        path = f"{authority_folder(addresses, backend.provider_name)}/{AUTHORITY_FILE}"
        authority = {"trusted_ca": {"filename": path}}
        found[authority_file(backend)] = secret_file(authority_name(backend), validation_context=authority)
    return found
