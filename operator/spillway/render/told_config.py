"""What tells a model's config.json: the first container of a replica whose model's shape neither the spec nor the catalogue knows.

The operator may neither read volumes nor ask a hub, and has no right to run anything in a pod. A container's last words it can see: they
are in the pod's status. So this one reads the file that the engine is about to read, from where it will, and leaves it there.

It never keeps the engine from starting: whatever goes wrong, it says so and ends well, within LIMIT_S. The shell is for an image without
python3. The script is a part of the pod's template: changing one byte of it restarts the replicas of these models (docs/adr/0006).
"""

from spillway.api.vocabulary import VARIABLE_MODEL
from spillway.plan.decision import Workload
from spillway.plan.model.told_shape import named
from spillway.render import vllm
from spillway.render.manifest import KubernetesObject

LIMIT_S = 30  # for one small file; a hub that does not answer for so long will not give the weights either
LAST_WORDS = "/dev/termination-log"

# Kubernetes keeps 4096 bytes of last words. Nearly every config.json of a language model is shorter. From a longer one objects are left out
# (how it sees images, what it calls its labels) but for those that say how it is built and stored: no list of layers, never a part of one.
# A script of its own environment: the interpreter that runs vLLM has its libraries, and need not be the first `python3` of the image.
SCRIPT = """\
import json, os, re, shutil, sys, threading

model, revision, limit_s, last_words = sys.argv[1], sys.argv[2] or None, float(sys.argv[3]), sys.argv[4]
MOST = 4096
said = []


def path_of_config():
    if os.path.isabs(model):
        return os.path.join(model, "config.json")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        python = interpreter_of_vllm()
        if python is None or os.environ.get("SPILLWAY_RETRIED"):
            raise
        os.environ["SPILLWAY_RETRIED"] = "1"
        os.execv(python, [python, *sys.orig_argv[1:]])
    return hf_hub_download(model, "config.json", revision=revision)


def interpreter_of_vllm():
    program = shutil.which("vllm")
    if program is None:
        return None
    with open(program, "rb") as file:
        line = file.readline(500).decode("utf-8", "replace").strip()
    return line[2:] if line.startswith("#!/") and "python" in line and " " not in line else None


def written(what):
    return json.dumps(what, separators=(",", ":"))


def shortened(config):
    kept = {name: found for name, found in config.items() if not isinstance(found, dict)}
    if isinstance(config.get("text_config"), dict):
        kept["text_config"] = shortened(config["text_config"])
    stored = config.get("quantization_config")
    if isinstance(stored, dict):
        plain = {name: found for name, found in stored.items() if name == "config_groups" or not isinstance(found, (dict, list))}
        kept["quantization_config"] = plain
    return kept


def read():
    with open(path_of_config(), encoding="utf-8") as file:
        config = json.load(file)
    if not isinstance(config, dict):
        raise ValueError("config.json is no JSON object")
    for found in (config, shortened(config)):
        text = written({"config": found})
        if len(text) <= MOST:
            return text
    raise ValueError("config.json is too long to be told")


def tell():
    try:
        said.append(read())
    except BaseException as problem:
        line = re.sub("//[^/@ ]*@", "//", " ".join(str(problem).split()))
        said.append(written({"problem": "%s: %s" % (type(problem).__name__, line[:400])}))


telling = threading.Thread(target=tell, daemon=True)
telling.start()
telling.join(limit_s)
text = said[0] if said else written({"problem": "config.json could not be had within %g s" % limit_s})
try:
    with open(last_words, "w") as file:
        file.write(text)
except OSError as problem:
    print(problem, flush=True)
print(text, flush=True)
os._exit(0)
"""


def command(workload: Workload) -> list[str]:
    """Return the container's command. -I keeps the working folder's modules out."""
    hub = vllm.hub_source(workload)
    revision = (hub.revision if hub else None) or ""
    arguments = [vllm.loaded_model(workload), revision, str(LIMIT_S), LAST_WORDS]
    return ["/bin/sh", "-c", 'python3 -I -c "$@" || true', "sh", SCRIPT, *arguments]


def environment(workload: Workload) -> list[KubernetesObject]:
    """Return the engine's environment, so that the file is had as the engine has it, and of which model it is; no accelerator is seen."""
    own = {VARIABLE_MODEL: named(workload.spec.model), "NVIDIA_VISIBLE_DEVICES": "void"}  # the image's default shows all of the node
    others = [each for each in vllm.environment(workload) if each["name"] not in own]
    return [*others, *({"name": name, "value": value} for name, value in own.items())]
