"""What requests have shown of each hosted backend's key. The operator cannot read it, and a quiet minute is no news of it."""

from collections.abc import Mapping
from dataclasses import replace

from spillway.api.status import InferenceWorkloadStatus
from spillway.api.vocabulary import ConditionType, Reason
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.decision import Memory, Workload
from spillway.plan.observation import Missing, Observation
from spillway.plan.readings import number, value

KEY_TROUBLES = (Reason.HOSTED_CREDENTIAL_MISSING, Reason.HOSTED_CREDENTIAL_REJECTED)
_UNSEEN = Missing(reason=Reason.METRICS_MISSING)


def backend_labels(spec: InferenceWorkloadSpec) -> tuple[str, ...]:
    """Return the labels of all hosted backends that the spec names, in order of preference."""
    return tuple(f"{ref.provider_ref.name}/{ref.model}" for ref in (spec.hosted.backends if spec.hosted else []))


def remember_keys(memory: Memory, spec: InferenceWorkloadSpec, seen: Observation) -> Memory:
    """Return the memory with the latest news of each key: bad news stays until a request of that backend shows better."""
    found = {label: trouble for label in backend_labels(spec) if (trouble := _trouble(label, seen, memory.key_trouble.get(label)))}
    return memory if found == memory.key_trouble else replace(memory, key_trouble=found)


def restored_keys(workload: Workload, status: InferenceWorkloadStatus) -> Mapping[str, Reason]:
    """Return what a stored status tells of the keys: only that all of them were in trouble."""
    said = next((each for each in status.conditions if each.type == ConditionType.HOSTED_BACKEND_READY), None)
    if said is None or said.status != "False" or said.observed_generation != workload.generation or said.reason not in KEY_TROUBLES:
        return {}
    return dict.fromkeys(backend_labels(workload.spec), Reason(said.reason))


def _trouble(label: str, seen: Observation, before: Reason | None) -> Reason | None:
    provider = seen.catalogue.providers.get(label.partition("/")[0])
    keyless = provider is not None and provider.auth is None  # whatever gateways of before still tell of a key
    loaded = value(seen.signals.hosted_credential_loaded.get(label, _UNSEEN))
    if loaded is False and not keyless:
        return Reason.HOSTED_CREDENTIAL_MISSING
    if number(seen.signals.hosted_rejected_per_s.get(label, _UNSEEN)):
        return Reason.HOSTED_CREDENTIAL_REJECTED
    if loaded is True:
        return None
    if keyless and (before is Reason.HOSTED_CREDENTIAL_MISSING or number(seen.signals.spilled_per_s)):
        return None  # it is asked without a key, so nothing tells of one
    return before
