"""The rules of what a spec says of its model, and of the replicas that serve it."""

from spillway.api.engine_arguments import ARGUMENTS_WITH_A_FIELD, VARIABLES_WITH_A_FIELD
from spillway.api.rule import Rule


def _literal(values: dict[str, str]) -> str:
    return "{" + ", ".join(f"'{key}': '{value}'" for key, value in values.items()) + "}"


_ARGUMENT = "self.split('=', 2)[0].replace('_', '-')"

REPLICA_RULES = (
    Rule(
        name="model-source",
        model="ModelSource",
        rule="has(self.huggingFace) != has(self.persistentVolumeClaim)",
        message="model.source needs exactly one of huggingFace and persistentVolumeClaim; omit source to fetch model.id from Hugging Face",
    ),
    Rule(
        name="model-path",
        model="PersistentVolumeClaimSource",
        rule="!self.path.split('/').exists(part, part == '..')",
        message="path must stay on the volume: remove ..",
        at=".path",
    ),
    Rule(
        name="architecture-heads",
        model="Architecture",
        rule="self.attentionHeads % self.keyValueHeads == 0",
        message="attentionHeads must be a multiple of keyValueHeads; take both from the model's config.json "
        "(num_attention_heads, num_key_value_heads)",
        at=".keyValueHeads",
    ),
    Rule(
        name="architecture-active",
        model="Architecture",
        rule="!has(self.activeParameters) || self.activeParameters <= self.parameters",
        message="activeParameters (used per token) cannot exceed parameters (in all)",
        at=".activeParameters",
    ),
    Rule(
        name="architecture-window",
        model="Architecture",
        rule="has(self.slidingWindowLayers) == has(self.slidingWindowTokens)",
        message="slidingWindowLayers and slidingWindowTokens go together: set both, or neither for a model without sliding windows",
    ),
    Rule(
        name="architecture-layers",
        model="Architecture",
        rule="(!has(self.attentionLayers) || self.attentionLayers <= self.layers) && "
        "(!has(self.slidingWindowLayers) || self.slidingWindowLayers <= self.layers)",
        message="attentionLayers and slidingWindowLayers are subsets of the layers: neither can exceed layers",
        at=".layers",
    ),
    Rule(
        name="scaling-bounds",
        model="Scaling",
        rule="self.minReplicas <= self.maxReplicas",
        message="minReplicas cannot exceed maxReplicas; raise maxReplicas (default 1) or lower minReplicas",
        at=".maxReplicas",
    ),
    Rule(
        name="cache-shared",
        model="Dedicated",
        rule="!has(self.modelCache) || self.modelCache.accessMode != 'ReadWriteOnce' || self.scaling.maxReplicas <= 1",
        message="a ReadWriteOnce cache serves one node: use a ReadWriteMany claim and set modelCache.accessMode to it, or set "
        "scaling.maxReplicas to 1",
        at=".modelCache.accessMode",
    ),
    Rule(
        name="accelerator-twice",
        model="Dedicated",
        field="accelerators",
        rule="self.all(a, self.exists_one(b, b == a))",
        message="an accelerator class is listed twice: list each once, in order of preference",
    ),
    Rule(
        name="extra-args",
        model="Engine",
        field="extraArgs",
        each_item=True,
        rule=f"!({_ARGUMENT} in {_literal(ARGUMENTS_WITH_A_FIELD)})",
        message="Spillway sets this argument of vllm serve; use its field, or remove it",
        message_expression=f"self.split('=', 2)[0] + ' cannot be given in extraArgs: ' + {_literal(ARGUMENTS_WITH_A_FIELD)}[{_ARGUMENT}]",
        reason="FieldValueForbidden",
    ),
    Rule(
        name="extra-args-split",
        model="Engine",
        field="extraArgs",
        each_item=True,
        # No shell takes it apart: vllm serve ends with "unrecognized arguments".
        rule="!self.matches('^-[^= ]* ')",
        message="an argument of vllm serve and its value must be two entries of extraArgs, or one joined by =, such as --seed=7",
    ),
    Rule(
        name="env-owned",
        model="EnvVar",
        rule=f"!(self.name in {_literal(VARIABLES_WITH_A_FIELD)})",
        message="Spillway sets this environment variable; use its field, or remove it",
        message_expression=f"self.name + ' cannot be given in env: ' + {_literal(VARIABLES_WITH_A_FIELD)}[self.name]",
        reason="FieldValueForbidden",
        at=".name",
    ),
)
