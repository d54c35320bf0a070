"""What a gateway needs to keep limits on hosted backends by itself: a script in front of each, a file that says how much, a meter.

The permit file is text for the script alone (lua/permit.lua): `expires` and `retry` in Unix seconds, `limit` in micro-USD where
there is one, then a line for each lane.
"""

from decimal import Decimal

from spillway.api.hosted import LongPrompts
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.decision import Allowance, Decision, HostedBackend, Permit
from spillway.plan.gateway.equivalence import has_shorter_context, listed_model, own_context_tokens
from spillway.plan.gateway.permit import MICRO, needs_permit, smallest_limit_usd, stops_spilling
from spillway.render.envoy.http import EnvoyConfig, is_set
from spillway.render.envoy.metrics import counter, has_metadata, stats_logger

PERMIT_FILE = "permit"
PERMITTED = "x-spillway-permitted"
GIVEN_UP = "x-spillway-given-up"  # on the gateway's own reply where headers are late, for the script
POD_VARIABLE = "SPILLWAY_POD"  # which lanes of the permit are this pod's

_METADATA, _REFUSED = "permit", "permit_refused"
# An answer that states no limit, of a model whose context is not stated: above what hosted models write by default.
_LONGEST_OUTPUT = 8192


def is_guarded(spec: InferenceWorkloadSpec, backend: HostedBackend) -> bool:
    """Whether anything limits what may be sent to the backend. Nothing does by default, and then nothing is in its way.

    A context alone does where own replicas have a longer one: else the provider's 400 would be the answer to what these can read.
    """
    overflow = spec.overflow
    # One that says only how long to wait, or what goes there first, limits nothing.
    listed = overflow is not None and (overflow.limits or (overflow.max_wait_ms is None and overflow.long_prompts is LongPrompts.KEEP))
    limited = listed or stops_spilling(spec) or backend.provider.limits is not None
    return limited or listed_model(backend).capabilities is not None or (spec.owns and has_shorter_context(spec, backend))


def guard_metadata(spec: InferenceWorkloadSpec, backends: tuple[HostedBackend, ...], backend: HostedBackend, folder: str) -> EnvoyConfig:
    """Return what the script must know of the backend. USD per million tokens are micro-USD per token."""
    model = listed_model(backend)
    facts: EnvoyConfig = {
        "backend": backend.label,
        "input_price": backend.input_usd_per_million,
        "cached_input_price": backend.cached_input_usd_per_million,
        "output_price": backend.output_usd_per_million,
        "longest_output": model.context_tokens or own_context_tokens(spec) or _LONGEST_OUTPUT,
    }
    if model.context_tokens is not None:
        facts["context_tokens"] = model.context_tokens
    if model.capabilities is not None:
        facts["capabilities"] = f" {' '.join(sorted(model.capabilities))} "
    if needs_permit(spec, backends):
        facts["permit_file"] = f"{folder}/{PERMIT_FILE}"
    return facts


def permitted() -> EnvoyConfig:
    """Return the RBAC permission that only the script's mark opens: should the script fail, nothing is sent."""
    return {"header": is_set(PERMITTED)}


def meter(backend: HostedBackend) -> list[EnvoyConfig]:
    """Return the access logs that export the lanes' meters, of requests that are done and of those that their permit was too small for.

    One that was cut counts at its longest answer.
    """
    tags = {"backend": backend.label, "worker": f"%DYNAMIC_METADATA({_METADATA}:worker)%"}
    charged = counter("charged_micro_usd", value=f"%DYNAMIC_METADATA({_METADATA}:charge)%", tags=tags)
    refused_tags = {**tags, "worker": f"%DYNAMIC_METADATA({_REFUSED}:worker)%"}
    refused = counter("refused_micro_usd", value=f"%DYNAMIC_METADATA({_REFUSED}:charge)%", tags=refused_tags)
    return [
        stats_logger(has_metadata(_METADATA, "charge"), counters=[charged, counter("charged_requests", fixed=1, tags=tags)]),
        stats_logger(has_metadata(_REFUSED, "charge"), counters=[refused, counter("refused_requests", fixed=1, tags=refused_tags)]),
    ]


def permit_file(decision: Decision) -> dict[str, str]:
    """Return the permit, by file name; nothing where there is none, and then a limited backend gets nothing."""
    permit, spec = decision.gateway.permit, decision.spec
    return {} if permit is None else {PERMIT_FILE: permit_text(permit, smallest_limit_usd(spec) if spec is not None else None)}


def permit_text(permit: Permit, limit_usd: Decimal | None) -> str:
    """Return the permit as the script reads it, with all that a day or a month may cost: no gateway has to roll for another amount."""
    expires = "never" if permit.expires_at is None else str(int(permit.expires_at.timestamp()))
    head = f"expires {expires}\nretry {int(permit.retry_at.timestamp())}\n"
    limit = "" if limit_usd is None else f"limit {int(limit_usd * MICRO)}\n"
    return head + limit + "".join(f"lane {_lane(each)}\n" for each in permit.allowances)


def _lane(given: Allowance) -> str:
    lane = given.lane
    fields = (
        *(lane.pod, lane.worker, lane.backend),
        *(given.micro_usd_from, given.micro_usd_to, given.requests_from, given.requests_to),
        *(_rate(given.requests_per_minute), _rate(given.tokens_per_minute)),
    )
    return " ".join("-" if each is None else str(each) for each in fields)


def _rate(per_minute: float | None) -> str | None:
    return None if per_minute is None else f"{per_minute:.6g}"
