"""Right-sizing: what of a running workload could be had for less, with the field to change.

Everything is computed from what was seen: where the traffic, what serves it or its price is not known, nothing is said. Savings are against
what runs now, at the load that was seen, in 30 days at on-demand prices; one that is within the estimates' error is not told.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from spillway.api.status import Basis
from spillway.api.traffic import LatencyNeed
from spillway.api.workload import PlacementMode
from spillway.plan.comparing.case import Case, cheapest, on_demand
from spillway.plan.comparing.choice import all_options
from spillway.plan.comparing.offers import find_offers, is_offline
from spillway.plan.comparing.options import Cause, Option, ServedBy
from spillway.plan.comparing.renting import batch_options
from spillway.plan.decision import Problem
from spillway.plan.money.economics import request_usd
from spillway.plan.rounding import dollars, rate
from spillway.plan.saving.instructions import as_list, backend_of
from spillway.plan.saving.opportunity import Opportunity, Takes, Topic
from spillway.plan.saving.rightsizing import highest_owned_usd, owned_opportunities, room_for
from spillway.plan.saving.smaller import smaller_model
from spillway.plan.saving.worthwhile import costs, pays, rate_words, worth_telling

__all__ = ["advise"]

ALL_OF = 2 / 3  # a part of the bill from here on is most of it
LONG_PROMPT_TOKENS = 1000  # shorter ones leave little to compress
SHORTER = 0.8  # prompts a fifth shorter: what is reckoned with, not what is promised
REPEATED = 0.1  # one request in ten answered from a cache: likewise


def advise(case: Case) -> tuple[Opportunity, ...]:
    """Return what could be had for less, the largest saving first; what saves an unknown sum after it, what saves nothing last."""
    sources: tuple[Callable[[Case], Iterator[Opportunity]], ...] = (
        _placement,
        _batch,
        _provider,
        owned_opportunities,
        smaller_model,
        _tokens,
        _budget,
    )
    found = [each for source in sources for each in source(case)]
    return tuple(sorted(found, key=_rank))


def _rank(each: Opportunity) -> tuple[object, ...]:
    if each.usd_per_month is None:
        return (1, 0.0, each.topic)
    return (0 if each.usd_per_month > 0 else 2, -each.usd_per_month, each.topic)


def _placement(case: Case) -> Iterator[Opportunity]:
    """Advise another mode. Under Auto that applies itself, the operator does so anyway."""
    placement = case.spec.placement
    best = cheapest(case.options, Cause.BUDGET, where=lambda each: each.mode is not ServedBy.BATCH)
    if case.moves_itself or best is None or best.mode is case.current.mode or not pays(case, best):
        return
    doubts = _doubts(case, best)
    yield Opportunity(
        topic=Topic.PLACEMENT,
        usd_per_month=case.usd - (best.usd or 0.0),
        message=f"{rate_words(case)}, {_called(best)} costs {costs(best)} a month, and {_called(case.current)} {dollars(case.usd)}."
        + "".join(f" {each}" for each in doubts),
        settings={"placement.apply": "Automatic"} if placement.mode is PlacementMode.AUTO else _settings(case, best),
        takes=Takes.QUALITY_CHECK if doubts else Takes.NOTHING,
    )


def _doubts(case: Case, best: Option) -> list[str]:
    """Return what to check of an offer that did not serve so far."""
    used, offer, slo = case.current.offer, best.offer, case.spec.slo
    if offer is None or (used is not None and used.label == offer.label):
        return []
    found = ["The offer was matched by the model's name: check that the weights are the same."] if case.question.offers.by_name else []
    if slo is not None and slo.time_to_first_token_ms is not None and offer.listing.time_to_first_token_ms is None:
        found.append("It states no latency, so slo is not checked.")
    return found


def _settings(case: Case, best: Option) -> dict[str, str]:
    settings = {"placement.mode": best.mode.value}
    if best.size is not None and best.cost is not None:
        settings |= {
            "dedicated.accelerators": as_list(best.size.accelerator_class),
            "dedicated.engine.tensorParallelSize": str(best.size.tensor_parallel_size),
            **room_for(case, best),
        }
    if best.offer is not None:
        settings["hosted.backends"] = backend_of(best.offer)
    return settings


def _called(option: Option) -> str:
    if option.size is not None:
        return f"{option.mode} on {option.size.tensor_parallel_size} x {option.size.accelerator_class}"
    return f"{option.mode} at {option.offer.label}" if option.offer else str(option.mode)


def _batch(case: Case) -> Iterator[Opportunity]:
    """Advise batches where nobody waits, or only a program does and the promise would allow it."""
    traffic, slo = case.spec.traffic, case.spec.slo
    if traffic is None or traffic.latency is LatencyNeed.INTERACTIVE:
        return
    if slo is not None and (slo.time_to_first_token_ms is not None or slo.inter_token_latency_ms is not None):
        return  # no batch has a first token within a time, and Offline traffic no such targets (api/workload_rules.py)
    asked = replace(
        case.question, spec=case.spec.model_copy(update={"traffic": traffic.model_copy(update={"latency": LatencyNeed.OFFLINE})})
    )
    best = cheapest(batch_options(asked, case.load), Cause.BUDGET, where=lambda each: each.offer is not None)
    if best is None or best.offer is None or best.offer.batch is None or not pays(case, best):
        return
    hours = best.offer.batch.completion_window_hours
    yield Opportunity(
        topic=Topic.BATCH,
        usd_per_month=case.usd - (best.usd or 0.0),
        message=f"{rate_words(case)}, batches at {best.offer.label} cost {costs(best)} a month instead of {dollars(case.usd)}; "
        f"answers come within {hours} h. The program that sends the requests submits them to the provider's batch API.",
        settings={} if is_offline(case.spec) else {"traffic.latency": "Offline"},
        basis=_basis(case),
        takes=Takes.APPLICATION,
    )


def _provider(case: Case) -> Iterator[Opportunity]:
    """Advise another provider of the same model."""
    used = case.current.offer
    if used is None:
        return
    elsewhere = find_offers(case.spec.model_copy(update={"hosted": None}), case.providers)
    if isinstance(elsewhere, Problem):
        return
    asked = replace(case.question, offers=elsewhere)
    options = on_demand(all_options(asked, case.sized, case.load))
    best = cheapest(
        options,
        Cause.BUDGET,
        Cause.NOT_LISTED,
        where=lambda each: each.mode is case.current.mode and _same_size(each, case.current) and each.offer is not None,
    )
    if best is None or best.offer is None or best.offer.label == used.label or not pays(case, best):
        return
    here = request_usd(used.listing, asked.lengths, cached_share=asked.cached_share)
    there = request_usd(best.offer.listing, asked.lengths, cached_share=asked.cached_share)
    yield Opportunity(
        topic=Topic.PROVIDER,
        usd_per_month=case.usd - (best.usd or 0.0),
        message=f"A thousand requests of {asked.lengths.input_mean:.0f} tokens in and {asked.lengths.output_mean:.0f} out cost "
        f"{dollars(there * 1000)} at {best.offer.label} and {dollars(here * 1000)} at {used.label}. It was matched by the model's name: "
        "check that the weights are the same.",
        settings={"hosted.backends": backend_of(best.offer)},
        basis=_basis(case),
        takes=Takes.QUALITY_CHECK,
    )


def _same_size(one: Option, other: Option) -> bool:
    if one.size is None or other.size is None:
        return one.size is other.size
    return (one.size.accelerator_class, one.size.tensor_parallel_size) == (other.size.accelerator_class, other.size.tensor_parallel_size)


def _tokens(case: Case) -> Iterator[Opportunity]:
    """Advise shorter prompts or cached answers by what most of the rented bill is; owned replicas cost the same by the hour."""
    offer, lengths = case.current.offer, case.question.lengths
    rented = case.current.cost.hosted_usd if case.current.cost else 0.0
    if offer is None or not rented:
        return
    whole = case.question.request_usd(offer)
    prompts = (whole - lengths.output_mean * float(offer.listing.output_usd_per_million_tokens) / 1e6) / whole if whole else 0.0
    told = f"are {{share:.0f}} % of the {dollars(rented)} a month at {offer.label}"
    saved, shorter = rented * prompts * (1 - SHORTER), round(lengths.input_mean * SHORTER)
    if prompts >= ALL_OF and lengths.input_mean >= LONG_PROMPT_TOKENS and worth_telling(case, saved):
        yield Opportunity(
            topic=Topic.PROMPTS,
            usd_per_month=saved,
            message=f"Prompts {told.format(share=100 * prompts)}, at {lengths.input_mean:.0f} tokens each: prompts a fifth shorter "
            f"({shorter} tokens) save {dollars(saved)}.",
            settings={"traffic.inputTokens.mean": str(shorter)},
            basis=_basis(case),
            takes=Takes.APPLICATION,
        )
    saved = rented * REPEATED
    if prompts <= 1 - ALL_OF and worth_telling(case, saved):
        yield Opportunity(
            topic=Topic.ANSWERS,
            usd_per_month=saved,
            message=f"Answers {told.format(share=100 * (1 - prompts))}: each tenth of the requests that a cache of answers could take "
            f"saves {dollars(saved)}. Spillway does not see whether requests repeat.",
            settings={"traffic.requestsPerSecond.mean": rate(case.load.mean_per_s * (1 - REPEATED)) or "0"},
            takes=Takes.APPLICATION,
        )


def _budget(case: Case) -> Iterator[Opportunity]:
    """Say where a budget cannot be kept at all, and where no bill can reach it."""
    budget = case.spec.budget
    if budget is None:
        return
    least = cheapest(case.options, Cause.BUDGET, where=lambda _: True)
    most, limit = _highest_bill(case), float(budget.monthly_usd)
    if least is not None and least.usd is not None and min(case.usd, least.usd - least.error_usd) > limit:
        yield Opportunity(
            topic=Topic.BUDGET,
            usd_per_month=0.0,
            message=f"{rate_words(case)}, the cheapest way to serve, {_called(least)}, costs {costs(least)} a month: "
            f"{dollars(limit)} cannot be kept.",
            settings={"budget.monthlyUSD": str(math.ceil(least.usd))},
        )
    elif most is not None and most < limit:
        yield Opportunity(
            topic=Topic.BUDGET,
            usd_per_month=0.0,
            message=f"All replicas that dedicated.scaling.maxReplicas allows cost {dollars(most)} in 31 days: {dollars(limit)} is never "
            "reached, so it warns of nothing.",
            settings={"budget.monthlyUSD": str(math.ceil(most))},
            basis=Basis.MEASURED,
        )


def _highest_bill(case: Case) -> float | None:
    """Return what a month can cost at most; None where tokens are rented, which nothing bounds."""
    return None if case.current.mode is not ServedBy.DEDICATED else highest_owned_usd(case)


def _basis(case: Case) -> Basis:
    """Return how sure a saving on rented tokens is: they were counted, and prices are prices."""
    return Basis.MEASURED if case.current.mode is ServedBy.HOSTED else Basis.ESTIMATED
