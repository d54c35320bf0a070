"""The schemas made from the models are structural, complete and agree with the models about defaults."""
# ruff: noqa: RUF012 - pydantic copies a default; ruff sees only that the base class is not its own

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from spillway.api.base import ApiModel
from spillway.api.catalogue import AcceleratorClassSpec, HostedProviderSpec
from spillway.api.crd import KINDS, crd, crds, schema
from spillway.api.dedicated import Scaling
from spillway.api.engine_arguments import ARGUMENTS_WITH_A_FIELD, VARIABLES_WITH_A_FIELD
from spillway.api.gateway import Gateway
from spillway.api.model import Quantization
from spillway.api.reference import reference
from spillway.api.rule import Rule
from spillway.api.rules import RULES
from spillway.api.schema import structural
from spillway.api.status import InferenceWorkloadStatus
from spillway.api.vocabulary import ConditionType
from spillway.api.workload import InferenceWorkloadSpec
from spillway.cli import crds as files

ROOT = Path(__file__).parents[3]
WHOLE = {kind: schema(kind) for kind in KINDS}  # made once, and changed by no test
SCHEMAS = [pytest.param(whole, id=kind.kind) for kind, whole in WHOLE.items()]
# What a structural schema may hold, of all JSON schema: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/
STRUCTURAL = {
    "type", "description", "format", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems",
    "maxProperties", "default", "required", "properties", "items", "additionalProperties", "anyOf", "x-kubernetes-validations",
    "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type", "x-kubernetes-int-or-string",
}  # fmt: skip


def _nodes(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, node
    for name, field in node.get("properties", {}).items():
        yield from _nodes(field, f"{path}.{name}")
    for below in ("items", "additionalProperties"):
        if below in node:
            yield from _nodes(node[below], f"{path}.{below}")


@pytest.mark.parametrize("whole", SCHEMAS)
def test_a_schema_is_structural(whole: dict[str, Any]) -> None:
    for path, node in _nodes(whole):
        assert set(node) <= STRUCTURAL, path
        assert "type" in node or node.get("x-kubernetes-int-or-string"), path
        assert not ("properties" in node and "additionalProperties" in node), path
        assert set(node.get("required", [])) <= set(node.get("properties", {})), path


@pytest.mark.parametrize("whole", SCHEMAS)
def test_every_field_is_described_in_a_sentence(whole: dict[str, Any]) -> None:
    for path, node in _nodes(whole):
        for name, field in node.get("properties", {}).items():
            if (path, name) == ("", "metadata"):
                continue  # the API server's own
            assert field["description"].endswith((".", '".', ")")), f"{path}.{name}"
            assert "\n" not in field["description"], f"{path}.{name}"


@pytest.mark.parametrize("whole", SCHEMAS)
def test_no_default_is_null_or_empty(whole: dict[str, Any]) -> None:
    assert not [path for path, node in _nodes(whole) if "default" in node and node["default"] in (None, [], {})]


@pytest.mark.parametrize("whole", SCHEMAS)
def test_what_a_user_writes_is_bounded(whole: dict[str, Any]) -> None:
    for path, node in _nodes(whole["properties"]["spec"]):
        bounded = {
            "string": "maxLength" in node or "enum" in node or "format" in node,
            "array": "maxItems" in node,
            "integer": "minimum" in node and "maximum" in node,
            "object": "properties" in node or "maxProperties" in node,
        }
        assert bounded[node.get("type", "object")] or node.get("x-kubernetes-int-or-string"), path


@pytest.mark.parametrize("whole", SCHEMAS)
def test_no_number_of_a_spec_is_a_float(whole: dict[str, Any]) -> None:
    assert not [path for path, node in _nodes(whole) if node.get("type") == "number"]


@pytest.mark.parametrize("whole", SCHEMAS)
def test_lists_merge_by_the_key_they_have(whole: dict[str, Any]) -> None:
    for path, node in _nodes(whole):
        if node.get("x-kubernetes-list-type") == "map":
            for key in node["x-kubernetes-list-map-keys"]:
                assert key in node["items"]["required"], path


def test_conditions_merge_by_type_and_have_room_for_all() -> None:
    conditions = WHOLE[KINDS[0]]["properties"]["status"]["properties"]["conditions"]
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert conditions["maxItems"] >= 2 * len(ConditionType)


def _with_defaults(value: Any, node: dict[str, Any]) -> Any:
    """Fill in defaults as the API server does."""
    if isinstance(value, list):
        return [_with_defaults(each, node["items"]) for each in value]
    if not isinstance(value, dict) or "properties" not in node:
        return value
    defaults = {name: field["default"] for name, field in node["properties"].items() if "default" in field}
    return {name: _with_defaults(each, node["properties"][name]) for name, each in (defaults | value).items()}


@pytest.mark.parametrize(
    ("model", "least"),
    [
        (InferenceWorkloadSpec, {"model": {"id": "a/b"}, "placement": {"mode": "Hosted"}}),
        (InferenceWorkloadSpec, {"model": {"id": "a/b"}, "placement": {"mode": "Dedicated"}, "dedicated": {}}),
        (
            InferenceWorkloadSpec,
            {
                "model": {"id": "a/b", "source": {"persistentVolumeClaim": {"claimName": "c"}}},
                "slo": {"endToEndMs": 1},
                "placement": {"mode": "Hybrid"},
                "dedicated": {"scaling": {"maxReplicas": 2}, "engine": {"env": [{"name": "A"}]}, "modelCache": {"claimName": "c"}},
                "hosted": {},
                "gateway": {"replicas": 1},
                "budget": {"monthlyUSD": "1"},
            },
        ),
        (HostedProviderSpec, {"baseURL": "https://a/v1", "models": []}),
        (
            AcceleratorClassSpec,
            {
                "product": "x",
                "memoryGiB": 1,
                "memoryBandwidthGBps": 1,
                "teraFLOPs": {"bf16": 1},
                "perNode": 1,
                "price": {"onDemandUSDPerHour": "1", "asOf": "2026-07-20", "source": "x"},
            },
        ),
    ],
)
def test_the_api_server_and_the_models_fill_in_the_same_defaults(model: type[ApiModel], least: dict[str, Any]) -> None:
    rules = tuple(rule for rules in RULES.values() for rule in rules)
    served = _with_defaults(least, structural(model, rules))
    if "models" in served:  # at least one is required, which is not this test's subject
        served = {**served, "models": [{"name": "m", "inputUSDPerMillionTokens": "1", "outputUSDPerMillionTokens": "1"}]}
        least = {**least, "models": served["models"]}
    assert model.model_validate(served) == model.model_validate(least)


def test_an_optional_field_is_just_absent() -> None:
    spec = structural(Scaling, ())
    assert "required" not in spec
    quantization = WHOLE[KINDS[0]]["properties"]["spec"]["properties"]["model"]["properties"]["quantization"]
    assert quantization["enum"] == [each.value for each in Quantization]
    assert "anyOf" not in quantization


class _Shade(StrEnum):
    LIGHT = "Light"


class _Inner(ApiModel):
    """Not shown: the field's own text is."""

    shade: Annotated[_Shade, Field(description="A shade.")] = _Shade.LIGHT


class _Outer(ApiModel):
    """An outer."""

    inner: Annotated[_Inner, Field(description="An inner.")] = _Inner()
    only: Annotated[Literal["One"], Field(description="One choice.")] = "One"
    names: Annotated[list[Annotated[str, Field(max_length=9)]], Field(max_length=3, description="Names.")] = []


def test_translates_references_constants_and_rules() -> None:
    rules = (
        Rule(name="n", model="_Outer", field="names", each_item=True, rule="self != 'x'", message="no x"),
        Rule(name="o", model="_Inner", rule="has(self.shade)", message="shade!", at=".shade"),
    )
    assert structural(_Outer, rules) == {
        "description": "An outer.",
        "type": "object",
        "properties": {
            "inner": {
                "description": "An inner.",
                "type": "object",
                "default": {"shade": "Light"},
                "properties": {"shade": {"description": "A shade.", "type": "string", "default": "Light", "enum": ["Light"]}},
                "x-kubernetes-validations": [
                    {"rule": "has(self.shade)", "message": "shade!", "reason": "FieldValueInvalid", "fieldPath": ".shade"}
                ],
            },
            "only": {"description": "One choice.", "type": "string", "default": "One", "enum": ["One"]},
            "names": {
                "description": "Names.",
                "type": "array",
                "maxItems": 3,
                "items": {
                    "type": "string",
                    "maxLength": 9,
                    "x-kubernetes-validations": [{"rule": "self != 'x'", "message": "no x", "reason": "FieldValueInvalid"}],
                },
            },
        },
    }


class _Silent(ApiModel):
    """A model."""

    field: int


class _Torn(ApiModel):
    """A model."""

    field: Annotated[int | str, Field(description="A union.")]


class _Odd(ApiModel):
    """A model."""

    field: Annotated[int, Field(gt=0, description="An exclusive bound.")]


@pytest.mark.parametrize(("model", "said"), [(_Silent, "has no description"), (_Torn, "a union"), (_Odd, "no structural form")])
def test_what_has_no_structural_form_is_an_error(model: type[ApiModel], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        structural(model, ())


def test_every_rule_hangs_on_a_field_that_is_there() -> None:
    for kind in KINDS:
        text = str(WHOLE[kind])
        assert [rule.name for rule in RULES[kind.kind] if repr(rule.message)[1:-1] not in text] == []


def test_a_message_tells_what_to_do_in_one_line() -> None:
    for rules in RULES.values():
        for rule in rules:
            assert "\n" not in rule.message + (rule.message_expression or "")
            assert len(rule.message) > 20, rule.name


def test_the_workload_can_be_scaled_and_listed_by_its_short_name() -> None:
    definition = crd(KINDS[0])["spec"]
    assert definition["names"]["shortNames"] == ["iw"]
    assert definition["names"]["categories"] == ["spillway"]
    assert definition["versions"][0]["subresources"] == {
        "status": {},
        "scale": {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
    }


def test_columns_read_fields_that_exist() -> None:
    for kind in KINDS:
        whole = WHOLE[kind]
        for column in kind.columns:
            node = whole
            if column.path.startswith(".metadata") or "[?" in column.path:
                continue
            for part in column.path.strip(".").split("."):
                node = node["properties"][part]
            assert node["type"] == column.type, column.name


def test_status_columns_of_conditions_name_conditions_that_are_written() -> None:
    paths = [column.path for column in KINDS[0].columns if "[?" in column.path]
    assert len(paths) == 3
    assert all(any(f'=="{condition.value}"' in path for condition in ConditionType) for path in paths)


def test_a_status_survives_the_way_to_the_server_and_back() -> None:
    status = InferenceWorkloadStatus(observed_generation=3, replicas=0)
    written = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert set(written) <= set(WHOLE[KINDS[0]]["properties"]["status"]["properties"])
    assert InferenceWorkloadStatus.model_validate(written) == status


def test_a_plain_number_is_a_quantity_too() -> None:
    spec = {
        "model": {"id": "a/b"},
        "placement": {"mode": "Dedicated"},
        "dedicated": {"podTemplate": {"resources": {"requests": {"cpu": 4, "memory": "32Gi"}}}},
    }
    dedicated = InferenceWorkloadSpec.model_validate(spec).dedicated
    assert dedicated is not None
    assert dedicated.pod_template is not None
    assert dedicated.pod_template.resources is not None
    assert dedicated.pod_template.resources.requests == {"cpu": "4", "memory": "32Gi"}
    assert Gateway.model_validate({"replicas": 3, "unknown": 1}).replicas == 3


def test_the_reference_names_every_field_and_every_rule() -> None:
    text = reference()
    for kind in KINDS:
        for path, node in _nodes(WHOLE[kind]):
            for name in node.get("properties", {}):
                if path.startswith((".spec", ".status")):
                    assert f".{name}`" in text, f"{path}.{name}"
            for rule in node.get("x-kubernetes-validations", []):
                assert rule["message"] in text
    assert "(default )" not in text
    assert all(f"| `{name}` |" in text for name in (*ARGUMENTS_WITH_A_FIELD, *VARIABLES_WITH_A_FIELD))


def test_what_is_committed_is_what_the_models_say(tmp_path: Path) -> None:
    written = files.write(tmp_path)
    assert {path.suffix for path in written} == {".yaml", ".md", ".json"}
    assert sum(path.suffix == ".yaml" for path in written) == 3 * len(crds())
    for path in written:
        committed = ROOT / path.relative_to(tmp_path)
        assert committed.read_text() == path.read_text(), f"{path.relative_to(tmp_path)} is stale: run `make generate` and commit"


def test_prints_all_crds_when_no_folder_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert files.run([]) == 0
    assert capsys.readouterr().out.count("kind: CustomResourceDefinition") == len(KINDS)
