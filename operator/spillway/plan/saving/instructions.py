"""Fields to set, as they can be followed: values as YAML, and with each field what has to change for it.

A spec with the fields set must be one that the API server takes (api/rules.py), and that the engine starts with.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from spillway.api.dedicated import CacheAccessMode
from spillway.api.hosted import LimitAction, LongPrompts, Overflow
from spillway.api.routing import Routing
from spillway.api.workload import InferenceWorkloadSpec, PlacementMode
from spillway.plan.comparing.offers import Offer

REMOVED = "null"  # of a field that goes: Kubernetes takes it for absent

_DECIMAL = {"budget.monthlyUSD", "traffic.requestsPerSecond.mean"}  # text to the API, which YAML reads as numbers without quotes
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./+@=:-]*(?<!:)|--[A-Za-z0-9_./+@=:-]+(?<!:)")
_NO_TEXT = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}  # what YAML 1.1 takes for something else


def as_value(text: str) -> str:
    """Return text as YAML has it within brackets: in quotes where it would be read as a number, a sign or something else."""
    return text if _PLAIN.fullmatch(text) and text.lower() not in _NO_TEXT else json.dumps(text, ensure_ascii=False)


def as_list(*texts: str) -> str:
    """Return texts as a YAML list."""
    return f"[{', '.join(as_value(each) for each in texts)}]"


def as_backends(*backends: tuple[str, str]) -> str:
    """Return hosted backends, each a provider and its model, as a YAML list."""
    each = (f"{{providerRef: {{name: {as_value(provider)}}}, model: {as_value(model)}}}" for provider, model in backends)
    return f"[{', '.join(each)}]"


def backend_of(offer: Offer) -> str:
    """Return an offer as the one backend."""
    return as_backends((offer.provider_name, offer.listing.name))


def complete(spec: InferenceWorkloadSpec, settings: Mapping[str, str]) -> dict[str, str]:
    """Return the settings with what has to change with them in this spec."""
    if not settings:
        return {}
    more = (*_with_mode(spec, settings), *_with_replicas(spec, settings), *_with_model(spec, settings), *_with_traffic(spec, settings))
    written = {field: json.dumps(value) if field in _DECIMAL else value for field, value in settings.items()}
    return written | {field: value for field, value in more if field not in settings}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sides:
    """What there is on either side once the fields are set."""

    mode: PlacementMode
    owns: bool
    backends: bool

    @property
    def both(self) -> bool:
        """Whether requests may go to either."""
        return self.owns and self.backends and self.mode in {PlacementMode.HYBRID, PlacementMode.AUTO}

    @property
    def alone(self) -> bool:
        """Whether own replicas are all there is."""
        return self.owns and (self.mode is PlacementMode.DEDICATED or (self.mode is PlacementMode.AUTO and not self.backends))


def _with_mode(spec: InferenceWorkloadSpec, settings: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    sides = _Sides(
        mode=PlacementMode(settings.get("placement.mode", spec.placement.mode)),
        owns=spec.dedicated is not None or any(field.startswith("dedicated.") for field in settings),
        backends="hosted.backends" in settings or bool(spec.hosted and spec.hosted.backends),
    )
    overflow, gateway, budget = spec.overflow, spec.gateway, spec.budget
    waits = overflow is not None and overflow.when_exceeded is LimitAction.WAIT
    if gateway.hold is not None and not (sides.alone or (sides.both and waits)):
        yield "gateway.hold", REMOVED
    if sides.mode is PlacementMode.DEDICATED and gateway.hold is None and spec.dedicated and not spec.dedicated.scaling.min_replicas:
        yield "dedicated.scaling.minReplicas", "1"
    if sides.mode is PlacementMode.DEDICATED and budget is not None and budget.when_exceeded == "StopSpilling":
        yield "budget.whenExceeded", "Report"
    if sides.mode is PlacementMode.HOSTED and gateway.routing is Routing.PREFIX_HASH:
        yield "gateway.routing", Routing.LEAST_LOAD.value
        if gateway.prefix_bytes is not None:
            yield "gateway.prefixBytes", REMOVED
    if overflow is not None:
        yield from _with_overflow(overflow, sides)


def _with_overflow(overflow: Overflow, sides: _Sides) -> Iterator[tuple[str, str]]:
    if overflow.max_wait_ms and not sides.both:
        yield "hosted.overflow.maxWaitMs", REMOVED
    if overflow.long_prompts is LongPrompts.SPILL and not sides.both:
        yield "hosted.overflow.longPrompts", LongPrompts.KEEP.value
        if overflow.long_prompt_tokens is not None:
            yield "hosted.overflow.longPromptTokens", REMOVED
    if overflow.max_share_percent is not None and sides.mode is PlacementMode.HOSTED:
        yield "hosted.overflow.maxSharePercent", REMOVED
    if overflow.when_exceeded is LimitAction.WAIT and sides.mode is PlacementMode.HOSTED:
        yield "hosted.overflow.whenExceeded", LimitAction.REFUSE.value


def _with_replicas(spec: InferenceWorkloadSpec, settings: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    cache = spec.own.model_cache
    if (
        cache is not None
        and cache.access_mode is CacheAccessMode.READ_WRITE_ONCE
        and settings.get("dedicated.scaling.maxReplicas", "1") != "1"
    ):
        yield "dedicated.modelCache.accessMode", CacheAccessMode.READ_WRITE_MANY.value


def _with_model(spec: InferenceWorkloadSpec, settings: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Take away what was said of the model before: its shape, its storage, its repository."""
    if "model.id" not in settings:
        return
    model, hub = spec.model, spec.model.source.hugging_face if spec.model.source else None
    stated = {
        "model.architecture": model.architecture,
        "model.quantization": model.quantization,
        "model.source.huggingFace.repo": hub.repo if hub else None,
        "model.source.huggingFace.revision": hub.revision if hub else None,
    }
    yield from ((field, REMOVED) for field, value in stated.items() if value is not None)


def _with_traffic(spec: InferenceWorkloadSpec, settings: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    traffic = spec.traffic
    mean, prompt = settings.get("traffic.requestsPerSecond.mean"), settings.get("traffic.inputTokens.mean")
    if traffic is None:
        return
    if mean is not None and traffic.requests_per_month is not None:
        yield "traffic.requestsPerMonth", REMOVED
    peak = traffic.requests_per_second.peak if traffic.requests_per_second else None
    if mean is not None and peak is not None and float(peak) < float(mean):
        yield "traffic.requestsPerSecond.peak", REMOVED
    p95 = traffic.input_tokens.p95 if traffic.input_tokens else None
    if prompt is not None and p95 is not None and p95 < int(prompt):
        yield "traffic.inputTokens.p95", REMOVED
