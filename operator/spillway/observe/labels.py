"""What the labels of a series tell: whose it is, and what became of the requests that it counts."""

from collections.abc import Mapping

from spillway.api.vocabulary import BACKEND_NONE, BACKEND_OWNED
from spillway.plan.decision import Key

Labels = Mapping[str, str]

DIGITS = 9  # more in a label is no number of Envoy's
_FIRST_REFUSAL = 500  # codes from here on are failures of ours
_TOO_MANY = 429
_GONE = "0"  # Envoy's code where the client left before anybody answered


def workload_of(labels: Labels) -> Key | None:
    """Return the workload; None where the series has none."""
    namespace, name = labels.get("namespace"), labels.get("workload")
    return Key(namespace=namespace, name=name) if namespace and name else None


def pod_of(labels: Labels) -> tuple[str, str]:
    """Return namespace and name of the pod that a series is of, where an exporter's own labels won too."""
    if "exported_pod" in labels:
        return labels.get("exported_namespace", ""), labels["exported_pod"]
    return labels.get("namespace", ""), labels.get("pod", "")


def edge_of(labels: Labels) -> float | None:
    """Return the upper edge of a bucket; None where there is none."""
    text = labels.get("le")
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def spilled(labels: Labels) -> bool:
    """Whether a hosted backend was asked."""
    return labels.get("backend") not in (BACKEND_OWNED, BACKEND_NONE, "", None)


def failed(labels: Labels) -> bool:
    """Whether requests were refused, or failed."""
    code = labels.get("code", "")
    return code.isdecimal() and len(code) <= DIGITS and (int(code) >= _FIRST_REFUSAL or int(code) == _TOO_MANY)


def abandoned(labels: Labels) -> bool:
    """Whether clients left before anybody answered."""
    return labels.get("code") == _GONE


def turned_down(labels: Labels) -> bool:
    """Whether the gateway itself answered that this is no request to the model: an unknown path, method or model, too large a body."""
    code = labels.get("code", "")
    return labels.get("backend") == BACKEND_NONE and code.startswith("4") and not failed(labels)


def cache_size(labels: Labels) -> float | None:
    """Return how many tokens a replica's KV cache holds, by the labels of vLLM's cache_config_info; those it does not know say None."""
    tokens = labels.get("kv_cache_size_tokens", "")
    if tokens.isdecimal():
        return float(tokens)
    blocks, block = labels.get("num_gpu_blocks", ""), labels.get("block_size", "")
    return float(blocks) * float(block) if blocks.isdecimal() and block.isdecimal() else None
