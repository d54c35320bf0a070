"""What the installation decides, read once from the environment (SPILLWAY_*) and passed down."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from spillway.api.base import first_error
from spillway.api.pods import GatewayPodTemplate
from spillway.observe.access import OPEN, Access, AccessError, folder_authorization
from spillway.plan.settings import PlanSettings
from spillway.render.settings import RenderSettings

PREFIX = "SPILLWAY_"
LONGEST_HOLD_S = 30 * 86_400
LOG_FORMATS = ("text", "json")
LISTEN_ADDRESSES = ("0.0.0.0", "::")  # noqa: S104  of pods, each in a network namespace of its own


class SettingsError(Exception):
    """A setting cannot be used; the message says which and what would do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything `spillway operator` is told. Times in seconds."""

    render: RenderSettings
    prometheus_url: str | None = None
    prometheus_access: Access = OPEN
    prometheus_timeout_s: float = 5.0
    tick_s: float = 15.0
    metrics_window_s: float = 60.0
    namespace: str = "default"  # of the Lease
    identity: str = "spillway"  # of this pod, in the Lease and in Events
    lease_name: str = "spillway-operator"
    lease_s: float = 12.0  # a standby that looks every second then acts well within 20 s of a kill
    metrics_port: int = 8080
    probe_port: int = 8081
    log_format: str = "text"
    workers: int = 4
    connections: int = 32
    # Longer than the longest single request, so that each pass gets at least one further; more would keep a pass that hangs in the lead.
    pass_timeout_s: float = 12.0
    ledger_every_s: float = 60.0
    placement_interval_s: float = 3600.0
    placement_hold_s: float = 86_400.0
    placement_saving_percent: float = 10.0

    @property
    def plan(self) -> PlanSettings:
        """What decisions need of it."""
        return PlanSettings(
            tick=timedelta(seconds=self.tick_s),
            metrics_window=timedelta(seconds=self.metrics_window_s),
            placement_interval=timedelta(seconds=self.placement_interval_s),
            placement_hold=timedelta(seconds=self.placement_hold_s),
            placement_saving=self.placement_saving_percent / 100,
        )


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Return the settings found in the environment; what is not set has the chart's default."""
    found = {name.removeprefix(PREFIX): text for name, text in environment.items() if name.startswith(PREFIX) and text != ""}
    namespace = found.get("NAMESPACE") or environment.get("POD_NAMESPACE") or "default"
    values: dict[str, Any] = {"render": _render_settings(found, namespace), "prometheus_access": _prometheus_access(found)}
    texts = {"PROMETHEUS_URL": "prometheus_url", "LEASE_NAME": "lease_name"}
    _copy(found, values, texts)
    if "LOG_FORMAT" in found:
        values["log_format"] = _one_of("LOG_FORMAT", found["LOG_FORMAT"], LOG_FORMATS)
    values["namespace"] = namespace
    values["identity"] = found.get("POD_NAME") or environment.get("POD_NAME") or environment.get("HOSTNAME") or "spillway"
    seconds = {
        "TICK_SECONDS": "tick_s",
        "METRICS_WINDOW_SECONDS": "metrics_window_s",
        "LEASE_SECONDS": "lease_s",
        "PROMETHEUS_TIMEOUT_SECONDS": "prometheus_timeout_s",
    }
    for name, field in seconds.items():
        if name in found:
            values[field] = _seconds(name, found[name])
    for name, field in {"PLACEMENT_INTERVAL_SECONDS": "placement_interval_s", "PLACEMENT_HOLD_SECONDS": "placement_hold_s"}.items():
        if name in found:
            values[field] = _seconds(name, found[name], most=LONGEST_HOLD_S)
    if "PLACEMENT_MIN_SAVING_PERCENT" in found:
        values["placement_saving_percent"] = _percent("PLACEMENT_MIN_SAVING_PERCENT", found["PLACEMENT_MIN_SAVING_PERCENT"])
    for name, field in {"METRICS_PORT": "metrics_port", "PROBE_PORT": "probe_port"}.items():
        if name in found:
            values[field] = _port(name, found[name])
    return Settings(**values)


def _prometheus_access(found: Mapping[str, str]) -> Access:
    folder, ca_file = found.get("PROMETHEUS_AUTH_FOLDER"), found.get("PROMETHEUS_CA_FILE")
    name = "PROMETHEUS_HEADERS"
    try:
        return Access(
            authorization=None if folder is None else partial(folder_authorization, Path(folder)),
            ca_file=None if ca_file is None else Path(ca_file),
            headers=_strings(name, _json(name, found[name]), example={"X-Scope-OrgID": "team"}) if name in found else {},
        )
    except AccessError as problem:
        raise SettingsError(f"{PREFIX}{name}: {problem}") from problem


def _render_settings(found: Mapping[str, str], namespace: str) -> RenderSettings:
    render: dict[str, Any] = {
        "engine_image": found.get("ENGINE_IMAGE", "vllm/vllm-openai:v0.32.0"),
        "engine_version": found.get("ENGINE_VERSION", "0.32.0"),
        "gateway_image": found.get("GATEWAY_IMAGE", "envoyproxy/envoy:v1.40.0"),
        "operator_namespace": namespace,
    }
    _copy(found, render, {"IMAGE_PULL_POLICY": "image_pull_policy", "CLUSTER_DOMAIN": "cluster_domain"})
    if "LISTEN_ADDRESS" in found:
        render["listen_address"] = _one_of("LISTEN_ADDRESS", found["LISTEN_ADDRESS"], LISTEN_ADDRESSES)
    told: dict[str, tuple[str, Callable[[str, object], Any]]] = {
        "SCRAPE_NAMESPACE_LABELS": ("scrape_namespace_labels", _each_labels),
        "OPERATOR_LABELS": ("operator_labels", _labels),
        "ENGINE_PULL_SECRETS": ("engine_pull_secrets", _names),
        "GATEWAY_PULL_SECRETS": ("gateway_pull_secrets", _names),
        "GATEWAY_POD_TEMPLATE": ("gateway_pod_template", _gateway_pod_template),
    }
    render |= {field: read(name, _json(name, found[name])) for name, (field, read) in told.items() if name in found}
    try:
        return RenderSettings(**render)
    except ValueError as problem:
        raise SettingsError(f"{PREFIX}ENGINE_VERSION {render['engine_version']!r}: {problem}") from problem


def _copy(found: Mapping[str, str], values: dict[str, Any], fields: Mapping[str, str]) -> None:
    values.update({field: found[name] for name, field in fields.items() if name in found})


def _one_of(name: str, text: str, allowed: Sequence[str]) -> str:
    if text not in allowed:
        raise SettingsError(f"{PREFIX}{name} is {text!r}; it must be {' or '.join(allowed)}")
    return text


def _seconds(name: str, text: str, *, most: int = 3600) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= most:
        raise SettingsError(f"{PREFIX}{name} is {text!r}; it must be a number of seconds from 1 to {most}")
    return seconds


def _percent(name: str, text: str) -> float:
    try:
        percent = float(text)
    except ValueError:
        percent = -1.0
    if not 0 <= percent <= 100:  # noqa: PLR2004  a share
        raise SettingsError(f"{PREFIX}{name} is {text!r}; it must be a percentage from 0 to 100")
    return percent


def _port(name: str, text: str) -> int:
    if not text.isdecimal() or not int(text) < 2**16:
        raise SettingsError(f"{PREFIX}{name} is {text!r}; it must be a port number, or 0 for a free port")
    return int(text)


def _json(name: str, text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as problem:
        raise SettingsError(f"{PREFIX}{name} is not JSON: {problem}") from problem


def _each_labels(name: str, given: object) -> tuple[dict[str, str], ...]:
    """Return the labels of each namespace: a list of objects, or the object of the only one. Without a label, none is meant."""
    each = [_labels(name, labels) for labels in (given if isinstance(given, list) else [given])]
    return tuple(labels for labels in each if labels)


def _names(name: str, given: object) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(each, str) and each for each in given):
        raise SettingsError(f'{PREFIX}{name} must be a JSON list of names, for example ["registry"]')
    return tuple(given)


def _gateway_pod_template(name: str, given: object) -> GatewayPodTemplate:
    try:
        return GatewayPodTemplate.model_validate(given)
    except ValidationError as problem:
        raise SettingsError(f"{PREFIX}{name} must be a valid gateway.podTemplate of a workload: {first_error(problem)}") from problem


def _labels(name: str, labels: object) -> dict[str, str]:
    return _strings(name, labels, example={"kubernetes.io/metadata.name": "monitoring"})


def _strings(name: str, given: object, *, example: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise SettingsError(f"{PREFIX}{name} must be a JSON object of strings, for example {json.dumps(example)}")
    return given
