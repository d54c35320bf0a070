"""What the gateway does when more comes than it has memory or connections for: it turns the newest away, and lives.

Measured with two workers on two cores and 2,000 clients that send 1 MB each at the same moment: without this 2.6 GB, 5.6 GB where all of
them wait (gateway.hold); with it 1.2 to 1.7 GB under a limit of 2 GiB, wherever the shares below were put. Most of that is what workers
read between two looks at the memory, so the shares are low and the limit is generous: a limit, unlike a request, takes memory from nobody.
"""

from spillway.render.envoy.http import COME_AGAIN_S, EnvoyConfig, error_reply, expression, extension, seconds, typed, unanswered

_MAX_CONNECTIONS = 20_000
_MONITORS = "envoy.extensions.resource_monitors"
_HEAP = "envoy.resource_monitors.fixed_heap"
_OFF_HEAP_BYTES = 96 * 1024 * 1024  # of the container's memory: the program (70 MB), stacks, scripts
_LOOK_S = 0.05
# Shares of the heap. First new requests are refused unread; then those that are still being sent, ever more of them, by lot; then those
# that have just been read. What waits, runs or streams is left alone: it has been paid for, and adds nothing.
_REFUSE_NEW = 0.25
_REFUSE_SOME_READ, _REFUSE_ALL_READ = 0.3, 0.65
_REFUSE_WHOLE = 0.45


def overload_manager(memory_bytes: int | None) -> EnvoyConfig:
    """Return Envoy's overload manager for a container with this much memory; None: no limit is known, and only connections are bounded."""
    limit = typed(f"{_MONITORS}.downstream_connections.v3.DownstreamConnectionsConfig", max_active_downstream_connections=_MAX_CONNECTIONS)
    connections: EnvoyConfig = {"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": limit}
    if memory_bytes is None:
        return {"resource_monitors": [connections]}
    most = max(memory_bytes - _OFF_HEAP_BYTES, memory_bytes // 2)
    heap = extension(_HEAP, f"{_MONITORS}.fixed_heap.v3.FixedHeapConfig", max_heap_size_bytes=most)
    some: EnvoyConfig = {"scaled": {"scaling_threshold": _REFUSE_SOME_READ, "saturation_threshold": _REFUSE_ALL_READ}}
    return {
        "refresh_interval": seconds(_LOOK_S),
        "resource_monitors": [connections, heap],
        "actions": [
            _triggered("overload_actions.stop_accepting_requests", _above(_REFUSE_NEW)),
            _triggered("overload_actions.shrink_heap", _above(_REFUSE_NEW)),
        ],
        "loadshed_points": [
            _triggered("load_shed_points.http1_server_abort_dispatch", some),
            _triggered("load_shed_points.http_downstream_filter_check", _above(_REFUSE_WHOLE)),
        ],
    }


def overload_reply() -> EnvoyConfig:
    """Return the edge's mapper of what the overload manager refuses; Envoy itself would say 500 of what is still being sent."""
    reply = error_reply(
        None, message="the gateway has no memory for this request; try again later", kind="overloaded_error", code="gateway_overloaded"
    )
    return {
        **reply,
        "filter": expression("response.code_details == 'overload'"),
        "status_code": 503,
        "headers_to_add": unanswered(retry_after_s=COME_AGAIN_S),
    }


def _triggered(name: str, trigger: EnvoyConfig) -> EnvoyConfig:
    return {"name": f"envoy.{name}", "triggers": [{"name": _HEAP, **trigger}]}


def _above(share: float) -> EnvoyConfig:
    return {"threshold": {"value": share}}
