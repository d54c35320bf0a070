"""The fleet that is applied: workloads as users write them, and the objects that come of them."""

import copy
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "hybrid-llama-8b-l40s.yaml"
NAMESPACE = "fleet"

Document = dict[str, Any]


def catalogue() -> list[Document]:
    """Return the accelerator class and the provider that the example refers to."""
    return [_placed(each) for each in yaml.safe_load_all(EXAMPLE.read_text()) if each and each["kind"] != "InferenceWorkload"]


def workloads(count: int) -> list[Document]:
    """Return so many copies of the example's workload."""
    example = next(each for each in yaml.safe_load_all(EXAMPLE.read_text()) if each and each["kind"] == "InferenceWorkload")
    fleet = []
    for number in range(count):
        workload = copy.deepcopy(_placed(example))
        workload["metadata"]["name"] = f"w{number:04}"
        fleet.append(workload)
    return fleet


def _placed(document: Document) -> Document:
    if document["kind"] != "AcceleratorClass":
        document["metadata"]["namespace"] = NAMESPACE
    return document
