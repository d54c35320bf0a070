"""What to relax when nothing is possible: for the options that are nearest to it, the fields that stand in their way."""

import math

from spillway.plan.comparing.choice import Plan
from spillway.plan.comparing.options import Cause, Obstacle, Option
from spillway.plan.rounding import dollars
from spillway.report.plan_words import describe, named

MOST = 3  # ways out that are told
NO_WAY_OUT = {Cause.NOT_OFFLINE, Cause.SPOT}  # a promise is not given up for these, and no field is the remedy


def relaxations(plan: Plan) -> list[str]:
    """Return the ways out, the fewest fields first and then the cheapest, each with what it would cost; none where a plan is possible."""
    if plan.recommended is not None:
        return []
    kinds: dict[tuple[Cause, ...], Option] = {}
    for option in sorted(plan.options, key=_nearness):
        kinds.setdefault(tuple(each.cause for each in option.obstacles), option)
    told = [option for causes, option in kinds.items() if not NO_WAY_OUT & set(causes)]
    return [_way_out(option) for option in told[:MOST]]


def _nearness(option: Option) -> tuple[bool, int, float, float]:
    """Return the order of ways out: what has a cost needs a field changed, what has none needs another model, promise or machine."""
    missing = -option.size.memory.kv_cache_gib if option.size is not None else 0.0
    return option.usd is None, len(option.obstacles), option.usd or 0.0, missing


def _way_out(option: Option) -> str:
    if option.usd is None and option.size is not None and not option.size.feasible:
        return f"slo, model.quantization or the accelerator classes. Nearest is {named(option)}: {describe(option)}"
    steps = "; and ".join(dict.fromkeys(_step(each, option) for each in option.obstacles))  # one step may clear several obstacles
    if option.usd is None:
        return f"{steps}."
    return f"{steps}: {named(option)} would then cost {dollars(option.usd)} a month."


def _step(obstacle: Obstacle, option: Option) -> str:
    match obstacle.cause:
        case Cause.BUDGET:
            return f"budget.monthlyUSD: raise it to {math.ceil(option.usd or 0)} or more"
        case Cause.RESIDENCY:
            return "placement.dataResidency: choose HostedAllowed"
        case Cause.NOT_LISTED if option.size is not None:
            size = option.size
            return f"dedicated: allow {size.tensor_parallel_size} x {size.accelerator_class} (accelerators, engine.tensorParallelSize)"
        case Cause.OFFER:
            return f"slo or hosted.backends: {obstacle.message.rstrip('.')}"
        case _:
            return obstacle.message.rstrip(".")
