"""The mean shape of requests, over minutes and over hours: what they take of a replica and what hosting them costs follow from it.

A minute's mean is mostly chance where answers differ a hundredfold, and a price or a work reckoned with it would own and rent by dice.
"""

import math
from dataclasses import dataclass

from spillway.plan.traffic.lengths import Lengths

MINUTES_S = 600.0  # demand follows what requests were like within so long
HOURS_S = 7200.0  # and prices within so long: whether owning pays must not change with the minute
DECLARED_FOR_MINUTES, DECLARED_FOR_HOURS = 20.0, 200.0  # as many requests as what was declared counts for


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A discounted mean over requests."""

    requests: float
    input_tokens: float
    output_tokens: float

    def with_more(self, *, requests: float, input_tokens: float, output_tokens: float, kept: float) -> "Mean":
        """Return the mean with more requests, those before counting for the share `kept` of what they did."""
        before = self.requests * kept
        total = before + requests
        if not total:
            return self
        return Mean(
            requests=total,
            input_tokens=(before * self.input_tokens + requests * input_tokens) / total,
            output_tokens=(before * self.output_tokens + requests * output_tokens) / total,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What requests have been like lately, and for longer."""

    at_s: float
    minutes: Mean
    hours: Mean


def declared_shape(lengths: Lengths, now_s: float) -> Shape:
    """Return the shape of a workload of which nothing was seen."""

    def counting(requests: float) -> Mean:
        return Mean(requests=requests, input_tokens=lengths.input_mean, output_tokens=lengths.output_mean)

    return Shape(at_s=now_s, minutes=counting(DECLARED_FOR_MINUTES), hours=counting(DECLARED_FOR_HOURS))


def seen_shape(shape: Shape, *, per_s: float, input_tokens: float, output_tokens: float, now_s: float, longest_s: float) -> Shape:
    """Return the shape with a reading: requests per second and their mean lengths, since the last one or for `longest_s`."""
    passed_s = min(longest_s, max(0.0, now_s - shape.at_s))
    requests = per_s * passed_s

    def with_them(mean: Mean, memory_s: float) -> Mean:
        kept = math.exp(-passed_s / memory_s)
        return mean.with_more(requests=requests, input_tokens=input_tokens, output_tokens=output_tokens, kept=kept)

    return Shape(at_s=now_s, minutes=with_them(shape.minutes, MINUTES_S), hours=with_them(shape.hours, HOURS_S))
