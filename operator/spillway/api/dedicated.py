"""Own replicas: how many, of what, and the engine that serves in each."""
# ruff: noqa: RUF012 - pydantic copies a default; ruff sees only that the base class is not its own

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from spillway.api.base import ApiModel
from spillway.api.pods import PodTemplate


class ScalingMode(StrEnum):
    """Who decides the number of replicas."""

    SPILLWAY = "Spillway"
    EXTERNAL = "External"


class Scaling(ApiModel):
    """How many replicas."""

    mode: Annotated[
        ScalingMode,
        Field(
            description="Who sets the replica count. Spillway: the operator. External: spec.replicas, as written by "
            "HPA, KEDA or kubectl scale."
        ),
    ] = ScalingMode.SPILLWAY
    min_replicas: Annotated[
        int, Field(ge=0, le=1000, description="Minimum replicas. 0 needs a hosted backend to serve meanwhile, or gateway.hold.")
    ] = 1
    max_replicas: Annotated[int, Field(ge=1, le=1000, description="Maximum replicas.")] = 1
    scale_up_stabilization_seconds: Annotated[
        int, Field(ge=0, le=3600, description="How long a scale-up must be needed before it is made; from zero it is immediate.")
    ] = 0
    scale_down_stabilization_seconds: Annotated[
        int, Field(ge=10, le=3600, description="How long a scale-down must be needed, without interruption.")
    ] = 300


class EnvVar(ApiModel):
    """One environment variable with a literal value; secrets have their own fields."""

    name: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="Name of the variable.")]
    value: Annotated[str, Field(max_length=4000, description="Its value.")] = ""


class Engine(ApiModel):
    """vLLM, which serves each replica."""

    image: Annotated[
        str | None,
        Field(
            min_length=1, max_length=500, pattern=r"^\S+$", description="Image with a `vllm` command. Default: the chart's engine image."
        ),
    ] = None
    version: Annotated[
        str | None,
        Field(
            max_length=40,
            pattern=r"^[0-9]+\.[0-9]+(\.[0-9]+)?$",
            description="vLLM version in the image; decides flags and metric names. Default: the chart's.",
        ),
    ] = None
    stated_tensor_parallel_size: Annotated[
        int | None,
        Field(
            alias="tensorParallelSize",
            ge=1,
            le=64,
            description="Accelerators per replica, within one node (tensor parallelism). Default: the cheapest that meets the SLO when the "
            "first replica is created, kept from then on.",
        ),
    ] = None
    gpu_memory_utilization_percent: Annotated[int, Field(ge=10, le=99, description="Share of accelerator memory that vLLM may use.")] = 90
    max_num_seqs: Annotated[
        int | None,
        Field(ge=1, le=4096, description="Maximum requests in one batch. Default: the largest batch that meets the inter-token target."),
    ] = None
    max_num_batched_tokens: Annotated[
        int | None, Field(ge=1, le=10**6, description="Maximum tokens in one engine step. Default: vLLM's.")
    ] = None
    extra_args: Annotated[
        list[Annotated[str, Field(max_length=1000)]], Field(max_length=64, description="Additional arguments of `vllm serve`.")
    ] = []
    env: Annotated[
        list[EnvVar],
        Field(
            max_length=64,
            description="Environment variables of the engine container.",
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = []

    @property
    def tensor_parallel_size(self) -> int:
        """Accelerators per replica: what the spec states or the plan has chosen; one until then."""
        return self.stated_tensor_parallel_size or 1

    @property
    def most_num_seqs(self) -> int | None:
        """The largest batch that is stated, or that a step has tokens for: vLLM starts with no larger one. None: neither is stated."""
        return min((each for each in (self.max_num_seqs, self.max_num_batched_tokens) if each is not None), default=None)


class CacheAccessMode(StrEnum):
    """How many nodes may mount the cache."""

    READ_WRITE_ONCE = "ReadWriteOnce"
    READ_WRITE_MANY = "ReadWriteMany"


class ModelCache(ApiModel):
    """A volume that keeps downloaded weights between restarts."""

    claim_name: Annotated[str, Field(min_length=1, max_length=253, description="PersistentVolumeClaim in the workload's namespace.")]
    access_mode: Annotated[
        CacheAccessMode,
        Field(
            description="Access mode of the claim. ReadWriteOnce serves one node, so maxReplicas must be 1, and a rollout stops the "
            "replica before it starts the next one."
        ),
    ] = CacheAccessMode.READ_WRITE_MANY


class Dedicated(ApiModel):
    """The replicas that are owned."""

    accelerators: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=253)]],
        Field(
            max_length=16,
            description="AcceleratorClass names in order of preference; the first that exists and fits is used. Default: the cheapest "
            "of all that fits, whether or not a node has it; a running pool keeps its class.",
        ),
    ] = []
    scaling: Annotated[Scaling, Field(description="Bounds and stabilization of scaling.")] = Scaling()
    engine: Annotated[Engine, Field(description="Settings of vLLM.")] = Engine()
    model_cache: Annotated[ModelCache | None, Field(description="Volume that caches downloaded weights.")] = None
    pod_template: Annotated[PodTemplate | None, Field(description="Overrides for replica pods.")] = None
    committed_replicas: Annotated[
        int, Field(ge=0, le=1000, description="Replicas already paid for (reserved or owned): their marginal cost is zero.")
    ] = 0
