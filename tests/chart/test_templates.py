"""What an installation consists of: restricted pods, small rights, the labels that queries group by."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from spillway.api.pods import GatewayPodTemplate
from spillway.api.vocabulary import LABEL_COMPONENT, LABEL_WORKLOAD
from spillway.observe.access import OPEN, Access, AccessError
from spillway.reconcile.settings import read_settings
from spillway.render.envoy.metrics import MANY_CLIENTS
from spillway.render.settings import RenderSettings
from tests.chart.conftest import CHART, GUARDED, NAMESPACE, STACK, Rendered, helm, refusal, template, values_file
from tests.e2e.cluster import binaries

WORKLOAD_LABELS = {"namespace", "pod", "workload", "component"}  # on every scraped series of a workload


def roles(rendered: Rendered) -> Iterator[tuple[str, dict[str, Any]]]:
    for role in (*rendered.all("ClusterRole"), *rendered.all("Role")):
        for rule in role["rules"]:
            yield role["metadata"]["name"], rule


def test_every_pod_passes_pod_security_restricted(rendered: Rendered) -> None:
    for deployment in rendered.all("Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 65532
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
        assert all(set(v) - {"name"} <= {"emptyDir", "configMap", "secret", "projected", "persistentVolumeClaim"} for v in pod["volumes"])
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}


def test_no_role_reads_secrets_or_has_a_wildcard(rendered: Rendered) -> None:
    for name, rule in roles(rendered):
        assert rule["verbs"], name
        for part in ("apiGroups", "resources", "verbs"):
            assert "*" not in "".join(rule[part]), f"{name} has a wildcard in {part}"
        assert not {r.split("/")[0] for r in rule["resources"]} & {
            "secrets",
            "nodes",
            "namespaces",
            "roles",
            "clusterroles",
            "rolebindings",
        }
        assert not set(rule["resources"]) & {
            "pods/exec",
            "pods/attach",
            "pods/portforward",
            "pods/ephemeralcontainers",
            "serviceaccounts/token",
        }
        assert not set(rule["verbs"]) & {"impersonate", "escalate", "bind"}


def test_hosted_providers_are_written_by_admins_only(plain: Rendered) -> None:
    may_write = {
        name
        for name, rule in roles(plain)
        if "hostedproviders" in rule["resources"] and set(rule["verbs"]) & {"create", "update", "patch", "delete"}
    }
    assert may_write == {"spillway-admin"}
    aggregated = {r["metadata"]["name"]: set(r["metadata"]["labels"]) for r in plain.all("ClusterRole")}
    assert "rbac.authorization.k8s.io/aggregate-to-admin" in aggregated["spillway-admin"]
    assert "rbac.authorization.k8s.io/aggregate-to-edit" not in aggregated["spillway-admin"]


def test_namespaced_objects_name_the_release_namespace(rendered: Rendered) -> None:
    cluster_scoped = {"ClusterRole", "ClusterRoleBinding", "AcceleratorClass"}
    for item in rendered.objects:
        assert (item["metadata"].get("namespace") == NAMESPACE) is (item["kind"] not in cluster_scoped), item["kind"]


def test_bindings_and_pods_name_the_same_account(rendered: Rendered) -> None:
    made = {a["metadata"]["name"] for a in rendered.all("ServiceAccount")} | {"made-elsewhere"}
    used = {d["spec"]["template"]["spec"]["serviceAccountName"] for d in rendered.all("Deployment")}
    bound = {s["name"] for kind in ("ClusterRoleBinding", "RoleBinding") for b in rendered.all(kind) for s in b["subjects"]}
    assert used == bound
    assert used <= made


def test_selectors_match_pods_and_nothing_of_a_workload(rendered: Rendered) -> None:
    for deployment in rendered.all("Deployment"):
        selector = deployment["spec"]["selector"]["matchLabels"]
        assert selector.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
        assert selector[LABEL_COMPONENT] not in {"engine", "gateway"}
    (budget,) = rendered.all("PodDisruptionBudget")
    (operator,) = (d for d in rendered.all("Deployment") if d["metadata"]["name"].endswith("-operator"))
    assert budget["spec"]["selector"] == operator["spec"]["selector"]


def test_the_operator_is_told_everything_by_environment(bundled: Rendered) -> None:
    (container,) = bundled.pod("spillway-operator")["containers"]
    environment = {e["name"]: e.get("value", e.get("valueFrom")) for e in container["env"]}
    assert environment["SPILLWAY_PROMETHEUS_URL"] == f"http://spillway-prometheus.{NAMESPACE}.svc.cluster.local:9090"
    assert json.loads(environment["SPILLWAY_SCRAPE_NAMESPACE_LABELS"]) == {"kubernetes.io/metadata.name": NAMESPACE}
    operator = bundled.one("Deployment", "spillway-operator")
    assert json.loads(environment["SPILLWAY_OPERATOR_LABELS"]) == operator["spec"]["selector"]["matchLabels"]
    assert environment["SPILLWAY_ENGINE_IMAGE"] == "vllm/vllm-openai:v0.32.0"
    assert environment["SPILLWAY_ENGINE_VERSION"] == "0.32.0"
    assert environment["SPILLWAY_GATEWAY_IMAGE"] == "envoyproxy/envoy:v1.40.0"
    placement = {name: environment[f"SPILLWAY_PLACEMENT_{name}"] for name in ("MIN_SAVING_PERCENT", "HOLD_SECONDS", "INTERVAL_SECONDS")}
    assert placement == {"MIN_SAVING_PERCENT": "10", "HOLD_SECONDS": "86400", "INTERVAL_SECONDS": "3600"}
    assert all(isinstance(value, dict | str) for value in environment.values())


@pytest.mark.parametrize(
    ("size", "kept"), [("8Gi", "6871947673B"), ("500M", "400000000B"), ("1.5Ti", "1319413953331B"), ("1000000", "800000B")]
)
def test_the_bundled_prometheus_ends_before_its_volume_is_full(size: str, kept: str, tmp_path: Path) -> None:
    made = template(tmp_path, {"prometheus": {"install": True, "persistence": {"size": size}}})
    (container,) = made.pod("spillway-prometheus")["containers"]
    assert f"--storage.tsdb.retention.size={kept}" in container["args"]


def test_without_a_prometheus_the_operator_gets_no_url_and_the_notes_say_what_is_missing(plain: Rendered, tmp_path: Path) -> None:
    (container,) = plain.pod("spillway-operator")["containers"]
    assert "SPILLWAY_PROMETHEUS_URL" not in {e["name"] for e in container["env"]}
    assert "WARNING: no Prometheus is configured" in notes(tmp_path, {})
    assert "WARNING" not in notes(tmp_path, {"prometheus": {"install": True}})
    assert "WARNING" not in notes(tmp_path, STACK)
    assert "does not reveal the namespace of Prometheus" in notes(tmp_path, {"prometheus": {"url": "https://prometheus.example.com"}})


def access(found: Rendered) -> tuple[Access, dict[str, Any], str]:
    """Return how the operator asks Prometheus, what is mounted by path, and the pod's environment as text."""
    pod = found.pod("spillway-operator")
    (container,) = pod["containers"]
    volumes = {each["name"]: {key: value for key, value in each.items() if key != "name"} for each in pod["volumes"]}
    mounted = {each["mountPath"]: volumes.pop(each["name"]) for each in container["volumeMounts"]}
    assert not volumes
    assert not any("subPath" in each for each in container["volumeMounts"])  # such a mount keeps what it had at the start
    told = read_settings({each["name"]: each["value"] for each in container["env"] if "value" in each}).prometheus_access
    return told, mounted, json.dumps(container["env"])


def test_what_prometheus_asks_for_is_mounted_from_a_secret_and_read_from_there(tmp_path: Path) -> None:
    told, mounted, environment = access(template(tmp_path, GUARDED))
    assert told.headers == {"X-Scope-OrgID": "team"}
    assert told.ca_file is not None
    assert mounted[str(told.ca_file.parent)] == {
        "configMap": {"name": "corporate", "optional": True, "items": [{"key": "service-ca.crt", "path": told.ca_file.name}]}
    }
    (volume,) = (each["secret"] for each in mounted.values() if "secret" in each)
    assert (volume["secretName"], volume["optional"], volume["defaultMode"]) == ("reads-metrics", True, 0o440)
    assert {each["key"]: each["path"] for each in volume["items"]} == {name: name for name in ("token", "username", "password")}
    assert "reads-metrics" not in environment
    assert told.authorization is not None
    with pytest.raises(AccessError, match=next(path for path, each in mounted.items() if "secret" in each)):
        told.authorization()


def test_the_operators_own_token_is_one_that_the_kubelet_renews(tmp_path: Path) -> None:
    url = "https://thanos-querier.openshift-monitoring.svc:9091"
    told, mounted, _ = access(
        template(tmp_path, {"prometheus": {"url": url, "auth": {"serviceAccountToken": True}, "ca": {"secret": "authority"}}})
    )
    (volume,) = (each["projected"] for each in mounted.values() if "projected" in each)
    assert volume["sources"] == [{"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}]
    (authority,) = (each["secret"] for each in mounted.values() if "secret" in each)
    assert (authority["secretName"], authority["items"]) == ("authority", [{"key": "ca.crt", "path": "ca.crt"}])
    assert told.authorization is not None


def test_a_prometheus_that_is_far_away_may_be_given_more_time(tmp_path: Path, plain: Rendered) -> None:
    far = template(tmp_path, {"prometheus": {"url": "https://far.example.com", "timeoutSeconds": 20}})
    for found, expected in ((plain, 5), (far, 20)):
        (container,) = found.pod("spillway-operator")["containers"]
        told = read_settings({each["name"]: each["value"] for each in container["env"] if "value" in each})
        assert told.prometheus_timeout_s == expected


def test_a_prometheus_that_asks_for_nothing_is_given_nothing(stack: Rendered) -> None:
    told, mounted, _ = access(stack)
    assert told == OPEN
    assert list(mounted) == ["/tmp"]


def test_the_notes_say_where_a_credential_can_be_read_on_the_way(tmp_path: Path) -> None:
    guarded = {"url": "http://mimir.mimir.svc/prometheus", "auth": {"secret": "reads-metrics"}}
    assert "has no TLS, so the credentials in Secret reads-metrics travel in clear text" in notes(tmp_path, {"prometheus": guarded})
    assert "has no TLS" not in notes(tmp_path, GUARDED)


def test_the_notes_say_it_where_alerts_are_made_and_what_they_look_at_is_not_scraped(tmp_path: Path) -> None:
    assert "SpillwayNobodyActs will fire" in notes(tmp_path, STACK | {"serviceMonitor": {"enabled": False}})


def notes(folder: Path, values: dict[str, Any]) -> str:
    shown = helm("install", "spillway", str(CHART), "-n", NAMESPACE, "--dry-run=client", "-f", str(values_file(folder, values)))
    assert shown.returncode == 0, shown.stderr
    return shown.stdout.partition("NOTES:")[2]


def test_the_lease_that_may_be_written_is_the_operators(rendered: Rendered) -> None:
    (deployment,) = (d for d in rendered.all("Deployment") if d["metadata"]["name"].endswith("-operator"))
    environment = {e["name"]: e.get("value") for e in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
    (role,) = rendered.all("Role")
    by_name = [r for r in role["rules"] if "resourceNames" in r]
    assert [r["resourceNames"] for r in by_name] == [[environment["SPILLWAY_LEASE_NAME"]]]
    assert [r["verbs"] for r in role["rules"] if "resourceNames" not in r] == [["create"]]


def test_images_are_named_by_tag_or_by_digest(tmp_path: Path, plain: Rendered) -> None:
    digest = "sha256:" + "b" * 64
    by_digest = template(tmp_path, {"image": {"tag": "1", "digest": digest}})
    assert plain.pod("spillway-operator")["containers"][0]["image"] == "spillway/operator:0.1.0"
    assert by_digest.pod("spillway-operator")["containers"][0]["image"] == f"spillway/operator@{digest}"


def test_pods_listen_on_ipv6_where_the_values_say_so(tmp_path: Path, plain: Rendered) -> None:
    for found, expected in ((plain, "0.0.0.0"), (template(tmp_path, {"listenAddress": "::"}), "::")):
        (container,) = found.pod("spillway-operator")["containers"]
        assert read_settings({each["name"]: each.get("value", "") for each in container["env"]}).render.listen_address == expected


def test_pull_secrets_of_replicas_and_gateways_reach_the_operator(tmp_path: Path, plain: Rendered) -> None:
    found = template(
        tmp_path, {"engine": {"imagePullSecrets": [{"name": "a"}]}, "gateway": {"imagePullSecrets": [{"name": "b"}, {"name": "c"}]}}
    )
    assert (told(found).engine_pull_secrets, told(found).gateway_pull_secrets) == (("a",), ("b", "c"))
    assert "imagePullSecrets" not in found.pod("spillway-operator")
    (container,) = plain.pod("spillway-operator")["containers"]
    assert not [each for each in container["env"] if "PULL_SECRETS" in each["name"]]


def nodes(**expression: Any) -> dict[str, Any]:
    """Return an affinity to nodes."""
    terms = [{"matchExpressions": [expression]}]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


OFF_GPUS = nodes(key="nvidia.com/gpu.present", operator="DoesNotExist")


def test_defaults_of_gateways_pods_reach_the_operator_and_none_is_told_where_none_is_set(tmp_path: Path, plain: Rendered) -> None:
    values = {
        "podLabels": {"team": "ml"},
        "podAnnotations": {"sidecar.istio.io/inject": "false"},
        "nodeSelector": {"pool": "edge"},
        "tolerations": [{"key": "edge", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1000000}],
        "affinity": OFF_GPUS,
        "priorityClassName": "4",
    }
    renamed = {"podLabels": "labels", "podAnnotations": "annotations"}
    found = told(template(tmp_path, {"gateway": values})).gateway_pod_template
    expected = {renamed.get(name, name): value for name, value in values.items()}
    assert found.model_dump(mode="json", by_alias=True, exclude_unset=True) == expected
    assert told(plain).gateway_pod_template == GatewayPodTemplate()
    assert not [each for each in plain.pod("spillway-operator")["containers"][0]["env"] if "POD_TEMPLATE" in each["name"]]


@pytest.mark.parametrize(
    "values",
    [
        {"tolerations": [{"effect": "NoSchedule"}]},
        {"tolerations": [{"key": "edge", "Operator": "Exists"}]},
        {"affinity": {"podAffinity": {}}},
        {"affinity": {"nodeAffinity": {"required": {}}}},
        {"podAnnotations": {"sidecar.istio.io/inject": False}},
        {"podLabels": {"team": "a b"}},
        {"affinity": nodes(key="pool", operator="In")},
        {"affinity": nodes(key="pool", operator="Exists", values=["edge"])},
        {"affinity": nodes(key="cores", operator="Gt", values=["many"])},
    ],
    ids=["of every taint", "misspelt", "to other pods", "of another name", "no text", "no label", "nothing", "too much", "no number"],
)
def test_what_the_operator_or_the_api_server_would_refuse_of_gateways_pods_is_refused_before(
    values: dict[str, Any], tmp_path: Path
) -> None:
    assert "gateway" in refusal(tmp_path, {"gateway": values})


def told(rendered: Rendered) -> RenderSettings:
    """Return what the operator is told about workloads' objects."""
    (container,) = rendered.pod("spillway-operator")["containers"]
    return read_settings({each["name"]: each["value"] for each in container["env"] if "value" in each}).render


def test_placement_values_reach_the_bundled_prometheus(tmp_path: Path) -> None:
    values = {
        "nodeSelector": {"pool": "system"},
        "tolerations": [{"key": "system", "operator": "Exists"}],
        "priorityClassName": "2",
        "affinity": OFF_GPUS,
    }
    marks = {"podLabels": {"team": "ml", "app.kubernetes.io/component": "other"}, "podAnnotations": {"note": "yes"}}
    made = template(tmp_path, {"prometheus": {"install": True, **values, **marks}})
    deployment = made.one("Deployment", "spillway-prometheus")["spec"]
    assert {key: deployment["template"]["spec"][key] for key in values} == values
    metadata = deployment["template"]["metadata"]
    assert metadata["labels"] == {**deployment["selector"]["matchLabels"], "team": "ml"}
    assert metadata["annotations"] == {"note": "yes"}


def test_placement_values_reach_the_operators_pod(tmp_path: Path) -> None:
    values = {
        "nodeSelector": {"pool": "system"},
        "tolerations": [{"key": "system", "operator": "Exists"}],
        "priorityClassName": "high",
        "imagePullSecrets": [{"name": "pull"}],
        "affinity": {"podAntiAffinity": {}},
        "podLabels": {"team": "ml"},
        "podAnnotations": {"note": "yes"},
    }
    found = template(tmp_path, values)
    pod = found.pod("spillway-operator")
    metadata = found.one("Deployment", "spillway-operator")["spec"]["template"]["metadata"]
    assert {key: pod[key] for key in values if key in pod} == {key: values[key] for key in values if not key.startswith("pod")}
    assert metadata["labels"]["team"] == "ml"
    assert metadata["annotations"]["note"] == "yes"
    (spread,) = pod["topologySpreadConstraints"]
    assert spread["labelSelector"] == found.one("Deployment", "spillway-operator")["spec"]["selector"]


def test_further_environment_reaches_the_operator_behind_the_charts_own(tmp_path: Path, plain: Rendered) -> None:
    further = [
        {"name": "HTTPS_PROXY", "value": "http://proxy.example.com:3128"},
        {"name": "NO_PROXY", "valueFrom": {"configMapKeyRef": {"name": "proxy", "key": "direct"}}},
    ]
    own, all_of_it = (each.pod("spillway-operator")["containers"][0]["env"] for each in (plain, template(tmp_path, {"extraEnv": further})))
    assert all_of_it == [*own, *further]


def test_common_labels_are_on_every_object_and_the_operators_pods_and_win_over_nobody(tmp_path: Path) -> None:
    common = {"cost-centre": "42", "app.kubernetes.io/part-of": "platform", "release": "common"}
    special = {"enabled": True, "additionalLabels": {"release": "special"}}
    found = template(tmp_path, {"commonLabels": common, "prometheus": {"install": True}, "podMonitor": special})
    deployments = found.all("Deployment")
    (operator,) = (each["spec"]["template"] for each in deployments if each["metadata"]["name"] == "spillway-operator")
    labelled = [each["metadata"]["labels"] for each in (*found.objects, operator)]
    assert {(each["cost-centre"], each["app.kubernetes.io/part-of"]) for each in labelled} == {("42", "spillway")}
    assert found.one("PodMonitor", "spillway-workloads")["metadata"]["labels"]["release"] == "special"
    # What pods are selected by cannot change, and the bundled Prometheus' must not restart.
    assert not [each for each in deployments if "cost-centre" in each["spec"]["selector"]["matchLabels"]]
    assert "cost-centre" not in found.one("Deployment", "spillway-prometheus")["spec"]["template"]["metadata"]["labels"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"prometheus": {"install": True}}, [{"kubernetes.io/metadata.name": NAMESPACE}]),
        ({"prometheus": {"url": "http://prometheus.monitoring.svc:9090"}}, [{"kubernetes.io/metadata.name": "monitoring"}]),
        ({"prometheus": {"url": "http://p.obs.svc.cluster.local/api"}}, [{"kubernetes.io/metadata.name": "obs"}]),
        ({"prometheus": {"url": "https://prometheus.example.com"}}, []),
        ({}, []),
        (
            {"prometheus": {"url": "http://thanos.query.svc"}, "networkPolicy": {"scrapeNamespaceLabels": {"team": "obs"}}},
            [{"team": "obs"}],
        ),
        (
            {"prometheus": {"install": True}, "networkPolicy": {"scrapeNamespaceLabels": {"team": "obs"}}},
            [{"team": "obs"}, {"kubernetes.io/metadata.name": NAMESPACE}],
        ),
        (
            {"prometheus": {"install": True}, "networkPolicy": {"scrapeNamespaceLabels": {"kubernetes.io/metadata.name": NAMESPACE}}},
            [{"kubernetes.io/metadata.name": NAMESPACE}],
        ),
    ],
    ids=["bundled", "namespace of the URL", "long URL", "outside the cluster", "none", "named", "both", "both the same"],
)
def test_the_scraping_namespaces_are_admitted_and_no_other(values: dict[str, Any], expected: list[dict[str, str]], tmp_path: Path) -> None:
    found = template(tmp_path, values)
    assert list(told(found).scrape_namespace_labels) == expected
    ingress = found.one("NetworkPolicy", "spillway-operator")["spec"]["ingress"]
    assert [i["from"] for i in ingress] == ([[{"namespaceSelector": {"matchLabels": each}} for each in expected]] if expected else [])


def test_one_pod_monitor_scrapes_engines_and_gateways_of_every_workload(stack: Rendered) -> None:
    (monitor,) = stack.all("PodMonitor")
    assert monitor["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    assert monitor["spec"]["namespaceSelector"] == {"any": True}
    assert monitor["spec"]["selector"] == {"matchExpressions": [{"key": LABEL_WORKLOAD, "operator": "Exists"}]}
    endpoints = {e["relabelings"][0]["regex"]: e for e in monitor["spec"]["podMetricsEndpoints"]}
    assert {component: (e["port"], e["path"]) for component, e in endpoints.items()} == {
        "engine": ("http", "/metrics"),
        "gateway": ("metrics", "/metrics"),
    }
    for endpoint in endpoints.values():
        assert {r["targetLabel"] for r in endpoint["relabelings"] if "targetLabel" in r} == WORKLOAD_LABELS


@pytest.mark.parametrize(
    "release",
    ["team.llm", "platform-production-cluster-eu-west-1-of-the-team-llm", "1team", "1"],
    ids=["a dot", "53 characters", "a digit first", "a digit alone"],
)
def test_services_have_a_name_that_services_may_have(release: str, tmp_path: Path) -> None:
    found = template(tmp_path, {"prometheus": {"install": True}}, release=release)
    names = [each["metadata"]["name"] for each in found.all("Service")]
    assert len(names) == 2
    assert all(re.fullmatch("[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name) for name in names), names


def test_what_is_text_stays_text_where_it_looks_like_a_number(tmp_path: Path) -> None:
    card = {"product": "card", "memoryGiB": 23, "memoryBandwidthGBps": 1008, "teraFLOPs": {"bf16": 165}, "perNode": 1}
    values = {
        "clusterDomain": "1",
        "priorityClassName": "2",
        "serviceAccount": {"name": "3"},
        "prometheus": {"install": True, "persistence": {"enabled": True, "storageClassName": "4"}},
        "acceleratorClasses": {"catalogue": {"4090": card}},
        **{name: STACK[name] for name in ("podMonitor", "serviceMonitor", "prometheusRule", "dashboard")},
    }
    found = template(tmp_path, values, release="5", namespace="6")
    assert found.one("AcceleratorClass", "4090")
    for each in found.objects:
        metadata = each["metadata"]
        assert all(isinstance(text, str) for text in (metadata["name"], metadata.get("namespace", ""), *metadata["labels"].values())), each
    assert {subject["namespace"] for binding in found.all("RoleBinding") for subject in binding["subjects"]} == {"6"}
    pod = found.pod("r-5-spillway-operator")
    environment = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
    texts = (pod["priorityClassName"], pod["serviceAccountName"], environment["SPILLWAY_CLUSTER_DOMAIN"])
    assert (*texts, found.one("PersistentVolumeClaim", "r-5-spillway-prometheus")["spec"]["storageClassName"]) == ("2", "3", "1", "4")
    assert json.loads(environment["SPILLWAY_OPERATOR_LABELS"] or "")["app.kubernetes.io/instance"] == "5"


def test_no_key_comes_twice_and_ours_win(tmp_path: Path) -> None:
    labels = {"app.kubernetes.io/part-of": "platform", "team": "ml"}
    values = {
        "podLabels": labels,
        "podAnnotations": {"kubectl.kubernetes.io/default-container": "sidecar"},
        "podMonitor": {"enabled": True, "additionalLabels": labels},
        "serviceMonitor": {"enabled": True, "additionalLabels": labels},
        "prometheusRule": {"enabled": True, "additionalLabels": labels},
        "dashboard": {"enabled": True, "labels": labels},
    }
    shown = helm("template", "spillway", str(CHART), "-n", NAMESPACE, "-f", str(values_file(tmp_path, values)))
    kustomization = {"resources": ["all.yaml"]}
    (tmp_path / "all.yaml").write_text(shown.stdout)
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    done = subprocess.run([binaries.kubectl(), "kustomize", str(tmp_path)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    objects = [each for each in yaml.safe_load_all(done.stdout) if each["metadata"].get("labels", {}).get("team")]
    assert {each["kind"] for each in objects} == {"PodMonitor", "ServiceMonitor", "PrometheusRule", "ConfigMap"}
    assert {each["metadata"]["labels"]["app.kubernetes.io/part-of"] for each in objects} == {"spillway"}


def test_the_service_monitor_finds_the_metrics_service(stack: Rendered) -> None:
    (monitor,) = stack.all("ServiceMonitor")
    service = stack.one("Service", "spillway-operator-metrics")
    assert monitor["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]


def test_monitors_are_made_only_where_the_prometheus_operator_is(plain: Rendered) -> None:
    assert not plain.all("PodMonitor")
    assert not plain.all("ServiceMonitor")


def test_promtool_accepts_the_bundled_configuration(bundled: Rendered, tmp_path: Path) -> None:
    for name, text in bundled.one("ConfigMap", "spillway-prometheus")["data"].items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [str(binaries.path("promtool")), "check", "config", "--lint=all", "--lint-fatal", str(tmp_path / "prometheus.yml")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_bundled_prometheus_gives_the_labels_of_the_pod_monitor(bundled: Rendered, stack: Rendered) -> None:
    config = yaml.safe_load(bundled.one("ConfigMap", "spillway-prometheus")["data"]["prometheus.yml"])
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    assert jobs.keys() == {"spillway-workloads", "spillway-operator", "dcgm"}
    mine = {
        r["target_label"]: r["source_labels"]
        for r in jobs["spillway-workloads"]["relabel_configs"]
        if r.get("action", "replace") == "replace"
    }
    (monitor,) = stack.all("PodMonitor")
    theirs = {
        r["targetLabel"]: r["sourceLabels"]
        for endpoint in monitor["spec"]["podMetricsEndpoints"]
        for r in endpoint["relabelings"]
        if "targetLabel" in r
    }
    assert mine == theirs
    assert mine.keys() == WORKLOAD_LABELS
    assert jobs["spillway-workloads"]["kubernetes_sd_configs"] == [{"role": "pod", "selectors": [{"role": "pod", "label": LABEL_WORKLOAD}]}]


def test_one_pod_cannot_tell_more_series_than_there_is_memory_for(bundled: Rendered, stack: Rendered) -> None:
    config = yaml.safe_load(bundled.one("ConfigMap", "spillway-prometheus")["data"]["prometheus.yml"])
    (job,) = (job for job in config["scrape_configs"] if job["job_name"] == "spillway-workloads")
    (monitor,) = stack.all("PodMonitor")
    told_apart = MANY_CLIENTS * 4 + 20 * 1000  # two series of a client by code, two by token; the other loggers of a gateway
    assert told_apart < job["sample_limit"] == monitor["spec"]["sampleLimit"] <= 100_000
    assert job["body_size_limit"]


def test_the_bundled_prometheus_runs_from_an_image_with_nothing_but_its_program(bundled: Rendered) -> None:
    (container,) = bundled.pod("spillway-prometheus")["containers"]
    assert container["command"] == ["/bin/prometheus"]
    assert not [a for a in container["args"] if "console" in a]
    mounts = {m["mountPath"] for m in container["volumeMounts"]}
    assert mounts == {"/etc/prometheus", "/prometheus"}


def test_a_chart_upgrade_does_not_restart_the_bundled_prometheus(bundled: Rendered, tmp_path: Path) -> None:
    newer = tmp_path / "chart"
    subprocess.run(["cp", "-r", str(CHART), str(newer)], check=True)
    described = yaml.safe_load((newer / "Chart.yaml").read_text()) | {"version": "0.2.0", "appVersion": "0.2.0"}
    (newer / "Chart.yaml").write_text(yaml.safe_dump(described))
    values = {
        "prometheus": {"install": True, "scrapeInterval": "3s", "persistence": {"enabled": True}},
        "imagePullSecrets": [{"name": "pull"}],
    }
    found = template(tmp_path, values, newer)
    before, after = (r.one("Deployment", "spillway-prometheus")["spec"] for r in (bundled, found))
    assert before == after


def test_the_catalogue_can_be_changed_and_left_out(tmp_path: Path) -> None:
    changed = template(
        tmp_path, {"acceleratorClasses": {"catalogue": {"nvidia-b200": None, "nvidia-l4": {"price": {"onDemandUSDPerHour": "0.5"}}}}}
    )
    names = {c["metadata"]["name"] for c in changed.all("AcceleratorClass")}
    assert "nvidia-b200" not in names
    assert changed.one("AcceleratorClass", "nvidia-l4")["spec"]["price"]["onDemandUSDPerHour"] == "0.5"
    assert changed.one("AcceleratorClass", "nvidia-l4")["spec"]["memoryGiB"] == 22
    assert not template(tmp_path, {"acceleratorClasses": {"install": False}}).all("AcceleratorClass")
