"""Pareto fronts and exact hypervolumes, of two objectives for the most part, as functions of one array."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import ArrayLike, NDArray

Directions = tuple[bool, bool]


def _costs(points: ArrayLike, maximise: tuple[bool, ...]) -> NDArray[np.float64]:
    """``points`` (n, k) with the sign of every objective turned so that smaller is better."""
    array = np.asarray(points, dtype=np.float64)
    if array.size == 0:
        array = array.reshape(0, len(maximise))
    if array.ndim != 2 or array.shape[1] != len(maximise):
        raise ValueError(f"expected points of shape (n, {len(maximise)}), got {array.shape}")
    if np.isnan(array).any():
        raise ValueError("a point with NaN has no place in an order")
    return np.where(maximise, -array, array) + 0.0  # + 0.0: -0.0 and 0.0 are one value


def pareto_front(points: ArrayLike, *, maximise: Directions) -> NDArray[np.bool_]:
    """Which of the points no other point dominates: (n, 2) to a mask (n,).

    ``maximise`` says for each objective whether more is better. A point is dominated by one that
    is nowhere worse and somewhere better, so equal points on the front are all on it.
    O(n log n): in lexicographic order a point is on the front if its second objective is better
    than all before it (Kung, Luccio, Preparata, 1975).
    """
    costs = _costs(points, maximise)
    if len(costs) == 0:
        return np.zeros(0, dtype=np.bool_)
    unique, inverse = np.unique(costs, axis=0, return_inverse=True)
    best = np.minimum.accumulate(unique[:, 1])
    on_front = np.ones(len(unique), dtype=np.bool_)
    on_front[1:] = unique[1:, 1] < best[:-1]
    return on_front[inverse.reshape(-1)]


def non_dominated(points: ArrayLike, *, maximise: tuple[bool, ...]) -> NDArray[np.bool_]:
    """``pareto_front`` of any number of objectives: (n, k) to a mask (n,), every pair compared."""
    costs = _costs(points, maximise)
    on_front = [not ((costs <= one).all(1) & (costs < one).any(1)).any() for one in costs]
    return np.array(on_front, dtype=np.bool_)


def hypervolume(points: ArrayLike, reference: ArrayLike, *, maximise: Directions) -> float:
    """The area that the points (n, 2) dominate, up to ``reference`` (2,). Exact.

    In the product of the objectives' units (ms x accuracy, say). A point that is not better than
    the reference in both objectives adds nothing. Zitzler and Thiele, 1998.
    """
    costs = _costs(points, maximise)
    limit = _costs(np.asarray(reference, dtype=np.float64).reshape(1, 2), maximise)[0]
    costs = np.unique(costs[(costs < limit).all(axis=1)], axis=0)
    front = costs[pareto_front(costs, maximise=(False, False))]
    if len(front) == 0:
        return 0.0
    widths = limit[0] - front[:, 0]
    heights = np.append(limit[1], front[:-1, 1]) - front[:, 1]
    return float(np.sum(widths * heights))


def hypervolume_history(
    points: ArrayLike, reference: ArrayLike, *, maximise: Directions
) -> NDArray[np.float64]:
    """The hypervolume after each point: (n, 2) in order of evaluation to (n,), never falling."""
    array = np.asarray(points, dtype=np.float64)
    volumes = [hypervolume(array[: n + 1], reference, maximise=maximise) for n in range(len(array))]
    return np.maximum.accumulate(np.array(volumes, dtype=np.float64))


def hypervolume_gains(
    points: ArrayLike, evaluated: ArrayLike, reference: ArrayLike, *, maximise: tuple[bool, ...]
) -> NDArray[np.float64]:
    """How much each of ``points`` (n, k) alone would add to the hypervolume of ``evaluated`` (m, k): (n,), for 2 or 3
    objectives.

    Three are swept: between two levels of the third objective that points have, the first two are as they are below
    the upper one (a sweep along one dimension, as in Beume et al. 2009).
    """
    costs, known = _costs(points, maximise), np.unique(_costs(evaluated, maximise), axis=0)
    limit = _costs(np.asarray(reference, dtype=np.float64).reshape(1, -1), maximise)[0]
    if len(maximise) == 2:
        return _gains_of_two(costs, known, limit)
    levels = np.unique(known[known[:, 2] < limit[2], 2])
    gains = np.zeros(len(costs))
    for low, high in itertools.pairwise([-np.inf, *levels, limit[2]]):
        depth = np.clip(high - np.maximum(low, costs[:, 2]), 0, None)
        reach = depth > 0
        below = known[known[:, 2] <= low, :2]
        gains[reach] += depth[reach] * _gains_of_two(costs[reach, :2], below, limit[:2])
    return gains


def _gains_of_two(
    costs: NDArray[np.float64], known: NDArray[np.float64], limit: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(n,), where smaller is better."""
    known = np.unique(known, axis=0)
    front = known[pareto_front(known, maximise=(False, False))]
    # The front is a staircase: over each step lies a strip that is not dominated yet.
    lefts = np.concatenate([[-np.inf], front[:, 0]])
    rights = np.minimum(np.concatenate([front[:, 0], [np.inf]]), limit[0])
    tops = np.minimum(np.concatenate([[np.inf], front[:, 1]]), limit[1])
    widths = np.clip(rights - np.maximum(lefts, costs[:, :1]), 0, None)  # (n, strips)
    heights = np.clip(tops - costs[:, 1:], 0, None)
    return (widths * heights).sum(1)
