"""The field reference of docs/reference.md, made from the same schemas as the CRDs."""

from collections.abc import Iterator, Mapping

from spillway.api.crd import KINDS, Kind, schema
from spillway.api.engine_arguments import ARGUMENTS_WITH_A_FIELD, VARIABLES_WITH_A_FIELD
from spillway.api.schema import Schema
from spillway.api.vocabulary import API_VERSION

_HEAD = f"""<!-- Generated from operator/spillway/api by `make generate`; edit the models there. -->
# Fields of `{API_VERSION}`

Fields marked * are required. Money and rates are decimal strings ("0.59"), never floats. `kubectl explain iw.spec --recursive` shows
the same in a terminal.
"""


def reference() -> str:
    """Return the reference as Markdown: per kind a table of fields, and the rules the API server holds them to."""
    refused = _refused("extraArgs", "argument of `vllm serve`", ARGUMENTS_WITH_A_FIELD) + _refused(
        "env", "variable", VARIABLES_WITH_A_FIELD
    )
    return _HEAD + "".join(_kind(kind) for kind in KINDS) + f"\n## What dedicated.engine refuses\n{refused}"


def _refused(field: str, what: str, advice: Mapping[str, str]) -> str:
    rows = "".join(f"| `{name}` | {text} |\n" for name, text in advice.items())
    return f"\n### {field}\n\n| {what} | instead |\n|---|---|\n{rows}"


def _kind(kind: Kind) -> str:
    whole = schema(kind)
    scope = "namespaced" if kind.namespaced else "cluster-scoped"
    short = ", ".join(f"`{name}`" for name in kind.short_names)
    parts = [f"\n## {kind.kind}\n\n{kind.description} ({scope}; short name {short})\n"]
    for part in ("spec", "status"):
        if part in whole["properties"]:
            rows = "".join(_fields(whole["properties"][part], f"{part}."))
            parts.append(f"\n### {kind.kind} {part}\n\n| field | type | meaning |\n|---|---|---|\n{rows}")
    rules = "".join(f"| `{path or 'metadata.name'}` | {_cell(message)} |\n" for path, message in _rules(whole, ""))
    parts.append(
        f"\n### {kind.kind} rules\n\nWhat the API server refuses, and what it says then.\n\n| where | message |\n|---|---|\n{rules}"
    )
    return "".join(parts)


def _fields(owner: Schema, prefix: str) -> Iterator[str]:
    required = owner.get("required", [])
    for name, field in owner["properties"].items():
        star = "*" if name in required else ""
        yield f"| `{prefix}{name}`{star} | {_cell(_type(field))} | {_cell(field['description'] + _limits(field))} |\n"
        if "properties" in field:
            yield from _fields(field, f"{prefix}{name}.")
        elif "properties" in field.get("items", {}):
            yield from _fields(field["items"], f"{prefix}{name}[].")


def _type(field: Schema) -> str:
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if "x-kubernetes-int-or-string" in field:
        return "quantity"
    if field["type"] == "array":
        return f"list of {_type(field['items'])}"
    if "additionalProperties" in field:
        return f"map to {_type(field['additionalProperties'])}"
    return str(field.get("format", field["type"]))


def _limits(field: Schema) -> str:
    found = []
    if "minimum" in field and "maximum" in field:
        found.append(f"{field['minimum']} to {field['maximum']}")
    elif "minimum" in field:
        found.append(f"at least {field['minimum']}")
    if "maxItems" in field:
        found.append(f"at most {field['maxItems']}")
    if "default" in field and "properties" not in field:
        found.append("default empty" if field["default"] == "" else f"default {field['default']}")
    return f" ({'; '.join(found)})" if found else ""


def _rules(owner: Schema, path: str) -> Iterator[tuple[str, str]]:
    yield from ((path, rule["message"]) for rule in owner.get("x-kubernetes-validations", []))
    for name, field in owner.get("properties", {}).items():
        yield from _rules(field, f"{path}.{name}".lstrip("."))
    if "items" in owner:
        yield from _rules(owner["items"], f"{path}[]")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
