"""Settings: the environment as the chart sets it, and what is wrong with it in a sentence."""

from pathlib import Path

import pytest

from spillway.observe.access import OPEN, AccessError
from spillway.plan.settings import PlanSettings
from spillway.reconcile.settings import SettingsError, read_settings


def test_an_empty_environment_has_the_charts_defaults() -> None:
    settings = read_settings({})
    assert (settings.tick_s, settings.metrics_window_s, settings.lease_s, settings.lease_name) == (15, 60, 12, "spillway-operator")
    assert settings.prometheus_url is None
    assert settings.prometheus_access == OPEN
    assert settings.plan == PlanSettings()


def test_reads_what_the_chart_sets() -> None:
    settings = read_settings(
        {
            "SPILLWAY_PROMETHEUS_URL": "http://prometheus:9090",
            "SPILLWAY_TICK_SECONDS": "5",
            "SPILLWAY_METRICS_WINDOW_SECONDS": "30",
            "SPILLWAY_ENGINE_IMAGE": "engine:1",
            "SPILLWAY_ENGINE_VERSION": "0.31.0",
            "SPILLWAY_GATEWAY_IMAGE": "gateway:1",
            "SPILLWAY_IMAGE_PULL_POLICY": "Never",
            "SPILLWAY_LISTEN_ADDRESS": "::",
            "SPILLWAY_ENGINE_PULL_SECRETS": '["registry"]',
            "SPILLWAY_GATEWAY_PULL_SECRETS": '["mirror", "registry"]',
            "SPILLWAY_GATEWAY_POD_TEMPLATE": '{"nodeSelector": {"pool": "edge"}}',
            "SPILLWAY_CLUSTER_DOMAIN": "corp.local",
            "SPILLWAY_SCRAPE_NAMESPACE_LABELS": '{"kubernetes.io/metadata.name": "monitoring"}',
            "SPILLWAY_OPERATOR_LABELS": '{"app.kubernetes.io/component": "operator"}',
            "SPILLWAY_NAMESPACE": "spillway-system",
            "SPILLWAY_POD_NAME": "operator-0",
            "SPILLWAY_METRICS_PORT": "9000",
            "SPILLWAY_PLACEMENT_INTERVAL_SECONDS": "60",
            "SPILLWAY_PLACEMENT_HOLD_SECONDS": "7200",
            "SPILLWAY_PLACEMENT_MIN_SAVING_PERCENT": "25",
        }
    )
    assert settings.render.engine_version == "0.31.0"
    assert settings.render.scrape_namespace_labels == ({"kubernetes.io/metadata.name": "monitoring"},)
    assert (settings.render.engine_pull_secrets, settings.render.gateway_pull_secrets) == (("registry",), ("mirror", "registry"))
    assert settings.render.gateway_pod_template.node_selector == {"pool": "edge"}
    assert settings.render.operator_labels == {"app.kubernetes.io/component": "operator"}
    assert settings.render.operator_namespace == "spillway-system"
    assert settings.render.listen_address == "::"
    assert (settings.namespace, settings.identity, settings.metrics_port) == ("spillway-system", "operator-0", 9000)
    assert settings.plan.metrics_window.total_seconds() == 30
    plan = settings.plan
    assert (plan.placement_interval.total_seconds(), plan.placement_hold.total_seconds(), plan.placement_saving) == (60, 7200, 0.25)


def test_what_prometheus_asks_for_is_read_when_it_is_asked_and_not_before(tmp_path: Path) -> None:
    access = read_settings(
        {
            "SPILLWAY_PROMETHEUS_AUTH_FOLDER": str(tmp_path),
            "SPILLWAY_PROMETHEUS_CA_FILE": "/somewhere/ca.crt",
            "SPILLWAY_PROMETHEUS_HEADERS": '{"X-Scope-OrgID": "team"}',
        }
    ).prometheus_access
    assert (access.ca_file, access.headers) == (Path("/somewhere/ca.crt"), {"X-Scope-OrgID": "team"})
    (tmp_path / "token").write_text("made later")
    assert access.authorization is not None
    with pytest.raises(AccessError, match="use the token alone"):
        access.authorization()
    (tmp_path / "token").write_text("later")
    assert access.authorization() == "Bearer later"


def test_several_namespaces_may_scrape() -> None:
    found = read_settings({"SPILLWAY_SCRAPE_NAMESPACE_LABELS": '[{"team": "obs"}, {"team": "spillway"}]'}).render
    assert found.scrape_namespace_labels == ({"team": "obs"}, {"team": "spillway"})
    for none in ("{}", "[]", "[{}]"):
        assert read_settings({"SPILLWAY_SCRAPE_NAMESPACE_LABELS": none}).render.scrape_namespace_labels == ()


def test_the_pods_own_names_are_taken_where_nothing_is_set() -> None:
    settings = read_settings({"POD_NAMESPACE": "here", "POD_NAME": "me"})
    assert (settings.namespace, settings.identity) == ("here", "me")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("TICK_SECONDS", "soon"),
        ("LEASE_SECONDS", "0"),
        ("METRICS_PORT", "99999"),
        ("LOG_FORMAT", "JSON"),
        ("LISTEN_ADDRESS", "127.0.0.1"),
        ("SCRAPE_NAMESPACE_LABELS", "["),
        ("OPERATOR_LABELS", "{"),
        ("PROMETHEUS_HEADERS", "X-Scope-OrgID: team"),
        ("PROMETHEUS_HEADERS", '{"X-Scope-OrgID": 1}'),
        ("PROMETHEUS_HEADERS", '{"Authorization": "Bearer x"}'),
        ("ENGINE_PULL_SECRETS", "registry"),
        ("GATEWAY_PULL_SECRETS", '[{"name": "registry"}]'),
        ("GATEWAY_POD_TEMPLATE", "[]"),
        ("GATEWAY_POD_TEMPLATE", '{"tolerations": [{"effect": "Never"}]}'),
        ("SCRAPE_NAMESPACE_LABELS", '{"a": 1}'),
        ("SCRAPE_NAMESPACE_LABELS", '[["a"]]'),
        ("ENGINE_VERSION", "latest"),
        ("PLACEMENT_HOLD_SECONDS", "0"),
        ("PLACEMENT_INTERVAL_SECONDS", "1d"),
        ("PLACEMENT_MIN_SAVING_PERCENT", "101"),
        ("PLACEMENT_MIN_SAVING_PERCENT", "a tenth"),
    ],
)
def test_says_which_setting_is_wrong(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=name):
        read_settings({f"SPILLWAY_{name}": text})
