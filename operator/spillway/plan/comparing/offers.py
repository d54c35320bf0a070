"""What could be rented for a model: the backends the spec names, else what providers list under the model's name."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from spillway.api.catalogue import HostedProviderSpec, PriceSource, ProviderBatch, ProviderModel
from spillway.api.traffic import LatencyNeed
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.decision import Problem
from spillway.plan.observation import Catalogue
from spillway.plan.traffic.lengths import Lengths
from spillway.plan.validate import resolve_backends

# Words that say how a model is packed or sold, not which model it is.
_PACKAGING = frozenset(
    {"meta", "instruct", "turbo", "instant", "versatile", "specdec", "chat", "it", "hf", "fp8", "bf16", "awq", "gptq", "v1"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One model of one provider."""

    provider_name: str
    listing: ProviderModel
    batch: ProviderBatch | None = None
    prices: PriceSource | None = None

    @property
    def label(self) -> str:
        """`<provider>/<model>`, as in metrics and x-served-by."""
        return f"{self.provider_name}/{self.listing.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """What can be rented, and how it was found."""

    found: tuple[Offer, ...]
    by_name: bool  # matched by the model's name rather than named by hosted.backends
    in_order: bool = False  # an overflow goes to the first of them, as in a cluster, and not to the cheapest


def find_offers(
    spec: InferenceWorkloadSpec, providers: Mapping[str, HostedProviderSpec], *, listed: Iterable[Offer] = ()
) -> Offers | Problem:
    """Return what the spec names, in its order; where it names nothing, every listing of the same model. Own weights match no listing.

    `listed` are further offers, from price lists.
    """
    alike = () if has_own_weights(spec) else tuple(each for each in listed if is_same_model(each.listing.name, spec.model.id))
    if spec.hosted is not None and spec.hosted.backends:
        backends, problems = resolve_backends(spec, Catalogue(providers=providers))
        if problems:
            return problems[0]
        named = [_offer(each.provider_name, each.provider, each.model) for each in backends]
        labels = {offer.label for offer in named}
        return Offers(found=(*named, *(offer for offer in alike if offer.label not in labels)), by_name=bool(alike))
    if has_own_weights(spec):
        return Offers(found=(), by_name=False)
    found = tuple(
        _offer(name, provider, model.name)
        for name, provider in sorted(providers.items())
        for model in provider.models
        if is_same_model(model.name, spec.model.id)
    )
    return Offers(found=(*found, *alike), by_name=True)


def is_same_model(one: str, other: str) -> bool:
    """Whether two names are of one model."""
    return canonical_name(one) == canonical_name(other)


def _offer(name: str, provider: HostedProviderSpec, model: str) -> Offer:
    listing = next(each for each in provider.models if each.name == model)
    return Offer(provider_name=name, listing=listing, batch=provider.batch, prices=provider.prices)


def has_own_weights(spec: InferenceWorkloadSpec) -> bool:
    """Whether the weights are one's own, which nobody else serves unless the spec names a backend that does."""
    return spec.model.source is not None and spec.model.source.persistent_volume_claim is not None


def canonical_name(model: str) -> str:
    """Return what identifies a model in the names that hubs and providers give it, such as "llama318b".

    "meta-llama/Llama-3.1-8B-Instruct", "llama-v3p1-8b-instruct" and "meta.llama3-1-8b-instruct-v1:0" are one model.
    """
    name = model.rpartition("/")[2].lower().partition(":")[0]
    name = re.sub(r"\bv(\d)p(\d)", r"\1.\2", name)
    words = [word for word in re.split(r"[-_.\s]+", name) if word and word not in _PACKAGING]
    return "".join(words)


def obstacles_of(offer: Offer, spec: InferenceWorkloadSpec, lengths: Lengths, *, batch: bool) -> tuple[str, ...]:
    """Return what keeps an offer from serving the workload within its promises, a sentence each. What a provider does not state passes."""
    found: list[str] = []
    needed = spec.model.max_context_tokens or int(lengths.input_mean + lengths.output_mean)
    if offer.listing.context_tokens is not None and offer.listing.context_tokens < needed:
        found.append(f"takes {offer.listing.context_tokens} tokens of context and {needed} are needed")
    slo = spec.slo
    if slo is None:
        return tuple(found)
    if batch:
        window = offer.batch.completion_window_hours if offer.batch else 0
        if slo.end_to_end_ms is not None and slo.end_to_end_ms < window * 3_600_000:
            found.append(f"answers within {window} h and slo.endToEndMs promises {slo.end_to_end_ms} ms")
        return tuple(found)
    for name, promised, stated in (
        ("timeToFirstTokenMs", slo.time_to_first_token_ms, offer.listing.time_to_first_token_ms),
        ("interTokenLatencyMs", slo.inter_token_latency_ms, offer.listing.inter_token_latency_ms),
        ("endToEndMs", slo.end_to_end_ms, end_to_end_ms(offer.listing, lengths)),
    ):
        if promised is not None and stated is not None and stated > promised:
            found.append(f"states {name} {stated:g}, above the {promised} that slo promises")
    return tuple(found)


def end_to_end_ms(listed: ProviderModel, lengths: Lengths) -> float | None:
    """Return the duration of a mean request at the figures a provider states; None where it states less than both."""
    if listed.time_to_first_token_ms is None or listed.inter_token_latency_ms is None:
        return None
    return listed.time_to_first_token_ms + max(0.0, lengths.output_mean - 1) * listed.inter_token_latency_ms


def is_offline(spec: InferenceWorkloadSpec) -> bool:
    """Whether answers may take hours."""
    return spec.traffic is not None and spec.traffic.latency is LatencyNeed.OFFLINE
