"""What is known of a model's shape: given in the spec, or found in the catalogue by its id."""

from dataclasses import dataclass

from spillway.api.vocabulary import Reason
from spillway.api.workload import Architecture, Model, Quantization
from spillway.plan.decision import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A model whose shape is known."""

    architecture: Architecture
    quantization: Quantization | None  # what the spec says, else what the id says; None: as published
    source: str  # where the shape comes from


def known_model(model: Model) -> KnownModel | None:
    """Return the model's shape: the spec's own, else the catalogue's; None when neither knows it."""
    if model.architecture is not None:
        return KnownModel(architecture=model.architecture, quantization=model.quantization, source="model.architecture")
    return None


def resolve_model(model: Model) -> KnownModel | Problem:
    """Return the model's shape, or what to do about not knowing it."""
    found = known_model(model)
    if found is not None:
        return found
    return Problem(
        reason=Reason.INVALID_SPEC,
        message=f"the shape of model {model.id!r} is not known: it is not in the catalogue of models. Give model.architecture, or give "
        "the model's config.json (spillway plan --model-config FILE), or name a model of the same shape from the catalogue as model.id.",
    )
