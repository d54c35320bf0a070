"""Months and days of the accounts: those of the calendar in UTC."""

from datetime import UTC, datetime, timedelta


def month_of(moment: datetime) -> str:
    """Return the accounting month of a moment."""
    return moment.astimezone(UTC).isoformat()[:7]


def month_start(moment: datetime) -> datetime:
    """Return when the accounting month of a moment began."""
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def month_end(moment: datetime) -> datetime:
    """Return when the accounting month of a moment ends."""
    return month_start(month_start(moment) + timedelta(days=32))


def day_of(moment: datetime) -> str:
    """Return the accounting day of a moment."""
    return moment.astimezone(UTC).date().isoformat()


def day_start(moment: datetime) -> datetime:
    """Return when the accounting day of a moment began."""
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def day_end(moment: datetime) -> datetime:
    """Return when the accounting day of a moment ends."""
    return day_start(moment) + timedelta(days=1)
