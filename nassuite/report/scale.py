"""The scale of an axis: linear or logarithmic, and broken where nothing lies in a wide middle."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nassuite.report.words import nice_ticks

EMPTY = 0.35  # of the span: an empty middle wider than this is left out
BREAK = 0.07  # of the axis: the room that stands for what is left out
LEAST = 0.35  # of the axis: what each of two pieces has at least
DECADES = 8.0  # limits further apart than this factor are drawn logarithmically

Range = tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """``ranges`` are one or two pieces of the axis, the lower first; what lies between them is not drawn."""

    ranges: tuple[Range, ...]
    logarithmic: bool = False

    @property
    def limits(self) -> Range:
        return self.ranges[0][0], self.ranges[-1][1]

    @property
    def gap(self) -> Range | None:
        """The places at which the break begins and ends."""
        places = self._knots()[1]
        return (places[1], places[2]) if len(self.ranges) > 1 else None

    def place(self, value: float) -> float:
        """0 at the lower limit, 1 at the upper."""
        return float(self.places(value))

    def places(self, values: Any) -> Any:
        """``place`` of each value of an array, of its shape; what is outside is at the end."""
        return np.interp(self._even(values), *self._knots())

    def values(self, places: Any) -> Any:
        """The inverse of ``places``."""
        knots, marks = self._knots()
        even = np.interp(places, marks, knots)
        return np.power(10.0, even) if self.logarithmic else even

    def holds(self, value: float) -> bool:
        return any(low <= value <= high for low, high in self.ranges)

    def ticks(self, about: int) -> list[float]:
        """Round numbers, about so many on the whole axis."""
        if self.logarithmic:
            return _decade_ticks(*self.limits)
        places = self._knots()[1]
        shares = [high - low for low, high in zip(places[::2], places[1::2], strict=True)]
        return [
            tick
            for (low, high), share in zip(self.ranges, shares, strict=True)
            for tick in nice_ticks(low, high, about=max(2, round(about * share)))
        ]

    def _even(self, values: Any) -> Any:
        return np.log10(np.maximum(values, 1e-12)) if self.logarithmic else np.asarray(values, dtype=float)

    def _knots(self) -> tuple[list[float], list[float]]:
        """The ranges' ends in even units, and their places."""
        ends = [float(self._even(end)) for both in self.ranges for end in both]
        if len(self.ranges) == 1:
            return ends, [0.0, 1.0]
        spans = [ends[1] - ends[0], ends[3] - ends[2]]
        share = min(max(spans[0] / sum(spans), LEAST), 1 - LEAST) * (1 - BREAK)
        return ends, [0.0, share, share + BREAK, 1.0]


def linear(low: float, high: float) -> Scale:
    return Scale(((low, high),))


def broken(values: Sequence[float], *, least: float, within: Range) -> Scale:
    """A linear scale with room around ``values``, of a span of ``least`` at the least; broken at a wide empty middle.

    A break stands only between groups of two values or more: a single one far off is not worth it. Limits do not
    leave ``within`` but for that room.
    """
    ordered = sorted(values)
    jumps = [(b - a, n) for n, (a, b) in enumerate(itertools.pairwise(ordered), start=1)]
    inner = [jump for jump in jumps if 2 <= jump[1] <= len(ordered) - 2]
    widest, at = max(inner, default=(0.0, 0))
    if widest > EMPTY * (ordered[-1] - ordered[0]) and widest > 2 * least:
        groups = [ordered[:at], ordered[at:]]
    else:
        groups = [ordered]
    ranges = []
    for group in groups:
        margin = (0.08 if len(groups) == 1 else 0.14) * max(group[-1] - group[0], least)
        ranges.append((max(within[0], group[0] - margin), group[-1] + margin))
    return Scale(tuple(ranges))


def positive(low: float, high: float) -> Scale:
    """A scale for sizes over zero, logarithmic where they are of different orders."""
    if low > 0 and high / low > DECADES:
        factor = (high / low) ** 0.06
        return Scale(((low / factor, high * factor),), logarithmic=True)
    reach = (high - low) or high or 1.0
    return linear(max(0.0, low - 0.06 * reach), high + 0.08 * reach)


def _decade_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [factor * 10.0**decade for decade in decades for factor in (1, 2, 5)]
    return [float(f"{tick:.12g}") for tick in ticks if low <= tick <= high]
