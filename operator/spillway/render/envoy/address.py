"""Where the gateway listens, dials and keeps its files. Production is the default; the data plane's tests move it to loopback."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from spillway.api.vocabulary import PORT_GATEWAY, PORT_GATEWAY_METRICS, PORT_HTTP


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A host (address or name) and a port."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayAddresses:
    """Everything about the gateway's configuration that is not a decision."""

    cluster_domain: str = "cluster.local"
    listen: Address = Address(host="0.0.0.0", port=PORT_GATEWAY)  # noqa: S104  (a pod's own network namespace)
    metrics: Address = Address(host="0.0.0.0", port=PORT_GATEWAY_METRICS)  # noqa: S104
    engine_port: int = PORT_HTTP
    issuer: Address | None = None  # dialled instead of the host of access.jwt.jwksURI
    dns: Address | None = None  # a resolver other than the pod's
    engines: tuple[Address, ...] = ()  # fixed replicas instead of the headless Service's
    hosted: Mapping[str, Address] = field(default_factory=dict)  # by provider name: dialled instead of the base URL's host
    config_folder: str = "/etc/spillway/gateway"
    cap_folder: str = "/etc/spillway/cap"
    share_folder: str = "/etc/spillway/share"
    hosted_folder: str = "/etc/spillway/hosted"
    access_folder: str = "/etc/spillway/access"
    tls_folder: str = "/etc/spillway/tls"
    collector_folder: str = "/etc/spillway/collector"
    run_folder: str = "/run/spillway"
    system_authorities: str = "/etc/ssl/certs/ca-certificates.crt"  # there in Debian, in Ubuntu and in distroless images
    drain_settle_s: float = 5.0  # until Services everywhere have forgotten a pod that ends


PRODUCTION = GatewayAddresses()
