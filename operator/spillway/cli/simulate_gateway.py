"""What the simulated gateways do with a request that own replicas cannot take now, as the workload's real ones would."""

from collections.abc import Sequence
from dataclasses import replace

from spillway.api.catalogue import AcceleratorClassSpec
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.decision import Capacity
from spillway.plan.gateway.permit import stops_spilling
from spillway.plan.replica.long_prompts import longest_own_prompt_tokens
from spillway.plan.rounding import dollars
from spillway.render.envoy.hold import most_held
from spillway.render.envoy.wait import MOST_WAITING, wait_ms
from spillway.simulate.setting import HostedModel, Rules

POLLS_S = 3.0  # what whenExceeded Wait comes to without gateway.hold, at least (render/envoy/hold.py)
MOST_POLLING = 1024  # at a gateway


def rules_of(spec: InferenceWorkloadSpec, accelerator: AcceleratorClassSpec, capacity: Capacity, *, spills: bool) -> Rules:
    """Return the rules of the workload's gateways. `spills`: whether a hosted side is simulated."""
    gateway = spec.gateway
    rules = Rules(
        spills=spills,
        slots_per_replica=capacity.slots,
        gateways=gateway.replicas,
        max_queued_requests=capacity.max_queued_requests,
        longest_own_prompt_tokens=longest_own_prompt_tokens(spec, accelerator) if spills else None,
    )
    if spills and (pause_ms := wait_ms(spec)):
        rules = replace(rules, most_pausing=MOST_WAITING, pause_s=pause_ms / 1000)
    if spec.holds and gateway.hold is not None:
        return replace(rules, most_held=most_held(gateway, gateway.hold), hold_s=float(gateway.hold.seconds))
    return replace(rules, most_held=MOST_POLLING, hold_s=POLLS_S) if spills and spec.waits else rules


def limited(hosted: HostedModel, spec: InferenceWorkloadSpec) -> HostedModel:
    """Return the hosted side with the limit that gateways keep by the day."""
    overflow = spec.overflow
    most = overflow.max_usd_per_day if overflow is not None else None
    return hosted if most is None else replace(hosted, most_usd_per_day=float(most))


def told_of_gateway(spec: InferenceWorkloadSpec, accelerator: AcceleratorClassSpec, *, spills: bool) -> Sequence[str]:
    """Return what is assumed of the day's limit, of requests that wait and of long prompts, in sentences; none where there is nothing."""
    overflow = spec.overflow
    told: list[str] = []
    if spills and overflow is not None and overflow.max_usd_per_day is not None:
        told.append(
            f"Gateways send hosted backends no more than {dollars(float(overflow.max_usd_per_day))} a day from the trace's start on."
        )
    if spills and (pause_ms := wait_ms(spec)):
        told.append(
            f"A request that finds own replicas full waits up to {pause_ms} ms for a slot before it is spilled (maxWaitMs); the first to "
            "come has it."
        )
    if spills and (longest := longest_own_prompt_tokens(spec, accelerator)) is not None:
        told.append(
            f"A prompt of more than {longest:,} tokens goes to the hosted side first (longPrompts); real gateways judge by bytes, "
            "and only streams."
        )
    if spec.holds and spec.gateway.hold is not None:
        whom = "that nothing hosted takes" if spills else "that no replica can take"
        told.append(
            f"A request {whom} waits up to {spec.gateway.hold.seconds} s for a replica (gateway.hold), in order of arrival; bodies, "
            "and who gives way, are not simulated."
        )
    return told


def not_simulated(spec: InferenceWorkloadSpec) -> Sequence[str]:
    """Return the limits of the spec that the simulated gateways do not keep."""
    overflow = spec.overflow
    share = overflow is not None and overflow.max_share_percent is not None
    named = {"hosted.overflow.maxSharePercent": share, "budget.whenExceeded StopSpilling": stops_spilling(spec)}
    return [
        f"{name} is not simulated: gateways spill beyond it here, though spillway's decisions heed it."
        for name, set_ in named.items()
        if set_
    ]
