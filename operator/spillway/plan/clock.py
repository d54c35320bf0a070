"""Time by a clock that may be set back."""

from datetime import datetime, timedelta


def elapsed(since: datetime, now: datetime) -> timedelta:
    """Return how long ago a moment is. One that lies ahead is of a clock set back since: for ever, as nothing is to wait for it."""
    return now - since if since <= now else timedelta.max
