"""Where a gateway's traces go: `gateway.tracing`. docs/gateway.md tells what a span has in it."""

from typing import Annotated

from pydantic import Field

from spillway.api.base import ApiModel, SecretKeyRef


class TracingTls(ApiModel):
    """How the collector's certificate is checked."""

    ca_secret_ref: Annotated[SecretKeyRef, Field(description="Secret key with the only trusted PEM certificate authority.")]


class Tracing(ApiModel):
    """Spans of requests, in OpenTelemetry's protocol."""

    otlp_endpoint: Annotated[
        str,
        Field(
            max_length=512,
            description="Collector that receives the spans (OTLP over HTTP; /v1/traces is added), for example "
            "http://otel-collector.observability:4318. They hold no prompt, no answer and no key.",
        ),
    ]
    tls: Annotated[
        TracingTls | None,
        Field(description="Certificate authority of an https:// collector. Default: the system's authorities."),
    ] = None
    sampling_percent: Annotated[
        int,
        Field(ge=0, le=100, description="Share of requests traced, of those without a sampling decision (traceparent)."),
    ] = 10
