"""A few workloads as a cluster holds them, for reports: cheap, dear, silent, broken."""

from datetime import UTC, datetime
from functools import cache
from typing import Any

from spillway.api.catalogue import AcceleratorClassSpec, HostedProviderSpec
from spillway.api.report_output import ReportOutput
from spillway.api.status import InferenceWorkloadStatus
from spillway.api.workload import InferenceWorkloadSpec
from spillway.cli.questions import default_classes
from spillway.report.bill import bill
from spillway.report.usage import Seen

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
CREATED = datetime(2026, 10, 1, tzinfo=UTC)
COST = {
    "usdPerHour": "2",
    "dedicatedUSDPerHour": "2",
    "hostedUSDPerHour": "0",
    "monthToDateUSD": "1200",
    "projectedMonthlyUSD": "1440",
    "ifAllHostedMonthlyUSD": "900",
    "ifAllDedicatedMonthlyUSD": "1440",
}
LLAMA_8B, LLAMA_70B = "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.3-70B-Instruct"


def classes() -> dict[str, AcceleratorClassSpec]:
    return dict(default_classes())


def provider(*models: tuple[str, str, str], **changes: Any) -> HostedProviderSpec:
    listed = [{"name": name, "inputUSDPerMillionTokens": usd_in, "outputUSDPerMillionTokens": usd_out} for name, usd_in, usd_out in models]
    plain = {
        "baseURL": "https://api.example.com/v1",
        "models": listed,
        "prices": {"asOf": "2026-11-01", "source": "a list"},
    }
    return HostedProviderSpec.model_validate(plain | changes)


def seen(
    name: str = "chat", *, namespace: str = "team", spec: dict[str, Any] | None = None, status: dict[str, Any] | None = None, **changes: Any
) -> Seen:
    """Return a workload of an 8B model, owned; `spec` and `status` are merged in at their top level. A status of {} is none."""
    plain_spec: dict[str, Any] = {
        "model": {"id": LLAMA_8B},
        "placement": {"mode": "Dedicated"},
        "dedicated": {"accelerators": ["nvidia-l40s"]},
    }
    plain_status: dict[str, Any] = {
        "placement": {"mode": "Dedicated", "reason": "DedicatedRequested", "evaluatedAt": "2026-11-20T08:00:00Z"},
        "dedicated": {
            "acceleratorClass": "nvidia-l40s",
            "tensorParallelSize": 1,
            "replicas": 1,
            "readyReplicas": 1,
            "desiredReplicas": 1,
        },
        "traffic": {"requestsPerSecond": "1.5", "inputTokensMean": 1000, "outputTokensMean": 250, "spilledPercent": "0.0"},
        "cost": COST | {"pricesAsOf": "2026-11-01"},
        "conditions": [{"type": "Ready", "status": "True", "reason": "AsExpected", "lastTransitionTime": "2026-11-20T08:00:00Z"}],
    }
    merged = plain_status | status if status else None if status == {} else plain_status
    return Seen(
        namespace=namespace,
        name=name,
        spec=InferenceWorkloadSpec.model_validate(plain_spec | (spec or {})),
        created_at=changes.pop("created_at", CREATED),
        status=None if merged is None else InferenceWorkloadStatus.model_validate({key: each for key, each in merged.items() if each}),
    )


def report(*workloads: Seen, scope: str = "all namespaces", **changes: Any) -> ReportOutput:
    plain: dict[str, Any] = {"classes": classes(), "providers": {}, "now": NOW}
    return bill(workloads, scope=scope, **(plain | changes))


@cache
def fleet() -> ReportOutput:
    """Return a report with something of everything."""
    dear = seen(
        "assistant-for-customer-support",
        namespace="production",
        spec={
            "model": {"id": LLAMA_70B},
            "slo": {"timeToFirstTokenMs": 4000, "interTokenLatencyMs": 80, "attainmentPercent": 95},
            "traffic": {"requestsPerSecond": {"mean": "1", "peak": "4"}},
            "dedicated": {
                "accelerators": ["nvidia-h100-80gb"],
                "scaling": {"minReplicas": 2, "maxReplicas": 8},
                "engine": {"tensorParallelSize": 8},
            },
            "budget": {"monthlyUSD": "30000"},
        },
        status={
            "dedicated": {
                "acceleratorClass": "nvidia-h100-80gb",
                "tensorParallelSize": 8,
                "readyReplicas": 2,
                "desiredReplicas": 2,
            },
            "traffic": {"requestsPerSecond": "1.1", "inputTokensMean": 2100, "outputTokensMean": 320},
            "cost": {
                "usdPerHour": "110.1",
                "dedicatedUSDPerHour": "110.1",
                "hostedUSDPerHour": "0",
                "monthToDateUSD": "66000",
                "projectedMonthlyUSD": "79260",
                "usdPerMillionTokens": "9.62",
                "ifAllHostedMonthlyUSD": "6200",
                "ifAllDedicatedMonthlyUSD": "79260",
                "kappa": "0.41",
                "pricesAsOf": "2026-07-20",
            },
            "slo": {"attainmentPercent": "99.2"},
            "decisions": [
                {
                    "time": "2026-11-25T18:04:00Z",
                    "what": "replicas 3 -> 2",
                    "reason": "DemandFell",
                    "why": "1.1 requests/s need 1 replica of 9.3 requests/s; minReplicas is 2",
                    "usdPerHour": "110.1",
                },
                {
                    "time": "2026-11-25T09:31:00Z",
                    "what": "replicas 2 -> 3",
                    "reason": "DemandRose",
                    "why": "19 requests/s need 3 replicas of 9.3 requests/s",
                },
            ],
        },
    )
    rented = seen(
        "summaries",
        namespace="production",
        spec={
            "model": {"id": LLAMA_70B},
            "placement": {"mode": "Hosted"},
            "dedicated": None,
            "hosted": {"backends": [{"providerRef": {"name": "house"}, "model": "llama-3.3-70b-instruct"}]},
            "traffic": {"requestsPerMonth": 900000, "latency": "Background"},
        },
        status={
            "placement": {"mode": "Hosted", "reason": "HostedRequested", "evaluatedAt": "2026-11-20T08:00:00Z"},
            "dedicated": None,
            "traffic": {"requestsPerSecond": "0.41", "inputTokensMean": 6200, "outputTokensMean": 180},
            "cost": {
                "usdPerHour": "8.55",
                "dedicatedUSDPerHour": "0",
                "hostedUSDPerHour": "8.55",
                "monthToDateUSD": "5100",
                "projectedMonthlyUSD": "6020",
                "usdPerMillionTokens": "0.91",
                "ifAllHostedMonthlyUSD": "6156",
                "pricesAsOf": "2026-11-01",
            },
            "decisions": [],
        },
    )
    both = seen(
        "chat",
        namespace="production",
        spec={
            "placement": {"mode": "Hybrid"},
            "dedicated": {"accelerators": ["nvidia-a100-80gb"], "scaling": {"minReplicas": 1, "maxReplicas": 4}},
            "hosted": {"backends": [{"providerRef": {"name": "house"}, "model": "llama-3.1-8b-instruct"}]},
            "budget": {"monthlyUSD": "4000"},
        },
        status={
            "placement": {"mode": "Hybrid", "reason": "HybridRequested", "evaluatedAt": "2026-11-20T08:00:00Z"},
            "dedicated": {"acceleratorClass": "nvidia-a100-80gb", "tensorParallelSize": 1, "readyReplicas": 1, "desiredReplicas": 1},
            "cost": {
                "usdPerHour": "3.9",
                "dedicatedUSDPerHour": "3.4",
                "hostedUSDPerHour": "0.5",
                "monthToDateUSD": "2330",
                "projectedMonthlyUSD": "2810",
                "usdPerMillionTokens": "0.55",
                "ifAllHostedMonthlyUSD": "850",
                "ifAllDedicatedMonthlyUSD": "2460",
                "kappa": "1.62",
                "breakEvenRequestsPerMonth": 8100000,
                "pricesAsOf": "2026-11-01",
            },
        },
    )
    broken = seen(
        "own-weights",
        namespace="research",
        spec={"model": {"id": "acme/secret-13b", "source": {"persistentVolumeClaim": {"claimName": "weights"}}}},
        status={
            "traffic": None,
            "cost": None,
            "conditions": [
                {"type": "Ready", "status": "False", "reason": "Unschedulable", "lastTransitionTime": "2026-11-20T08:00:00Z"},
            ],
            "dedicated": {"acceleratorClass": "nvidia-l40s", "tensorParallelSize": 1, "readyReplicas": 0, "desiredReplicas": 1},
        },
    )
    silent = seen("new", namespace="research", status={})
    providers = {
        ("production", "house"): provider(
            ("llama-3.3-70b-instruct", "0.88", "0.88"),
            ("llama-3.1-8b-instruct", "0.18", "0.18"),
            batch={"discountPercent": 50},
        ),
        ("production", "cheap"): provider(("meta-llama/Llama-3.3-70B-Instruct-Turbo", "0.59", "0.79")),
    }
    return report(dear, rented, both, broken, silent, providers=providers)
