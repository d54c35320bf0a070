"""From a pydantic model to a structural schema, the form of JSON schema that Kubernetes accepts in a CRD.

`model_json_schema()` is not one: it refers to definitions, says `anyOf: [X, null]` for an optional field, and knows nothing
of CEL rules. Anything this translation does not know is an error here rather than a surprise at the API server.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from spillway.api.base import ApiModel
from spillway.api.rule import Rule

Schema = dict[str, Any]

_KEPT = frozenset(
    {
        "type", "description", "default", "enum", "format", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems",
        "maxItems", "maxProperties", "anyOf", "required",
    }
)  # fmt: skip
_NOTHING: tuple[Any, ...] = (None, [], {})
_FIRST = ("description", "type", "format")
_LAST = ("required", "properties", "items", "x-kubernetes-validations")
_DROPPED = frozenset({"title", "$defs", "properties", "items", "additionalProperties", "const", "$ref"})  # handled by name, or of no use


def structural(model: type[ApiModel], rules: Iterable[Rule]) -> Schema:
    """Return the structural schema of a model, with its rules as `x-kubernetes-validations` where they apply."""
    whole = model.model_json_schema(by_alias=True, mode="validation")
    return _in_order(_Translation(whole.get("$defs", {}), tuple(rules)).object(whole, model.__name__))


class _Translation:
    def __init__(self, definitions: Mapping[str, Schema], rules: tuple[Rule, ...]) -> None:
        self._definitions = definitions
        self._rules = rules

    def object(self, source: Schema, name: str) -> Schema:
        """Translate the schema of a whole model, which is where rules hang."""
        out = self._plain(source)
        out["properties"] = {field: self._field(name, field, schema) for field, schema in source["properties"].items()}
        rules = [rule.as_validation() for rule in self._rules if rule.model == name and rule.field is None]
        if rules:
            out["x-kubernetes-validations"] = rules
        return out

    def _field(self, model: str, field: str, source: Schema) -> Schema:
        out = self._value(source)
        if not out.get("description"):
            raise ValueError(f"{model}.{field} has no description; `kubectl explain` needs one")
        for rule in self._rules:
            if rule.model == model and rule.field == field:
                target = out["items"] if rule.each_item else out
                target.setdefault("x-kubernetes-validations", []).append(rule.as_validation())
        return out

    def _value(self, source: Schema) -> Schema:
        source = _without_null(source)
        if "$ref" in source:
            name = source["$ref"].rpartition("/")[2]
            definition = self._definitions[name]
            inlined = self.object(definition, name) if "properties" in definition else self._value(definition)
            return inlined | self._plain({key: value for key, value in source.items() if key != "$ref"})
        out = self._plain(source)
        if "const" in source:
            out["enum"] = [source["const"]]
        if "properties" in source:
            raise ValueError(f"an object that is no model: {source}")
        if "items" in source:
            out["items"] = self._value(source["items"])
        if isinstance(source.get("additionalProperties"), dict):
            out["additionalProperties"] = self._value(source["additionalProperties"])
        return out

    def _plain(self, source: Schema) -> Schema:
        unknown = [key for key in source if key not in _KEPT | _DROPPED and not key.startswith("x-kubernetes-")]
        if unknown:
            raise ValueError(f"no structural form is known for {unknown} in {source}")
        out = {key: value for key, value in source.items() if key not in _DROPPED}
        if "default" in out:
            out["default"] = _default(out["default"])
        if out.get("default") in _NOTHING:
            out.pop("default", None)
        if "description" in out:
            out["description"] = " ".join(out["description"].split())
        return out


def _without_null(source: Schema) -> Schema:
    """Turn `anyOf: [X, null]` into X: an absent field is Kubernetes' way to say null."""
    if "x-kubernetes-int-or-string" in source or "anyOf" not in source:
        return source
    kinds = [kind for kind in source["anyOf"] if kind != {"type": "null"}]
    if len(kinds) != 1:
        raise ValueError(f"a union has no structural form: {source}")
    only: Schema = kinds[0]
    return only | {key: value for key, value in source.items() if key != "anyOf"}


def _in_order(node: Schema) -> Schema:
    """Put what a reader looks for first at the top, and leave properties in the models' order."""
    first = {key: node[key] for key in _FIRST if isinstance(node.get(key), str)}
    last = {key: node[key] for key in _LAST if isinstance(node.get(key), dict | list)}
    middle = {key: value for key, value in node.items() if key not in first and key not in last}
    return {key: _in_order(value) if isinstance(value, dict) else value for key, value in (first | middle | last).items()}


def _default(value: Any) -> Any:
    """Return a default as it is stored: what is empty or null in it is left out, as an absent field means the same."""
    if isinstance(value, dict):
        return {key: _default(each) for key, each in value.items() if each not in _NOTHING}
    return value
