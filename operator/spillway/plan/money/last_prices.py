"""The prices that money is counted at: those that are listed, and of what is listed no more the last that were.

Who renames an accelerator class or a provider deletes the old one while its replicas and gateways still end their requests. Without a price
for these the month's cost would not be known until it is over, and a budget that stops what is spilled would leave nothing.
"""

from dataclasses import dataclass, replace

from spillway.plan.decision import Ledger
from spillway.plan.observation import Catalogue, Observation, ReplicaPod
from spillway.plan.replica.capacity import usd_per_replica_hour
from spillway.plan.validate import listed_backend


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrice:
    """USD per million tokens of a hosted backend."""

    prompt: float
    cached: float  # of a prompt, where it is found in the provider's cache
    answer: float

    def usd(self, *, prompt_tokens: float, cached_tokens: float, answer_tokens: float) -> float:
        """Return what these cost; the cached ones are part of the prompts'."""
        return ((prompt_tokens - cached_tokens) * self.prompt + cached_tokens * self.cached + answer_tokens * self.answer) / 1e6


def price_of(label: str, catalogue: Catalogue) -> TokenPrice | None:
    """Return the prices of a backend label; None when none is listed for it."""
    listed = listed_backend(label, catalogue)
    if listed is None:
        return None
    return TokenPrice(prompt=listed.input_usd_per_million, cached=listed.cached_input_usd_per_million, answer=listed.output_usd_per_million)


def accelerator_usd_per_hour(name: str, catalogue: Catalogue) -> float | None:
    """Return USD per hour of one accelerator of a class; None when the class is gone or has no price."""
    accelerator = catalogue.accelerator_classes.get(name)
    if accelerator is None:
        return None
    return usd_per_replica_hour(accelerator.price, tensor_parallel_size=1, per_node=accelerator.per_node)


def with_last_prices(ledger: Ledger, seen: Observation) -> Ledger:
    """Return the ledger with the prices of what it counts, as listed now; of what is listed no more, as they were."""
    classes = {pod.accelerator_class for pod in seen.replicas if pod.accelerator_class is not None}
    hours = {name: _accelerator_price(name, seen.catalogue, ledger) for name in sorted(classes)}
    labels = {key.partition("|")[2] for key in ledger.counters}
    tokens = {label: price for label in sorted(labels) if (price := token_price(label, seen.catalogue, ledger)) is not None}
    return replace(
        ledger,
        last_usd_per_accelerator_hour={name: usd for name, usd in hours.items() if usd is not None},
        last_usd_per_million_tokens={label: (price.prompt, price.answer) for label, price in tokens.items()},
        last_usd_per_million_cached_tokens={label: price.cached for label, price in tokens.items()},
    )


def _accelerator_price(name: str, catalogue: Catalogue, ledger: Ledger) -> float | None:
    listed = name in catalogue.accelerator_classes
    return accelerator_usd_per_hour(name, catalogue) if listed else ledger.last_usd_per_accelerator_hour.get(name)


def replica_usd_per_hour(pod: ReplicaPod, catalogue: Catalogue, ledger: Ledger) -> float | None:
    """Return USD per hour of one replica; None when its class has no price, or never had one here."""
    each = _accelerator_price(pod.accelerator_class or "", catalogue, ledger)
    return None if each is None else each * pod.tensor_parallel_size


def token_price(label: str, catalogue: Catalogue, ledger: Ledger) -> TokenPrice | None:
    """Return the prices of a backend label; None when none was ever listed for it here."""
    listed, last = price_of(label, catalogue), ledger.last_usd_per_million_tokens.get(label)
    if listed is not None or last is None:
        return listed
    prompt, answer = last
    return TokenPrice(prompt=prompt, cached=ledger.last_usd_per_million_cached_tokens.get(label, prompt), answer=answer)
