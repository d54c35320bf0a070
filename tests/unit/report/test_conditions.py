"""Conditions: all of them, every pass, with constant reasons; and what each one means."""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.api.status import Condition, InferenceWorkloadStatus
from spillway.api.vocabulary import ConditionType, Reason
from spillway.plan.decision import Memory, Workload
from spillway.plan.observation import LongPromptTraffic, Missing, Observation, Sample, SpillMeter
from spillway.report.conditions import previous_conditions
from spillway.report.outcome import ApplyOutcome
from spillway.report.status import report
from tests.unit.plan.situations import (
    LLAMA_8B,
    MISSING,
    NOW,
    QUIET,
    accelerator,
    blind,
    catalogue,
    counters,
    gateway,
    latency,
    later,
    observe,
    one_pass,
    pool,
    provider,
    replica,
    signals,
    workload,
)
from tests.unit.plan.test_cost import LEARNED

UP = {"acme/llama-8b": True}
ONE, OTHER = "acme/llama-8b", "open/llama-8b"
BOTH_UP = {ONE: True, OTHER: True}
FINE = signals(hosted_healthy=UP)


def status_of(
    wanted: Workload | None = None,
    seen: Observation | None = None,
    *,
    memory: Memory | None = None,
    outcome: ApplyOutcome | None = None,
    at: Any = NOW,
) -> InferenceWorkloadStatus:
    wanted, seen = wanted or workload(), seen or observe(1, signals=FINE)
    decision, after = one_pass(wanted, seen, memory, at)
    return report(wanted, seen, decision, outcome or ApplyOutcome(), after, at)


def condition(kind: ConditionType, *passed: Any, **named: Any) -> Condition:
    return next(each for each in status_of(*passed, **named).conditions if each.type == kind)


def stored(status: InferenceWorkloadStatus) -> Mapping[str, object]:
    found: dict[str, object] = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    return found


def case(kind: ConditionType, wanted: Workload, seen: Observation, said: tuple[str, Reason], words: str = "", *, id: str) -> Any:  # noqa: A002
    return pytest.param(kind, wanted, seen, said, words, id=f"{kind}: {id}")


HYBRID, HOSTED, DEDICATED = workload(), workload("Hosted"), workload("Dedicated")
TWO_REFS = {"backends": [{"providerRef": {"name": name}, "model": "llama-8b"} for name in ("acme", "open")]}
TWO = workload(hosted=TWO_REFS)
TWO_KNOWN = catalogue(providers={"acme": provider(), "open": provider(auth={"secretRef": {"name": "open-key", "key": "token"}})})


def two(**readings: Any) -> Observation:
    return observe(1, catalogue=TWO_KNOWN, signals=signals(**readings))


NO_GATEWAY = {"gateways": (gateway(ready=False),)}
STARTING = {"replicas": (replica(ready=False),)}
PENDING = {"replicas": (replica(ready=False, bound_at=None, unschedulable="0/3 nodes are available: 3 Insufficient nvidia.com/gpu."),)}


def waiting(sentence: str) -> Observation:
    return observe(1, replicas=(replica(ready=False, bound_at=None, unschedulable=sentence),))


NO_NODE = (
    "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector. preemption: 0/3 nodes are available: "
    "3 Preemption is not helpful for scheduling."
)
CRASHING = {"replicas": (replica(ready=False, waiting_reason="CrashLoopBackOff"),)}


def stuck(reason: str, words: str | None = None, **more: Any) -> Observation:
    return observe(1, replicas=(replica(ready=False, waiting_reason=reason, waiting_words=words, **more),))


def put_out(words: str) -> Observation:
    """Return an observation of a replica that starts beside one that its node put out a minute ago."""
    ended = replica(1, ready=False, ended_at=NOW - timedelta(minutes=1), ended_words=words)
    return observe(1, replicas=(replica(ready=False), ended))


REFUSED = {"pools": (pool(2, ready_replicas=1, refused="exceeded quota: gpus"),)}
KEYED = workload(gateway={"access": {"keysSecretRef": {"name": "chat-clients"}}})
WRONG = workload(dedicated={"accelerators": ["b200"]})
ASLEEP = workload(scaling={"minReplicas": 0})
HOLD: dict[str, Any] = {"gateway": {"hold": {"seconds": 300}}}
HOLDING = workload("Dedicated", scaling={"minReplicas": 0}, **HOLD)
HOLDING_ONE = workload("Dedicated", **HOLD)
TEN: dict[str, Any] = {"traffic": {"requestsPerSecond": {"mean": "10"}}}
IMPOSSIBLE = workload("Dedicated", model={"architecture": LLAMA_8B}, slo={"interTokenLatencyMs": 1}, **TEN)
PROMISED = workload(slo={"timeToFirstTokenMs": 500, "interTokenLatencyMs": 50, "endToEndMs": 9000})
TRAFFIC: dict[str, Any] = {"arrivals_per_s": 2.0, "owned_latency": latency(120.0), "inter_token_within_ratio": 1.0}
K = ConditionType
STATED = workload(model={"quantization": "bf16", "maxContextTokens": 8192}, engine={"extraArgs": ["--enable-auto-tool-choice"]})
ONE_LIMITED = {"backends": [{"providerRef": {"name": "acme"}, "model": "llama-8b"}], "overflow": {"maxUSDPerDay": "5"}}
LIMITED = workload(hosted=ONE_LIMITED)
HOSTED_LIMITED = workload("Hosted", hosted=ONE_LIMITED)
CAPPED = workload(scaling={"minReplicas": 0}, hosted={**ONE_LIMITED, "overflow": {"whenExceeded": "Wait"}}, **HOLD)
TO_SPILL_LONG = {"backends": ONE_LIMITED["backends"], "overflow": {"longPrompts": "Spill"}}
SPILLING_LONG = workload(slo={"timeToFirstTokenMs": 2000}, hosted=TO_SPILL_LONG)
SPILLING_9000 = workload(hosted={**TO_SPILL_LONG, "overflow": {"longPrompts": "Spill", "longPromptTokens": 9000}})
DOWN = signals(hosted_healthy={"acme/llama-8b": False})


def serving(**changes: Any) -> Observation:
    """Return an observation whose provider states what its model is: the same as the owned one, but for `changes`."""
    same = {"contextTokens": 8192, "quantization": "bf16", "capabilities": ["Tools", "ResponseFormat"]}
    priced = {"name": "llama-8b", "inputUSDPerMillionTokens": "0.1", "outputUSDPerMillionTokens": "0.4"}
    return observe(1, catalogue=catalogue(providers={"acme": provider(models=[priced | same | changes])}))


def metered_by(**readings: Any) -> Observation:
    """Return an observation whose gateways show meters, of nothing yet."""
    return observe(1, signals=replace(signals(**readings), spill_meters=Sample(value=(), at=NOW)))


def refused_by(spent_usd: float) -> Observation:
    """Return an observation of a day that has cost so much, with a lane that has turned away requests of two cents."""
    read = signals(spilled_per_s=1.0, counters=(counters(input_tokens=spent_usd * 1e7),))
    lane = SpillMeter(
        pod="chat-gateway-0", worker=0, backend="acme/llama-8b", micro_usd=0, requests=0, refused_micro_usd=6e4, refused_requests=3
    )
    return observe(1, signals=replace(read, spill_meters=Sample(value=(lane,), at=NOW)))


CUT_OFF = observe(1, signals=replace(signals(), owned_in_reach=Sample(value=False, at=NOW)))
JUST_READY = replica(ready_since=NOW - timedelta(seconds=30))
AS_IS = ("True", Reason.AS_EXPECTED)
SPENT = metered_by(hosted_healthy=UP, counters=(counters(input_tokens=1e9),))


CASES = [
    case(K.READY, HYBRID, observe(1, signals=FINE), ("True", Reason.AS_EXPECTED), id="gateway and replica"),
    case(K.READY, HYBRID, observe(1, signals=FINE, **STARTING), ("True", Reason.AS_EXPECTED), id="waiting for a replica, hosted serves"),
    case(K.READY, HYBRID, observe(1, signals=FINE, **PENDING), ("True", Reason.AS_EXPECTED), id="waiting for GPUs, hosted serves"),
    case(K.READY, HYBRID, observe(1, signals=blind()), ("True", Reason.AS_EXPECTED), id="no metrics at all, a replica serves"),
    case(K.READY, HYBRID, observe(1, **STARTING), ("Unknown", Reason.NO_EVIDENCE), id="no replica and no word from hosted"),
    case(
        K.READY,
        HYBRID,
        observe(1, signals=signals(hosted_healthy={"acme/llama-8b": False}), **STARTING),
        ("False", Reason.NO_BACKEND),
        id="neither side serves",
    ),
    case(K.READY, DEDICATED, observe(1, **STARTING), ("False", Reason.NO_BACKEND), id="nothing to wait for but the replica"),
    case(K.READY, HOLDING, observe(0), ("True", Reason.AS_EXPECTED), "requests wait there", id="at zero, with requests that may wait"),
    case(K.READY, HOLDING, observe(1, **STARTING), ("True", Reason.AS_EXPECTED), "requests wait there", id="as they wait for a start"),
    case(K.READY, HOLDING, observe(1, **CRASHING), ("False", Reason.NO_BACKEND), id="they would wait in vain for one that cannot start"),
    case(
        K.READY,
        CAPPED,
        observe(0, signals=DOWN),
        ("True", Reason.AS_EXPECTED),
        "requests wait there",
        id="at zero, with a hosted side away",
    ),
    *(
        case(kind, HOSTED_LIMITED, replace(SPENT, replicas=()), (verdict, Reason.SPILL_LIMIT_REACHED), id="a limit lets nothing go to it")
        for kind, verdict in ((K.READY, "False"), (K.DEGRADED, "True"))
    ),
    case(K.READY, HOSTED_LIMITED, observe(0, signals=FINE), ("False", Reason.SPILL_PERMIT_MISSING), id="limits, and no permit yet"),
    case(K.READY, LIMITED, SPENT, ("True", Reason.AS_EXPECTED), id="a limit is reached, and replicas serve"),
    case(K.DEGRADED, LIMITED, SPENT, ("False", Reason.FULLY_SERVING), id="as the limit asks for, with replicas that serve"),
    case(K.READY, HOLDING_ONE, observe(1, **STARTING), ("False", Reason.NO_BACKEND), id="a replica that should always be there"),
    case(K.READY, HYBRID, observe(1, signals=FINE, **NO_GATEWAY), ("False", Reason.GATEWAY_STARTING), id="no gateway, no service"),
    case(K.READY, WRONG, observe(0, gateways=(), pools=()), ("False", Reason.INVALID_SPEC), "see SpecValid", id="nothing was ever applied"),
    case(K.READY, WRONG, observe(1), ("True", Reason.AS_EXPECTED), id="a bad edit of what runs"),
    case(K.READY, DEDICATED, CUT_OFF, ("False", Reason.NO_BACKEND), "DNS", id="no gateway reaches a replica that is ready"),
    case(K.READY, HYBRID, replace(CUT_OFF, signals=replace(CUT_OFF.signals, hosted_healthy=FINE.hosted_healthy)), AS_IS, id="hosted does"),
    case(K.READY, DEDICATED, replace(CUT_OFF, replicas=(JUST_READY,)), AS_IS, id="one that was not yet looked for"),
    *(
        case(K.DEGRADED, wanted, CUT_OFF, ("True", Reason.OWNED_UNAVAILABLE), "DNS", id="no gateway reaches a replica that is ready")
        for wanted in (DEDICATED, HYBRID)
    ),
    case(K.SPEC_VALID, HYBRID, observe(1), ("True", Reason.VALID), id="nothing wrong"),
    case(K.SPEC_VALID, WRONG, observe(1), ("False", Reason.UNKNOWN_ACCELERATOR_CLASS), "'b200'", id="unknown class"),
    case(
        K.SPEC_VALID,
        WRONG,
        observe(1, foreign_objects=("Service/chat",)),
        ("False", Reason.NAME_CONFLICT),
        "does not belong to this workload; delete or rename it, or rename the workload. AcceleratorClass 'b200'",
        id="several problems at once",
    ),
    case(K.PLACEMENT_RESOLVED, HYBRID, observe(1), ("True", Reason.MODE_HYBRID), "1 x h100 per replica", id="with an accelerator"),
    case(K.PLACEMENT_RESOLVED, HOSTED, observe(0), ("True", Reason.MODE_HOSTED), "Mode Hosted.", id="without one"),
    case(K.PLACEMENT_RESOLVED, WRONG, observe(1), ("False", Reason.INVALID_SPEC), id="not with problems"),
    case(K.PLACEMENT_RESOLVED, SPILLING_9000, observe(1), ("True", Reason.MODE_HYBRID), "over 9000 tokens", id="long prompts"),
    case(K.PLACEMENT_RESOLVED, SPILLING_LONG, observe(1), ("True", Reason.MODE_HYBRID), "set model.architecture", id="no known length"),
    case(K.PLACEMENT_RESOLVED, IMPOSSIBLE, observe(1), ("True", Reason.MODE_DEDICATED), "feasible: relax slo", id="not as promised"),
    case(K.REPLICAS_READY, HYBRID, observe(1), ("True", Reason.REPLICAS_READY), id="all of them"),
    case(K.REPLICAS_READY, HYBRID, observe(1, **STARTING), ("False", Reason.REPLICAS_STARTING), id="not yet"),
    case(K.REPLICAS_READY, HYBRID, observe(1, **PENDING), ("False", Reason.UNSCHEDULABLE), "Insufficient nvidia.com/gpu", id="no GPU free"),
    case(
        K.REPLICAS_READY,
        HYBRID,
        observe(1, **REFUSED),
        ("False", Reason.UNSCHEDULABLE),
        "The API server rejects replica pods (exceeded quota: gpus). Change what it names",
        id="no quota left",
    ),
    case(K.REPLICAS_READY, HYBRID, observe(1, **CRASHING), ("False", Reason.CRASH_LOOP), "CrashLoopBackOff", id="cannot start"),
    case(
        K.REPLICAS_READY,
        HYBRID,
        put_out("Evicted: The node was low on resource: ephemeral-storage"),
        ("False", Reason.REPLICAS_STARTING),
        "Others were evicted or rejected by their nodes (Evicted: The node was low on resource: ephemeral-storage). Keep weights on a",
        id="evicted again and again",
    ),
    case(
        K.REPLICAS_READY,
        HYBRID,
        put_out("UnexpectedAdmissionError: Allocate failed due to no healthy devices present"),
        ("False", Reason.REPLICAS_STARTING),
        "no healthy devices present). Check the device plugin",
        id="refused by a node without healthy accelerators",
    ),
    case(
        K.REPLICAS_READY,
        HYBRID,
        observe(1, replicas=(replica(ready=False, preparing_since=NOW - timedelta(minutes=4)),)),
        ("False", Reason.REPLICAS_STARTING),
        "Replicas are starting. The volumes or network of a pod are not set up on its node",
        id="a volume that another node holds",
    ),
    case(
        K.REPLICAS_READY,
        HYBRID,
        observe(1, replicas=(replica(ready=False, fell_silent=True),)),
        ("False", Reason.REPLICAS_STARTING),
        "Replicas are starting. One that was ready stopped responding",
        id="a node that is lost",
    ),
    case(
        K.REPLICAS_READY,
        HYBRID,
        stuck("CrashLoopBackOff", "exit code 2", last_words="vllm: error: unrecognized arguments: --no-such-flag"),
        ("False", Reason.CRASH_LOOP),
        "A replica cannot start (CrashLoopBackOff: exit code 2). vLLM rejects an argument: correct dedicated.engine.extraArgs, or "
        "dedicated.engine.version if it is not the image's. See its events and log",
        id="what the engine says",
    ),
    case(
        K.REPLICAS_READY,
        HYBRID,
        stuck("CrashLoopBackOff", "OOMKilled"),
        ("False", Reason.CRASH_LOOP),
        "(CrashLoopBackOff: OOMKilled). It needs more memory than dedicated.podTemplate.resources.limits",
        id="too little memory",
    ),
    case(
        K.REPLICAS_READY,
        HYBRID,
        stuck("CrashLoopBackOff", "exit code 137", last_words="Loading safetensors checkpoint shards: 60% Completed"),
        ("False", Reason.CRASH_LOOP),
        "It was killed: it started more slowly than its startup probe allows",
        id="a start that takes too long",
    ),
    case(
        K.REPLICAS_READY,
        HYBRID,
        stuck("CreateContainerConfigError", 'secret "hub" not found'),
        ("False", Reason.CRASH_LOOP),
        '(CreateContainerConfigError: secret "hub" not found). Create or correct the object named there.',
        id="a Secret that is not there",
    ),
    case(
        K.REPLICAS_READY,
        HYBRID,
        stuck("ImagePullBackOff", "image r.example.com/vllm:1"),
        ("False", Reason.CRASH_LOOP),
        "(ImagePullBackOff: image r.example.com/vllm:1). Check its image name, access to the registry",
        id="an image that cannot be pulled",
    ),
    case(
        K.REPLICAS_READY,
        HYBRID,
        stuck("RunContainerError"),
        ("False", Reason.CRASH_LOOP),
        "A replica cannot start (RunContainerError). See its events and log (kubectl describe pod, kubectl logs --previous).",
        id="what nobody knows",
    ),
    case(K.REPLICAS_READY, ASLEEP, observe(0), ("True", Reason.SCALED_TO_ZERO), id="none wanted"),
    case(K.REPLICAS_READY, HOSTED, observe(0), ("Unknown", Reason.NOT_REQUESTED), id="none asked for"),
    case(K.REPLICAS_READY, WRONG, observe(2), ("True", Reason.REPLICAS_READY), id="those that run, with problems"),
    case(K.HOSTED_BACKEND_READY, HYBRID, observe(1, signals=FINE), ("True", Reason.HOSTED_HEALTHY), id="health check passes"),
    case(
        K.HOSTED_BACKEND_READY,
        TWO,
        two(hosted_healthy={ONE: False, OTHER: True}),
        ("True", Reason.HOSTED_HEALTHY),
        "A hosted backend passes its health check. No gateway can reach acme/llama-8b over TLS",
        id="one of two",
    ),
    case(
        K.HOSTED_BACKEND_READY,
        TWO,
        two(hosted_healthy=BOTH_UP, hosted_credential_loaded={ONE: True, OTHER: False}),
        ("True", Reason.HOSTED_HEALTHY),
        "No gateway has a key for open/llama-8b; create key 'token' of Secret 'open-key'.",
        id="one of two lacks its key",
    ),
    case(
        K.HOSTED_BACKEND_READY,
        TWO,
        two(hosted_healthy=BOTH_UP, hosted_credential_loaded={ONE: False}, hosted_rejected_per_s={OTHER: 0.1}),
        ("False", Reason.HOSTED_CREDENTIAL_MISSING),
        "open/llama-8b rejects the key (401 or 403) or has not been paid (402); check key 'token' of Secret 'open-key', and the account.",
        id="each of two with a trouble of its own",
    ),
    case(
        K.HOSTED_BACKEND_READY,
        HYBRID,
        observe(1, signals=signals(hosted_healthy={"acme/llama-8b": False})),
        ("False", Reason.HOSTED_UNREACHABLE),
        "acme/llama-8b",
        id="health check fails",
    ),
    case(
        K.HOSTED_BACKEND_READY,
        TWO,
        two(hosted_healthy={ONE: False, OTHER: MISSING}),
        ("Unknown", Reason.NO_EVIDENCE),
        id="one fails, no word of the other",
    ),
    case(
        K.HOSTED_BACKEND_READY,
        HYBRID,
        observe(1, signals=signals(hosted_credential_loaded={ONE: False}, hosted_healthy=UP)),
        ("False", Reason.HOSTED_CREDENTIAL_MISSING),
        "create key 'token' of Secret 'acme-key'",
        id="key missing",
    ),
    case(
        K.HOSTED_BACKEND_READY,
        HYBRID,
        observe(1, signals=signals(hosted_rejected_per_s={ONE: 0.1}, hosted_credential_loaded={ONE: True}, hosted_healthy=UP)),
        ("False", Reason.HOSTED_CREDENTIAL_REJECTED),
        "check key 'token' of Secret 'acme-key'",
        id="key refused",
    ),
    case(
        K.HOSTED_BACKEND_READY,
        HYBRID,
        observe(1, signals=signals(hosted_rejected_per_s={ONE: 0.1}), catalogue=catalogue(providers={"acme": provider(auth=None)})),
        ("False", Reason.HOSTED_CREDENTIAL_REJECTED),
        "check the provider's Secret",
        id="refused without a key",
    ),
    case(K.HOSTED_BACKEND_READY, HYBRID, observe(1), ("Unknown", Reason.NO_EVIDENCE), id="before there is evidence"),
    case(K.HOSTED_BACKEND_READY, DEDICATED, observe(1), ("Unknown", Reason.NOT_REQUESTED), id="not asked for"),
    case(K.HOSTED_BACKEND_EQUIVALENT, DEDICATED, observe(1), ("Unknown", Reason.NOT_REQUESTED), id="not asked for"),
    case(
        K.HOSTED_BACKEND_EQUIVALENT,
        HYBRID,
        observe(1),
        ("Unknown", Reason.HOSTED_NOT_STATED),
        "acme/llama-8b: contextTokens, quantization, capabilities",
        id="nothing stated",
    ),
    case(K.HOSTED_BACKEND_EQUIVALENT, STATED, serving(), ("True", Reason.HOSTED_EQUIVALENT), id="all stated and the same"),
    case(
        K.HOSTED_BACKEND_EQUIVALENT,
        STATED,
        serving(contextTokens=4096),
        ("False", Reason.HOSTED_CONTEXT_SHORTER),
        "accepts 4096 tokens and replicas 8192: longer requests cannot spill",
        id="a shorter context",
    ),
    case(
        K.HOSTED_BACKEND_EQUIVALENT,
        STATED,
        serving(quantization="fp8"),
        ("False", Reason.HOSTED_QUANTIZATION_DIFFERS),
        "fp8 weights and replicas bf16",
        id="other weights",
    ),
    case(
        K.HOSTED_BACKEND_EQUIVALENT,
        STATED,
        serving(capabilities=["ResponseFormat"]),
        ("False", Reason.HOSTED_CAPABILITY_MISSING),
        "does not support Tools",
        id="no tools, which own replicas have a flag for",
    ),
    case(
        K.HOSTED_BACKEND_EQUIVALENT,
        STATED,
        serving(capabilities=["Tools", "Vision"]),
        ("False", Reason.HOSTED_CAPABILITY_MISSING),
        "does not support ResponseFormat",
        id="no structured output, which own replicas always have",
    ),
    case(
        K.SPILL_ACTIVE,
        LIMITED,
        observe(1, signals=signals(spilled_per_s=1.0)),
        ("False", Reason.SPILL_PERMIT_MISSING),
        "see MetricsAvailable",
        id="limits and no metrics to renew a permit by",
    ),
    case(K.SPILL_ACTIVE, LIMITED, metered_by(spilled_per_s=1.0), ("True", Reason.SPILLING), id="within its limits"),
    case(
        K.SPILL_ACTIVE,
        LIMITED,
        metered_by(counters=(counters(input_tokens=1e9),)),
        ("False", Reason.SPILL_LIMIT_REACHED),
        id="a limit is reached",
    ),
    case(
        K.SPILL_ACTIVE,
        LIMITED,
        refused_by(4.99),
        ("False", Reason.SPILL_LIMIT_REACHED),
        "too little for requests with the longest possible answers",
        id="a limit leaves less than what is turned away",
    ),
    case(
        K.SPILL_ACTIVE,
        HOSTED_LIMITED,
        metered_by(counters=(counters(input_tokens=1e9),)),
        ("False", Reason.SPILL_LIMIT_REACHED),
        "Requests are refused",
        id="a limit is reached, and there is nobody else to answer",
    ),
    case(
        K.SPILL_ACTIVE,
        HOSTED_LIMITED,
        observe(0, signals=signals(spilled_per_s=1.0)),
        ("False", Reason.SPILL_PERMIT_MISSING),
        "No request goes to hosted backends",
        id="no permit, and there is nobody else to answer",
    ),
    case(K.SPILL_ACTIVE, HOSTED_LIMITED, metered_by(spilled_per_s=1.0), ("False", Reason.NOT_REQUESTED), id="all hosted within its limits"),
    case(K.SPILL_ACTIVE, LIMITED, refused_by(2.0), ("True", Reason.SPILLING), id="a burst is turned away, and there is more to come"),
    case(
        K.WITHIN_BUDGET,
        workload(budget={"monthlyUSD": "1", "whenExceeded": "StopSpilling"}),
        metered_by(counters=(counters(input_tokens=1e9),)),
        ("False", Reason.BUDGET_EXCEEDED),
        "No request goes to hosted backends",
        id="exceeded, and spill is to stop",
    ),
    case(K.GATEWAY_READY, HYBRID, observe(1), ("True", Reason.GATEWAY_READY), id="up"),
    case(K.GATEWAY_READY, HYBRID, observe(1, gateways=()), ("False", Reason.GATEWAY_STARTING), id="none yet"),
    case(
        K.GATEWAY_READY,
        HYBRID,
        observe(1, gateways=(), gateway_refused="failed quota: cpu: must specify limits.cpu"),
        ("False", Reason.GATEWAY_STARTING),
        "No gateway is ready. The API server rejects its pods (failed quota: cpu: must specify limits.cpu).",
        id="not taken",
    ),
    case(
        K.GATEWAY_READY,
        HYBRID,
        observe(1, gateways=(gateway(ready=False, config_mounted_problem='configmap "chat-gateway" not found'),)),
        ("False", Reason.GATEWAY_STARTING),
        'No gateway is ready. configmap "chat-gateway" not found',
        id="cannot mount",
    ),
    case(
        K.GATEWAY_READY,
        HYBRID,
        observe(1, gateways=(gateway(ready=False, preparing_since=NOW - timedelta(minutes=4)),)),
        ("False", Reason.GATEWAY_STARTING),
        "No gateway is ready. The volumes or network of a pod are not set up on its node",
        id="a node without a network",
    ),
    case(
        K.GATEWAY_READY,
        HYBRID,
        observe(1, gateways=(gateway(ready=False, unschedulable=NO_NODE),)),
        ("False", Reason.GATEWAY_STARTING),
        "No gateway is ready. No node accepts its pods (node(s) didn't match Pod's node affinity/selector). Check gateway.podTemplate",
        id="no node",
    ),
    case(
        K.GATEWAY_READY,
        HYBRID,
        observe(1, gateways=(gateway(), gateway(ready=False, unschedulable=NO_NODE))),
        ("True", Reason.GATEWAY_READY),
        "The gateway is up. No node accepts its pods (node(s) didn't match Pod's node affinity/selector).",
        id="no node for one more",
    ),
    case(
        K.GATEWAY_READY,
        HYBRID,
        observe(1, gateways=(gateway(),), gateway_refused="exceeded quota: pods"),
        ("True", Reason.GATEWAY_READY),
        "The gateway is up. The API server rejects its pods (exceeded quota: pods).",
        id="one more not taken",
    ),
    case(
        K.DEGRADED,
        HYBRID,
        observe(1, signals=FINE, gateways=(gateway(), gateway(ready=False, config_mounted_problem="ImagePullBackOff: no such image"))),
        ("True", Reason.ROLLOUT_BLOCKED),
        "see GatewayReady",
        id="a gateway of another spec cannot start",
    ),
    case(
        K.DEGRADED,
        HYBRID,
        observe(1, signals=FINE, gateways=(gateway(),), gateway_refused="exceeded quota: pods"),
        ("True", Reason.ROLLOUT_BLOCKED),
        "see GatewayReady",
        id="no further gateway is taken",
    ),
    case(
        K.DEGRADED,
        HYBRID,
        observe(1, signals=FINE, gateways=(gateway(), gateway(ready=False))),
        ("False", Reason.FULLY_SERVING),
        id="one starts",
    ),
    case(K.DEGRADED, HYBRID, observe(1, signals=FINE), ("False", Reason.FULLY_SERVING), id="all is well"),
    case(
        K.DEGRADED,
        HYBRID,
        observe(1, signals=FINE, **PENDING),
        ("True", Reason.OWNED_UNAVAILABLE),
        "No replica is ready",
        id="waiting for GPUs",
    ),
    case(
        K.DEGRADED,
        HYBRID,
        observe(2, signals=FINE, replicas=(replica(0), *CRASHING["replicas"])),
        ("True", Reason.OWNED_UNAVAILABLE),
        "Some replicas are not ready",
        id="one of two crashes",
    ),
    case(K.DEGRADED, ASLEEP, observe(0, signals=FINE), ("False", Reason.FULLY_SERVING), id="scaled to zero is not degraded"),
    case(
        K.DEGRADED,
        HYBRID,
        observe(1, signals=signals(hosted_credential_loaded={ONE: False})),
        ("True", Reason.HOSTED_UNAVAILABLE),
        id="no key",
    ),
    case(
        K.DEGRADED,
        TWO,
        two(hosted_healthy=BOTH_UP, hosted_credential_loaded={OTHER: False}),
        ("True", Reason.HOSTED_UNAVAILABLE),
        "Some hosted backends",
        id="no key for one of two",
    ),
    case(K.DEGRADED, HYBRID, observe(1), ("False", Reason.FULLY_SERVING), id="not before there is evidence"),
    case(K.DEGRADED, HYBRID, observe(1, **NO_GATEWAY), ("True", Reason.GATEWAY_STARTING), id="no gateway"),
    case(K.DEGRADED, WRONG, observe(1, signals=FINE), ("True", Reason.INVALID_SPEC), id="a spec that is not applied"),
    case(
        K.DEGRADED,
        HYBRID,
        observe(1, signals=FINE, pools=(pool(1, rollout_blocked="no nvidia.com/gpu is free for it"),)),
        ("True", Reason.ROLLOUT_BLOCKED),
        "no nvidia.com/gpu is free for it",
        id="a rollout that cannot go on",
    ),
    case(K.ACCESS_CONTROLLED, HYBRID, observe(1), ("True", Reason.NAMESPACE_ONLY), "NetworkPolicy", id="the namespace alone"),
    case(
        K.ACCESS_CONTROLLED,
        workload(gateway={"access": {"callers": "Anyone"}}),
        observe(1),
        ("False", Reason.GATEWAY_OPEN),
        "gateway.access.keysSecretRef",
        id="open to everybody",
    ),
    case(
        K.ACCESS_CONTROLLED,
        workload(gateway={"access": {"jwt": {"issuer": "https://id", "audiences": ["chat"], "jwksURI": "https://id/keys"}}}),
        observe(1),
        ("True", Reason.TOKENS_REQUIRED),
        id="clients with tokens",
    ),
    case(K.ACCESS_CONTROLLED, KEYED, observe(1), ("True", Reason.API_KEYS_REQUIRED), id="clients with keys"),
    case(K.ACCESS_CONTROLLED, KEYED, observe(1, signals=blind()), ("True", Reason.API_KEYS_REQUIRED), id="keys, and no metrics"),
    case(
        K.ACCESS_CONTROLLED,
        KEYED,
        observe(1, signals=signals(closed_per_s=0.1)),
        ("False", Reason.API_KEYS_MISSING),
        "Secret chat-clients",
        id="no Secret with keys",
    ),
    case(K.SLO_MET, HYBRID, observe(1), ("Unknown", Reason.NO_SLO), id="none promised"),
    case(K.SLO_MET, workload(slo={"attainmentPercent": 95}), observe(1), ("Unknown", Reason.NO_SLO), id="no target promised"),
    case(K.SLO_MET, PROMISED, observe(1), ("Unknown", Reason.NO_TRAFFIC), id="no traffic"),
    case(K.SLO_MET, PROMISED, observe(1, signals=blind()), ("Unknown", Reason.METRICS_MISSING), id="no metrics"),
    case(K.SLO_MET, PROMISED, observe(1, signals=signals(arrivals_per_s=1.0)), ("Unknown", Reason.NO_EVIDENCE), id="no measurement yet"),
    case(K.SLO_MET, PROMISED, observe(1, signals=signals(**TRAFFIC)), ("True", Reason.SLO_MET), id="met"),
    case(
        K.SLO_MET,
        PROMISED,
        observe(1, signals=signals(**(TRAFFIC | {"inter_token_within_ratio": 0.98, "owned_latency": latency(120.0, within_ttft=0.5)}))),
        ("False", Reason.SLO_MISSED),
        "timeToFirstTokenMs and interTokenLatencyMs",
        id="two targets missed",
    ),
    case(
        K.SLO_MET,
        PROMISED,
        observe(1, signals=signals(**(TRAFFIC | {"owned_latency": latency(120.0, within_ttft=0.9899999999999999)}))),
        ("True", Reason.SLO_MET),
        id="99 of 100, as divisions have it",
    ),
    case(
        K.SLO_MET,
        PROMISED,
        observe(1, signals=signals(**(TRAFFIC | {"failed_per_s": 0.1}))),
        ("False", Reason.SLO_MISSED),
        "timeToFirstTokenMs and interTokenLatencyMs and endToEndMs",
        id="failed requests count",
    ),
    case(K.WITHIN_BUDGET, HYBRID, observe(1), ("Unknown", Reason.NO_BUDGET), id="none set"),
    case(K.WITHIN_BUDGET, workload(budget={"monthlyUSD": "999999"}), observe(1), ("True", Reason.WITHIN_BUDGET), id="within it"),
    case(
        K.WITHIN_BUDGET,
        workload(budget={"monthlyUSD": "100"}),
        observe(1),
        ("False", Reason.PROJECTED_OVER_BUDGET),
        id="on course beyond it",
    ),
    case(K.WITHIN_BUDGET, workload(budget={"monthlyUSD": "1"}), observe(1), ("False", Reason.BUDGET_EXCEEDED), id="exceeded"),
    case(
        K.WITHIN_BUDGET,
        workload(budget={"monthlyUSD": "1"}),
        observe(1, catalogue=catalogue({"h100": accelerator(price=None)})),
        ("Unknown", Reason.NO_PRICES),
        "no price for h100; set it in the AcceleratorClass",
        id="cost unknown",
    ),
    case(K.METRICS_AVAILABLE, HYBRID, observe(1), ("True", Reason.METRICS_FOUND), id="all there"),
    case(K.METRICS_AVAILABLE, HYBRID, observe(1, **NO_GATEWAY), ("Unknown", Reason.NO_EVIDENCE), id="nothing to measure"),
    case(
        K.METRICS_AVAILABLE,
        HYBRID,
        observe(1, signals=signals(arrivals_per_s=Missing(reason=Reason.PROMETHEUS_ERROR, detail="refused <Connection at 0x7f12>"))),
        ("False", Reason.PROMETHEUS_ERROR),
        "the gateway's metrics (refused <Connection at 0x…>)",
        id="Prometheus does not answer",
    ),
    case(
        K.METRICS_AVAILABLE,
        HYBRID,
        observe(1, signals=signals(arrivals_per_s=math.nan)),
        ("False", Reason.METRICS_MISSING),
        "the gateway's metrics;",
        id="what is read is no number",
    ),
    case(
        K.METRICS_AVAILABLE,
        HYBRID,
        observe(1, signals=signals(running=Missing(reason=Reason.METRICS_STALE, detail="47 s old"))),
        ("False", Reason.METRICS_STALE),
        "Prometheus has only stale samples of the replicas' metrics;",
        id="the replicas are not measured",
    ),
    case(
        K.METRICS_AVAILABLE,
        HYBRID,
        observe(1, signals=signals(running=MISSING), replicas=(replica(ready_since=later(-30)), replica(1, ready_since=None))),
        ("True", Reason.METRICS_FOUND),
        id="a replica that has just become ready need not be measured yet",
    ),
    case(K.SCALING_LIMITED, HYBRID, observe(1), ("False", Reason.NOT_LIMITED), id="free"),
    case(K.SCALING_LIMITED, HOSTED, observe(0), ("False", Reason.NOT_REQUESTED), id="nothing to scale"),
    case(K.SCALING_LIMITED, WRONG, observe(1), ("Unknown", Reason.PENDING), id="not decided"),
    case(
        K.SCALING_LIMITED,
        HYBRID,
        observe(4, signals=signals(running=99.0)),
        ("True", Reason.AT_MAX_REPLICAS),
        "maxReplicas",
        id="at the most",
    ),
    case(
        K.SCALING_LIMITED,
        HYBRID,
        observe(1, **PENDING),
        ("True", Reason.UNSCHEDULABLE),
        "No node has enough nvidia.com/gpu for a replica on accelerator class 'h100' (Insufficient nvidia.com/gpu); no more are requested "
        "meanwhile. Add nodes of that class, add another class to dedicated.accelerators",
        id="no GPU",
    ),
    case(
        K.SCALING_LIMITED,
        HYBRID,
        waiting("0/3 nodes are available: 1 Insufficient memory, 2 Insufficient cpu. preemption: not helpful"),
        ("True", Reason.UNSCHEDULABLE),
        "enough cpu and memory for a replica on accelerator class 'h100' (Insufficient cpu, Insufficient memory); no more are requested "
        "meanwhile. Add nodes, lower dedicated.podTemplate.resources.requests",
        id="no CPU and no memory",
    ),
    case(
        K.SCALING_LIMITED,
        HYBRID,
        waiting("0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."),
        ("True", Reason.UNSCHEDULABLE),
        "No node accepts a replica on accelerator class 'h100' (node(s) didn't match Pod's node affinity/selector); no more are requested "
        "meanwhile. Compare the nodes' labels and taints",
        id="no node of that kind",
    ),
    case(
        K.SCALING_LIMITED,
        HYBRID,
        observe(1, **REFUSED),
        ("True", Reason.UNSCHEDULABLE),
        "(exceeded quota: gpus); no more are requested meanwhile",
        id="no quota left",
    ),
    case(
        K.SCALING_LIMITED,
        DEDICATED,
        observe(1, **CRASHING, signals=signals(arrivals_per_s=40.0, refused_per_s=40.0)),
        ("True", Reason.CRASH_LOOP),
        "No more replicas are requested while one cannot start",
        id="none that can start",
    ),
    case(
        K.SCALING_LIMITED,
        workload(scaling={"mode": "External"}, replicas=2),
        observe(1, **PENDING),
        ("True", Reason.UNSCHEDULABLE),
        "(Insufficient nvidia.com/gpu). Add nodes",
        id="no GPU for what others ask for",
    ),
    case(
        K.SCALING_LIMITED,
        workload(scaling={"mode": "External"}, replicas=0),
        observe(1),
        ("True", Reason.AT_MIN_REPLICAS),
        "minReplicas",
        id="fewer asked for than allowed",
    ),
    case(K.SPILL_ACTIVE, HYBRID, observe(1), ("False", Reason.NOT_SPILLING), id="calm"),
    case(K.SPILL_ACTIVE, HYBRID, observe(1, signals=signals(spilled_per_s=0.1)), ("True", Reason.SPILLING), id="hosted answers"),
    case(K.SPILL_ACTIVE, HYBRID, observe(1, signals=blind()), ("Unknown", Reason.METRICS_MISSING), id="no metrics"),
    case(
        K.SPILL_ACTIVE, HOSTED, observe(0, signals=signals(spilled_per_s=9.0)), ("False", Reason.NOT_REQUESTED), id="all hosted is no spill"
    ),
    case(K.SPILL_ACTIVE, DEDICATED, observe(1), ("False", Reason.NOT_REQUESTED), id="dedicated never spills"),
    case(K.SELF_HOSTING_ECONOMIC, HOSTED, observe(0), ("Unknown", Reason.NOT_REQUESTED), id="nothing owned"),
    case(K.SELF_HOSTING_ECONOMIC, DEDICATED, observe(1), ("Unknown", Reason.NO_HOSTED_ALTERNATIVE), id="nothing to compare with"),
    case(
        K.SELF_HOSTING_ECONOMIC,
        workload(dedicated={"committedReplicas": 4}),
        observe(1),
        ("True", Reason.SELF_HOSTING_CHEAPER),
        id="all paid for",
    ),
    case(
        K.SELF_HOSTING_ECONOMIC,
        workload(dedicated={"committedReplicas": 1}),
        observe(1, catalogue=catalogue(), signals=signals(arrivals_per_s=0.01)),
        ("True", Reason.SELF_HOSTING_CHEAPER),
        id="the one that is wanted is paid for, though more may be",
    ),
    case(
        K.SELF_HOSTING_ECONOMIC,
        HYBRID,
        observe(1, catalogue=catalogue({"h100": accelerator(price=None)})),
        ("Unknown", Reason.NO_PRICES),
        id="no price",
    ),
    case(K.SELF_HOSTING_ECONOMIC, HYBRID, observe(1), ("Unknown", Reason.NO_EVIDENCE), "model.architecture", id="capacity unknown"),
]


@pytest.mark.parametrize(("kind", "wanted", "seen", "said", "words"), CASES)
def test_condition(kind: ConditionType, wanted: Workload, seen: Observation, said: tuple[str, Reason], words: str) -> None:
    found = condition(kind, wanted, seen)
    assert (found.status, found.reason) == said
    assert words in found.message


DEAR = catalogue(
    providers={"acme": provider(models=[{"name": "llama-8b", "inputUSDPerMillionTokens": "1", "outputUSDPerMillionTokens": "4"}])}
)
AT_BREAK_EVEN = 1_440_000 / (30 * 86400)


@pytest.mark.parametrize(
    ("known", "rate", "before", "said"),
    [
        pytest.param(catalogue(), 1.0, None, ("False", Reason.HOSTED_CHEAPER_AT_ANY_LOAD), id="hosted costs less than a full replica"),
        pytest.param(DEAR, AT_BREAK_EVEN * 0.99, None, ("False", Reason.BELOW_BREAK_EVEN), id="too few requests"),
        pytest.param(DEAR, AT_BREAK_EVEN * 1.01, None, ("True", Reason.SELF_HOSTING_CHEAPER), id="enough requests"),
        pytest.param(DEAR, AT_BREAK_EVEN * 0.95, "True", ("True", Reason.SELF_HOSTING_CHEAPER), id="a little below does not turn it back"),
        pytest.param(DEAR, AT_BREAK_EVEN * 0.85, "True", ("False", Reason.BELOW_BREAK_EVEN), id="well below does"),
        pytest.param(DEAR, MISSING, None, ("Unknown", Reason.NO_EVIDENCE), id="volume unknown"),
    ],
)
def test_self_hosting_economic(known: Any, rate: Any, before: str | None, said: tuple[str, Reason]) -> None:
    previous = {"conditions": [_raw(ConditionType.SELF_HOSTING_ECONOMIC, before)]} if before else {}
    found = condition(
        ConditionType.SELF_HOSTING_ECONOMIC,
        workload(previous_status=previous),
        observe(1, catalogue=known, signals=signals(arrivals_per_s=rate)),
        memory=LEARNED,
    )
    assert (found.status, found.reason) == said


CLAIM = "The claim of dedicated.modelCache or model.source must exist"


@pytest.mark.parametrize(
    ("sentence", "next_step"),
    [
        pytest.param('0/3 nodes are available: persistentvolumeclaim "weights" not found. preemption: none', CLAIM, id="no such claim"),
        pytest.param("0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims.", CLAIM, id="a claim without a volume"),
        pytest.param("0/3 nodes are available: 3 node(s) had volume node affinity conflict.", CLAIM, id="a volume elsewhere, until 1.32"),
        pytest.param("0/3 nodes are available: 3 node(s) didn't match PersistentVolume's node affinity.", CLAIM, id="a volume elsewhere"),
        pytest.param(
            'running PreBind plugin "VolumeBinding": binding volumes: provisioning failed for PVC "weights"', CLAIM, id="none can be made"
        ),
        pytest.param(
            "0/3 nodes are available: 1 Insufficient nvidia.com/gpu, 2 node(s) had volume node affinity conflict. no new claims to "
            "deallocate, preemption: none",
            f"Add nodes of that class, add another class to dedicated.accelerators, or lower dedicated.scaling.maxReplicas. {CLAIM}",
            id="a volume elsewhere, and here all is full",
        ),
        pytest.param(
            "0/3 nodes are available: 3 cannot allocate all claims. still not schedulable, preemption: none",
            "Add nodes of that class, add another class",
            id="no device left of a DRA driver",
        ),
        pytest.param(
            "held back by scheduling gate kueue.x-k8s.io/admission", "Whoever set the gate removes it: Kueue", id="a queue of jobs"
        ),
        pytest.param("0/3 nodes are available: 3 Too many pods. preemption: none", "Add nodes, lower", id="as many pods as may be"),
        pytest.param("0/1 nodes are available: 1 node(s) were unschedulable.", "Compare the nodes' labels and taints", id="cordoned nodes"),
        pytest.param(
            "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector. preemption: none",
            "Compare the nodes' labels and taints with nodeSelector and tolerations of the AcceleratorClass and dedicated.podTemplate. "
            "Cordoned and NotReady nodes accept no pods; a cluster autoscaler must know the labels of the nodes it can add.",
            id="no such node yet",
        ),
    ],
)
def test_what_to_do_where_no_node_takes_a_replica_goes_by_what_is_in_the_way(sentence: str, next_step: str) -> None:
    found = condition(ConditionType.SCALING_LIMITED, HYBRID, waiting(sentence))
    assert found.reason == Reason.UNSCHEDULABLE
    assert found.message.partition("; no more are requested meanwhile. ")[2].startswith(next_step)


@pytest.mark.parametrize(
    "pods",
    [
        pytest.param((replica(1, ready=False, ended_at=NOW - timedelta(hours=1), ended_words="Evicted"),), id="an eviction of an hour ago"),
        pytest.param((replica(1, ready=False, preparing_since=NOW - timedelta(minutes=1)),), id="a volume that is being attached"),
        pytest.param((replica(1, ready=False, preparing_since=NOW - timedelta(hours=1), terminating=True),), id="one that is taken down"),
        pytest.param(
            (replica(1, pool="chat-engine-00000000", ended_at=NOW, ended_words="Evicted"),), id="an eviction from a pool that is to go"
        ),
    ],
)
def test_replicas_that_start_have_no_delay_by(pods: tuple[Any, ...]) -> None:
    found = condition(ConditionType.REPLICAS_READY, HYBRID, observe(1, replicas=(replica(ready=False), *pods)))
    assert found.message == "Replicas are starting."


@pytest.mark.parametrize(
    ("committed", "rate", "said"),
    [
        pytest.param(0, AT_BREAK_EVEN * 2.9, ("False", Reason.BELOW_BREAK_EVEN), id="enough for two of three that always run"),
        pytest.param(0, AT_BREAK_EVEN * 3.1, ("True", Reason.SELF_HOSTING_CHEAPER), id="enough for three"),
        pytest.param(1, AT_BREAK_EVEN * 2.1, ("True", Reason.SELF_HOSTING_CHEAPER), id="enough for the two that are not paid for"),
    ],
)
def test_replicas_that_always_run_count_for_what_owning_costs(committed: int, rate: float, said: tuple[str, Reason]) -> None:
    wanted = workload(scaling={"minReplicas": 3, "maxReplicas": 6}, dedicated={"committedReplicas": committed})
    seen = observe(3, catalogue=DEAR, signals=signals(arrivals_per_s=rate))
    found = condition(K.SELF_HOSTING_ECONOMIC, wanted, seen, memory=LEARNED)
    assert (found.status, found.reason) == said


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        pytest.param(0.9, ("False", Reason.BELOW_BREAK_EVEN), id="too few of those that replicas take, whatever the others cost"),
        pytest.param(1.1, ("True", Reason.SELF_HOSTING_CHEAPER), id="enough of them"),
    ],
)
def test_long_prompts_that_hosted_answers_anyway_do_not_make_owning_pay(kept: float, said: tuple[str, Reason]) -> None:
    backends = [{"providerRef": {"name": "acme"}, "model": "llama-8b"}]
    wanted = workload(hosted={"backends": backends, "overflow": {"longPrompts": "Spill", "longPromptTokens": 8000}})
    short, long = AT_BREAK_EVEN * kept, LongPromptTraffic(per_s=0.1, input_tokens_per_s=2000.0, output_tokens_per_s=25.0)
    read = signals(
        arrivals_per_s=short + 0.1,
        spilled_per_s=0.1,
        input_tokens_mean=(short * 1000 + 2000) / (short + 0.1),
        output_tokens_mean=250.0,
    )
    seen = observe(1, catalogue=DEAR, signals=replace(read, long_prompts=Sample(value=long, at=NOW)))
    found = condition(K.SELF_HOSTING_ECONOMIC, wanted, seen, memory=LEARNED)
    assert (found.status, found.reason) == said


def test_only_the_classes_that_have_no_place_are_named() -> None:
    names = [None, "l40s", "h100"]
    lacking = [replica(index, ready=False, bound_at=None, accelerator_class=name, unschedulable="no") for index, name in enumerate(names)]
    others = [replica(3, accelerator_class="a10"), replica(4, accelerator_class="l4", unschedulable="no", terminating=True)]
    found = condition(ConditionType.SCALING_LIMITED, HYBRID, observe(1, replicas=(*others, *lacking)))
    assert found.message.startswith("No node accepts a replica on accelerator class 'h100' or 'l40s' (no);")
    nameless = condition(ConditionType.SCALING_LIMITED, HYBRID, observe(1, replicas=tuple(lacking[:1])))
    assert nameless.message.startswith("No node accepts a replica (no);")


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param({"bound_at": None, "unschedulable": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."}, id="has no node"),
        pytest.param({"waiting_reason": "CrashLoopBackOff"}, id="cannot start"),
    ],
)
def test_what_ails_replicas_that_are_to_go_is_not_told_of_those_that_are_to_come(trouble: Any) -> None:
    before = "chat-engine-00000000"
    former = (replica(7, pool=before), replica(8, pool=before, ready=False, **trouble))
    pools = (pool(2, name=before, rollout_blocked="no nvidia.com/gpu is free for it", refused="exceeded quota: gpus"), pool(2))
    moving = observe(0, replicas=(*former, replica(1), replica(2, ready=False)), pools=pools, signals=signals(running=12.0))
    told = {kind: condition(kind, workload("Dedicated"), moving) for kind in (K.REPLICAS_READY, K.SCALING_LIMITED, K.DEGRADED)}
    assert told[K.REPLICAS_READY].reason == Reason.REPLICAS_READY
    assert told[K.SCALING_LIMITED].reason == Reason.NOT_LIMITED
    assert told[K.DEGRADED].reason == Reason.FULLY_SERVING


def test_where_all_is_well_with_hosted_backends_nothing_is_said_beside_it() -> None:
    found = condition(ConditionType.HOSTED_BACKEND_READY, HYBRID, observe(1, signals=FINE))
    assert found.message == "A hosted backend passes its health check."


def test_what_could_not_be_applied_is_named() -> None:
    outcome = ApplyOutcome(failures=("Service chat: forbidden", "ConfigMap chat-gateway: conflict"))
    found = condition(ConditionType.DEGRADED, outcome=outcome)
    assert (found.status, found.reason) == ("True", Reason.APPLY_FAILED)
    assert "ConfigMap chat-gateway: conflict; Service chat: forbidden" in found.message


def _raw(kind: ConditionType, status: str, *, reason: str = "AsExpected", generation: int = 1) -> dict[str, object]:
    return {
        "type": kind.value,
        "status": status,
        "reason": reason,
        "message": "as before",
        "observedGeneration": generation,
        "lastTransitionTime": "2026-11-01T00:00:00Z",
    }


@pytest.mark.parametrize(
    ("before", "readings", "said"),
    [
        pytest.param(
            _raw(K.HOSTED_BACKEND_READY, "True", reason="HostedHealthy"),
            blind(),
            ("True", "HostedHealthy"),
            id="kept while nothing is seen",
        ),
        pytest.param(
            _raw(K.HOSTED_BACKEND_READY, "False", reason="HostedUnreachable"), blind(), ("False", "HostedUnreachable"), id="bad news too"
        ),
        pytest.param(_raw(K.HOSTED_BACKEND_READY, "True", generation=0), blind(), ("Unknown", "NoEvidence"), id="not for another spec"),
        pytest.param(_raw(K.HOSTED_BACKEND_READY, "Unknown"), blind(), ("Unknown", "NoEvidence"), id="nothing to keep"),
        pytest.param(
            _raw(K.HOSTED_BACKEND_READY, "False", reason="OfAnotherVersion"),
            blind(),
            ("Unknown", "NoEvidence"),
            id="nor what another version of the operator wrote",
        ),
        pytest.param(
            _raw(K.HOSTED_BACKEND_READY, "False", reason="HostedCredentialRejected"),
            FINE,
            ("False", "HostedCredentialRejected"),
            id="a refused key until one works",
        ),
        pytest.param(
            _raw(K.HOSTED_BACKEND_READY, "False", reason="HostedCredentialRejected"),
            signals(hosted_credential_loaded={ONE: True}, hosted_healthy=UP),
            ("True", "HostedHealthy"),
            id="a new key that works",
        ),
        pytest.param(
            _raw(K.HOSTED_BACKEND_READY, "False", reason="HostedCredentialMissing"),
            FINE,
            ("False", "HostedCredentialMissing"),
            id="a missing key until a request finds it",
        ),
        pytest.param(
            _raw(K.HOSTED_BACKEND_READY, "False", reason="HostedCredentialMissing"),
            signals(hosted_credential_loaded={ONE: True}, hosted_healthy=UP),
            ("True", "HostedHealthy"),
            id="a key that is there now",
        ),
        pytest.param(
            _raw(K.HOSTED_BACKEND_READY, "False", reason="HostedCredentialMissing", generation=0),
            FINE,
            ("True", "HostedHealthy"),
            id="not the key of another spec",
        ),
    ],
)
def test_what_was_known_of_hosted_is_kept_until_there_is_news(before: dict[str, object], readings: Any, said: tuple[str, str]) -> None:
    found = condition(K.HOSTED_BACKEND_READY, workload(previous_status={"conditions": [before]}), observe(1, signals=readings))
    assert (found.status, found.reason) == said


def test_a_missing_key_of_one_of_two_is_remembered_while_nothing_asks_it() -> None:
    _, memory = one_pass(TWO, two(hosted_healthy=BOTH_UP, hosted_credential_loaded={OTHER: False}))
    quiet = condition(K.DEGRADED, TWO, two(hosted_healthy=BOTH_UP), memory=memory, at=later(900))
    assert quiet.reason == Reason.HOSTED_UNAVAILABLE
    found = condition(K.DEGRADED, TWO, two(hosted_healthy=BOTH_UP, hosted_credential_loaded={OTHER: True}), memory=memory, at=later(900))
    assert found.reason == Reason.FULLY_SERVING


# All of them, every pass


def test_a_key_that_a_provider_asks_for_no_more_is_not_missing() -> None:
    _, memory = one_pass(HYBRID, observe(1, signals=signals(hosted_credential_loaded={ONE: False}, hosted_healthy=UP)))
    assert memory.key_trouble == {ONE: Reason.HOSTED_CREDENTIAL_MISSING}
    open_to_all = catalogue(providers={"acme": provider(auth=None)})
    for told in ({}, {ONE: False}):  # by gateways of before
        quiet = observe(1, signals=signals(hosted_healthy=UP, hosted_credential_loaded=told), catalogue=open_to_all)
        assert condition(K.HOSTED_BACKEND_READY, HYBRID, quiet, memory=memory, at=later(900)).reason == Reason.HOSTED_HEALTHY
    refused = observe(1, signals=signals(hosted_healthy=UP, hosted_rejected_per_s={ONE: 0.1}), catalogue=open_to_all)
    assert condition(K.HOSTED_BACKEND_READY, HYBRID, refused, memory=memory, at=later(900)).reason == Reason.HOSTED_CREDENTIAL_REJECTED


def test_every_condition_is_there_in_one_order() -> None:
    for wanted in (HYBRID, HOSTED, DEDICATED, WRONG):
        assert [each.type for each in status_of(wanted).conditions] == list(ConditionType)


def test_transition_times_move_with_the_status_only() -> None:
    first = status_of(at=NOW.replace(microsecond=123456))
    assert {each.last_transition_time for each in first.conditions} == {NOW}
    changed = workload(previous_status=stored(first), generation=2)
    second = status_of(changed, observe(1, signals=FINE, **STARTING), at=later(60))
    moved = {each.type for each in second.conditions if each.last_transition_time == later(60)}
    assert moved == {K.REPLICAS_READY, K.DEGRADED}
    assert {each.observed_generation for each in second.conditions} == {2}


def test_a_reason_may_change_without_a_transition() -> None:
    first = status_of(seen=observe(1, signals=FINE, **STARTING))
    second = status_of(workload(previous_status=stored(first)), observe(1, signals=FINE, **PENDING), at=later(60))
    found = next(each for each in second.conditions if each.type == K.REPLICAS_READY)
    assert (found.reason, found.last_transition_time) == (Reason.UNSCHEDULABLE, NOW)


@pytest.mark.parametrize(
    ("status", "count"),
    [
        pytest.param({}, 0, id="none"),
        pytest.param({"conditions": "x"}, 0, id="text"),
        pytest.param({"conditions": [{"type": "Ready"}, _raw(K.READY, "True")]}, 1, id="one that is none"),
    ],
)
def test_stored_conditions(status: Mapping[str, object], count: int) -> None:
    assert len(previous_conditions(status)) == count


LIVE = st.one_of(st.just(MISSING), st.floats(min_value=0, max_value=1000), st.just(math.nan), st.just(math.inf))


@st.composite
def anything(draw: st.DrawFn) -> Any:
    side = st.one_of(
        st.just(MISSING),
        st.builds(
            latency,
            LIVE.filter(lambda found: found is not MISSING),
            within_ttft=st.sampled_from([None, 0.5, math.nan]),
            ttft_p95_ms=st.sampled_from([None, 3.0, math.nan]),
        ),
    )
    plain: dict[str, Any] = {name: draw(LIVE) for name in QUIET if name not in ("counters", "owned_latency", "hosted_latency")}
    return signals(
        **plain,
        counters=draw(st.sampled_from([MISSING, ()])),
        owned_latency=draw(side),
        hosted_latency=draw(side),
        hosted_credential_loaded={ONE: draw(st.sampled_from([MISSING, True, False]))},
        hosted_rejected_per_s={ONE: draw(LIVE)},
        hosted_healthy={"acme/llama-8b": draw(st.sampled_from([MISSING, True, False]))},
    )


@given(readings=anything(), replicas=st.integers(min_value=0, max_value=4), wanted=st.sampled_from([HYBRID, HOSTED, DEDICATED, PROMISED]))
def test_whatever_is_read_the_status_is_whole_and_says_no_nonsense(readings: Any, replicas: int, wanted: Workload) -> None:
    status = status_of(wanted, observe(replicas, signals=readings))
    text = status.model_dump_json(by_alias=True, exclude_none=True)
    assert re.search(r"\b(nan|inf|infinity)\b", text, re.IGNORECASE) is None
    assert len(status.conditions) == len(ConditionType)
    assert all(len(each.message) < 1000 for each in status.conditions)


@pytest.mark.parametrize("reason", [Reason.METRICS_MISSING, Reason.METRICS_STALE, Reason.PROMETHEUS_ERROR])
def test_why_metrics_are_missing_is_said_without_details(reason: Reason) -> None:
    found = condition(K.METRICS_AVAILABLE, seen=observe(1, signals=signals(arrivals_per_s=Missing(reason=reason))))
    assert found.reason == reason
    assert "(" not in found.message


@given(one=anything(), other=anything())
def test_messages_hold_no_live_numbers(one: Any, other: Any) -> None:
    """The same status and reason are always put in the same words, but for which target, metrics or evidence it is about."""
    several = (K.SLO_MET, K.METRICS_AVAILABLE)
    first, second = (status_of(PROMISED, observe(1, signals=readings)) for readings in (one, other))
    for left, right in zip(first.conditions, second.conditions, strict=True):
        if (left.type, left.reason) == (K.SELF_HOSTING_ECONOMIC, Reason.NO_EVIDENCE):
            assert not re.search(r"\d", left.message)
        elif (left.status, left.reason) == (right.status, right.reason) and left.type not in several:
            assert left.message == right.message


def test_settled_statuses_are_equal() -> None:
    """A pass that finds nothing new writes nothing new, so that nothing is written."""
    wanted, seen = workload(), observe(1, signals=FINE)
    decision, memory = one_pass(wanted, seen)
    first = report(wanted, seen, decision, ApplyOutcome(), memory, NOW)
    again = replace(wanted, previous_status=stored(first))
    decision, memory = one_pass(again, seen, memory, later(15))
    assert stored(report(again, seen, decision, ApplyOutcome(), memory, later(15))) == stored(first)


def test_a_message_is_never_longer_than_a_condition_takes() -> None:
    refusals = tuple(f"Deployment chat-{index}: {'no ' * 1000}" for index in range(20))
    first = status_of(outcome=ApplyOutcome(failures=refusals))
    found = condition(K.DEGRADED, workload(previous_status=stored(first)), outcome=ApplyOutcome(failures=refusals), at=later(60))
    assert (found.reason, len(found.message), found.message[-1]) == (Reason.APPLY_FAILED, 32768, "…")
    assert found.last_transition_time == NOW, "it still says the same"


def test_a_provider_of_many_models_is_told_by_some() -> None:
    models = [
        {"name": f"org/{index:03}{'m' * 190}", "inputUSDPerMillionTokens": "1", "outputUSDPerMillionTokens": "1"} for index in range(200)
    ]
    found = condition(K.SPEC_VALID, seen=observe(1, catalogue=catalogue(providers={"acme": provider(models=models)})))
    assert found.reason == Reason.UNKNOWN_PROVIDER_MODEL
    assert " and 180 more); add it" in found.message
