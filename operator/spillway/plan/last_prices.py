"""The prices that money is counted at: those that are listed, and of what is listed no more the last that were.

Who renames an accelerator class or a provider deletes the old one while its replicas and gateways still end their requests. Without a price
for these the month's cost would not be known until it is over, and a budget that stops what is spilled would leave nothing.
"""

from dataclasses import replace

from spillway.plan.capacity import usd_per_replica_hour
from spillway.plan.decision import Ledger
from spillway.plan.observation import Catalogue, Observation, ReplicaPod


def price_of(label: str, catalogue: Catalogue) -> tuple[float, float] | None:
    """Return USD per million prompt and answer tokens of a backend label; None when no price is listed for it."""
    provider_name, _, model_name = label.partition("/")
    provider = catalogue.providers.get(provider_name)
    model = next((each for each in provider.models if each.name == model_name), None) if provider else None
    if model is None:
        return None
    return float(model.input_usd_per_million_tokens), float(model.output_usd_per_million_tokens)


def with_last_prices(ledger: Ledger, seen: Observation) -> Ledger:
    """Return the ledger with the prices of what it counts, as listed now; of what is listed no more, as they were."""
    classes = {pod.accelerator_class for pod in seen.replicas if pod.accelerator_class is not None}
    hours = {name: _accelerator_price(name, seen.catalogue, ledger) for name in sorted(classes)}
    labels = {key.partition("|")[2] for key in ledger.counters}
    tokens = {label: token_price(label, seen.catalogue, ledger) for label in sorted(labels)}
    return replace(
        ledger,
        last_usd_per_accelerator_hour={name: usd for name, usd in hours.items() if usd is not None},
        last_usd_per_million_tokens={label: usd for label, usd in tokens.items() if usd is not None},
    )


def _accelerator_price(name: str, catalogue: Catalogue, ledger: Ledger) -> float | None:
    accelerator = catalogue.accelerator_classes.get(name)
    if accelerator is None:
        return ledger.last_usd_per_accelerator_hour.get(name)
    return usd_per_replica_hour(accelerator.price, tensor_parallel_size=1, per_node=accelerator.per_node)


def replica_usd_per_hour(pod: ReplicaPod, catalogue: Catalogue, ledger: Ledger) -> float | None:
    """Return USD per hour of one replica; None when its class has no price, or never had one here."""
    each = _accelerator_price(pod.accelerator_class or "", catalogue, ledger)
    return None if each is None else each * pod.tensor_parallel_size


def token_price(label: str, catalogue: Catalogue, ledger: Ledger) -> tuple[float, float] | None:
    """Return USD per million prompt and answer tokens of a backend label; None when no price was ever listed for it here."""
    return price_of(label, catalogue) or ledger.last_usd_per_million_tokens.get(label)
