"""What is known of a model's shape: given in the spec, found in the catalogue by its id, or told by a replica of it."""

import re
from dataclasses import dataclass
from functools import cache, lru_cache

from spillway.api.model import Architecture, Model, Quantization
from spillway.api.vocabulary import Reason
from spillway.plan.decision import Problem
from spillway.plan.model.model_catalogue import MODELS, OWN_CONTEXTS, CatalogueModel
from spillway.plan.model.told_shape import told_architecture, why_untold
from spillway.plan.same import of_the_same

# Endings of an id that change neither shape nor cache: how it was tuned, how it is stored, when it was released.
_ENDINGS = re.compile(
    r"^(instruct|it|pt|chat|hf|base|fp8|dynamic|block|static|pertensor|per|tensor|awq|gptq|int4|int8|w4a16|w8a8|quantized\.w4a16|quantized\.w8a8|"
    r"bf16|fp16|bnb|4bit|8bit|v0\.\d+|v1\.0|v1|\d{4}|rl)$"
)
_DATE = re.compile(r"-(\d{4})(?!\w)")
_STORAGE = (
    (re.compile(r"awq"), Quantization.AWQ),
    (re.compile(r"gptq[-_](int8|8bit)"), Quantization.INT8),
    (re.compile(r"gptq|int4|w4a16|4bit"), Quantization.GPTQ),
    (re.compile(r"fp8"), Quantization.FP8),
    (re.compile(r"w8a8|int8|8bit"), Quantization.INT8),
    (re.compile(r"bf16"), Quantization.BF16),  # of weights that their maker publishes in fewer bits
    (re.compile(r"fp16"), Quantization.FP16),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A model whose shape is known."""

    architecture: Architecture
    quantization: Quantization | None  # what the spec says, else what the id says; None: as published
    source: str  # where the shape comes from
    context_tokens: int | None = None  # the longest the model allows; None where that is not known


@of_the_same
def known_model(model: Model) -> KnownModel | None:
    """Return the model's shape: the spec's own, else the catalogue's, else its replicas'; None when none of them knows it."""
    quantization = model.quantization or stored_as(model.id)
    if model.architecture is not None:
        return KnownModel(architecture=model.architecture, quantization=quantization, source="model.architecture")
    found = catalogue_model(model.id)
    if found is None:
        told = told_architecture(model)
        return None if told is None else KnownModel(architecture=told, quantization=quantization, source="config.json of its replica")
    return KnownModel(
        architecture=found.architecture,
        quantization=quantization,
        source=found.source,
        context_tokens=longest_context(model.id),
    )


def resolve_model(model: Model) -> KnownModel | Problem:
    """Return the model's shape, or what to do about not knowing it."""
    found = known_model(model)
    if found is not None:
        return found
    untold = why_untold(model)
    said = "" if untold is None else f" Its replica could not tell: {untold}"
    return Problem(
        reason=Reason.INVALID_SPEC,
        message=f"the shape of model {model.id!r} is unknown: it is not in the catalogue of models. Set model.architecture, or give "
        "the model's config.json (spillway plan --model-config FILE), or name a model of the same shape from the catalogue as model.id."
        f"{said}",
    )


def catalogue_model(model_id: str) -> CatalogueModel | None:
    """Return the catalogue's model of this id, whoever published it and however it is tuned or stored; None when it is not there."""
    return _by_name().get(plain_name(model_id))


def longest_context(model_id: str) -> int | None:
    """Return the longest context that a model of the catalogue allows; None of one that is not there."""
    found, own = catalogue_model(model_id), own_context(model_id)
    return own if found is None or own is not None else found.context_tokens


def own_context(model_id: str) -> int | None:
    """Return the longest context of a model whose shape is another's; None where it is that one's too. A later release may allow more."""
    name, date = plain_name(model_id), _DATE.search(model_id)
    return OWN_CONTEXTS.get(f"{name}-{date[1]}" if date else name, OWN_CONTEXTS.get(name))


@lru_cache(maxsize=1024)
def plain_name(model_id: str) -> str:
    """Return the id without organisation and without the endings that change no shape: Qwen/Qwen3-32B-FP8 is qwen3-32b."""
    name = model_id.rstrip("/").rsplit("/", 1)[-1].lower().replace("_", "-").removeprefix("meta-")
    return "-".join(part for part in name.split("-") if not _ENDINGS.match(part)) or name


@lru_cache(maxsize=1024)
def stored_as(model_id: str) -> Quantization | None:
    """Return the quantization that the id names; None where it names none, and the model is as published."""
    name = model_id.lower()
    found = next((quantization for pattern, quantization in _STORAGE if pattern.search(name)), None)
    entry = catalogue_model(model_id)
    published_so = entry is not None and entry.id.lower() == name
    return None if published_so else found


@cache
def _by_name() -> dict[str, CatalogueModel]:
    names = {plain_name(name): model for model in MODELS for name in model.also}
    return names | {plain_name(model.id): model for model in MODELS}
