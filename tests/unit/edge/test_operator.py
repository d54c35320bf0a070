"""What the process says of passes that fail."""

import pytest

from spillway.apply.applier import NotLeadingError
from spillway.apply.connection import ApiError
from spillway.edge.operator import log_failure
from spillway.plan.decision import Key
from spillway.reconcile.reconcile import PassFailedError

KEY = Key(namespace="ml", name="chat")


@pytest.mark.parametrize(
    "problem",
    [
        PassFailedError("Service chat: 403: no"),
        ApiError(429, "too many requests"),
        ApiError(0, "API server: Server disconnected"),
        NotLeadingError("the Lease is no longer held"),
        TimeoutError(),
    ],
    ids=repr,
)
def test_what_an_api_server_refuses_is_one_line(problem: Exception, caplog: pytest.LogCaptureFixture) -> None:
    log_failure(KEY, problem)
    (record,) = caplog.records
    assert record.getMessage() == f"ml/chat: {str(problem) or 'TimeoutError'}"
    assert record.exc_info is None


def test_what_nobody_expects_is_logged_with_where_it_happened(caplog: pytest.LogCaptureFixture) -> None:
    log_failure(KEY, KeyError("bug"))
    (record,) = caplog.records
    assert record.exc_info is not None
