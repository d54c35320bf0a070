"""Room for requests that wait: its bounds are divided by gateways and their threads, which share nothing."""

from typing import Any

import pytest

from spillway.api.gateway import Gateway
from spillway.render.envoy.room import is_bounded, room_filter


@pytest.mark.parametrize(
    ("bounds", "numbers"),
    [
        pytest.param({}, None, id="none but their number"),
        pytest.param({"maxMiB": 64}, "16777216, nil, nil", id="bytes"),
        pytest.param({"lowPriorityPercent": 25}, "nil, 12.5, nil", id="who gives way"),
        pytest.param({"maxMiB": 64, "lowPriorityPercent": 25}, "16777216, 12.5, 4194304", id="both"),
    ],
)
def test_room_is_bounded_by_what_is_said_of_it_a_part_for_each_thread(bounds: dict[str, Any], numbers: str | None) -> None:
    gateway = Gateway.model_validate({"replicas": 2, "hold": {"seconds": 60, "maxRequests": 200} | bounds})
    assert gateway.hold is not None
    assert is_bounded(gateway.hold) is (numbers is not None)
    if numbers is not None:
        assert f"= {numbers}\n" in str(room_filter(gateway, gateway.hold)).replace("\\n", "\n")
