"""The chart's Grafana dashboard, written to charts/spillway/dashboards/: `python -m tests.chart.monitoring .`.

It asks for what is scraped, not for what rules record, so that it works with any Prometheus that scrapes the workloads.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Literal

from grafana_foundation_sdk.builders import common, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, QueryVariable, Row
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement, TooltipDisplayMode
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from tests.chart.monitoring.rules import once, why

OURS = 'namespace=~"$namespace",workload=~"$workload"'
WHOSE = "{{namespace}}/{{workload}}"  # in a legend: workloads of two namespaces often have one name, and all are shown at first
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
_WINDOW = "$__rate_interval"
_WIDTH, _HEIGHT = 8, 8  # of a grid 24 wide


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """One panel: what it is called, in which unit, what it asks under which legend."""

    title: str
    unit: str
    asks: Mapping[str, str]
    text: str = ""
    kind: Literal["lines", "numbers", "table"] = "lines"
    least: float | None = 0  # where the axis begins; None: where the data do


def text() -> str:
    """Return the dashboard as Grafana imports it."""
    return JSONEncoder(sort_keys=True, indent=2).encode(_dashboard().build()) + "\n"


def queries(*, window: str, namespace: str = ".+", workload: str = ".+") -> dict[str, str]:
    """Return what the dashboard asks, by panel and legend, with its variables filled in as Grafana does."""
    chosen = {_WINDOW: window, "$namespace": namespace, "$workload": workload}
    found = {}
    for _, graphs in rows():
        for graph in graphs:
            for legend, expression in graph.asks.items():
                filled = expression
                for variable, value in chosen.items():
                    filled = filled.replace(variable, value)
                found[f"{graph.title}: {legend}"] = filled
    return found


def rows() -> Iterator[tuple[str, list[Graph]]]:
    """Yield the rows with their panels."""
    yield "What clients see", _clients()
    yield "Spill", _spill()
    yield "Tokens and money", _money()
    yield "Replicas", _replicas()
    yield "Spillway itself", _operator()


def _rate(counter: str, *, by: str = "", more: str = "") -> str:
    return f"sum {f'by ({by}) ' if by else ''}({once(f'rate({counter}{{{OURS}{more}}}[{_WINDOW}])')})"


def _quantile(share: float, histogram: str, *, by: str = "backend, ") -> str:
    return f"histogram_quantile({share}, {_rate(f'{histogram}_bucket', by=f'{by}le')})"


def _gauge(name: str, *, by: str = "namespace, workload", more: str = "") -> str:
    """Return a gauge of the operator's: of the replica that acts, or acted when another one has just taken over."""
    return f"max by ({by}) ({name}{{{OURS}{more}}})"


def _or_none(part: str, whole: str) -> str:
    """Return a part, and zero where there is only the whole: nothing failed yet."""
    return f"({part} or {whole} * 0) / ({whole} > 0)"


def _clients() -> list[Graph]:
    requests = _rate("envoy_spillway_requests")
    gap_ms, gaps = (
        f"({_rate(f'envoy_spillway_streamed_{whole}', by='backend')} - {_rate(f'envoy_spillway_streamed_{part}', by='backend')})"
        for whole, part in (("ms", "first_body_ms"), ("output_tokens", "answers"))
    )
    return [
        Graph(title="Requests, by who served", unit="reqps", asks={"{{backend}}": _rate("envoy_spillway_requests", by="backend")}),
        Graph(
            title="Failed",
            unit="percentunit",
            asks={
                "5xx": _or_none(_rate("envoy_spillway_requests", more=',code=~"5.."'), requests),
                "429": _or_none(_rate("envoy_spillway_requests", more=',code="429"'), requests),
                "streams that failed after their 200": _or_none(_rate("envoy_spillway_stream_errors"), requests),
            },
        ),
        Graph(
            title="Requests that met every target",
            unit="percentunit",
            asks={
                WHOSE: _gauge("spillway_slo_attainment_ratio"),
                f"{WHOSE}: promised": _gauge("spillway_slo_objective_ratio"),
            },
        ),
        Graph(
            title="Time to the first token of a stream",
            unit="ms",
            asks={
                "{{backend}} p50": _quantile(0.5, "envoy_spillway_first_body_ms"),
                "{{backend}} p95": _quantile(0.95, "envoy_spillway_first_body_ms"),
            },
        ),
        Graph(
            title="Gap between the tokens of a stream",
            unit="ms",
            text="Of streams that came to their end, at the gateway: the mean of all gaps, and the 95th percentile of streams' means.",
            asks={
                "{{backend}} mean": f"{gap_ms} / ({gaps} > 0)",
                "{{backend}} p95": f"{_quantile(0.95, 'envoy_spillway_inter_token_us')} / 1000",
            },
        ),
        Graph(title="Time of a whole request", unit="ms", asks={"{{backend}} p95": _quantile(0.95, "envoy_spillway_duration_ms")}),
    ]


def _spill() -> list[Graph]:
    requests = _rate("envoy_spillway_requests")
    hosted = _rate("envoy_spillway_requests", more=',backend!~"owned|none"')
    active = once(f'envoy_cluster_upstream_rq_active{{envoy_cluster_name="owned",{OURS}}}')
    asked = ',envoy_cluster_name=~"hosted-.*"'
    return [
        Graph(title="Answered by hosted backends", unit="percentunit", asks={"of all requests": _or_none(hosted, requests)}),
        Graph(
            title="Not taken by own replicas, and why",
            unit="reqps",
            text="The next backend gets these. cap: own replicas hold all they may. no_replica: none is in routing. "
            "late: no header within the target. failed: a replica could not be reached, or went. refused: a replica said 429 or 5xx. "
            "long_prompt: no replica would read it in time, and none was asked.",
            asks={"{{why}}": f"sum by (why) ({why(once(f'rate(envoy_spillway_not_taken{{{OURS}}}[{_WINDOW}])'))})"},
        ),
        Graph(
            title="In flight on own replicas, and how many may be",
            unit="short",
            asks={"in flight": f"sum ({active})", "cap": f"sum ({_gauge('spillway_gateway_cap_requests')})"},
        ),
        Graph(
            title="What hosted backends answered",
            unit="reqps",
            asks={
                "{{envoy_cluster_name}} {{envoy_response_code}}": _rate(
                    "envoy_cluster_upstream_rq", by="envoy_cluster_name, envoy_response_code", more=asked
                )
            },
        ),
        Graph(
            title="Backends in routing",
            unit="short",
            text="Own replicas, and 1 for a hosted backend that passes its TLS check.",
            asks={"{{envoy_cluster_name}}": f"min by (envoy_cluster_name) (envoy_cluster_membership_healthy{{{OURS}}})"},
        ),
    ]


def _money() -> list[Graph]:
    return [
        Graph(
            title="Cost per hour, by side",
            unit="currencyUSD",
            asks={f"{WHOSE} {{{{side}}}}": _gauge("spillway_side_usd_per_hour", by="namespace, workload, side")},
        ),
        Graph(
            title="This month",
            unit="currencyUSD",
            kind="numbers",
            asks={
                f"{WHOSE}: so far": _gauge("spillway_month_to_date_usd"),
                f"{WHOSE}: at its end": _gauge("spillway_projected_monthly_usd"),
                f"{WHOSE}: budget": _gauge("spillway_budget_monthly_usd"),
            },
        ),
        Graph(
            title="Hosted price over own cost (kappa)",
            unit="short",
            text="Below 1, self-hosting costs more at any load.",
            asks={WHOSE: _gauge("spillway_kappa")},
        ),
        Graph(
            title="Tokens a second, by who served",
            unit="short",
            asks={
                "{{backend}} in": _rate("envoy_spillway_input_tokens", by="backend"),
                # Who has reported none has no such counter.
                "{{backend}} in, of these cached": _rate("envoy_spillway_cached_input_tokens", by="backend")
                + f" or 0 * {_rate('envoy_spillway_input_tokens', by='backend')}",
                "{{backend}} out": _rate("envoy_spillway_output_tokens", by="backend"),
            },
        ),
        Graph(
            title="What the last replica saves per hour",
            unit="currencyUSD",
            asks={WHOSE: _gauge("spillway_marginal_saving_usd_per_hour")},
            least=None,
        ),
    ]


def _replicas() -> list[Graph]:
    return [
        Graph(
            title="Replicas",
            unit="short",
            asks={f"{WHOSE} {name}": _gauge(f"spillway_{name}_replicas") for name in ("desired", "ready", "demand")}
            | {f"{WHOSE} forecast p{{{{quantile}}}}": _gauge("spillway_forecast_replicas", by="namespace, workload, quantile")},
        ),
        Graph(
            title="Requests in the engines",
            unit="short",
            asks={name: f"sum ({once(f'vllm:num_requests_{name}{{{OURS}}}')})" for name in ("running", "waiting")},
        ),
        Graph(title="KV cache in use", unit="percentunit", asks={"{{pod}}": f"max by (pod) (vllm:kv_cache_usage_perc{{{OURS}}})"}),
        Graph(
            title="Gap between tokens in the engines",
            unit="s",
            asks={"p95": _quantile(0.95, "vllm:inter_token_latency_seconds", by="")},
        ),
        Graph(title="Tokens a second made by the engines", unit="short", asks={"{{pod}}": _rate("vllm:generation_tokens_total", by="pod")}),
        Graph(
            title="Time until the next replica would serve",
            unit="s",
            asks={WHOSE: _gauge("spillway_start_up_seconds")},
        ),
    ]


def _operator() -> list[Graph]:
    answering = f'up{{component="gateway",{OURS}}}'
    connections = f'envoy_http_downstream_cx_active{{envoy_http_conn_manager_prefix="edge",{OURS}}}'
    return [
        Graph(
            title="What conditions say",
            unit="short",
            kind="table",
            asks={"": f"max by (namespace, workload, type, status, reason) (spillway_condition{{{OURS}}})"},
        ),
        Graph(
            title="The operator",
            unit="short",
            asks={
                "acts": "max (spillway_lease_held)",
                "workloads due": "max (spillway_queue_depth)",
                "passes per minute: {{result}}": f"60 * sum by (result) (rate(spillway_passes_total[{_WINDOW}]))",
            },
        ),
        Graph(title="Longest wait of a due workload", unit="s", asks={"wait": "max (spillway_queue_delay_seconds)"}),
        Graph(
            title="Gateways that answer Prometheus",
            unit="short",
            asks={WHOSE: f"sum by (namespace, workload) ({once(answering)})"},
        ),
        Graph(title="Memory of a gateway", unit="bytes", asks={"{{pod}}": f"max by (pod) (envoy_server_memory_physical_size{{{OURS}}})"}),
        Graph(
            title="Open connections of clients",
            unit="short",
            asks={"{{pod}}": f"sum by (pod) ({once(connections)})"},
        ),
    ]


def _dashboard() -> Dashboard:
    made = (
        Dashboard("Spillway")
        .uid("spillway")
        .tags(["spillway", "llm"])
        .description("Generated by `make generate` in Spillway's repository.")
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(_choice("namespace", "label_values(spillway_workload_model, namespace)"))
        .with_variable(_choice("workload", 'label_values(spillway_workload_model{namespace=~"$namespace"}, workload)'))
    )
    for title, graphs in rows():
        made = made.with_row(Row(title))
        for graph in graphs:
            made = made.with_panel(_panel(graph))
    return made


def _choice(name: str, query: str) -> QueryVariable:
    return (
        QueryVariable(name)
        .label(name.capitalize())
        .datasource(SOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".+")
        .current(VariableOption(selected=True, text="All", value="$__all"))
    )


def _panel(graph: Graph) -> timeseries.Panel | stat.Panel | table.Panel:
    match graph.kind:
        case "numbers":
            return _numbers(graph)
        case "table":
            return _table(graph)
        case "lines":
            return _lines(graph)


def _numbers(graph: Graph) -> stat.Panel:
    made = stat.Panel().title(graph.title).description(graph.text).datasource(SOURCE).unit(graph.unit).span(_WIDTH).height(_HEIGHT)
    for query in _queries(graph):
        made = made.with_target(query.instant())
    return made


def _table(graph: Graph) -> table.Panel:
    made = table.Panel().title(graph.title).description(graph.text).datasource(SOURCE).span(_WIDTH).height(_HEIGHT)
    for query in _queries(graph):
        made = made.with_target(query.instant().format(PromQueryFormat.TABLE))
    return made


def _lines(graph: Graph) -> timeseries.Panel:
    below = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM).show_legend(show_legend=True)
    made = timeseries.Panel().title(graph.title).description(graph.text).datasource(SOURCE).unit(graph.unit).span(_WIDTH).height(_HEIGHT)
    made = made.fill_opacity(8).line_width(1).legend(below).tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    if graph.least is not None:
        made = made.min(graph.least)
    for query in _queries(graph):
        made = made.with_target(query)
    return made


def _queries(graph: Graph) -> Iterator[prometheus.Dataquery]:
    for letter, (legend, asked) in zip(ascii_uppercase, graph.asks.items(), strict=False):
        yield prometheus.Dataquery().ref_id(letter).datasource(SOURCE).expr(asked).legend_format(legend)
