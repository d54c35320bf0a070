"""Objects are posted first and applied from then on: the difference must show in nothing but the API server's work."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from spillway.apply.applier import Applier
from spillway.apply.connection import ApiError, Connection
from spillway.apply.known import KnownObjects, Ref
from spillway.plan.decision import Key
from tests.apiserver.server import ROOT, ApiServer
from tests.unit.plan import situations

Object = dict[str, Any]
Step = Callable[[Applier, KnownObjects], Awaitable[object]]
GOLDEN = sorted(each for each in (ROOT / "tests" / "golden" / "objects").glob("*/out") if each.is_dir())
EXAMPLE = ROOT / "examples" / "hybrid-llama-8b-l40s.yaml"
UID = situations.workload().uid


def settings(namespace: str, **data: str) -> Object:
    """Return a ConfigMap of the workload."""
    key = situations.workload().key
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": key.name, "uid": UID, "controller": True}
    metadata = {"name": "settings", "namespace": namespace, "ownerReferences": [owner]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def run(server: ApiServer, *steps: Step) -> None:
    """Run steps with one applier, as one process of the operator would."""

    async def all_steps() -> None:
        configuration = Configuration()
        await config.load_kube_config(config_file=str(server.kubeconfig), client_configuration=configuration)  # type: ignore[no-untyped-call]
        known = KnownObjects()
        connection = Connection(ApiClient(configuration))
        try:
            for step in steps:
                await step(Applier(connection, known, lambda: None), known)
        finally:
            await connection.close()

    asyncio.run(all_steps())


def applying(obj: Object) -> Step:
    return lambda applier, _: applier.apply_one(situations.workload(), obj)


def found(server: ApiServer, namespace: str) -> Any:
    return json.loads(server.kubectl("get", "configmap", "settings", "-n", namespace, "-o", "json", "--show-managed-fields"))


def owned(rendered: Object, namespace: str) -> Object:
    """Return a golden object as one of the workload's, in the test's namespace."""
    metadata = {**rendered["metadata"], "namespace": namespace, "ownerReferences": settings(namespace)["metadata"]["ownerReferences"]}
    return {**rendered, "metadata": metadata}


def read(server: ApiServer, *objects: Object) -> list[Any]:
    names = (f"{each['kind'].lower()}/{each['metadata']['name']}" for each in objects)
    namespace = objects[0]["metadata"]["namespace"]
    answer = json.loads(server.kubectl("get", *names, "-n", namespace, "-o", "json", "--show-managed-fields"))
    return answer["items"] if len(objects) > 1 else [answer]


def version(obj: Object) -> str:
    found: str = obj["metadata"]["resourceVersion"]
    return found


def content(obj: Object) -> Object:
    """Return an object without what tells who wrote it and when; its generation, which counts changes of its spec, is in it."""
    metadata = {name: value for name, value in obj["metadata"].items() if name not in {"managedFields", "resourceVersion"}}
    return {**obj, "metadata": metadata}


def by_others(server: ApiServer, namespace: str, **data: str) -> None:
    metadata = {"name": "settings", "namespace": namespace}
    answer = server.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}, manager="platform")
    assert answer.code == 0, answer.err


def test_what_is_left_out_later_is_taken_away_and_what_others_added_stays(apiserver: ApiServer, namespace: str) -> None:
    run(apiserver, applying(settings(namespace, kept="1", dropped="2")))
    by_others(apiserver, namespace, theirs="3")

    # Another process, which knows the object as the stocktaking shows it.
    async def listed(_: Applier, known: KnownObjects) -> None:
        known.seen(Ref("ConfigMap", namespace, "settings"), found(apiserver, namespace)["metadata"], Key(namespace=namespace, name="chat"))

    run(apiserver, listed, applying(settings(namespace, kept="4")))
    after = found(apiserver, namespace)
    assert after["data"] == {"kept": "4", "theirs": "3"}
    assert {(each["manager"], each["operation"]) for each in after["metadata"]["managedFields"]} == {
        ("spillway", "Apply"),
        ("platform", "Apply"),
    }


def test_a_process_changes_again_what_it_has_posted(apiserver: ApiServer, namespace: str) -> None:
    steps = [applying(settings(namespace, **data)) for data in ({"a": "1", "b": "1"}, {"a": "1"}, {"c": "1"})]
    run(apiserver, *steps)
    after = found(apiserver, namespace)
    assert after["data"] == {"c": "1"}
    assert [(each["manager"], each["operation"]) for each in after["metadata"]["managedFields"]] == [("spillway", "Apply")]


def test_an_object_of_somebody_else_is_never_posted_over(apiserver: ApiServer, namespace: str) -> None:
    by_others(apiserver, namespace, theirs="1")
    with pytest.raises(ApiError, match="does not belong to this workload"):
        run(apiserver, applying(settings(namespace, ours="1")))
    assert found(apiserver, namespace)["data"] == {"theirs": "1"}


def test_an_object_that_was_there_unknown_to_the_process_is_applied(apiserver: ApiServer, namespace: str) -> None:
    run(apiserver, applying(settings(namespace, a="1", b="1")))
    run(apiserver, applying(settings(namespace, a="2")))
    assert found(apiserver, namespace)["data"] == {"a": "2"}


def test_applying_what_was_posted_changes_no_content_and_doing_so_again_changes_nothing(apiserver: ApiServer, namespace: str) -> None:
    versions = []
    for _ in range(3):  # processes that know nothing of each other
        run(apiserver, applying(settings(namespace, a="1")))
        after = found(apiserver, namespace)
        versions.append(after["metadata"]["resourceVersion"])
        assert after["data"] == {"a": "1"}
    assert versions[1] == versions[2]


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda folder: folder.parent.name)
def test_every_rendered_object_stays_what_was_posted_when_the_next_process_applies_it(
    apiserver: ApiServer, namespace: str, folder: Path
) -> None:
    """Of Deployments and Services we then hold what the API server filled in: to let go of it must start no pod anew."""
    rendered = [owned(yaml.safe_load(path.read_text()), namespace) for path in sorted(folder.iterdir())]
    told = []
    for _ in range(3):  # processes that know nothing of each other
        run(apiserver, *(applying(each) for each in rendered))
        told.append(read(apiserver, *rendered))
    posted, applied, again = told
    assert [content(each) for each in applied] == [content(each) for each in posted]
    assert [version(each) for each in again] == [version(each) for each in applied]
    for each in again:
        held = {(entry["manager"], entry["operation"]) for entry in each["metadata"]["managedFields"]}
        assert ("spillway", "Apply") in held


def test_what_is_taken_out_of_a_deployment_later_is_taken_away_and_defaults_come_back(apiserver: ApiServer, namespace: str) -> None:
    folder = next(each for each in GOLDEN if each.parent.name == "a-pod-template-adds-to-a-replica-and-takes-nothing-away")
    rendered = [yaml.safe_load(path.read_text()) for path in sorted(folder.iterdir())]
    before = owned(next(each for each in rendered if each["kind"] == "Deployment" and "engine" in json.dumps(each["spec"])), namespace)
    run(apiserver, applying(before))
    (filled_in,) = read(apiserver, before)
    assert filled_in["spec"]["template"]["spec"]["dnsPolicy"] == "ClusterFirst"
    after = json.loads(json.dumps(before))
    dropped = after["spec"]["template"]["spec"]
    del dropped["terminationGracePeriodSeconds"], dropped["containers"][0]["startupProbe"]
    run(apiserver, applying(after))
    spec = read(apiserver, before)[0]["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] == 30
    assert "startupProbe" not in spec["containers"][0]
    assert spec["dnsPolicy"] == "ClusterFirst"


@pytest.mark.parametrize("applied", [False, True], ids=["only posted", "applied since"])
def test_what_takes_the_place_of_what_was_posted_is_not_refused_beside_it(apiserver: ApiServer, namespace: str, applied: bool) -> None:  # noqa: FBT001
    """A cache for a workload that runs: the volume of its replicas was an emptyDir, and a volume is of one type."""
    folder = next(each for each in GOLDEN if each.parent.name == "a-pod-template-adds-to-a-replica-and-takes-nothing-away")
    rendered = [yaml.safe_load(path.read_text()) for path in sorted(folder.iterdir())]
    before = owned(next(each for each in rendered if each["kind"] == "Deployment" and "engine" in json.dumps(each["spec"])), namespace)
    after = json.loads(json.dumps(before))
    (cache,) = [each for each in after["spec"]["template"]["spec"]["volumes"] if each["name"] == "cache"]
    del cache["emptyDir"]
    cache["persistentVolumeClaim"] = {"claimName": "weights"}
    scaled = json.loads(json.dumps(before))
    scaled["spec"]["replicas"] += 1
    run(apiserver, applying(before), *([applying(scaled)] if applied else []), applying(after), applying(scaled), applying(after))
    spec = read(apiserver, before)[0]["spec"]["template"]["spec"]
    assert [each for each in spec["volumes"] if each["name"] == "cache"] == [cache]


def test_an_object_that_was_made_anew_meanwhile_is_not_taken_for_the_one_that_was_posted(apiserver: ApiServer, namespace: str) -> None:
    async def replaced(_: Applier, __: KnownObjects) -> None:
        apiserver.kubectl("delete", "configmap", "settings", "-n", namespace)
        by_others(apiserver, namespace, theirs="1")

    with pytest.raises(ApiError, match="does not belong to this workload"):
        run(apiserver, applying(settings(namespace, ours="1")), replaced, applying(settings(namespace, ours="2")))
    assert found(apiserver, namespace)["data"] == {"theirs": "1"}


def test_a_condition_of_somebody_else_survives_and_a_section_of_a_status_is_owned_whole(apiserver: ApiServer, namespace: str) -> None:
    workload = next(each for each in yaml.safe_load_all(EXAMPLE.read_text()) if each and each["kind"] == "InferenceWorkload")
    workload["metadata"] = {"name": "chat", "namespace": namespace}
    made = apiserver.apply(workload)
    assert made.code == 0, made.err
    key, uid = Key(namespace=namespace, name="chat"), made.json["metadata"]["uid"]

    def writing(conditions: list[Object], **cost: str) -> Step:
        return lambda applier, _: applier.write_raw_status(key, uid, {}, {"conditions": conditions, "cost": cost})

    run(apiserver, writing([ready("False"), ready("True", of="SLOMet")], kappa="0.9", monthToDateUSD="1"))
    theirs = {key: workload[key] for key in ("apiVersion", "kind", "metadata")} | {"status": {"conditions": [ready("True", of="Audited")]}}
    by_hand = ("apply", "--server-side", "--subresource=status", "--field-manager=audit", "-f", "-")
    apiserver.kubectl(*by_hand, stdin=json.dumps(theirs))
    run(apiserver, writing([ready("True")], kappa="0.8"))
    after = json.loads(apiserver.kubectl("get", "iw", "chat", "-n", namespace, "-o", "json", "--show-managed-fields"))
    assert {each["type"]: each["status"] for each in after["status"]["conditions"]} == {"Ready": "True", "Audited": "True"}
    assert after["status"]["cost"]["kappa"] == "0.8"
    assert "monthToDateUSD" not in after["status"]["cost"]
    (ours,) = [each["fieldsV1"]["f:status"] for each in after["metadata"]["managedFields"] if each["manager"] == "spillway"]
    assert ours == {"f:conditions": {'k:{"type":"Ready"}': {}}, "f:cost": {}}


def ready(status: str, *, of: str = "Ready") -> Object:
    return {"type": of, "status": status, "reason": "Tried", "message": "", "lastTransitionTime": "2026-11-27T00:00:00Z"}
