"""TLS towards what the gateway calls: the name in the certificate is the host's, and one authority or the system's are trusted."""

import ipaddress

from spillway.render.envoy.address import GatewayAddresses
from spillway.render.envoy.http import EnvoyConfig, typed


def upstream_tls(host: str, addresses: GatewayAddresses, *, authority: EnvoyConfig | None) -> EnvoyConfig:
    """Return a cluster's transport socket. `authority`: where Envoy finds the only trusted one; None: the system's are trusted."""
    name = {"san_type": "IP_ADDRESS" if _is_address(host) else "DNS", "matcher": {"exact": host}}
    names: EnvoyConfig = {"match_typed_subject_alt_names": [name]}
    if authority is None:
        checks: EnvoyConfig = {"validation_context": {**names, "trusted_ca": {"filename": addresses.system_authorities}}}
    else:
        checks = {"combined_validation_context": {"default_validation_context": names, "validation_context_sds_secret_config": authority}}
    newest = {"tls_params": {"tls_maximum_protocol_version": "TLSv1_3"}}  # Envoy stops at 1.2 by itself, as a client
    context = typed("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", common_tls_context={**newest, **checks})
    if not _is_address(host):
        context["sni"] = host
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def _is_address(host: str) -> bool:
    """Whether the host is an IP address, which has no SNI."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
