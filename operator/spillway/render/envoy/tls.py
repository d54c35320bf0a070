"""HTTPS at the edge: the certificate comes from a mounted Secret of type kubernetes.io/tls and is followed when it changes."""

from spillway.api.access import GatewayTls
from spillway.render.envoy.address import GatewayAddresses
from spillway.render.envoy.http import EnvoyConfig, extension
from spillway.render.envoy.secrets import Mount, mounted, secret_file

_CERTIFICATE, _KEY = "tls.crt", "tls.key"  # entries of a Secret of that type
_SOURCE = "tls-certificate.yaml"
_NAME = "tls-certificate"


def tls_socket(tls: GatewayTls | None, addresses: GatewayAddresses) -> EnvoyConfig:
    """Return the edge's transport socket, if it serves HTTPS. Without a certificate every handshake fails."""
    if tls is None:
        return {}
    certificate = {"name": _NAME, "sds_config": mounted(addresses, file=_SOURCE, folder=addresses.tls_folder)}
    context = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "tls_certificate_sds_secret_configs": [certificate],
        "alpn_protocols": ["h2", "http/1.1"],
    }
    proto = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    return {"transport_socket": extension("envoy.transport_sockets.tls", proto, common_tls_context=context)}


def tls_resources(tls: GatewayTls | None, addresses: GatewayAddresses) -> dict[str, EnvoyConfig]:
    """Return the file that tells Envoy where the certificate is, by its name."""
    if tls is None:
        return {}
    chain, key = ({"filename": f"{addresses.tls_folder}/{file}"} for file in (_CERTIFICATE, _KEY))
    return {_SOURCE: secret_file(_NAME, tls_certificate={"certificate_chain": chain, "private_key": key})}


def tls_mount(tls: GatewayTls | None, addresses: GatewayAddresses) -> tuple[Mount, ...]:
    """Return the Secret of the certificate as gateway pods mount it."""
    if tls is None:
        return ()
    absent = {_CERTIFICATE: "no certificate\n", _KEY: "no key\n"}
    return (Mount(name="tls", source_name=tls.secret_ref.name, mount_path=addresses.tls_folder, absent=absent),)
