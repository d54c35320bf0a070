"""Whether a hosted model answers what the owned one does: what its provider states of it against the workload's model and engine."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from spillway.api.catalogue import Capability, ProviderModel
from spillway.api.vocabulary import Reason
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.decision import HostedBackend
from spillway.plan.model.models import known_model

TOOLS_FLAG = "--enable-auto-tool-choice"  # vLLM answers tool calls only with it


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One way in which a hosted model falls short, or is another: a constant reason and a sentence."""

    reason: Reason
    message: str


def differences(spec: InferenceWorkloadSpec, backends: Iterable[HostedBackend]) -> tuple[Difference, ...]:
    """Return how hosted models differ from the owned one, backend by backend; what is not stated is no difference."""
    return tuple(each for backend in backends for each in _of_one(spec, backend))


def unstated(backends: Sequence[HostedBackend]) -> tuple[str, ...]:
    """Return what providers do not state, as "<provider>/<model>: field, field"."""
    found = []
    for backend in backends:
        model = listed_model(backend)
        stated = {"contextTokens": model.context_tokens, "quantization": model.quantization, "capabilities": model.capabilities}
        missing = [name for name, value in stated.items() if value is None]
        if missing:
            found.append(f"{backend.label}: {', '.join(missing)}")
    return tuple(found)


def listed_model(backend: HostedBackend) -> ProviderModel:
    """Return what the provider says of the backend's model."""
    return next(each for each in backend.provider.models if each.name == backend.model)


def own_context_tokens(spec: InferenceWorkloadSpec) -> int | None:
    """Return the longest prompt plus answer that own replicas serve; None where neither the spec nor the catalogue says."""
    known = known_model(spec.model)
    return spec.model.max_context_tokens or (known.context_tokens if known else None)


def has_shorter_context(spec: InferenceWorkloadSpec, backend: HostedBackend) -> bool:
    """Whether the hosted model is known to accept less than own replicas do."""
    hosted, own = listed_model(backend).context_tokens, own_context_tokens(spec)
    return hosted is not None and own is not None and hosted < own


def _of_one(spec: InferenceWorkloadSpec, backend: HostedBackend) -> list[Difference]:
    model, known = listed_model(backend), known_model(spec.model)
    found = []
    if has_shorter_context(spec, backend):
        own_context = own_context_tokens(spec)
        message = f"{backend.label} accepts {model.context_tokens} tokens and replicas {own_context}: longer requests cannot spill."
        found.append(Difference(reason=Reason.HOSTED_CONTEXT_SHORTER, message=message))
    own_storage = known.quantization if known else spec.model.quantization
    if spec.owns and model.quantization is not None and own_storage is not None and model.quantization is not own_storage:
        message = f"{backend.label} serves {model.quantization} weights and replicas {own_storage}: answers may differ."
        found.append(Difference(reason=Reason.HOSTED_QUANTIZATION_DIFFERS, message=message))
    lacking = _lacking(spec, model)
    if lacking:
        message = f"{backend.label} does not support {' and '.join(lacking)}, which replicas do: such requests cannot spill."
        found.append(Difference(reason=Reason.HOSTED_CAPABILITY_MISSING, message=message))
    return found


def _lacking(spec: InferenceWorkloadSpec, model: ProviderModel) -> list[str]:
    """Return what own replicas are known to answer and the hosted model is not listed to: structured output always, tools by a flag."""
    if model.capabilities is None or not spec.owns or spec.dedicated is None:
        return []
    own = [Capability.RESPONSE_FORMAT]
    if TOOLS_FLAG in spec.dedicated.engine.extra_args:
        own.append(Capability.TOOLS)
    return [each.value for each in own if each not in model.capabilities]
