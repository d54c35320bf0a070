"""All objects of a workload together: who owns them, what they may do, in which order they come."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spillway.api.pods import GatewayPodTemplate, Resources
from spillway.api.quantities import amount
from spillway.plan.decision import Decision, Ledger, LedgerEntry
from spillway.render import gateway
from spillway.render.envoy import config as envoy
from spillway.render.envoy.share import share_annotation, share_told
from spillway.render.ledger import ledger_object, parse_ledger
from spillway.render.objects import ChildRef, render, wanted
from tests.golden.objects.case import Case, with_settings
from tests.unit.render.cases import container, dedicated, hosted, hybrid

EVERY = [dedicated(), hybrid(), hosted()]


def pods(case: Case) -> list[dict[str, Any]]:
    return [each["spec"]["template"] for each in case.render() if each["kind"] == "Deployment"]


def one(case: Case, kind: str, name: str) -> dict[str, Any]:
    return next(each for each in case.render() if (each["kind"], each["metadata"]["name"]) == (kind, name))


@pytest.mark.parametrize("case", EVERY)
def test_every_object_is_ours_alone_and_findable(case: Case) -> None:
    for each in case.render():
        (owner,) = each["metadata"]["ownerReferences"]
        assert owner["controller"]
        assert owner["uid"] == case.workload.uid
        assert each["metadata"]["labels"]["spillway.dev/workload"] == "chat"
        assert "finalizers" not in each["metadata"]


@pytest.mark.parametrize("case", EVERY)
def test_no_pod_has_more_rights_than_pod_security_restricted_allows(case: Case) -> None:
    for pod in pods(case):
        assert pod["spec"]["securityContext"]["runAsNonRoot"]
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod["spec"]["automountServiceAccountToken"]
        assert not pod["spec"]["enableServiceLinks"]
        (only,) = pod["spec"]["containers"]
        assert only["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }


@pytest.mark.parametrize("case", EVERY)
def test_what_a_pod_needs_is_applied_before_it(case: Case) -> None:
    order = [(each["kind"], each["metadata"]["name"]) for each in case.render()]
    needs = [
        ("ServiceAccount", "chat"),
        ("ConfigMap", "chat-gateway"),
        ("ConfigMap", "chat-gateway-cap"),
        ("NetworkPolicy", "chat-gateway"),
    ]
    assert max(order.index(each) for each in needs) < order.index(("Deployment", "chat-gateway"))


def test_a_hosted_workload_has_no_engine_object() -> None:
    assert not [each for each in hosted().render() if each["metadata"]["labels"]["app.kubernetes.io/component"] == "engine"]


def test_a_dedicated_workload_mounts_no_secret() -> None:
    assert not [volume for pod in pods(dedicated()) for volume in pod["spec"]["volumes"] if "secret" in volume or "projected" in volume]


def projections(case: Case) -> list[list[dict[str, Any]]]:
    return [volume["projected"]["sources"] for volume in case.gateway()["spec"]["template"]["spec"]["volumes"] if "projected" in volume]


def test_a_missing_hosted_key_keeps_no_gateway_from_starting() -> None:
    secrets = [source["secret"] for sources in projections(hybrid()) for source in sources if "secret" in source]
    assert [each["name"] for each in secrets] == ["rented-key"]
    assert all(each["optional"] for each in secrets)


def test_a_late_hosted_key_takes_the_place_of_a_file_that_is_there_from_the_start() -> None:
    """The kubelet makes the link of a file that is new in a volume only after the rename that Envoy watches."""
    (sources,) = projections(hybrid())
    below, above = sources
    assert below == {"configMap": {"name": "chat-gateway-cap"}}, "whole: with items a missing file would keep the pod from starting"
    (item,) = above["secret"]["items"]
    assert item["path"] in envoy.cap_files(hybrid().decide())


def test_watched_files_are_mounted_as_folders_because_a_sub_path_is_never_updated() -> None:
    assert not [mount for mount in container(hybrid().gateway())["volumeMounts"] if "subPath" in mount]


def test_another_static_configuration_rolls_the_gateway_and_another_cap_does_not() -> None:
    case = hybrid()
    decision = case.decide()
    files = gateway.static_files(case.workload, decision, case.settings)
    another_cap = replace(decision, gateway=replace(decision.gateway, cap_total=99, cap_per_gateway=99))
    another_file = {**files, "envoy.json": files["envoy.json"] + " "}

    def rendered(decision: Decision, files: Mapping[str, str]) -> dict[str, Any]:
        return gateway.gateway_deployment(case.workload, decision, case.settings, files)

    assert gateway.static_files(case.workload, another_cap, case.settings) == files
    assert rendered(another_cap, files) == rendered(decision, files)
    assert rendered(decision, another_file) != rendered(decision, files)


def test_every_file_of_the_gateway_can_be_a_key_of_a_config_map() -> None:
    case = hybrid()
    objects = render(case.workload, case.decide(), case.settings)
    keys = [key for each in objects if each["kind"] == "ConfigMap" for key in each["data"]]
    assert len(keys) > 2
    assert all(re.fullmatch(r"[-._A-Za-z0-9]+", key) for key in keys)


def test_the_clusters_domain_reaches_envoy() -> None:
    case = with_settings(hybrid(), cluster_domain="corp.example")
    objects = render(case.workload, case.decide(), case.settings)
    files = next(each["data"] for each in objects if (each["kind"], each["metadata"]["name"]) == ("ConfigMap", "chat-gateway"))
    assert "chat-replicas.team.svc.corp.example" in files["envoy.json"]


def test_without_keys_the_namespace_calls_and_with_keys_or_by_choice_everybody_reaches_the_port() -> None:
    keys = {"keysSecretRef": {"name": "chat-clients"}}
    assert url_callers({}) == [{"podSelector": {}}]
    assert url_callers({"callers": "Anyone"}) is None
    assert url_callers(keys) is None
    assert url_callers({**keys, "callers": "Namespace"}) == [{"podSelector": {}}]


def url_callers(access: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Return whom the gateway's policy lets call; None: anybody."""
    rules = one(dedicated(gateway={"access": access}), "NetworkPolicy", "chat-gateway")["spec"]["ingress"]
    (rule,) = (each for each in rules if {"port": 8080, "protocol": "TCP"} in each["ports"])
    callers: list[dict[str, Any]] | None = rule.get("from")
    return callers


def test_keys_and_certificate_change_no_replica_and_may_come_late() -> None:
    plain = dedicated()
    guarded = dedicated(gateway={"access": {"keysSecretRef": {"name": "chat-clients"}}, "tls": {"secretRef": {"name": "chat-tls"}}})
    assert guarded.engine() == plain.engine()
    files = one(guarded, "ConfigMap", "chat-gateway")["data"]
    found = [source for sources in projections(guarded) for source in sources]
    assert {each["secret"]["name"] for each in found if "secret" in each} == {"chat-clients", "chat-tls"}
    assert all(content["optional"] for each in found for content in each.values())
    assert all("items" not in each["configMap"] for each in found if "configMap" in each), "one path from two lists is refused"
    mounted = {item["path"] for each in found if "secret" in each for item in each["secret"].get("items", ())}
    assert mounted == {"clients", "tls.crt", "tls.key"}
    assert mounted <= files.keys(), "each has what stands for it while it is not there"


def test_the_service_of_a_url_with_a_certificate_is_https_alone() -> None:
    (port,) = one(dedicated(gateway={"tls": {"secretRef": {"name": "chat-tls"}}}), "Service", "chat")["spec"]["ports"]
    assert (port["name"], port["port"], port["appProtocol"]) == ("https", 443, "https")


def test_replicas_are_reached_by_their_gateway_and_the_scraping_namespace_only() -> None:
    rules = one(hybrid(), "NetworkPolicy", "chat-engine")["spec"]["ingress"]
    assert [list(peer) for rule in rules for peer in rule["from"]] == [["podSelector"], ["namespaceSelector"]]


def test_pods_listen_where_the_installation_says() -> None:
    case = with_settings(hybrid(), listen_address="::")
    command = container(case.engine())["command"]
    assert command[command.index("--host") + 1] == "::"
    listeners = json.loads(one(case, "ConfigMap", "chat-gateway")["data"]["envoy.json"])["static_resources"]["listeners"]
    found = {each["name"]: each["address"]["socket_address"] for each in listeners if each["name"] in {"edge", "operations"}}
    assert found == {
        "edge": {"address": "::", "port_value": 8080, "ipv4_compat": True},
        "operations": {"address": "::", "port_value": 9902, "ipv4_compat": True},
    }


def test_images_are_pulled_with_the_installations_secrets_behind_the_workloads_own() -> None:
    own = {"podTemplate": {"imagePullSecrets": [{"name": "own"}, {"name": "both"}]}}
    for case, expected in ((dedicated(own=own), ["mirror", "both"]), (dedicated(own=own, gateway=own), ["own", "both", "mirror"])):
        placed = with_settings(case, engine_pull_secrets=("both", "registry"), gateway_pull_secrets=("mirror", "both", "mirror"))
        assert [each["name"] for each in placed.engine()["spec"]["template"]["spec"]["imagePullSecrets"]] == ["own", "both", "registry"]
        assert [each["name"] for each in gateway_pod(placed)["spec"]["imagePullSecrets"]] == expected
    assert not [pod for pod in pods(dedicated()) if "imagePullSecrets" in pod["spec"]]


def gateway_pod(case: Case) -> dict[str, Any]:
    template: dict[str, Any] = one(case, "Deployment", "chat-gateway")["spec"]["template"]
    return template


NEAR_USERS = {"nodeSelector": {"pool": "edge"}, "tolerations": [{"key": "edge", "operator": "Exists"}], "priorityClassName": "edge"}
OFF_GPUS = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "nvidia.com/gpu.present", "operator": "DoesNotExist"}]}]
        }
    }
}


def test_what_the_installation_says_of_gateways_holds_where_a_workload_says_nothing() -> None:
    default = GatewayPodTemplate.model_validate({**NEAR_USERS, "affinity": OFF_GPUS, "labels": {"a": "1"}, "annotations": {"b": "2"}})
    plain = with_settings(dedicated(), gateway_pod_template=default)
    pod = gateway_pod(plain)
    assert {field: pod["spec"][field] for field in NEAR_USERS} == NEAR_USERS
    assert pod["spec"]["affinity"].items() >= OFF_GPUS.items()
    assert "podAntiAffinity" in pod["spec"]["affinity"], "pods are kept apart all the same"
    assert (pod["metadata"]["labels"]["a"], pod["metadata"]["annotations"]["b"]) == ("1", "2")
    assert plain.engine() == dedicated().engine()


def test_what_a_workload_says_of_its_gateway_takes_the_installations_place_and_labels_are_added() -> None:
    default = GatewayPodTemplate.model_validate({**NEAR_USERS, "affinity": OFF_GPUS, "labels": {"a": "1", "c": "3"}})
    own = {"nodeSelector": {}, "tolerations": [], "affinity": {}, "priorityClassName": "own", "labels": {"a": "own"}}
    case = with_settings(dedicated(gateway={"podTemplate": own}), gateway_pod_template=default)
    pod = gateway_pod(case)
    assert not {"nodeSelector", "tolerations"} & pod["spec"].keys()
    assert list(pod["spec"]["affinity"]) == ["podAntiAffinity"]
    assert pod["spec"]["priorityClassName"] == "own"
    assert pod["metadata"]["labels"].items() >= {"a": "own", "c": "3"}.items()


def test_how_gateways_are_spread_is_for_the_workload_to_say() -> None:
    spread = {"topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}
    templates: list[dict[str, Any]] = [{}, {"topologySpreadConstraints": [spread]}, {"topologySpreadConstraints": []}]
    pods = [gateway_pod(dedicated(gateway={"podTemplate": each})) for each in templates]
    ours, own, none = (each["spec"]["topologySpreadConstraints"] for each in pods)
    assert [each["topologyKey"] for each in ours] == ["topology.kubernetes.io/zone"]
    assert own == [{"maxSkew": 1, **spread, "nodeTaintsPolicy": "Honor", "labelSelector": ours[0]["labelSelector"]}]
    assert none == []


def test_a_gateway_that_ends_has_time_for_the_longest_request_and_for_what_its_client_takes_to_send_it() -> None:
    gateway = one(dedicated(gateway={"maxRequestSeconds": 900}), "Deployment", "chat-gateway")
    assert gateway["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > 5 + 60 + 900 + 6  # settling first, idle connections last


def test_nobody_can_take_a_gateways_labels_and_annotations_from_it() -> None:
    ours = gateway_pod(dedicated())["metadata"]
    theirs = {kind: dict.fromkeys(ours[kind], "x") | {"team": "search"} for kind in ("labels", "annotations")}
    pod = gateway_pod(dedicated(gateway={"podTemplate": theirs}))["metadata"]
    assert pod == {kind: {**ours[kind], "team": "search"} for kind in ("labels", "annotations")}


DEFAULT_SIZE = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "2Gi"}}


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ({}, DEFAULT_SIZE),
        ({"requests": {"cpu": 1}}, {"requests": {"cpu": "1", "memory": "128Mi"}, "limits": {"memory": "2Gi"}}),
        ({"requests": {"memory": "3Gi"}}, {"requests": {"cpu": "100m", "memory": "3Gi"}, "limits": {"memory": "3Gi"}}),
        ({"limits": {"memory": "512Mi"}}, {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}),
        ({"limits": {"memory": "100M"}}, {"requests": {"cpu": "100m", "memory": "100M"}, "limits": {"memory": "100M"}}),
        ({"limits": {"cpu": "500m"}}, {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "2Gi", "cpu": "500m"}}),
        ({"limits": {"ephemeral-storage": "1Gi"}}, {**DEFAULT_SIZE, "limits": {"memory": "2Gi", "ephemeral-storage": "1Gi"}}),
    ],
    ids=["nothing", "a CPU request", "more memory than the limit", "a lower limit", "less than the request", "a CPU limit", "a disk limit"],
)
def test_a_gateway_has_the_defaults_for_what_is_not_said_and_no_request_above_a_limit(asked: dict[str, Any], given: dict[str, Any]) -> None:
    case = dedicated(gateway={"podTemplate": {"resources": asked}})
    assert container(case.gateway())["resources"] == given


@pytest.mark.parametrize("asked", [{"limits": {"memory": "512Mi"}}, {"requests": {"memory": "4Gi"}}])
def test_envoys_heap_follows_the_memory_that_the_workload_gives_its_gateway(asked: dict[str, Any]) -> None:
    case = dedicated(gateway={"podTemplate": {"resources": asked}})
    limit = amount(container(case.gateway())["resources"]["limits"]["memory"])
    (heap,) = heaps(case)
    assert limit / 2 <= heap <= limit - 64 * 2**20
    assert gateway_pod(case)["metadata"]["annotations"] != gateway_pod(dedicated())["metadata"]["annotations"], "it is rolled"


def heaps(case: Case) -> list[int]:
    """Return the bounds of Envoy's heap."""
    manager = json.loads(one(case, "ConfigMap", "chat-gateway")["data"]["envoy.json"])["overload_manager"]
    found = [each["typed_config"] for each in manager["resource_monitors"] if each["name"].endswith("fixed_heap")]
    return [int(each["max_heap_size_bytes"]) for each in found]


@pytest.mark.parametrize(("limit", "millicores"), [(None, 1000), ("1", 500), ("0.5", 250), ("100m", 50), ("4", 1000)])
def test_the_autoscaler_asks_no_more_of_a_pod_than_its_cpu_limit_lets_it_use(limit: str | None, millicores: int) -> None:
    template = {} if limit is None else {"podTemplate": {"resources": {"limits": {"cpu": limit}}}}
    case = dedicated(gateway={"autoscaling": {"maxReplicas": 4, "targetCPUPercent": 50}, **template})
    (metric,) = one(case, "HorizontalPodAutoscaler", "chat-gateway")["spec"]["metrics"]
    assert metric["containerResource"]["target"]["averageValue"] == f"{millicores}m"


@pytest.mark.parametrize("nobody", [(), ({},)], ids=["none named", "no label named"])
def test_without_a_scraping_namespace_nobody_scrapes_and_without_the_operators_labels_it_asks_nobody(
    nobody: tuple[dict[str, str], ...],
) -> None:
    """An empty selector would admit every namespace."""
    case = with_settings(hybrid(), scrape_namespace_labels=nobody, operator_labels={})
    assert len(one(case, "NetworkPolicy", "chat-engine")["spec"]["ingress"]) == 1
    assert len(one(case, "NetworkPolicy", "chat-gateway")["spec"]["ingress"]) == 1


def test_each_of_several_scraping_namespaces_is_admitted() -> None:
    case = with_settings(hybrid(), scrape_namespace_labels=({"team": "obs"}, {"team": "spillway"}))
    for name in ("chat-engine", "chat-gateway"):
        peers = one(case, "NetworkPolicy", name)["spec"]["ingress"][1]["from"]
        assert [each["namespaceSelector"]["matchLabels"]["team"] for each in peers] == ["obs", "spillway"]


def test_cluster_only_is_kept_by_the_network_as_well() -> None:
    on_volume = {"source": {"persistentVolumeClaim": {"claimName": "models"}}}
    for name in ("chat-gateway", "chat-engine"):
        assert "Egress" in one(dedicated(model=on_volume, residency="ClusterOnly"), "NetworkPolicy", name)["spec"]["policyTypes"]
        assert "Egress" not in one(dedicated(model=on_volume), "NetworkPolicy", name)["spec"]["policyTypes"]


def test_what_is_remembered_stays_and_an_old_pool_does_not() -> None:
    case = hybrid()
    keep = wanted(case.workload, case.render())
    assert {ChildRef("ConfigMap", "chat-ledger"), ChildRef("ConfigMap", "chat-learned")} <= keep
    assert ChildRef("Deployment", case.engine()["metadata"]["name"]) in keep
    assert ChildRef("Deployment", "chat-engine-00000000") not in keep


amounts = st.floats(min_value=0, max_value=1e15)
moments = st.datetimes(timezones=st.just(UTC))
entries = st.builds(LedgerEntry, input_tokens=amounts, output_tokens=amounts, requests=amounts, seen_at=st.none() | moments)
ledgers = st.builds(
    Ledger,
    month=st.just("2026-11"),
    dedicated_usd=amounts,
    hosted_usd=amounts,
    input_tokens=amounts,
    unaccounted_s=amounts,
    watched_until=st.none() | moments,
    counters=st.dictionaries(st.text(max_size=20), entries, max_size=3),
    replicas=st.dictionaries(st.text(max_size=20), moments, max_size=3),
)


@given(ledgers)
@settings(max_examples=50)
def test_a_ledger_that_is_written_down_is_read_back_as_it_was(ledger: Ledger) -> None:
    config_map = ledger_object(hybrid().workload, ledger)
    assert parse_ledger(config_map["data"]) == ledger


@pytest.mark.parametrize("data", [{}, {"ledger.json": ""}, {"ledger.json": "[]"}, {"ledger.json": '{"month": null'}])
def test_what_is_no_ledger_is_none(data: dict[str, str]) -> None:
    assert parse_ledger(data) is None


def test_only_a_gateway_with_a_permit_is_told_its_pods_name() -> None:
    plain, limited = hybrid(), hybrid(overflow={"maxUSDPerDay": "5"})
    before, after = container(plain.gateway()), container(limited.gateway())
    assert "env" not in before
    assert after["env"] == [{"name": "SPILLWAY_POD", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}]
    assert plain.engine()["spec"]["template"] == limited.engine()["spec"]["template"]


def test_one_gateway_has_the_whole_cap_and_nothing_to_share_it_with() -> None:
    alone, several = (dedicated(gateway={"replicas": replicas}) for replicas in (1, 2))
    for case, shares in ((alone, False), (several, True)):
        text = str(one(case, "Deployment", "chat-gateway"))
        assert ("gateway-share" in text, "/etc/spillway/share" in text) == (shares, shares)
        assert ("/etc/spillway/share" in str(one(case, "ConfigMap", "chat-gateway"))) is shares
        assert len(one(case, "NetworkPolicy", "chat-gateway")["spec"]["ingress"]) == (3 if shares else 2)


def test_what_a_pod_is_told_is_read_back_and_what_says_nothing_is_no_share() -> None:
    (told,), (untold,) = share_annotation(7).values(), share_annotation(None).values()
    odd = [told.replace("7", number) for number in ("9" * 400, "-7")]
    assert share_told(told) == 7
    assert {share_told(each) for each in (untold, "", "{}", "[]", '{"resources": []}', *odd)} == {None}


@pytest.mark.parametrize("case", EVERY)
@pytest.mark.parametrize("limit_mib", [512, 2048, 8192])
def test_a_gateway_refuses_requests_well_before_its_container_is_out_of_memory(case: Case, limit_mib: int) -> None:
    sized = with_settings(case, gateway_resources=Resources(limits={"memory": f"{limit_mib}Mi"}))
    manager = json.loads(one(sized, "ConfigMap", "chat-gateway")["data"]["envoy.json"])["overload_manager"]
    (heap,) = [each for each in manager["resource_monitors"] if each["name"].endswith("fixed_heap")]
    assert int(heap["typed_config"]["max_heap_size_bytes"]) <= (limit_mib - 64) * 2**20  # beside the heap there is the program
    refusal = next(each for each in manager["actions"] if each["name"].endswith("stop_accepting_requests"))
    assert refusal["triggers"][0]["threshold"]["value"] <= 0.5


def test_a_gateway_without_a_memory_limit_bounds_connections_alone() -> None:
    free = with_settings(dedicated(), gateway_resources=Resources())
    manager = json.loads(one(free, "ConfigMap", "chat-gateway")["data"]["envoy.json"])["overload_manager"]
    assert [each["name"].rpartition(".")[2] for each in manager["resource_monitors"]] == ["global_downstream_max_connections"]


def test_what_waits_is_divided_over_the_gateways_pods() -> None:
    case = dedicated(gateway={"replicas": 3, "hold": {"seconds": 60, "maxRequests": 100}})
    clusters = json.loads(one(case, "ConfigMap", "chat-gateway")["data"]["envoy.json"])["static_resources"]["clusters"]
    hop = next(each for each in clusters if each["name"] == "hop-owned")
    assert hop["circuit_breakers"]["thresholds"][0]["max_retries"] == 34


def test_a_wait_of_nothing_before_a_spill_renders_what_none_does() -> None:
    none, zero, some = (one(each, "ConfigMap", "chat-gateway")["data"]["envoy.json"] for each in _waits_ms(None, 0, 500))
    assert zero == none
    assert some != none


def test_a_wait_before_a_spill_puts_no_script_of_limits_in_the_way() -> None:
    text = one(hybrid(overflow={"maxWaitMs": 500}), "ConfigMap", "chat-gateway")["data"]["envoy.json"]
    assert "x-spillway-permitted" not in text


def _waits_ms(*each: int | None) -> list[Case]:
    return [hybrid(overflow=None if wait_ms is None else {"maxWaitMs": wait_ms}) for wait_ms in each]
