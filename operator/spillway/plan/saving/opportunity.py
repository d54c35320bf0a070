"""What could be had for less: one thing to change, what it saves, and how sure that is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from spillway.api.status import Basis


class Topic(StrEnum):
    """What an opportunity is about. Users and dashboards may match on it."""

    PLACEMENT = "Placement"  # own, rent or both, otherwise than now
    ACCELERATOR_CLASS = "AcceleratorClass"  # the same work is cheaper on another class
    TENSOR_PARALLEL = "TensorParallelSize"  # fewer accelerators per replica do
    MIN_REPLICAS = "MinReplicas"  # more replicas always run than the busiest minute needs
    QUANTIZATION = "Quantization"  # smaller weights halve the accelerators
    PREFIX_CACHE = "PrefixCache"  # prompts share their beginnings and the engines' caches of them are off, or find few
    PROVIDER = "Provider"  # another provider lists the same model for less
    BATCH = "Batch"  # a program waits, not a person: a batch price would do
    SMALLER_MODEL = "SmallerModel"  # a smaller model of the same family keeps the latency promises at a fraction
    PROMPTS = "ShorterPrompts"  # most of the bill is prompt tokens
    ANSWERS = "CachedAnswers"  # most of the bill is answer tokens
    BUDGET = "Budget"  # no way to serve this load is within it, or no bill can reach it


class Takes(StrEnum):
    """What it takes besides the fields."""

    NOTHING = "Nothing"
    QUALITY_CHECK = "QualityCheck"  # answers change: try it on your own prompts first
    APPLICATION = "ApplicationChange"  # the program that sends the requests has to change


@dataclass(frozen=True, slots=True, kw_only=True)
class Opportunity:
    """One thing to change. Savings do not add up: each is against what runs now."""

    topic: Topic
    usd_per_month: float | None  # saved in 30 days at the load seen; None where that is not known, 0 where nothing is saved
    message: str  # a sentence or two with the figures
    settings: Mapping[str, str] = field(default_factory=dict)  # fields of the spec and their new values
    basis: Basis = Basis.ESTIMATED
    takes: Takes = Takes.NOTHING
