"""How much work will arrive: the distribution of demand over the next hours, learned from what arrived.

Demand is in replicas and counts everything that arrived, spilled requests included. It is taken in minutes. Several simple experts (levels
that follow fast or slowly, damped trends, the shape of a day and of a week) are mixed by how well each has done lately at each horizon, and
the spread around the mixture is what its own errors have been at that horizon. A workload of which little was seen gets the widest errors
that are plausible: the scaler then owns what is certain and spills the rest.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BIN_S = 60.0
HORIZONS = np.array([1, 3, 7, 15, 30, 60])  # minutes, at which forecasts are compared with what came
RING = int(HORIZONS[-1])
CLOCK_MINUTES = 2  # by which a clock may be set back without a minute being learned twice
LEVEL_WEIGHTS = np.array([0.5, 0.2, 0.08, 0.03])  # of the newest minute
TREND_WEIGHTS = np.array([0.2, 0.08])
TREND_OF_TREND = 0.02
DAMPING = 0.97  # of a trend, per minute
SHAPE_LEVEL_WEIGHT = 0.05
DAY_BINS, WEEK_BINS = 96, 168  # quarters of an hour in a day, hours in a week
DAY_MINUTES, WEEK_MINUTES = 24 * 60, 7 * 24 * 60
EXPERTS = len(LEVEL_WEIGHTS) + len(TREND_WEIGHTS) + 2
SHAPE_WEIGHT = 0.75  # of one visit of a bin against all that came before, spread over its minutes
LOSS_MEMORY = 0.99  # of an expert's mean error, per minute
SHARPNESS = 20.0  # how strongly the mixture prefers the expert with the least error
SHARP_AFTER = 30.0  # minutes of errors after which it prefers half as strongly as it may
NO_SHARE = 1e-300  # of the mixture: what is less has lost its digits
ERRORS = 360  # last errors kept at each horizon
QUANTILES = (np.arange(15) + 0.5) / 15
LEAST_DEMAND = 0.05  # replicas: errors are told in units of the square root of demand, which must not vanish
PRIOR_ERRORS = 30  # minutes for which the prior weighs as much as what was seen
PRIOR_SPREAD = 0.7  # errors in units of the square root of demand, before any were seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Demand to come. `samples` has one row per slot and one column per quantile, in replicas, each column as likely as any other."""

    slot_s: float
    samples: Floats

    def quantile(self, share: float, at_s: float) -> float:
        """Return the demand at a moment from now that is exceeded with probability 1 - share."""
        row = min(len(self.samples) - 1, int(at_s // self.slot_s))
        return float(np.quantile(self.samples[row], share))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DemandModel:
    """What has been learned of one workload's demand. Never changed in place: every step makes a new one."""

    opened: int  # minute (of the epoch) that has not ended yet
    reading: float | None = None  # its latest: rates are over the last minute, so the last one stands for the whole
    seen: int = 0  # minutes that were closed
    levels: Floats  # per weight
    trends: Floats  # (2, per weight): level and slope
    shapes: tuple[Floats, Floats]  # mean demand by time of day and of week; NaN where never seen
    shape_levels: Floats  # (2): demand now over what the shape says
    made: Floats  # (RING, horizons, experts): forecasts that were made, by the minute at which they were
    losses: Floats  # (horizons, experts): discounted sums of errors
    scored: Floats  # (horizons, experts): the same sums of ones
    errors: Floats  # (horizons, ERRORS): NaN where not yet seen
    shares: Floats  # (horizons, experts): of the mixture, from the losses
    spread: Floats  # (horizons, quantiles): of the errors

    @property
    def knows_days(self) -> bool:
        """Whether a whole day was seen, so that an hour without traffic may be expected to end."""
        return self.seen > DAY_MINUTES

    def recounted(self, factor: float) -> "DemandModel":
        """Return the same in other replicas, of which the same work takes so many times as many."""
        level_and_slope, (day, week), root = self.trends * factor, self.shapes, math.sqrt(factor)
        return replace(
            self,
            reading=None if self.reading is None else self.reading * factor,
            levels=self.levels * factor,
            trends=level_and_slope,
            shapes=(day * factor, week * factor),
            made=self.made * factor,
            losses=self.losses * factor,
            errors=self.errors * root,  # in units of the square root of demand
            spread=self.spread * root,
        ).reshared()

    def reshared(self) -> "DemandModel":
        """Return the same with the mixture that its losses ask for."""
        return replace(self, shares=_shares(self.losses, self.scored))


def new_model(minute: int, expected: float = math.nan) -> DemandModel:
    """Return a model that has seen nothing, of a demand that is expected to be so many replicas; NaN: nobody said."""
    return DemandModel(
        opened=minute,
        levels=np.full(len(LEVEL_WEIGHTS), expected),
        trends=np.stack([np.full(len(TREND_WEIGHTS), expected), np.zeros(len(TREND_WEIGHTS))]),
        shapes=(np.full(DAY_BINS, np.nan), np.full(WEEK_BINS, np.nan)),
        shape_levels=np.ones(2),
        made=np.full((RING, len(HORIZONS), EXPERTS), np.nan),
        losses=np.zeros((len(HORIZONS), EXPERTS)),
        scored=np.zeros((len(HORIZONS), EXPERTS)),
        errors=np.full((len(HORIZONS), ERRORS), np.nan),
        shares=_shares(np.zeros((len(HORIZONS), EXPERTS)), np.zeros((len(HORIZONS), EXPERTS))),
        spread=_error_quantiles(np.full((len(HORIZONS), ERRORS), np.nan)),
    )


def learn(model: DemandModel | None, demand: float, now_s: float, expected: float | None = None) -> DemandModel:
    """Return the model with a reading of demand over about the last minute. `now_s` counts from the epoch.

    `expected`: what the demand was declared to be, in replicas, for a model that has seen nothing yet.
    """
    minute = int(now_s // BIN_S)
    if model is None:
        model = new_model(minute, math.nan if expected is None else expected)
    if minute < model.opened - CLOCK_MINUTES:  # the clock was ahead: until it is there again, nothing would be learned
        model = replace(model, opened=minute, reading=None, made=np.full_like(model.made, np.nan))
    if minute > model.opened:
        model = _closed(model, minute)
    return replace(model, reading=demand)


def forecast(model: DemandModel, *, now_s: float, slots: int, slot_s: float) -> Forecast:
    """Return the distribution of demand in each of the next slots, the minute that has not ended taken as if it had."""
    ahead = (np.arange(slots, dtype=np.float64) + 0.5) * (slot_s / BIN_S)
    latest = model if model.reading is None else _fitted(model, model.reading)
    points = _experts(latest, int(now_s // BIN_S), ahead)
    centre = _mixed(points, _interpolated(model.shares, ahead))
    spread = _interpolated(model.spread, ahead)
    scale = np.sqrt(np.maximum(centre, LEAST_DEMAND))
    return Forecast(slot_s=slot_s, samples=np.maximum(0.0, centre[:, None] + scale[:, None] * spread))


def _closed(model: DemandModel, minute: int) -> DemandModel:
    """Return the model after the minutes up to this one; one in which nothing was read teaches nothing."""
    if model.reading is None:
        return replace(model, opened=minute)
    value = model.reading
    model = _fitted(_scored(model, value), value)
    made = model.made.copy()
    made[model.opened % RING] = _experts(model, model.opened, HORIZONS.astype(float))
    for unseen in range(model.opened + 1, min(minute, model.opened + RING + 1)):
        made[unseen % RING] = np.nan
    return replace(model, made=made, opened=minute, reading=None, seen=model.seen + 1)


def _scored(model: DemandModel, value: float) -> DemandModel:
    """Return the model after comparing what was forecast for this minute, at each horizon, with what came."""
    said = model.made[(model.opened - HORIZONS) % RING, np.arange(len(HORIZONS))]
    known = np.isfinite(said)
    loss = np.abs(np.where(known, said, value) - value)
    losses, scored = (
        np.where(known, LOSS_MEMORY * model.losses + loss, model.losses),
        np.where(known, LOSS_MEMORY * model.scored + 1, model.scored),
    )
    mixed = _mixed(said, model.shares)
    error = (value - mixed) / np.sqrt(np.maximum(mixed, LEAST_DEMAND))
    errors = model.errors
    if np.isfinite(error).any():
        errors = errors.copy()
        told = np.isfinite(error)
        errors[told, model.seen % ERRORS] = error[told]
    return replace(model, losses=losses, scored=scored, errors=errors, shares=_shares(losses, scored), spread=_error_quantiles(errors))


def _fitted(model: DemandModel, value: float) -> DemandModel:
    first = not np.isfinite(model.levels[0])
    levels = np.full_like(model.levels, value) if first else model.levels + LEVEL_WEIGHTS * (value - model.levels)
    level, slope = model.trends
    expected = level + DAMPING * slope
    risen = np.full_like(level, value) if first else expected + TREND_WEIGHTS * (value - expected)
    slopes = np.zeros_like(slope) if first else DAMPING * slope + TREND_OF_TREND * (risen - level - DAMPING * slope)
    shape_levels = model.shape_levels.copy()
    for index, shape in enumerate(model.shapes):
        expected_there = _shape_of(shape, model.opened)
        if math.isfinite(expected_there):
            ratio = value / max(expected_there, LEAST_DEMAND)
            shape_levels[index] += SHAPE_LEVEL_WEIGHT * (ratio - shape_levels[index])
    return replace(
        model,
        levels=levels,
        trends=np.stack([risen, slopes]),
        shapes=(_shape_with(model.shapes[0], model.opened, value), _shape_with(model.shapes[1], model.opened, value)),
        shape_levels=shape_levels,
    )


def _minutes_per_bin(shape: Floats) -> int:
    return (DAY_MINUTES if len(shape) == DAY_BINS else WEEK_MINUTES) // len(shape)


def _shape_with(shape: Floats, minute: int, value: float) -> Floats:
    per_bin = _minutes_per_bin(shape)
    index = minute // per_bin % len(shape)
    shape = shape.copy()
    shape[index] = value if np.isnan(shape[index]) else shape[index] + SHAPE_WEIGHT / per_bin * (value - shape[index])
    return shape


def _shape_of(shape: Floats, minute: int) -> float:
    """Return `_shape_at` of one minute, without the arrays that take ten times as long."""
    place = minute / _minutes_per_bin(shape) - 0.5
    low = math.floor(place)
    share, index = place - low, low % len(shape)
    return float((1 - share) * shape[index] + share * shape[(index + 1) % len(shape)])


def _shape_at(shape: Floats, minutes: Floats) -> Floats:
    """Return what the shape says of minutes of the epoch, between the middles of its bins; NaN next to one never seen."""
    place = minutes / _minutes_per_bin(shape) - 0.5
    low = np.floor(place)
    share = place - low
    index = low.astype(int) % len(shape)
    return np.asarray((1 - share) * shape[index] + share * shape[(index + 1) % len(shape)])


def _experts(model: DemandModel, minute: int, ahead: Floats) -> Floats:
    """Return each expert's demand at each of these minutes after `minute`: (ahead, experts); NaN where one knows nothing."""
    count = len(ahead)
    level, slope = model.trends
    grown = DAMPING * (1 - DAMPING ** ahead[:, None]) / (1 - DAMPING)
    trends = np.maximum(0.0, level + slope * grown)
    shapes = [
        _shape_at(shape, minute + ahead) * ratio if model.seen > period else np.full(count, np.nan)
        for shape, ratio, period in zip(model.shapes, model.shape_levels, (DAY_MINUTES, WEEK_MINUTES), strict=True)
    ]
    return np.column_stack([np.broadcast_to(model.levels, (count, len(LEVEL_WEIGHTS))), trends, *shapes])


def _shares(summed: Floats, scored: Floats) -> Floats:
    """Return each expert's share of the mixture at each horizon, from its mean error there."""
    known = scored > 0
    losses = summed / np.where(known, scored, 1.0)
    least = np.maximum(np.where(known, losses, np.inf).min(axis=1, keepdims=True), 1e-3)
    sure = scored.max(axis=1, keepdims=True)
    sharpness = SHARPNESS * sure / (sure + SHARP_AFTER)
    shares = np.where(known, np.exp(-sharpness * (losses / np.where(np.isfinite(least), least, 1.0) - 1)), 0.0)
    total = shares.sum(axis=1, keepdims=True)
    first = np.zeros_like(shares)
    first[:, : len(LEVEL_WEIGHTS)] = 1 / len(LEVEL_WEIGHTS)
    mixed = np.where(total > 0, shares / np.where(total > 0, total, 1.0), first)
    for row in np.flatnonzero(~known.any(axis=1)):
        if row:
            mixed[row] = mixed[row - 1]  # until this horizon has come due once, what did well at the one before it
    return mixed


def _mixed(points: Floats, shares: Floats) -> Floats:
    """Return the mean of the experts that say something, by their shares; a plain one where those with a share say nothing.

    A day's shape that has been right alone knows nothing of an hour in which readings are missing every day.
    """
    known = np.isfinite(points)
    weights = np.where(known, shares, 0.0)
    total = weights.sum(axis=-1)
    if not (total > NO_SHARE).all():
        weights = np.where(total[..., None] > NO_SHARE, weights, known)
        total = weights.sum(axis=-1)
    summed = (np.where(known, points, 0.0) * weights).sum(axis=-1)
    return np.asarray(np.where(total > 0, summed / np.where(total > 0, total, 1.0), np.nan))


def _error_quantiles(errors: Floats) -> Floats:
    """Return the quantiles of the errors at each horizon, (horizons, quantiles), those of the prior mixed in while few were seen."""
    known = np.isfinite(errors)
    if known.all():
        low, share, _ = _places(errors.shape[1])
        ordered = np.sort(errors, axis=1)
        return np.asarray(ordered[:, low] + share * (ordered[:, low + 1] - ordered[:, low]))
    rows = np.empty((len(HORIZONS), len(QUANTILES)))
    for index, (row, told) in enumerate(zip(errors, known, strict=True)):
        seen = row[told]
        room = PRIOR_ERRORS - len(seen) // 2
        rows[index] = _quantiles(np.concatenate([seen, _prior(index, room)]) if room > 0 else seen)
    return rows


@lru_cache(maxsize=len(HORIZONS) * PRIOR_ERRORS)
def _prior(horizon: int, room: int) -> Floats:
    """Return so many errors that are plausible at the horizon of this index before any were seen."""
    return np.asarray(PRIOR_SPREAD * np.sqrt(1 + HORIZONS[horizon] / 30) * np.linspace(-1, 1, room))


def _quantiles(values: Floats) -> Floats:
    """Return np.quantile(values, QUANTILES) in a quarter of its time, which goes into looking at its arguments. `values`: 30 or more."""
    ordered = np.sort(values)
    low, share, near = _places(len(ordered))
    below, above = ordered[low], ordered[low + 1]
    step = above - below
    return np.asarray(np.where(near, below + step * share, above - step * (1 - share)))


@lru_cache(maxsize=ERRORS + 1)
def _places(count: int) -> tuple[NDArray[np.int_], Floats, NDArray[np.bool_]]:
    """Return where the quantiles lie among so many ordered values: after which, how far towards the next, and whether it is the nearer."""
    place = QUANTILES * (count - 1)
    low = place.astype(int)
    share = place - low
    return low, share, share < 0.5  # noqa: PLR2004  (the nearer end)


def _interpolated(by_horizon: Floats, ahead: Floats) -> Floats:
    """Return rows for any minutes ahead, between those of the horizons."""
    place = np.interp(ahead, HORIZONS, np.arange(len(HORIZONS)))
    low = np.minimum(place.astype(int), len(HORIZONS) - 2)
    share = (place - low)[:, None]
    return np.asarray((1 - share) * by_horizon[low] + share * by_horizon[low + 1])
