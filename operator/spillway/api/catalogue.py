"""HostedProvider and AcceleratorClass: what can be rented and what can be owned, with dated prices."""
# ruff: noqa: RUF012 - pydantic copies a default; ruff sees only that the base class is not its own

from datetime import date
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from spillway.api.base import ApiModel, SecretKeyRef
from spillway.api.model import MODEL_NAME_PATTERN, Quantization
from spillway.api.pods import LabelValue, Toleration
from spillway.api.quantities import DecimalString


class Auth(ApiModel):
    """The provider's key. Only gateway pods mount it; the operator has no right to read Secrets."""

    secret_ref: Annotated[SecretKeyRef, Field(description="Secret key that holds the API key, sent as a bearer token.")]


class ProviderTls(ApiModel):
    """How the provider's certificate is checked."""

    ca_secret_ref: Annotated[
        SecretKeyRef, Field(description="Secret key with the PEM certificate authority. Default: the system's authorities.")
    ]


class Capability(StrEnum):
    """What a model's API supports beyond plain text."""

    TOOLS = "Tools"
    RESPONSE_FORMAT = "ResponseFormat"
    VISION = "Vision"
    AUDIO = "Audio"
    VIDEO = "Video"


class ProviderModel(ApiModel):
    """One model the provider serves, and its price."""

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=200,
            pattern=MODEL_NAME_PATTERN,
            description="Model name in the provider's API.",
        ),
    ]
    input_usd_per_million_tokens: Annotated[
        DecimalString, Field(alias="inputUSDPerMillionTokens", description="Price per million prompt tokens.")
    ]
    output_usd_per_million_tokens: Annotated[
        DecimalString, Field(alias="outputUSDPerMillionTokens", description="Price per million answer tokens.")
    ]
    cached_input_usd_per_million_tokens: Annotated[
        DecimalString | None,
        Field(
            alias="cachedInputUSDPerMillionTokens",
            description="Price per million prompt tokens that the provider finds in its prompt cache. Default: as any prompt token. "
            "Cost and limits count those that its answers report; plans, status.cost.kappa and replica counts use "
            "traffic.cachedInputPercent.",
        ),
    ] = None
    context_tokens: Annotated[
        int | None,
        Field(
            ge=16,
            le=10**8,
            description="Maximum prompt plus answer. No plan chooses it for a workload that needs more, and where capabilities or "
            "a limit are stated, or replicas accept more, no request that needs more is sent there.",
        ),
    ] = None
    quantization: Annotated[
        Quantization | None,
        Field(description="Quantization of the weights that the provider serves; plans report a difference from yours."),
    ] = None
    capabilities: Annotated[
        list[Capability] | None,
        Field(
            max_length=8,
            description="What it answers: Tools (function calls), ResponseFormat (structured output), Vision (images), Audio, Video. A "
            "request that needs one that is not listed, or more than contextTokens, is not sent there. Default: not stated, and everything "
            "is sent.",
            json_schema_extra={"x-kubernetes-list-type": "set"},
        ),
    ] = None
    time_to_first_token_ms: Annotated[
        int | None,
        Field(ge=1, le=3_600_000, description="Time to first token, as stated by the provider or measured by you, milliseconds."),
    ] = None
    inter_token_latency_ms: Annotated[
        int | None, Field(ge=1, le=60_000, description="Inter-token latency, as stated by the provider or measured by you, milliseconds.")
    ] = None


class PriceSource(ApiModel):
    """Where prices were read, and when."""

    as_of: Annotated[date, Field(description="Date of the prices.")]
    source: Annotated[str, Field(min_length=1, max_length=500, description="Source of the prices.")]


class ProviderBatch(ApiModel):
    """The provider's batch API: cheaper, and answers come within hours. Plans count with it for Offline traffic."""

    discount_percent: Annotated[int, Field(ge=1, le=100, description="Discount on the models' prices, percent.")]
    completion_window_hours: Annotated[int, Field(ge=1, le=720, description="Hours within which a job completes.")] = 24


class ProviderLimits(ApiModel):
    """What the account may send. Shared out evenly over the namespace's workloads that name the provider, and over their gateways."""

    requests_per_minute: Annotated[int | None, Field(ge=1, le=10**7, description="Requests per minute.")] = None
    tokens_per_minute: Annotated[
        int | None,
        Field(ge=1, le=10**10, description="Tokens of prompts and answers per minute; an answer first counts with its limit."),
    ] = None


class HostedProviderSpec(ApiModel):
    """An OpenAI-compatible endpoint that bills by the token."""

    base_url: Annotated[
        str,
        Field(
            alias="baseURL",
            max_length=500,
            pattern=r"^https?://([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?$",
            description="OpenAI-compatible base URL with its version, for example https://api.example.com/v1. Always https.",
        ),
    ]
    auth: Annotated[Auth | None, Field(description="Credential; omit it if the endpoint needs none.")] = None
    tls: Annotated[ProviderTls | None, Field(description="Certificate authority of a private endpoint.")] = None
    models: Annotated[
        list[ProviderModel],
        Field(
            min_length=1,
            max_length=200,
            description="Models and their prices.",
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ]
    limits: Annotated[
        ProviderLimits | None, Field(description="Limits of the account, enforced by the gateways before the provider refuses.")
    ] = None
    batch: Annotated[ProviderBatch | None, Field(description="Batch API, if there is one.")] = None
    prices: Annotated[PriceSource | None, Field(description="Date and source of the prices.")] = None


class PricePer(StrEnum):
    """What one hour's price buys."""

    NODE = "Node"
    ACCELERATOR = "Accelerator"


class AcceleratorPrice(ApiModel):
    """What owning costs."""

    on_demand_usd_per_hour: Annotated[DecimalString, Field(alias="onDemandUSDPerHour", description="On-demand price per hour.")]
    reserved_usd_per_hour: Annotated[
        DecimalString | None,
        Field(
            alias="reservedUSDPerHour",
            description="Committed price per hour, paid for every hour of the month. For spillway plan: the operator counts "
            "replicas at onDemandUSDPerHour, and dedicated.committedReplicas as paid.",
        ),
    ] = None
    spot_usd_per_hour: Annotated[
        DecimalString | None,
        Field(
            alias="spotUSDPerHour",
            description="Spot price per hour. For spillway plan only.",
        ),
    ] = None
    per: Annotated[
        PricePer, Field(description="Whether the price is for one accelerator or a whole node; a replica then costs its share of the node.")
    ] = PricePer.ACCELERATOR
    billing_increment_seconds: Annotated[
        int,
        Field(ge=1, le=86_400, description="Billing increment of a replica's time: considered when one is removed, not in the bill."),
    ] = 1
    minimum_seconds: Annotated[
        int, Field(ge=0, le=86_400, description="Minimum billed time of a replica: considered when one is started.")
    ] = 0
    as_of: Annotated[date, Field(description="Date of the price.")]
    source: Annotated[str, Field(min_length=1, max_length=500, description="Source of the price.")]


class TeraFlops(ApiModel):
    """Dense peak arithmetic, in 10^12 operations per second."""

    bf16: Annotated[int, Field(ge=1, le=10**6, description="With bf16 inputs.")]
    fp8: Annotated[int | None, Field(ge=1, le=10**6, description="With fp8 inputs; omit it if the accelerator has no fp8.")] = None


class AcceleratorClassSpec(ApiModel):
    """One kind of accelerator in the cluster: its capabilities, how a pod requests it and what it costs."""

    product: Annotated[str, Field(min_length=1, max_length=100, description="Name of the product, for example NVIDIA H100 SXM 80GB.")]
    memory_gib: Annotated[int, Field(alias="memoryGiB", ge=1, le=10_000, description="Memory of one accelerator, GiB.")]
    memory_bandwidth_gbps: Annotated[
        int, Field(alias="memoryBandwidthGBps", ge=1, le=10**6, description="Memory bandwidth of one accelerator, GB per second.")
    ]
    tera_flops: Annotated[TeraFlops, Field(alias="teraFLOPs", description="Dense peak arithmetic of one accelerator.")]
    per_node: Annotated[int, Field(ge=1, le=64, description="Accelerators in one node; the largest tensor parallel size.")]
    interconnect_gbps: Annotated[
        int | None,
        Field(
            alias="interconnectGBps",
            ge=1,
            le=10**5,
            description="Bandwidth between the accelerators of a node, GB per second, both directions together: NVLink 900 on H100, PCIe "
            "64 on L40S. Default: 600 where the product is an SXM or NVL one, else 64.",
        ),
    ] = None
    resource_name: Annotated[str, Field(max_length=317, description="Extended resource that a pod asks for.")] = "nvidia.com/gpu"
    node_selector: Annotated[dict[str, LabelValue], Field(max_length=32, description="Labels of the nodes that have the accelerator.")] = {}
    tolerations: Annotated[list[Toleration], Field(max_length=32, description="Tolerations for those nodes.")] = []
    runtime_class_name: Annotated[str | None, Field(max_length=253, description="RuntimeClass that exposes the accelerator.")] = None
    price: Annotated[AcceleratorPrice | None, Field(description="Price; without it, costs are unknown, not zero.")] = None
