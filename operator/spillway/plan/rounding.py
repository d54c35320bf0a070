"""Numbers as they are shown: rounded so that they change when something did. What is not a number is not shown."""

import math
from decimal import Decimal

from spillway.plan.readings import finite

SIGNIFICANT = 4
COMPUTED = 1e-6  # of the last decimal: less is an error of floating point
CENT = 0.01
WHOLE_DOLLARS = 100  # from here on cents are not read


def usd(amount: float | None) -> str | None:
    """Return an amount of money with four significant digits."""
    return significant(amount, SIGNIFICANT)


def signed_usd(amount: float | None) -> str | None:
    """Return a difference of money with four significant digits; only what is below zero has a sign."""
    text = None if amount is None else usd(abs(amount))
    return f"-{text}" if text not in (None, "0") and amount is not None and amount < 0 else text


def dollars(amount: float) -> str:
    """Return an amount of money as it is read in a sentence: whole dollars from a hundred on, two digits of what is less than a cent."""
    if 0 < abs(amount) < CENT:
        return f"${Decimal(f'{amount:.2g}'):f}"
    return f"${amount:,.0f}" if abs(amount) >= WHOLE_DOLLARS else f"${amount:,.2f}"


def figure(number: float) -> str:
    """Return a number as it is read in a sentence: three significant digits, in plain notation however large or small it is."""
    return f"{Decimal(f'{number:.3g}'):,f}"


def rate(per_second: float | None) -> str | None:
    """Return a rate with three significant digits."""
    return significant(per_second, SIGNIFICANT - 1)


def percent(share: float | None) -> str | None:
    """Return a share of 0 to 1 as a percentage with one decimal."""
    known = finite(share)
    return None if known is None else f"{min(known, 1.0) * 100:.1f}"


def reached(share: float | None) -> str | None:
    """Return a share of 0 to 1 that has to reach a target as a percentage with one decimal, rounded down: 99.0 is told of no less."""
    known = finite(share)
    return None if known is None else f"{down(min(known, 1.0) * 100, 1):.1f}"


def fine(number: float, digits: int) -> float:
    """Return a number rounded to so many decimals; one below 1 to as many significant digits, lest little is told as nothing."""
    return round(number, digits) if abs(number) >= 1 else float(f"{number:.{digits}g}")


def down(number: float, digits: int) -> float:
    """Return a number rounded down to so many decimals, but for what is an error of its computation."""
    scale = 10.0**digits
    return math.floor(number * scale + COMPUTED) / scale


def whole(amount: float | None) -> int | None:
    """Return the nearest integer."""
    known = finite(amount)
    return None if known is None else round(known)


def significant(amount: float | None, digits: int) -> str | None:
    """Return a number in plain notation with that many significant digits and no trailing zeros."""
    known = finite(amount)
    if known is None:
        return None
    text = format(Decimal(f"{known:.{digits}g}"), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
