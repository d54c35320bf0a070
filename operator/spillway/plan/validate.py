"""What is wrong with a spec that only the cluster can tell. Every message says what, which, and what next."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from spillway.api.catalogue import AcceleratorClassSpec, HostedProviderSpec, ProviderModel
from spillway.api.vocabulary import Reason
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.decision import HostedBackend, Problem
from spillway.plan.model.models import known_model
from spillway.plan.money.economics import cached_input_usd_per_million
from spillway.plan.observation import Catalogue
from spillway.plan.replica.capacity import kv_capacity_tokens, least_kv_tokens
from spillway.plan.replica.memory import VOCABULARY_PADDING, memory, splits, splits_vocabulary
from spillway.plan.same import of_the_same

MOST_NAMED = 20


def name_conflicts(foreign_objects: tuple[str, ...]) -> tuple[Problem, ...]:
    """Return a problem when names that the workload's children need are taken by objects that are not ours."""
    if not foreign_objects:
        return ()
    taken = ", ".join(sorted(foreign_objects))
    return (
        Problem(
            reason=Reason.NAME_CONFLICT,
            message=f"{taken} exists and does not belong to this workload; delete or rename it, or rename the workload.",
        ),
    )


@of_the_same
def resolve_backends(spec: InferenceWorkloadSpec, catalogue: Catalogue) -> tuple[tuple[HostedBackend, ...], tuple[Problem, ...]]:
    """Return the hosted backends with their prices, in order of preference, and what keeps any from being resolved."""
    backends: list[HostedBackend] = []
    problems: list[Problem] = []
    for ref in spec.hosted.backends if spec.hosted else []:
        name = ref.provider_ref.name
        provider = catalogue.providers.get(name)
        if name in catalogue.unreadable_providers:
            message = unreadable(f"HostedProvider {name!r}", catalogue.unreadable_providers[name])
            problems.append(Problem(reason=Reason.UNKNOWN_PROVIDER, message=message))
            continue
        if provider is None:
            problems.append(
                Problem(
                    reason=Reason.UNKNOWN_PROVIDER,
                    message=f"HostedProvider {name!r} does not exist in this namespace; create it or correct "
                    "hosted.backends[].providerRef.",
                )
            )
            continue
        if not _is_reachable_url(provider.base_url):
            problems.append(
                Problem(
                    reason=Reason.INVALID_SPEC,
                    message=f"HostedProvider {name!r} has a baseURL without a host or with an invalid port ({provider.base_url}); "
                    "correct it, for example https://api.example.com/v1.",
                )
            )
            continue
        model = next((each for each in provider.models if each.name == ref.model), None)
        if model is None:
            listed = _some(sorted(each.name for each in provider.models))
            problems.append(
                Problem(
                    reason=Reason.UNKNOWN_PROVIDER_MODEL,
                    message=f"HostedProvider {name!r} does not list model {ref.model!r} (it lists {listed}); "
                    "add it to the provider's models[] with its price, or correct hosted.backends[].model.",
                )
            )
            continue
        backends.append(_backend(name, provider, model))
    return tuple(backends), tuple(problems)


def unreadable(what: str, why: str) -> str:
    """Return what is to be said of an object whose spec this version cannot read."""
    return f"{what} exists but cannot be read ({why}); correct it, or upgrade the operator if it is older than the CRD."


def _some(names: Sequence[str]) -> str:
    """Return names as a sentence holds them: a provider may list two hundred."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def listed_backend(label: str, catalogue: Catalogue) -> HostedBackend | None:
    """Return the hosted backend that is called so, with its prices; None where no provider lists it."""
    name, _, wanted = label.partition("/")
    provider = catalogue.providers.get(name)
    model = next((each for each in provider.models if each.name == wanted), None) if provider else None
    return None if provider is None or model is None else _backend(name, provider, model)


def _backend(name: str, provider: HostedProviderSpec, model: ProviderModel) -> HostedBackend:
    return HostedBackend(
        provider_name=name,
        provider=provider,
        model=model.name,
        input_usd_per_million=float(model.input_usd_per_million_tokens),
        cached_input_usd_per_million=cached_input_usd_per_million(model),
        output_usd_per_million=float(model.output_usd_per_million_tokens),
    )


def _is_reachable_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def misshapen(spec: InferenceWorkloadSpec) -> Problem | None:
    """Return why the model cannot be split over that many accelerators, whatever their kind."""
    known = known_model(spec.model)
    if known is None or spec.dedicated is None:
        return None
    architecture = known.architecture
    parallel = spec.dedicated.engine.tensor_parallel_size
    if architecture.attention_heads % parallel:
        return Problem(
            reason=Reason.TENSOR_PARALLEL_MISMATCH,
            message=f"dedicated.engine.tensorParallelSize {parallel} does not divide the model's {architecture.attention_heads} attention "
            "heads; choose one.",
        )
    if not splits_vocabulary(architecture, parallel):
        return Problem(
            reason=Reason.TENSOR_PARALLEL_MISMATCH,
            message=f"dedicated.engine.tensorParallelSize {parallel} does not divide the model's vocabulary of "
            f"{architecture.vocabulary_size} tokens, rounded up to a multiple of {VOCABULARY_PADDING}, which vLLM splits; choose a "
            "power of two.",
        )
    heads = architecture.key_value_heads
    if not splits(architecture, parallel):
        return Problem(
            reason=Reason.TENSOR_PARALLEL_MISMATCH,
            message=f"dedicated.engine.tensorParallelSize {parallel} neither divides the model's {heads} key-value heads nor is a multiple "
            "of them; choose one that does.",
        )
    return None


def misfit(spec: InferenceWorkloadSpec, name: str, accelerator: AcceleratorClassSpec) -> Problem | None:
    """Return why a replica cannot run on this accelerator class; None when it can, as far as is known."""
    if spec.dedicated is None:
        return None
    engine = spec.dedicated.engine
    parallel = engine.tensor_parallel_size
    if parallel > accelerator.per_node:
        return Problem(
            reason=Reason.INVALID_SPEC,
            message=f"dedicated.engine.tensorParallelSize {parallel} exceeds the {accelerator.per_node} accelerators per node of "
            f"AcceleratorClass {name!r}; a replica runs within one node, so choose a smaller size or another class.",
        )
    known, held = known_model(spec.model), kv_capacity_tokens(spec, accelerator)
    if known is None or held is None:
        return None
    least = least_kv_tokens(spec)
    if held >= least:
        return None
    found = memory(
        known.architecture, quantization=known.quantization, accelerator=accelerator, tensor_parallel_size=parallel, engine=engine
    )
    beside = found.activations_gib + found.graphs_gib
    return Problem(
        reason=Reason.MODEL_DOES_NOT_FIT,
        message=f"the model does not fit on {parallel} x AcceleratorClass {name!r}: on each, weights take {found.weights_gib:.1f} GiB and "
        f"activations and CUDA graphs {beside:.1f} GiB of {found.usable_gib:.1f} GiB usable, leaving room for {held} of the {least} "
        "tokens that one request may need; raise dedicated.engine.tensorParallelSize, quantize, lower model.maxContextTokens, or choose a "
        "class with more memory.",
    )
