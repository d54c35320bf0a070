"""A smaller model of the same family, or one distilled from the one that runs: what it would cost where it keeps the latency promises."""

from collections.abc import Iterator
from dataclasses import replace

from spillway.plan.comparing.case import Case, cheapest, on_demand
from spillway.plan.comparing.choice import all_options
from spillway.plan.comparing.offers import Offers, find_offers, has_own_weights
from spillway.plan.comparing.options import Cause, Option
from spillway.plan.comparing.owning import all_sizes
from spillway.plan.model.model_catalogue import MODELS, CatalogueModel
from spillway.plan.model.models import catalogue_model, longest_context, plain_name
from spillway.plan.rounding import dollars
from spillway.plan.saving.instructions import as_list, as_value, backend_of
from spillway.plan.saving.opportunity import Opportunity, Takes, Topic
from spillway.plan.saving.rightsizing import room_for
from spillway.plan.saving.worthwhile import costs, pays, rate_words

FRACTION = 0.5  # of the bill: for less of a saving nobody tries another model
MOST_TRIED = 3  # candidates, largest first: sizing one takes some 50 ms
SHORTER_CONTEXT = 0.5  # a model of the family with a much shorter context is of an older generation

# Published by their maker as distilled from the model, as named in the repository of each.
DISTILLED = {
    "deepseek-r1": (
        "deepseek-ai/DeepSeek-R1-Distill-Llama-70B",
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B",
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B",
    )
}


def smaller_model(case: Case) -> Iterator[Opportunity]:
    """Return the largest smaller model that serves the same load within the promises at half of the bill or less, if there is one.

    Own weights have no smaller sibling in the catalogue.
    """
    if has_own_weights(case.spec):
        return
    for candidate in candidates(case.spec.model.id)[:MOST_TRIED]:
        best = _cheapest_with(case, candidate)
        if best is not None and best.usd is not None and best.usd <= FRACTION * case.usd and pays(case, best):
            yield _opportunity(case, candidate, best)
            return


def candidates(model_id: str) -> tuple[str, ...]:
    """Return smaller models than this one, largest first; none where the catalogue does not know it."""
    known = catalogue_model(model_id)
    if known is None:
        return ()
    distilled = DISTILLED.get(plain_name(model_id))
    if distilled is not None:
        return distilled
    smaller = [each for each in MODELS if _is_smaller(each, known)]
    return tuple(each.id for each in sorted(smaller, key=lambda each: -each.architecture.parameters))


def _is_smaller(one: CatalogueModel, known: CatalogueModel) -> bool:
    return (
        one.family == known.family
        and one.architecture.parameters < known.architecture.parameters
        and one.context_tokens >= SHORTER_CONTEXT * known.context_tokens
    )


def _cheapest_with(case: Case, candidate: str) -> Option | None:
    """Return the cheapest way to serve another model in the mode that runs; None where its context is shorter than what is served."""
    longest = longest_context(candidate)
    if longest is not None and longest < (case.spec.model.max_context_tokens or 0):
        return None
    model = case.spec.model.model_copy(update={"id": candidate, "architecture": None, "quantization": None, "source": None})
    spec = case.spec.model_copy(update={"model": model, "hosted": None})
    offers = find_offers(spec, case.providers)
    question = replace(case.question, spec=spec, offers=offers if isinstance(offers, Offers) else Offers(found=(), by_name=True))
    sized = all_sizes(question) if case.current.owns else ()
    options = on_demand(all_options(question, sized, case.load))
    listed = case.spec.own.accelerators
    return cheapest(
        options,
        Cause.BUDGET,
        Cause.NOT_LISTED,  # its tensor parallel size need not be the larger model's
        where=lambda each: each.mode is case.current.mode and (each.size is None or not listed or each.size.accelerator_class in listed),
    )


def _opportunity(case: Case, candidate: str, best: Option) -> Opportunity:
    settings = {"model.id": candidate}
    if case.spec.model.served_name is None:
        settings["model.servedName"] = as_value(case.spec.served_name)
    if best.size is not None:
        settings["dedicated.accelerators"] = as_list(best.size.accelerator_class)
        settings["dedicated.engine.tensorParallelSize"] = str(best.size.tensor_parallel_size)
        settings |= room_for(case, best)
    if best.offer is not None:
        settings["hosted.backends"] = backend_of(best.offer)
    where = (
        f"on {best.size.tensor_parallel_size} x {best.size.accelerator_class}"
        if best.size
        else f"at {best.offer.label if best.offer else ''}"
    )
    keeps = "serves it" if case.spec.slo is None else "keeps the latency promises"
    return Opportunity(
        topic=Topic.SMALLER_MODEL,
        usd_per_month=case.usd - (best.usd or 0.0),
        message=f"{rate_words(case)}, {candidate} {where} {keeps} for {costs(best)} a month instead of "
        f"{dollars(case.usd)}. Whether its answers are good enough only your own test tells.",
        settings=settings,
        takes=Takes.QUALITY_CHECK,
    )
