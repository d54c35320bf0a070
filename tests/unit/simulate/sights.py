"""What a scaler is shown, made by hand."""

from dataclasses import fields
from typing import Any

from spillway.simulate.policy import Seen, SeenReplica

QUIET: dict[str, Any] = {
    "now_s": 0.0,
    "window_s": 10.0,
    "arrivals_per_s": 0.0,
    "spilled_per_s": 0.0,
    "refused_per_s": 0.0,
    "finished_per_s": 0.0,
    "wanted": 0,
    "replicas": (),
    "running": 0,
    "waiting": 0,
    "running_mean": 0.0,
    "waiting_mean": 0.0,
    "kv_usage_ratio": 0.0,
    "busy_ratio": 0.0,
    "input_tokens": (0.0, 0.0),
    "output_tokens": (0.0, 0.0),
    "answered": (0.0, 0.0),
    "held": 0,
}


def seen(*, ready: int = 0, starting: int = 0, queue_each: int = 0, **shown: Any) -> Seen:
    """Return what shows that many replicas; what is not named is quiet or was not measured."""
    unmeasured: dict[str, Any] = {each.name: None for each in fields(Seen)}
    replicas = tuple(
        SeenReplica(
            index=index,
            launched_s=0.0,
            ready_s=0.0 if index < ready else None,
            draining=False,
            running=0,
            waiting=queue_each if index < ready else 0,
        )
        for index in range(ready + starting)
    )
    pods = {"replicas": replicas, "wanted": ready + starting, "waiting": queue_each * ready, "waiting_mean": float(queue_each * ready)}
    return Seen(**unmeasured | QUIET | pods | shown)
