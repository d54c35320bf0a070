"""Whether a document is what the CRDs allow, told without an API server: its schema, and the rules that a plan depends on.

The API server evaluates the CEL rules themselves. Here the rules that decide about a plan are predicates of the same names, and the
messages are the rules' own; tests/unit/api holds them to the accept and reject files of tests/apiserver/cel.
"""

import difflib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from spillway.api.rules import RULES

_KINDS: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "number": (int, float),
}
_CALLED = {"object": "a mapping", "array": "a list", "string": "text", "integer": "a whole number", "boolean": "true or false"}
_SHOWN = 60  # characters of what was written that a message repeats


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One thing that is wrong, where, and what to do."""

    field: str
    message: str


def violations(value: object, schema: Mapping[str, Any], field: str = "") -> Iterator[Violation]:
    """Return what a structural schema has against a value, in the order of the document. Unknown fields count: they are typing errors."""
    if "x-kubernetes-int-or-string" in schema:
        if isinstance(value, bool) or not isinstance(value, int | str) or not re.fullmatch(schema.get("pattern", ".*"), str(value)):
            yield _wrong(field, value, "a quantity such as 4, 500m or 32Gi")
        return
    kind = schema.get("type", "object")
    if not isinstance(value, _KINDS[kind]) or (isinstance(value, bool) and kind != "boolean"):
        yield _wrong(field, value, _expected(kind, schema, value))
        return
    match value:
        case dict():
            yield from _of_mapping(value, schema, field)
        case list():
            yield from _of_list(value, schema, field)
        case str():
            yield from _of_text(value, schema, field)
        case int() | float():
            yield from _of_number(value, schema, field)


def broken_rules(kind: str, spec: Mapping[str, Any]) -> Iterator[Violation]:
    """Return the rules that a spec of a valid form breaks, of those that a plan depends on."""
    messages = {rule.name: rule.message for rule in RULES[kind]}
    for name, (where, check) in _CHECKS.items():
        if name in messages and not check(spec):
            yield Violation(field=where, message=messages[name])


def _of_mapping(value: dict[Any, Any], schema: Mapping[str, Any], field: str) -> Iterator[Violation]:
    if "properties" not in schema:
        each = schema.get("additionalProperties")
        for key, item in value.items():
            yield from violations(item, each, f"{field}.{key}") if each else ()
        return
    for name in schema.get("required", ()):
        if value.get(name) is None:
            yield Violation(field=_below(field, name), message=f"is missing; {schema['properties'][name].get('description', 'add it')}")
    for name, item in value.items():
        known = schema["properties"].get(name)
        if known is None:
            yield Violation(field=_below(field, str(name)), message=_unknown(str(name), schema["properties"]))
        elif item is not None:
            yield from violations(item, known, _below(field, name))


def _of_list(value: list[Any], schema: Mapping[str, Any], field: str) -> Iterator[Violation]:
    if len(value) < schema.get("minItems", 0):
        yield Violation(field=field, message=f"needs at least {schema['minItems']} entries")
    if len(value) > schema.get("maxItems", len(value)):
        yield Violation(field=field, message=f"has {len(value)} entries, at most {schema['maxItems']} are allowed")
    for index, item in enumerate(value):
        yield from violations(item, schema["items"], f"{field}[{index}]")
    keys = schema.get("x-kubernetes-list-map-keys")
    if keys:
        seen = [tuple(str(item.get(key)) for key in keys) for item in value if isinstance(item, dict)]
        for twice in sorted({each for each in seen if seen.count(each) > 1}):
            yield Violation(field=field, message=f"has {twice[0]!r} twice; name each once")


def _of_text(value: str, schema: Mapping[str, Any], field: str) -> Iterator[Violation]:
    if "enum" in schema and value not in schema["enum"]:
        yield _wrong(field, value, "one of " + ", ".join(schema["enum"]))
        return
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        yield Violation(field=field, message=f"must have {schema.get('minLength', 0)} to {schema.get('maxLength', 'any')} characters")
    elif "pattern" in schema and not re.search(_python(schema["pattern"]), value):
        yield _wrong(
            field, value, 'a decimal number from 0, as text, such as "0.59"' if _is_decimal(schema) else f"text like {schema['pattern']}"
        )
    elif schema.get("format") == "date" and not _is_date(value):
        yield _wrong(field, value, 'a date such as "2026-07-20"')


def _of_number(value: float, schema: Mapping[str, Any], field: str) -> Iterator[Violation]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if (low is not None and value < low) or (high is not None and value > high):
        yield _wrong(field, value, f"from {low} to {high}" if high is not None else f"at least {low}")


def _wrong(field: str, value: object, expected: str) -> Violation:
    text = repr(value)
    shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    return Violation(field=field, message=f"is {shown}; write {expected}")


def _expected(kind: str, schema: Mapping[str, Any], value: object) -> str:
    if kind == "string" and isinstance(value, int | float) and not isinstance(value, bool):
        return f'it in quotes, as text: "{value}"'
    if kind == "integer" and isinstance(value, str):
        return f"{_CALLED[kind]}, without quotes or a unit"
    if "enum" in schema:
        return "one of " + ", ".join(schema["enum"])
    return _CALLED.get(kind, kind)


def _unknown(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"is not a field; did you mean {near[0]}?" if near else f"is not a field; there are {', '.join(sorted(known))}"


def _below(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name


def _is_decimal(schema: Mapping[str, Any]) -> bool:
    return str(schema["pattern"]).startswith("^[0-9]{1,12}")


def _python(pattern: str) -> str:
    """Return a pattern as Python reads it: its `$` would pass a line break at the end."""
    return pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern


def _is_date(value: str) -> bool:
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


def _get(spec: Mapping[str, Any], path: str, default: Any = None) -> Any:
    found: Any = spec
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
        if found is None:
            return default
    return found


def _ordered(low: str, high: str) -> Callable[[Mapping[str, Any]], bool]:
    def check(spec: Mapping[str, Any]) -> bool:
        first, second = _get(spec, low), _get(spec, high)
        return first is None or second is None or float(first) <= float(second)

    return check


def _backends(spec: Mapping[str, Any]) -> bool:
    return bool(_get(spec, "hosted.backends"))


def _mode(spec: Mapping[str, Any]) -> Any:
    return _get(spec, "placement.mode")


def _cluster_only(spec: Mapping[str, Any]) -> bool:
    return bool(_get(spec, "placement.dataResidency") == "ClusterOnly")


def _heads_divide(spec: Mapping[str, Any]) -> bool:
    shape = _get(spec, "model.architecture")
    return shape is None or shape["attentionHeads"] % shape["keyValueHeads"] == 0


def _offline_without_pace(spec: Mapping[str, Any]) -> bool:
    offline = _get(spec, "traffic.latency") == "Offline"
    return not offline or not any(_get(spec, f"slo.{name}") for name in ("timeToFirstTokenMs", "interTokenLatencyMs"))


def _each(path: str, low: str, high: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda spec: all(_ordered(low, high)(item) for item in _get(spec, path, ()))


_CHECKS: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], bool]]] = {
    "hosted-without-backend": ("spec.hosted", lambda spec: _mode(spec) in {"Dedicated", "Auto"} or _backends(spec)),
    "dedicated-missing": ("spec.dedicated", lambda spec: _mode(spec) in {"Hosted", "Auto"} or _get(spec, "dedicated") is not None),
    "auto-without-choice": ("spec", lambda spec: _mode(spec) != "Auto" or _get(spec, "dedicated") is not None or _backends(spec)),
    "offline-latency": ("spec.traffic.latency", _offline_without_pace),
    "cluster-only-backend": (
        "spec.hosted",
        lambda spec: not _cluster_only(spec) or _mode(spec) not in {"Dedicated", "Auto"} or not _backends(spec),
    ),
    "cluster-only-mode": ("spec.placement.mode", lambda spec: not _cluster_only(spec) or _mode(spec) in {"Dedicated", "Auto"}),
    "architecture-heads": ("spec.model.architecture.keyValueHeads", _heads_divide),
    "architecture-active": (
        "spec.model.architecture.activeParameters",
        _ordered("model.architecture.activeParameters", "model.architecture.parameters"),
    ),
    "architecture-window": (
        "spec.model.architecture",
        lambda spec: (
            (_get(spec, "model.architecture.slidingWindowLayers") is None) == (_get(spec, "model.architecture.slidingWindowTokens") is None)
        ),
    ),
    "architecture-layers": (
        "spec.model.architecture.layers",
        lambda spec: all(
            _ordered(f"model.architecture.{name}", "model.architecture.layers")(spec) for name in ("attentionLayers", "slidingWindowLayers")
        ),
    ),
    "slo-without-target": (
        "spec.slo",
        lambda spec: (
            "slo" not in spec or any(_get(spec, f"slo.{name}") for name in ("timeToFirstTokenMs", "interTokenLatencyMs", "endToEndMs"))
        ),
    ),
    "slo-order": ("spec.slo.endToEndMs", _ordered("slo.timeToFirstTokenMs", "slo.endToEndMs")),
    "traffic-rate-twice": (
        "spec.traffic",
        lambda spec: _get(spec, "traffic.requestsPerSecond") is None or _get(spec, "traffic.requestsPerMonth") is None,
    ),
    "traffic-peak": ("spec.traffic.requestsPerSecond.peak", _ordered("traffic.requestsPerSecond.mean", "traffic.requestsPerSecond.peak")),
    "tokens-p95": (
        "spec.traffic",
        lambda spec: all(_ordered(f"traffic.{name}.mean", f"traffic.{name}.p95")(spec) for name in ("inputTokens", "outputTokens")),
    ),
    "scaling-bounds": (
        "spec.dedicated.scaling.maxReplicas",
        lambda spec: _get(spec, "dedicated.scaling.minReplicas", 1) <= _get(spec, "dedicated.scaling.maxReplicas", 1),
    ),
    "budget-positive": ("spec.budget.monthlyUSD", lambda spec: float(_get(spec, "budget.monthlyUSD", 1)) > 0),
    "budget-stop-without-hosted": (
        "spec.budget.whenExceeded",
        lambda spec: _get(spec, "budget.whenExceeded") != "StopSpilling" or _mode(spec) != "Dedicated",
    ),
    "overflow-positive": ("spec.hosted.overflow.maxUSDPerDay", lambda spec: float(_get(spec, "hosted.overflow.maxUSDPerDay", 1)) > 0),
    "overflow-share-without-replicas": (
        "spec.hosted.overflow.maxSharePercent",
        lambda spec: (
            _get(spec, "hosted.overflow.maxSharePercent") is None or (_mode(spec) != "Hosted" and _get(spec, "dedicated") is not None)
        ),
    ),
    "overflow-wait-without-replicas": (
        "spec.hosted.overflow.whenExceeded",
        lambda spec: (
            _get(spec, "hosted.overflow.whenExceeded") != "Wait" or (_mode(spec) != "Hosted" and _get(spec, "dedicated") is not None)
        ),
    ),
    "max-wait-without-both": (
        "spec.hosted.overflow.maxWaitMs",
        lambda spec: (
            not _get(spec, "hosted.overflow.maxWaitMs", 0)
            or (_mode(spec) in {"Hybrid", "Auto"} and _get(spec, "dedicated") is not None and _backends(spec))
        ),
    ),
    "max-wait-within-target": (
        "spec.hosted.overflow.maxWaitMs",
        lambda spec: (
            not _get(spec, "hosted.overflow.maxWaitMs", 0)
            or _get(spec, "hosted.overflow.maxWaitMs") < _get(spec, "slo.timeToFirstTokenMs", math.inf)
        ),
    ),
    "long-prompts-without-both": (
        "spec.hosted.overflow.longPrompts",
        lambda spec: (
            _get(spec, "hosted.overflow.longPrompts") != "Spill"
            or (_mode(spec) in {"Hybrid", "Auto"} and _get(spec, "dedicated") is not None and _backends(spec))
        ),
    ),
    "long-prompts-without-limit": (
        "spec.hosted.overflow.longPrompts",
        lambda spec: (
            _get(spec, "hosted.overflow.longPrompts") != "Spill"
            or _get(spec, "hosted.overflow.longPromptTokens") is not None
            or _get(spec, "slo.timeToFirstTokenMs") is not None
        ),
    ),
    "long-prompt-tokens-without-spill": (
        "spec.hosted.overflow.longPromptTokens",
        lambda spec: _get(spec, "hosted.overflow.longPromptTokens") is None or _get(spec, "hosted.overflow.longPrompts") == "Spill",
    ),
    "cached-input-price": (
        "spec.models[].cachedInputUSDPerMillionTokens",
        _each("models", "cachedInputUSDPerMillionTokens", "inputUSDPerMillionTokens"),
    ),
    "reserved-price": ("spec.price.reservedUSDPerHour", _ordered("price.reservedUSDPerHour", "price.onDemandUSDPerHour")),
    "spot-price": ("spec.price.spotUSDPerHour", _ordered("price.spotUSDPerHour", "price.onDemandUSDPerHour")),
}
"""Rule → the field to change, and what must hold."""
