"""Tokens of an identity provider (JWT): verified by Envoy, taken off the request, their subject is the client."""

from urllib.parse import urlsplit

from spillway.api.access import Access, Jwt
from spillway.render.envoy.address import Address, GatewayAddresses
from spillway.render.envoy.http import (
    EnvoyConfig,
    breakers,
    dns_cluster,
    endpoints,
    extension,
    http1,
    http_filter,
    internal_cluster,
    internal_listener,
    seconds,
    socket_address,
)
from spillway.render.envoy.secrets import Mount
from spillway.render.envoy.upstream_tls import upstream_tls

_CLUSTER = "issuer"
_FILE = "jwks.json"
_NO_KEYS = "no keys\n"  # refused when it is read, so that every token is
_LOCAL_URI = "http://issuer/keys"
_SKEW_S = 60  # between the issuer's clock and ours
_REREAD_S = 5  # the same, of a ConfigMap
_REFRESH_S = 300  # how long a new key of the issuer's may stay unknown, and a withdrawn one known


def token_filter(jwt: Jwt) -> EnvoyConfig:
    """Return the filter that lets only verified tokens pass. They must expire, and say for whom they are."""
    provider: EnvoyConfig = {
        "issuer": jwt.issuer,
        "audiences": list(jwt.audiences),
        # Stated, as else a path's access_token is one, too. The case of a scheme says nothing (RFC 9110, 11.1).
        "from_headers": [{"name": "Authorization", "value_prefix": f"{scheme} "} for scheme in ("Bearer", "bearer")],
        "require_expiration": True,
        "clock_skew_seconds": _SKEW_S,
        "forward": False,
        "payload_in_metadata": "token",
        "remote_jwks": _keys(jwt),
    }
    rule = {"match": {"prefix": "/"}, "requires": {"provider_name": _CLUSTER}}
    return http_filter("jwt_authn", "JwtAuthentication", providers={_CLUSTER: provider}, rules=[rule])


def _keys(jwt: Jwt) -> EnvoyConfig:
    uri, fresh_s = (_LOCAL_URI, _REREAD_S) if jwt.jwks_uri is None else (jwt.jwks_uri, _REFRESH_S)
    return {
        "http_uri": {"uri": uri, "cluster": _CLUSTER, "timeout": seconds(5)},
        "cache_duration": seconds(fresh_s),
        # Fetched ahead, so that no request waits; an issuer that is away must not keep a gateway from starting.
        "async_fetch": {"fast_listener": True, "failed_refetch_duration": seconds(1)},
    }


def issuer_listeners(access: Access, addresses: GatewayAddresses) -> list[EnvoyConfig]:
    """Return the listener that publishes the ConfigMap's keys to the filter, if they come from one.

    The filter can read a file by itself, but only when it starts, and Envoy does not start when there is no key in it.
    """
    if access.jwt is None or access.jwt.jwks_config_map_ref is None:
        return []
    reader = extension("envoy.formatter.file_content", "envoy.extensions.formatter.file_content.v3.FileContent")
    text = f"%FILE_CONTENT({addresses.access_folder}/{_FILE}:{addresses.access_folder})%"
    body = {"text_format_source": {"inline_string": text}, "formatters": [reader]}
    answer: EnvoyConfig = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body_format": body}}
    routes: EnvoyConfig = {"name": _CLUSTER, "virtual_hosts": [{"name": _CLUSTER, "domains": ["*"], "routes": [answer]}]}
    return [internal_listener(name=_CLUSTER, idle_s=10, filters=[], routes=routes)]


def issuer_clusters(access: Access, addresses: GatewayAddresses) -> list[EnvoyConfig]:
    """Return the cluster from which the issuer's keys are fetched: the issuer's own, or the listener above."""
    if access.jwt is None:
        return []
    if access.jwt.jwks_uri is None:
        return [internal_cluster(_CLUSTER, _CLUSTER)]
    url = urlsplit(access.jwt.jwks_uri)
    host = url.hostname or ""
    dialled = addresses.issuer or Address(host=host, port=url.port or 443)
    return [
        {
            "name": _CLUSTER,
            "cluster_type": dns_cluster(all_addresses_in_single_endpoint=True),
            "connect_timeout": seconds(3),
            "load_assignment": endpoints(_CLUSTER, [socket_address(dialled.host, dialled.port)], hostname=host),
            "circuit_breakers": breakers(),
            "transport_socket": upstream_tls(host, addresses, authority=None),
            "typed_extension_protocol_options": http1(idle_s=30),
        }
    ]


def issuer_mount(jwt: Jwt, addresses: GatewayAddresses) -> tuple[Mount, ...]:
    """Return the ConfigMap with the issuer's keys as gateway pods mount it, if they come from one."""
    ref = jwt.jwks_config_map_ref
    if ref is None:
        return ()
    return (
        Mount(
            name="keys",
            kind="configMap",
            source_name=ref.name,
            mount_path=addresses.access_folder,
            absent={_FILE: _NO_KEYS},
            entries={_FILE: ref.key},
        ),
    )
