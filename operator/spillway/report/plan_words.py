"""A plan in sentences: why, what it rests on, what to check, what to relax."""

from collections.abc import Iterable, Iterator
from datetime import date

from spillway.api.traffic import LatencyNeed, TrafficPattern
from spillway.plan.comparing.choice import Engineering, Plan
from spillway.plan.comparing.offers import Offer
from spillway.plan.comparing.options import Option, ServedBy
from spillway.plan.decision import Problem
from spillway.plan.model.models import resolve_model
from spillway.plan.money.economics import Pricing
from spillway.plan.replica.sizing import own_context_misfit, too_long_requests
from spillway.plan.rounding import dollars, figure

OLD_PRICE_DAYS = 90


def amount(number: float) -> str:
    """Return a large number in three digits: 10.9M."""
    number = float(f"{number:.3g}")  # first, lest what rounds up to the next unit is told in this one
    for bound, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= bound:
            return f"{number / bound:.3g}{unit}"
    return f"{number:.3g}"


def named(option: Option) -> str:
    """Return what an option is called: "Hybrid on 2 x nvidia-h100-80gb"."""
    if option.size is not None and option.owns:
        paid = {Pricing.RESERVED: ", reserved", Pricing.SPOT: ", spot"}.get(option.pricing or Pricing.ON_DEMAND, "")
        return f"{option.mode} on {option.size.tensor_parallel_size} x {option.size.accelerator_class}{paid}"
    return f"{option.mode} at {option.offer.label}" if option.offer else str(option.mode)


def why(plan: Plan) -> str:
    """Return why the recommended option is recommended."""
    chosen = plan.recommended
    if chosen is None:
        return "Nothing is possible."
    return " ".join(_why(plan, chosen))


def _why(plan: Plan, chosen: Option) -> Iterator[str]:
    rented, owned = _best(plan, ServedBy.HOSTED), _best(plan, ServedBy.DEDICATED, ServedBy.HYBRID)
    cost = chosen.cost
    used = f"{cost.utilization * 100:.0f} %" if cost and cost.utilization is not None else "none"
    match chosen.mode:
        case ServedBy.BATCH:
            yield "Answers may take hours, so they can wait for the batch price" + (
                f"; at the usual price they would cost {dollars(rented.usd or 0)}." if rented else "."
            )
        case ServedBy.HOSTED:
            yield plan.verdict.message
        case ServedBy.DEDICATED:
            yield f"Owned replicas are {used} used" + (f"; renting everything would cost {dollars(rented.usd or 0)}." if rented else ".")
            if plan.verdict.economic is None:
                yield plan.verdict.message
        case ServedBy.HYBRID if cost is not None:
            yield f"Own the base, rent the peaks: owned replicas are {used} used and {_spilled(plan, chosen)} of the requests are rented."
            yield from (f"Renting everything would cost {dollars(rented.usd or 0)}." for _ in [0] if rented)
    if not chosen.owns and owned is not None:
        yield f"The cheapest way to own, {named(owned)}, would cost {dollars(owned.usd or 0)}."
    if plan.recommended is not plan.cheapest and plan.cheapest is not None and plan.cheapest.usd is not None:
        yield (f"{named(plan.cheapest)} would cost {dollars(plan.cheapest.usd)}: the same within the estimate's error, so what runs stays.")


def _spilled(plan: Plan, option: Option) -> str:
    if option.cost is None or option.size is None or not plan.load.mean_per_s:
        return "none"
    kept = plan.load.served_per_s(option.cost.replicas_peak * option.size.requests_per_s)
    return f"{(1 - kept / plan.load.mean_per_s) * 100:.1f} %"


def _best(plan: Plan, *modes: ServedBy) -> Option | None:
    able = [option for option in plan.options if option.mode in modes and option.affordable_aside and not is_pointless(option)]
    return min(able, key=lambda option: option.usd or 0.0, default=None)


def is_pointless(option: Option) -> bool:
    """Whether an option owns a replica that costs more than renting all it can do: without it everything would be cheaper."""
    return option.usd is None or (option.mode is ServedBy.HYBRID and option.kappa is not None and option.kappa < 1)


def near_ties(plan: Plan) -> list[str]:
    """Return what costs the same within the error."""
    cheapest = plan.cheapest
    if cheapest is None or cheapest.usd is None:
        return []
    return [
        f"{named(option)} costs {dollars(option.usd)}: {_difference(option, cheapest)}."
        for option in plan.near
        if option.usd is not None
        and option is not plan.recommended
        and not _same_replicas(option, plan.recommended)
        and not is_pointless(option)
    ]


def _same_replicas(option: Option, other: Option | None) -> bool:
    """Whether two options own the same at the same cost: a hybrid that rents nothing is no alternative to owning all."""
    return other is not None and option.size is other.size and option.size is not None and option.usd == other.usd


def _difference(option: Option, cheapest: Option) -> str:
    more = (option.usd or 0.0) - (cheapest.usd or 0.0)
    if more < 0.005:  # noqa: PLR2004  half a cent
        return "the same"
    error = max(each.size.error_percent for each in (option, cheapest) if each.size is not None and each.owns)
    return f"{dollars(more)} more, less than the estimate's error of ±{error} %"


def describe(option: Option) -> str:
    """Return what is in an option's way, or that nothing is."""
    return " ".join(_sentence(obstacle.message) for obstacle in option.obstacles) if option.obstacles else "Possible."


def _sentence(text: str) -> str:
    """Return a message with a capital and a full stop; the name of a field keeps its small letter."""
    first = text.split(" ", 1)[0]
    return (text if "." in first else f"{text[:1].upper()}{text[1:]}") + ("" if text.endswith(".") else ".")


def assumptions(plan: Plan) -> list[str]:
    """Return what the figures rest on."""
    return [*_of_traffic(plan), *_of_costs(plan), *_of_sizes(plan), *_of_offers(plan), *_sources(plan)]


def _of_traffic(plan: Plan) -> Iterator[str]:
    spec, load, lengths = plan.question.spec, plan.load, plan.question.lengths
    latency = spec.traffic.latency if spec.traffic else LatencyNeed.INTERACTIVE
    mean = f"{figure(load.mean_per_s)} requests/s"
    if latency is LatencyNeed.OFFLINE:
        yield f"{mean} all the time: Offline traffic waits, so there are no peaks to own for."
    elif load.peak_per_s > load.mean_per_s:
        yield (
            f"{mean} on average and {figure(load.peak_per_s)} in the busiest minute; between them the load follows the {load.pattern} "
            "curve of docs/economics.md."
        )
    else:
        yield f"{mean} all the time: no peak is stated (traffic.requestsPerSecond.peak), which flatters owning."
    stated = spec.traffic is not None and spec.traffic.input_tokens is not None and spec.traffic.output_tokens is not None
    yield (
        f"{lengths.input_mean:.0f} tokens in (95 % have at most {lengths.input_p95:.0f}) and {lengths.output_mean:.0f} out per request"
        + ("." if stated else ", where traffic does not say otherwise.")
    )
    if plan.question.cached_share:
        yield f"{plan.question.cached_share * 100:.0f} % of the prompt tokens are billed as cached where a provider has a price for it."


def _of_costs(plan: Plan) -> Iterator[str]:
    if plan.load.pattern is TrafficPattern.BURSTY:
        yield "A month has 720 hours. Bursty traffic leaps faster than a replica starts, so all owned replicas run, and are paid, always."
    else:
        yield "A month has 720 hours. Idle replicas are paid; their number follows the load, from dedicated.scaling.minReplicas up."
    yield "Owning counts the machines' price only: no storage, network, or people."
    if committed := plan.question.spec.own.committed_replicas:
        yield f"{committed} replicas are paid for already (dedicated.committedReplicas) and cost nothing more."
    chosen = plan.recommended
    if chosen is not None and chosen.stranded_usd and chosen.stranded_usd >= 1:
        yield (
            f"A replica is charged its share of a node. The accelerators left over on its nodes, worth {dollars(chosen.stranded_usd)} a "
            "month, count as used by others."
        )


def _of_sizes(plan: Plan) -> Iterator[str]:
    known = resolve_model(plan.question.spec.model)
    if not isinstance(known, Problem):
        yield f"The model's shape is from {known.source}."
    chosen = plan.recommended if plan.recommended is not None and plan.recommended.size is not None else plan.break_even
    if chosen is not None and chosen.size is not None:
        size = chosen.size
        yield (
            f"One replica on {size.tensor_parallel_size} x {size.accelerator_class} carries {figure(size.requests_per_s)} requests/s: "
            f"{size.basis}, ±{size.error_percent} % (docs/sizing.md)."
        )


def _of_offers(plan: Plan) -> Iterator[str]:
    offers = plan.question.offers
    if offers.by_name and offers.found:
        yield "Hosted offers were matched by the model's name; check that they are the same weights."
    own = plan.question.spec.model.quantization
    for offer in offers.found:
        if offer.listing.quantization is not None and offer.listing.quantization is not own:
            yield f"{offer.label} serves {offer.listing.quantization} weights; yours are {own or 'as published'}."


def _sources(plan: Plan) -> Iterator[str]:
    """Return where the prices are from, of what is recommended and of the best to rent and to own."""
    found: dict[str, str] = {}
    for option in (plan.recommended, _best(plan, ServedBy.HOSTED), _best(plan, ServedBy.DEDICATED)):
        price = plan.question.classes[option.size.accelerator_class].price if option is not None and option.size is not None else None
        if option is not None and option.size is not None and price is not None:
            found[option.size.accelerator_class] = f"{price.source} ({price.as_of.isoformat()})"
        if option is not None and option.offer is not None and option.offer.prices is not None:
            found[option.offer.label] = f"{option.offer.prices.source} ({option.offer.prices.as_of.isoformat()})"
    if found:
        yield "Prices: " + "; ".join(f"{name}: {source}" for name, source in found.items()) + "."


def warnings(plan: Plan, today: date, remarks: Iterable[str] = ()) -> list[str]:
    """Return what to check before relying on the plan. `remarks` are of the input."""
    return [*remarks, *_of_context(plan), *_of_committed(plan), *_of_prices(plan, today), *_of_latency(plan)]


def _of_context(plan: Plan) -> Iterator[str]:
    """Say it of what is recommended to be owned, or else would be."""
    chosen = plan.recommended if plan.recommended is not None and plan.recommended.size is not None else plan.break_even
    spec = plan.question.spec
    known = resolve_model(spec.model)
    if chosen is None or chosen.size is None or isinstance(known, Problem):
        return
    engine, most = spec.own.engine, spec.model.max_context_tokens
    found = too_long_requests(known, plan.question.lengths, max_context_tokens=most)
    misfit = own_context_misfit(known, chosen.size, engine=engine, max_context_tokens=most)
    yield from (each for each in (found, misfit) if each is not None)


def _of_committed(plan: Plan) -> Iterator[str]:
    """Say it where nothing tells which class is paid for: replicas of every one then cost nothing."""
    own, classes = plan.question.spec.own, plan.question.classes
    if not own.committed_replicas:
        return
    counted = [name for name in own.accelerators or classes if name in classes]
    if len(counted) > 1:
        yield (
            f"dedicated.committedReplicas ({own.committed_replicas}) are taken to be paid for on each of {len(counted)} accelerator "
            "classes: name the one that they are of in dedicated.accelerators."
        )


def _of_prices(plan: Plan, today: date) -> Iterator[str]:
    dated: dict[str, date] = {}
    undated: list[str] = []
    for option in plan.options:
        if option.size is not None and option.usd is not None:
            price = plan.question.classes[option.size.accelerator_class].price
            if price is not None:
                dated[option.size.accelerator_class] = price.as_of
        if option.offer is not None:
            if option.offer.prices is None:
                undated.append(option.offer.label)
            else:
                dated[option.offer.label] = option.offer.prices.as_of
    old = {name: as_of for name, as_of in dated.items() if (today - as_of).days > OLD_PRICE_DAYS}
    if old:
        oldest = min(old.values())
        which, again = ("", "it") if len(old) == 1 else ("the oldest ", "them")
        yield (
            f"{_those(list(old), 'price')} older than {OLD_PRICE_DAYS} days, {which}of {oldest.isoformat()} "
            f"({(today - oldest).days} days): look {again} up again and set asOf."
        )
    if undated:
        yield f"{_those(list(dict.fromkeys(undated)), 'price')} without a date: set prices.asOf."


def _those(names: list[str], what: str) -> str:
    if len(names) > 3:  # noqa: PLR2004  a sentence holds three names
        return f"{len(names)} {what}s are"
    return f"The {what} of {names[0]} is" if len(names) == 1 else f"The {what}s of {' and '.join(names)} are"


def _of_latency(plan: Plan) -> Iterator[str]:
    chosen, slo = plan.recommended, plan.question.spec.slo
    if slo is None or chosen is None or chosen.offer is None or chosen.mode is ServedBy.BATCH:
        return
    if _states_too_little(
        chosen.offer, asks_pace=slo.inter_token_latency_ms is not None, asks_start=slo.time_to_first_token_ms is not None
    ):
        yield f"{chosen.offer.label} states no latency (timeToFirstTokenMs, interTokenLatencyMs), so it is not checked against slo."


def _states_too_little(offer: Offer, *, asks_pace: bool, asks_start: bool) -> bool:
    return (asks_start and offer.listing.time_to_first_token_ms is None) or (asks_pace and offer.listing.inter_token_latency_ms is None)


def engineering_remark(plan: Plan, people: Engineering) -> str:
    """Return what the cost of people changes: it counts for owning only."""
    chosen = plan.recommended
    if chosen is None or chosen.usd is None:
        return "Nothing is possible, so it changes nothing."
    costed = [(option.usd + (people.usd_per_month if option.owns else 0.0), option) for option in plan.feasible if option.usd is not None]
    best_usd, best = min(costed, key=lambda each: each[0])
    if best.mode is chosen.mode:
        return f"{best.mode} stays the cheapest with it, at {dollars(best_usd)} a month."
    if best.owns and chosen.owns:  # it adds to both alike, and did not part them
        return f"{chosen.mode} stays as it is with it, at {dollars(chosen.usd + people.usd_per_month)} a month."
    return f"With it, {named(best)} would be the cheapest at {dollars(best_usd)} a month."
