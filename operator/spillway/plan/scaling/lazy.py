"""Lazy capacity provisioning: what the past alone would own, and how far to trust a forecast that has been wrong.

Each level keeps a balance of what owning it has lately been worth, between nothing and the price of a start. A full balance says that the
level would have paid for its start whatever comes; an empty one, that it was not worth keeping. Between them neither is proven. A plan that
leaves these bounds is believed only while forecasts do no worse than "it stays as it is": then the cost stays within a constant of the
clairvoyant's, whatever the forecast says. Source: Lin, Wierman, Andrew, Thereska, Dynamic right-sizing for power-proportional data centers
(INFOCOM 2011), 3-competitive; Albers and Quedenfeld (1807.05112), optimal for whole servers.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spillway.plan.scaling.marginal import Terms, entry_prices, realized_gains

Floats = NDArray[np.float64]

EVERY_S = 60.0  # between two forecasts that are kept to be compared
LOSS_MEMORY = 0.98  # of the mean errors, per forecast that came due
SET_BACK_S = 120.0  # of a clock, from which on what was said before is forgotten
TELLING = 30.0  # forecasts that must have come due before their errors tell anything
WORSE = 1.15  # times the error of "it stays as it is" from which on a forecast is not believed


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A forecast that has not come due."""

    due_s: float
    forecast: float
    then: float  # the demand when it was made


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lazy:
    """The balances, and how good forecasts have been."""

    balances: Floats  # by level, in seconds of one replica's price
    at_s: float
    said: tuple[Said, ...] = ()  # oldest first, at most one a minute
    error: float = 0.0  # discounted sums
    error_of_persistence: float = 0.0
    due: float = 0.0

    @property
    def distrusts(self) -> bool:
        """Whether forecasts have been worse than none."""
        return self.due >= TELLING and self.error > WORSE * self.error_of_persistence


def watch(lazy: Lazy | None, *, demand: float, forecast: float, horizon_s: float, now_s: float, terms: Terms, longest_s: float) -> Lazy:
    """Return the state after a reading of demand, and a forecast of it `horizon_s` from now.

    The reading stands for the time since the last one, `longest_s` at most.
    """
    full = entry_prices(terms)
    if lazy is None:
        return Lazy(balances=np.zeros(terms.most), at_s=now_s, said=(Said(due_s=now_s + horizon_s, forecast=forecast, then=demand),))
    passed_s = min(longest_s, max(0.0, now_s - lazy.at_s))
    balances = np.clip(_of_levels(lazy.balances, terms.most) + realized_gains(demand, terms) * passed_s, 0.0, full)
    error, persistence, due = lazy.error, lazy.error_of_persistence, lazy.due
    open_ones = list(lazy.said) if now_s > lazy.at_s - SET_BACK_S else []  # those of a clock that was ahead would come due when it is again
    while open_ones and open_ones[0].due_s <= now_s:
        came = open_ones.pop(0)
        error = LOSS_MEMORY * error + abs(demand - came.forecast)
        persistence = LOSS_MEMORY * persistence + abs(demand - came.then)
        due = LOSS_MEMORY * due + 1
    if not open_ones or now_s + horizon_s - open_ones[-1].due_s >= EVERY_S:
        open_ones.append(Said(due_s=now_s + horizon_s, forecast=forecast, then=demand))
    return Lazy(balances=balances, at_s=now_s, said=tuple(open_ones), error=error, error_of_persistence=persistence, due=due)


def clamped(lazy: Lazy, wanted: int, terms: Terms) -> int:
    """Return the count within what the past proves, where forecasts are not believed; else the count as it is."""
    if not lazy.distrusts:
        return wanted
    balances = _of_levels(lazy.balances, terms.most)
    proven = int(np.count_nonzero(balances >= entry_prices(terms)))
    possible = int(np.count_nonzero(balances > 0))
    return min(max(wanted, proven), max(possible, proven))


def _of_levels(balances: Floats, most: int) -> Floats:
    """Return the balances of so many levels; those that were not there before have none."""
    return np.pad(balances[:most], (0, max(0, most - len(balances))))
