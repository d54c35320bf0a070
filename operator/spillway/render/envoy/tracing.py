"""Traces of requests: one span of the request and one of each backend that was asked, sent to the collector that the spec names.

The edge alone makes spans. A span's context (W3C traceparent) goes to the second tier as a header and on to replicas; towards a provider
it is dropped with every other header that is not on the list: an id by which two parties can match their records is not the provider's.
"""

from urllib.parse import urlsplit

from spillway.api.tracing import Tracing
from spillway.plan.decision import Workload
from spillway.render.envoy.address import GatewayAddresses
from spillway.render.envoy.http import (
    EnvoyConfig,
    breakers,
    dns_cluster,
    endpoints,
    extension,
    http1,
    seconds,
    socket_address,
    typed,
)
from spillway.render.envoy.metrics import TOKENS
from spillway.render.envoy.secrets import Mount, mounted, secret_file
from spillway.render.envoy.upstream_tls import upstream_tls

_CLUSTER = "collector"
_PATH = "/v1/traces"
_PORTS = {"http": 80, "https": 443}
_AUTHORITY_FILE = "collector.crt"
_SOURCE = "collector-ca.yaml"
_NAME = "collector-ca"
_TAGS = {
    "http.url": "%PATH(NQ)%",  # Envoy's own has the query, in which some clients put a key
    **{f"gen_ai.usage.{key}": value for key, value in TOKENS.items()},
    "spillway.served_by": "%RESP(x-served-by)%",
    "spillway.first_body_ms": "%DYNAMIC_METADATA(spillway:first_body_ms)%",
}
_REQUEST_ID = "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig"


def tracing(workload: Workload) -> EnvoyConfig:
    """Return what the edge's connection manager must know to make spans; nothing where none are asked for."""
    wanted = workload.spec.gateway.tracing
    if wanted is None:
        return {}
    url = wanted.otlp_endpoint.rstrip("/") + _PATH
    tracer = extension(
        "envoy.tracers.opentelemetry",
        "envoy.config.trace.v3.OpenTelemetryConfig",
        http_service={"http_uri": {"uri": url, "cluster": _CLUSTER, "timeout": seconds(5)}},
        service_name=f"{workload.key.name}.{workload.key.namespace}",
        sampler=_sampler(wanted.sampling_percent),
    )
    return {
        # By default Envoy writes into a client's x-request-id whether it is traced.
        "request_id_extension": {"typed_config": typed(_REQUEST_ID, pack_trace_reason=False)},
        "tracing": {
            "provider": tracer,
            "random_sampling": {"value": 100},  # the sampler decides
            "client_sampling": {"value": 0},  # x-client-trace-id is Envoy's own; traceparent says what a client wants
            "overall_sampling": {"value": 100},
            "spawn_upstream_span": True,
            "custom_tags": [
                {"tag": "gen_ai.request.model", "literal": {"value": workload.spec.served_name}},
                *({"tag": name, "value": value} for name, value in _TAGS.items()),
            ],
        },
    }


def _sampler(percent: int) -> EnvoyConfig:
    """Return what decides: the client, if its context has a decision; else a draw by the trace's id, the same in every gateway."""
    name, proto = "envoy.tracers.opentelemetry.samplers", "envoy.extensions.tracers.opentelemetry.samplers.v3"
    share = {"numerator": percent, "denominator": "HUNDRED"}
    drawn = extension(f"{name}.trace_id_ratio_based", f"{proto}.TraceIdRatioBasedSamplerConfig", sampling_percentage=share)
    return extension(f"{name}.parent_based", f"{proto}.ParentBasedSamplerConfig", wrapped_sampler=drawn)


def collector_clusters(workload: Workload, addresses: GatewayAddresses) -> list[EnvoyConfig]:
    """Return the cluster of the collector. While it is away spans are lost, and requests go on."""
    wanted = workload.spec.gateway.tracing
    if wanted is None:
        return []
    url = urlsplit(wanted.otlp_endpoint)
    host, port = url.hostname or "", url.port or _PORTS[url.scheme]
    authority: EnvoyConfig | None = None
    if wanted.tls is not None:
        authority = {"name": _NAME, "sds_config": mounted(addresses, file=_SOURCE, folder=addresses.collector_folder)}
    secured = {"transport_socket": upstream_tls(host, addresses, authority=authority)} if url.scheme == "https" else {}
    return [
        {
            "name": _CLUSTER,
            "cluster_type": dns_cluster(all_addresses_in_single_endpoint=True),
            "connect_timeout": seconds(1),
            "load_assignment": endpoints(_CLUSTER, [socket_address(host, port)], hostname=host),
            "circuit_breakers": breakers(),
            **secured,
            "typed_extension_protocol_options": http1(idle_s=30),
        }
    ]


def collector_resources(tracing: Tracing | None, addresses: GatewayAddresses) -> dict[str, EnvoyConfig]:
    """Return the file that tells Envoy where the collector's certificate authority is, by its name."""
    if tracing is None or tracing.tls is None:
        return {}
    path = f"{addresses.collector_folder}/{_AUTHORITY_FILE}"
    return {_SOURCE: secret_file(_NAME, validation_context={"trusted_ca": {"filename": path}})}


def collector_mount(tracing: Tracing | None, addresses: GatewayAddresses) -> tuple[Mount, ...]:
    """Return the Secret of that authority as gateway pods mount it. Without it no span is sent, and requests go on."""
    if tracing is None or tracing.tls is None:
        return ()
    ref = tracing.tls.ca_secret_ref
    return (
        Mount(
            name="collector",
            source_name=ref.name,
            mount_path=addresses.collector_folder,
            absent={_AUTHORITY_FILE: "no certificate authority\n"},
            entries={_AUTHORITY_FILE: ref.key},
        ),
    )
