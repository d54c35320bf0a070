"""Tokens of an identity provider (JWT): verified by Envoy, taken off the request, their subject is the client."""

from urllib.parse import urlsplit

from spillway.api.access import Access, Jwt
from spillway.render.envoy_address import Address, GatewayAddresses
from spillway.render.envoy_http import (
    EnvoyConfig,
    breakers,
    dns_cluster,
    endpoints,
    extension,
    http1,
    http_filter,
    json_text,
    seconds,
    socket_address,
)
from spillway.render.envoy_secrets import Mount

_CLUSTER = "issuer"
_FILE = "jwks.json"
# Envoy does not start without a key, so where there is none there is one to which nobody has the private half: its x is the SHA-256 of
# "spillway: nobody's key 2", the first such that is on the curve P-256. tests/unit/render/test_objects.py makes it again.
_NOBODYS_KEY = {
    "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "nobody",
    "x": "osNWLJjcSXlbWyCWsJWv2b_VbW5Z4nqmXJOL2BXBS4E",
    "y": "J7G67s7nvcPGTTYK18vyuwI0ROzXtbn5AxJrVVZ2pfk",
}
_SKEW_S = 60  # between the issuer's clock and ours
_REFRESH_S = 300  # how long a new key of the issuer's may stay unknown, and a withdrawn one known


def token_filter(jwt: Jwt, addresses: GatewayAddresses) -> EnvoyConfig:
    """Return the filter that lets only verified tokens pass. They must expire, and say for whom they are."""
    provider: EnvoyConfig = {
        "issuer": jwt.issuer,
        "audiences": list(jwt.audiences),
        "require_expiration": True,
        "clock_skew_seconds": _SKEW_S,
        "forward": False,
        "payload_in_metadata": "token",
        **_keys(jwt, addresses),
    }
    rule = {"match": {"prefix": "/"}, "requires": {"provider_name": _CLUSTER}}
    return http_filter("jwt_authn", "JwtAuthentication", providers={_CLUSTER: provider}, rules=[rule])


def _keys(jwt: Jwt, addresses: GatewayAddresses) -> EnvoyConfig:
    if jwt.jwks_uri is None:
        return {"local_jwks": {"filename": f"{addresses.access_folder}/{_FILE}", "watched_directory": {"path": addresses.access_folder}}}
    remote = {
        "http_uri": {"uri": jwt.jwks_uri, "cluster": _CLUSTER, "timeout": seconds(5)},
        "cache_duration": seconds(_REFRESH_S),
        # Fetched ahead, so that no request waits; an issuer that is away must not keep a gateway from starting.
        "async_fetch": {"fast_listener": True, "failed_refetch_duration": seconds(1)},
    }
    return {"remote_jwks": remote}


def issuer_clusters(access: Access, addresses: GatewayAddresses) -> list[EnvoyConfig]:
    """Return the cluster from which the issuer's keys are fetched, if they are."""
    if access.jwt is None or access.jwt.jwks_uri is None:
        return []
    url = urlsplit(access.jwt.jwks_uri)
    host = url.hostname or ""
    dialled = addresses.issuer or Address(host=host, port=url.port or 443)
    checks = {"trusted_ca": {"filename": addresses.system_authorities}, "match_typed_subject_alt_names": [_named(host)]}
    tls = extension(
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        sni=host,
        common_tls_context={"validation_context": checks},
    )
    return [
        {
            "name": _CLUSTER,
            "cluster_type": dns_cluster(all_addresses_in_single_endpoint=True),
            "connect_timeout": seconds(3),
            "load_assignment": endpoints(_CLUSTER, [socket_address(dialled.host, dialled.port)], hostname=host),
            "circuit_breakers": breakers(),
            "transport_socket": tls,
            "typed_extension_protocol_options": http1(idle_s=30),
        }
    ]


def _named(host: str) -> EnvoyConfig:
    return {"san_type": "DNS", "matcher": {"exact": host}}


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
            absent={_FILE: json_text({"keys": [_NOBODYS_KEY]}) + "\n"},
            entries={_FILE: ref.key},
        ),
    )
