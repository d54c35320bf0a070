"""The first container of a replica whose model nothing else knows: it tells config.json, or why it cannot, and always ends well."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from spillway.plan.model.architecture import architecture_of
from spillway.plan.model.told_shape import named, read_told
from spillway.render.told_config import LAST_WORDS, LIMIT_S, SCRIPT, command, environment
from tests.unit.plan.test_architecture import DEEPSEEK, GEMMA, GPT_OSS, LLAMA, MIXTRAL, NEMOTRON, QWEN_NEXT
from tests.unit.render.cases import container, dedicated

KEPT_BYTES = 4096  # of a container's last words, by Kubernetes
VOLUME = {"source": {"persistentVolumeClaim": {"claimName": "models", "path": "/chat"}}}
# Stands in for the hub's library: it writes down how it was asked.
LIBRARY = """
import json, os
def hf_hub_download(repository, name, revision=None):
    if repository.startswith("closed/"):
        raise PermissionError("401 for https://me:secret@hub.example.com/%s\\nnot yours" % repository)
    with open(os.environ["ASKED"], "w") as file:
        json.dump([repository, name, revision, os.environ.get("HF_TOKEN"), os.environ.get("HF_ENDPOINT")], file)
    return os.environ["CONFIG"]
"""


def tell(folder: Path, *arguments: str, limit_s: str = "30", **variables: str) -> str:
    """Run it as the kubelet does, with this model and revision; return its last words."""
    words = folder / "termination-log"
    whole = command(dedicated().workload)
    assert whole[4:] == [SCRIPT, "acme/chat", "", str(LIMIT_S), LAST_WORDS]
    path = f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(
        [*whole[:5], *arguments, limit_s, str(words)],
        check=True,
        timeout=60,
        cwd=folder,
        env={"PATH": path} | variables,
        capture_output=True,
    )
    return words.read_text() if words.exists() else ""


def on_a_volume(folder: Path, config: object) -> str:
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return tell(folder, str(folder), "")


def with_a_library(folder: Path) -> dict[str, str]:
    """Lay out an image whose vLLM has an interpreter of its own, which has the hub's library; `python3` has not."""
    (folder / "library" / "huggingface_hub").mkdir(parents=True)
    (folder / "library" / "huggingface_hub" / "__init__.py").write_text(LIBRARY)
    interpreter = folder / "python-of-vllm"
    interpreter.write_text(f'#!/bin/sh\nshift\nPYTHONPATH={folder}/library exec {sys.executable} "$@"\n')
    (folder / "vllm").write_text(f"#!{interpreter}\n")
    for program in ("python-of-vllm", "vllm"):
        (folder / program).chmod(0o755)
    (folder / "config.json").write_text(json.dumps(LLAMA))
    return {"ASKED": str(folder / "asked"), "CONFIG": str(folder / "config.json")}


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(LLAMA, id="grouped queries"),
        pytest.param(MIXTRAL, id="experts"),
        pytest.param(DEEPSEEK, id="latent attention"),
        pytest.param(GPT_OSS, id="a list of layers"),
        pytest.param(GEMMA, id="the language model inside"),
        pytest.param(QWEN_NEXT, id="recurrent"),
        pytest.param(NEMOTRON, id="letters"),
        pytest.param(
            LLAMA | {"quantization_config": {"quant_method": "x", "config_groups": {"a": {"weights": {"num_bits": 8}}}}},
            id="stored in groups",
        ),
    ],
)
@pytest.mark.parametrize("more", [0, 9000], ids=["short", "with much that is no matter"])
def test_what_it_tells_is_the_shape_that_the_file_gives(config: dict[str, Any], more: int, tmp_path: Path) -> None:
    beside = {"vision_config": {"labels": "x" * more}} if more else {}
    stored = config.get("quantization_config", {"quant_method": None}) | ({"ignore": ["lm_head"] * (more // 10)} if more else {})
    words = on_a_volume(tmp_path, config | beside | {"quantization_config": stored})
    assert len(words.encode()) <= KEPT_BYTES
    assert read_told(words) == architecture_of(_without_lists(config) if more else config)


def _without_lists(config: dict[str, Any]) -> dict[str, Any]:
    """Return it as a long one is told: without what is left in 16 bits, which makes its weights a few percent too light."""
    stored = {name: found for name, found in config.get("quantization_config", {}).items() if not isinstance(found, list)}
    return config | {"quantization_config": stored} if stored else config


@pytest.mark.parametrize(
    ("config", "said"),
    [
        pytest.param("{", "JSONDecodeError", id="half a file"),
        pytest.param("[]", "no JSON object", id="a list"),
        pytest.param("\xff\x00", "JSONDecodeError", id="no text"),
        pytest.param(LLAMA | {"layer_types": ["full_attention"] * 999}, "too long to be told", id="a list that nothing may be left out of"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(config: object, said: str, tmp_path: Path) -> None:
    words = on_a_volume(tmp_path, config)
    assert len(words.encode()) <= KEPT_BYTES
    assert said in json.loads(words)["problem"]


def test_a_volume_without_the_file_is_told(tmp_path: Path) -> None:
    assert "FileNotFoundError" in json.loads(tell(tmp_path, str(tmp_path), ""))["problem"]


def test_a_hub_is_asked_for_the_one_file_as_the_engine_asks_it(tmp_path: Path) -> None:
    variables = with_a_library(tmp_path)
    words = tell(tmp_path, "acme/chat", "v2", HF_TOKEN="of-the-test", HF_ENDPOINT="https://hub.example.com", **variables)
    assert read_told(words) == architecture_of(LLAMA)
    asked = json.loads((tmp_path / "asked").read_text())
    assert asked == ["acme/chat", "config.json", "v2", "of-the-test", "https://hub.example.com"]


def test_why_a_hub_does_not_answer_is_told_without_what_is_secret(tmp_path: Path) -> None:
    words = tell(tmp_path, "closed/chat", "", **with_a_library(tmp_path))
    assert json.loads(words)["problem"] == "PermissionError: 401 for https://hub.example.com/closed/chat not yours"


def test_an_image_without_the_hubs_library_says_so(tmp_path: Path) -> None:
    (tmp_path / "vllm").write_text("#!/bin/sh\n")
    (tmp_path / "vllm").chmod(0o755)
    assert "huggingface_hub" in json.loads(tell(tmp_path, "acme/chat", ""))["problem"]


def test_what_never_answers_is_given_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")  # opening it waits for a writer
    assert "within 0.2 s" in json.loads(tell(tmp_path, str(tmp_path), "", limit_s="0.2"))["problem"]


def test_an_image_without_python_starts_its_engine_all_the_same(tmp_path: Path) -> None:
    whole = command(dedicated().workload)
    subprocess.run([*whole, str(tmp_path)], check=True, timeout=30, env={"PATH": str(tmp_path)}, capture_output=True)


def test_last_words_that_cannot_be_left_do_not_keep_the_engine_from_starting(tmp_path: Path) -> None:
    (tmp_path / "termination-log").mkdir()
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    whole = command(dedicated().workload)
    arguments = [str(tmp_path), "", "30", str(tmp_path / "termination-log")]
    done = subprocess.run([*whole[:5], *arguments], check=True, timeout=30, capture_output=True)
    assert b"num_hidden_layers" in done.stdout


def test_it_has_what_the_engine_has_but_no_accelerator() -> None:
    own = {
        "podTemplate": {"resources": {"requests": {"cpu": "2"}, "limits": {"memory": "9Gi"}}},
        "engine": {"env": [{"name": "A", "value": "b"}]},
    }
    case = dedicated(model={"id": "acme/chat"} | VOLUME, own=own)
    pod = case.engine()["spec"]["template"]["spec"]
    engine = container(case.engine())
    (telling,) = pod["initContainers"]
    assert telling["image"] == engine["image"]
    assert telling["securityContext"] == engine["securityContext"]
    accelerators = {"nvidia.com/gpu": "1"}
    assert {kind: amounts | accelerators for kind, amounts in telling["resources"].items()} == engine["resources"]
    assert {"name": "A", "value": "b"} in telling["env"]
    assert {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"} in telling["env"]
    assert [each for each in engine["volumeMounts"] if each["name"] != "shm"] == telling["volumeMounts"]


def test_it_says_of_which_model_it_tells() -> None:
    case = dedicated(model=VOLUME)
    assert {"name": "SPILLWAY_MODEL", "value": named(case.workload.spec.model)} in environment(case.workload)


@pytest.mark.parametrize(
    "model",
    [
        {"id": "Qwen/Qwen3-8B"},
        {"architecture": {"parameters": 10**9, "layers": 9, "attentionHeads": 8, "keyValueHeads": 8, "headSize": 64}},
    ],
)
def test_a_replica_of_a_known_model_begins_with_its_engine(model: dict[str, Any]) -> None:
    assert "initContainers" not in dedicated(model=model).engine()["spec"]["template"]["spec"]
