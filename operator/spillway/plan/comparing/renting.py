"""Ways to rent: every offer by the token, and by the batch where answers may take hours."""

from spillway.plan.comparing.offers import Offer, has_own_weights, is_offline, obstacles_of
from spillway.plan.comparing.options import Cause, Obstacle, Option, Question, ServedBy, over_budget
from spillway.plan.money.economics import hosted_cost, usd_per_million_tokens
from spillway.plan.traffic.load import Load


def hosted_options(question: Question, load: Load) -> tuple[Option, ...]:
    """Return one option for each offer, and at least one that says why there is none."""
    return _options(question, load, ServedBy.HOSTED, _barred(question), question.offers.found)


def batch_options(question: Question, load: Load) -> tuple[Option, ...]:
    """Return one option for each offer with a batch price, and at least one that says why there is none."""
    offers = tuple(offer for offer in question.offers.found if offer.batch is not None)
    return _options(question, load, ServedBy.BATCH, _barred(question) + _batch_barred(question), offers)


def overflow_offer(question: Question, hosted: tuple[Option, ...]) -> Offer | None:
    """Return where an overflow would go: the cheapest offer that may serve, or the first. A budget that all of it breaks bars none."""
    if question.offers.in_order:
        hosted = hosted[:1]
    able = [option.offer for option in hosted if option.mode is ServedBy.HOSTED and option.offer is not None and option.affordable_aside]
    return min(able, key=question.request_usd, default=None)


def cheapest_request_usd(question: Question, rented: tuple[Option, ...]) -> float | None:
    """Return what a request costs where it is cheapest to rent, in a batch where that may be; None where nothing can be rented."""
    prices = [
        question.request_usd(option.offer, batch=option.mode is ServedBy.BATCH)
        for option in rented
        if option.offer is not None and option.affordable_aside
    ]
    return min(prices, default=None)


def no_overflow(hosted: tuple[Option, ...]) -> tuple[Obstacle, ...]:
    """Return why nothing can be rented for the overflow."""
    return tuple(each for each in hosted[0].obstacles if each.cause is not Cause.BUDGET)


def _options(question: Question, load: Load, mode: ServedBy, barred: tuple[Obstacle, ...], offers: tuple[Offer, ...]) -> tuple[Option, ...]:
    if not offers:
        return (Option(mode=mode, obstacles=barred or (_no_batch_price(question),)),)
    return tuple(_option(question, load, mode, offer, barred) for offer in offers)


def _option(question: Question, load: Load, mode: ServedBy, offer: Offer, barred: tuple[Obstacle, ...]) -> Option:
    batch = mode is ServedBy.BATCH
    cost = hosted_cost(load, question.request_usd(offer, batch=batch))
    unmet = obstacles_of(offer, question.spec, question.lengths, batch=batch)
    return Option(
        mode=mode,
        obstacles=(
            *barred,
            *(Obstacle(cause=Cause.OFFER, message=f"{offer.label} {each}.") for each in unmet),
            *over_budget(question.spec, cost),
        ),
        offer=offer,
        cost=cost,
        usd_per_million_tokens=usd_per_million_tokens(cost.usd, load, question.lengths),
    )


def _barred(question: Question) -> tuple[Obstacle, ...]:
    if question.may_leave:
        return _nobody_serves(question)
    stays = Obstacle(cause=Cause.RESIDENCY, message="placement.dataResidency ClusterOnly keeps all requests in the cluster.")
    return (stays, *_nobody_serves(question))


def _nobody_serves(question: Question) -> tuple[Obstacle, ...]:
    if question.offers.found:
        return ()
    if has_own_weights(question.spec):
        message = "The weights are your own (model.source.persistentVolumeClaim); add a provider that serves them to hosted.backends."
        return (Obstacle(cause=Cause.OWN_WEIGHTS, message=message),)
    message = f"No HostedProvider lists {question.spec.model.id}; add one with -f, or price lists with --prices."
    return (Obstacle(cause=Cause.NO_OFFER, message=message),)


def _batch_barred(question: Question) -> tuple[Obstacle, ...]:
    if is_offline(question.spec):
        return ()
    return (Obstacle(cause=Cause.NOT_OFFLINE, message="A batch answers within hours, and traffic.latency is not Offline."),)


def _no_batch_price(question: Question) -> Obstacle:
    names = " and ".join(sorted({offer.provider_name for offer in question.offers.found}))
    return Obstacle(cause=Cause.NO_OFFER, message=f"No batch price is stated by {names} (HostedProvider batch.discountPercent).")
