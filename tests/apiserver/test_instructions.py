"""What `spillway plan` and `report` say to set, the API server takes: with the fields that have to change for it."""

import copy
from typing import Any

import pytest
import yaml
from kubernetes import client, dynamic

from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.saving.instructions import as_backends, as_list, complete
from tests.apiserver.server import ApiServer

BACKENDS = [{"providerRef": {"name": "acme"}, "model": "chat-8b"}]
OWN = {"dedicated.accelerators": as_list("4090"), "dedicated.scaling.maxReplicas": "4"}
RENTED = {"hosted.backends": as_backends(("acme", "@cf/meta/llama"))}
MODES = {"Dedicated": OWN, "Hosted": RENTED, "Hybrid": OWN | RENTED}
BOTH: dict[str, Any] = {
    "placement": {"mode": "Hybrid"},
    "dedicated": {"scaling": {"minReplicas": 0}, "modelCache": {"claimName": "cache", "accessMode": "ReadWriteOnce"}},
    "hosted": {
        "backends": BACKENDS,
        "overflow": {"maxWaitMs": 100, "longPrompts": "Spill", "longPromptTokens": 5000, "maxSharePercent": 10, "whenExceeded": "Wait"},
    },
    "gateway": {"hold": {"seconds": 60}, "routing": "PrefixHash", "prefixBytes": 2048},
    "budget": {"monthlyUSD": "5", "whenExceeded": "StopSpilling"},
}
HELD: dict[str, Any] = {
    "placement": {"mode": "Dedicated"},
    "dedicated": {"scaling": {"minReplicas": 0}},
    "gateway": {"hold": {"seconds": 60}},
}
SPECS = {
    "both": BOTH,
    "not-held": BOTH | {"gateway": {"routing": "PrefixHash"}},
    "held": HELD,
    "hosted": {"placement": {"mode": "Hosted"}, "hosted": {"backends": BACKENDS}, "traffic": {"requestsPerMonth": 5}},
    "auto": HELD | {"placement": {"mode": "Auto"}},
}


@pytest.fixture(scope="module")
def objects(apiserver: ApiServer) -> dynamic.DynamicClient:
    return apiserver.dynamic_client()


def workload(spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "spillway.dev/v1alpha1",
        "kind": "InferenceWorkload",
        "metadata": {"name": "chat"},
        "spec": {"model": {"id": "acme/chat"}} | spec,
    }


def followed(spec: dict[str, Any], settings: dict[str, str]) -> dict[str, Any]:
    """Return the spec with fields set as somebody would who copies them."""
    done = copy.deepcopy(spec)
    for field, value in settings.items():
        *owners, last = field.split(".")
        place = done
        for owner in owners:
            place = place.setdefault(owner, {})
        place[last] = yaml.safe_load(value)
    return done


def taken(objects: dynamic.DynamicClient, spec: dict[str, Any]) -> str:
    """Return what the API server has against a workload; nothing when it would take it."""
    resource = objects.resources.get(api_version="spillway.dev/v1alpha1", kind="InferenceWorkload")
    try:
        resource.create(body=workload(spec), namespace="default", query_params=[("dryRun", "All")])
    except client.ApiException as refused:
        return str(refused.body)
    return ""


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_mode_that_is_followed_is_taken(objects: dynamic.DynamicClient, spec: dict[str, Any], mode: str) -> None:
    assert taken(objects, spec) == "", "it could not be there otherwise"
    asked = InferenceWorkloadSpec.model_validate(workload(spec)["spec"])
    settings = complete(asked, {"placement.mode": mode, **MODES[mode], "traffic.requestsPerSecond.mean": "1.8"})
    assert taken(objects, followed(spec, settings)) == ""
