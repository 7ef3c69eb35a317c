"""Points of an Optuna search space: drawn, recombined, changed a little, and told as numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution

Params = dict[str, Any]
SearchSpace = Mapping[str, BaseDistribution]
NEAR = 0.15
"""Of a number's range: the standard deviation of a small change."""


def draw(space: SearchSpace, rng: np.random.Generator) -> Params:
    """A uniform point; uniform in the logarithm where the distribution says so."""
    return {name: _value(distribution, float(rng.random())) for name, distribution in space.items()}


def cross(one: Params, other: Params, rng: np.random.Generator) -> Params:
    """Each parameter from either parent."""
    return {name: (one if rng.random() < 0.5 else other)[name] for name in one}


def mutate(params: Params, space: SearchSpace, rng: np.random.Generator) -> Params:
    """One parameter changed, and each other one with probability 1 / their number; numbers mostly to near ones."""
    names = list(space)
    certain = int(rng.integers(len(names)))
    changed = dict(params)
    for position, name in enumerate(names):
        if position == certain or rng.random() < 1 / len(names):
            changed[name] = _changed(space[name], params[name], rng)
    return changed


def numbers(params: Mapping[str, Any], space: SearchSpace) -> NDArray[np.float64]:
    """(F,): numbers as their place in their range, 0 to 1; categories as one-hot."""
    parts: list[float] = []
    for name, distribution in space.items():
        if isinstance(distribution, CategoricalDistribution):
            chosen = distribution.choices.index(params[name])
            parts += [float(i == chosen) for i in range(len(distribution.choices))]
        else:
            parts.append(_place(distribution, params[name]))
    return np.array(parts)


def _changed(distribution: Any, value: Any, rng: np.random.Generator) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        others = [choice for choice in distribution.choices if choice != value]
        return others[int(rng.integers(len(others)))] if others else value
    if distribution.single():
        return value
    place, found = _place(distribution, value), value
    while found == value:  # a small step may round back to where it began
        near = np.clip(place + rng.normal(0, NEAR), 0, 1 - 1e-12) if rng.random() < 0.7 else rng.random()
        found = _value(distribution, float(near))
    return found


def _value(distribution: Any, place: float) -> Any:
    """The value at ``place``, in [0, 1), of the range."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(place * len(distribution.choices))]
    low, high, step = distribution.low, distribution.high, distribution.step
    if distribution.log:
        value = math.exp(math.log(low) + place * (math.log(high) - math.log(low)))
        return round(value) if isinstance(low, int) else value
    if step is None:
        return low + place * (high - low)
    return low + step * int(place * (round((high - low) / step) + 1))


def _place(distribution: Any, value: Any) -> float:
    low, high = float(distribution.low), float(distribution.high)
    if low == high:
        return 0.0
    if distribution.log:
        return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
    return (value - low) / (high - low)
