"""From the files that a command is given to what the planner is asked about each workload in them."""

import json
from collections.abc import Mapping, Sequence
from importlib import resources

from spillway.api.catalogue import AcceleratorClassSpec
from spillway.api.model import Architecture
from spillway.api.vocabulary import Reason
from spillway.cli.bad_input import BadInputError, read_json
from spillway.cli.manifests import Manifests, NamedWorkload
from spillway.cli.prices import PriceLists
from spillway.plan.comparing.offers import find_offers
from spillway.plan.comparing.options import Question
from spillway.plan.decision import Problem
from spillway.plan.model.models import known_model

CATALOGUE = "accelerator_classes.json"  # the chart's, written by `make generate`


def question_for(workload: NamedWorkload, manifests: Manifests, lists: PriceLists, shapes: Mapping[str, Architecture]) -> Question:
    """Return what a plan is asked about a workload in the files. Raises BadInputError where they do not fit together."""
    spec = workload.spec
    architecture = shapes.get(spec.model.id)
    if architecture is not None and spec.model.architecture is None:
        spec = spec.model_copy(update={"model": spec.model.model_copy(update={"architecture": architecture})})
    offers = find_offers(spec, manifests.providers_for(workload), listed=lists.offers)
    if isinstance(offers, Problem):
        here = " Its manifest has to be among the files: add it with -f." if offers.reason is Reason.UNKNOWN_PROVIDER else ""
        raise BadInputError(f"{workload.file}: InferenceWorkload {workload.label}: spec.hosted.backends: {offers.message}{here}")
    classes = lists.priced(manifests.classes or default_classes())
    unknown = [name for name in spec.own.accelerators if name not in classes]
    if unknown:
        raise BadInputError(
            f"{workload.file}: InferenceWorkload {workload.label}: spec.dedicated.accelerators: there is no AcceleratorClass "
            f"{unknown[0]!r} among {', '.join(sorted(classes))}; add its manifest with -f, or correct the name"
        )
    return Question(name=workload.label, spec=spec, classes=classes, offers=offers)


def default_classes() -> Mapping[str, AcceleratorClassSpec]:
    """Return the chart's catalogue of accelerator classes, for files that bring none."""
    raw = json.loads(resources.files("spillway.cli").joinpath(CATALOGUE).read_text(encoding="utf-8"))
    return {name: AcceleratorClassSpec.model_validate(spec) for name, spec in raw.items()}


def read_shapes(file: str | None, workloads: Sequence[NamedWorkload]) -> Mapping[str, Architecture]:
    """Return the shape that `--model-config` gives, by the model that it is of: the only one, or the only one that nothing else knows."""
    if file is None:
        return {}
    architecture = read_architecture(file)
    asked = {each.spec.model.id: each.spec.model for each in workloads if each.spec.model.architecture is None}
    unknown = [name for name, model in asked.items() if known_model(model) is None]
    if len(asked) > 1 and len(unknown) != 1:
        raise BadInputError(
            f"--model-config: {file} is of one model, and the workloads have {', '.join(unknown or asked)}; give files with one of them, "
            "or model.architecture"
        )
    return dict.fromkeys(unknown if len(asked) > 1 else asked, architecture)


def read_architecture(file: str) -> Architecture:
    """Return the shape of a model from its config.json. Raises BadInputError."""
    from spillway.plan.model.architecture import Unreadable, architecture_of

    give = "give the model's config.json with --model-config"
    config = read_json(file, unread=give, malformed=give)
    if not isinstance(config, dict):
        raise BadInputError(f"{file}: is no JSON object; {give}")
    found = architecture_of(config)
    if isinstance(found, Unreadable):
        raise BadInputError(f"{file}: {found.message}")
    return found
