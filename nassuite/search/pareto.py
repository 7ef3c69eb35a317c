"""Pareto fronts and exact hypervolumes of two objectives, as functions of one array."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Directions = tuple[bool, bool]


def _costs(points: ArrayLike, maximise: Directions) -> NDArray[np.float64]:
    """``points`` (n, 2) with the sign of every objective turned so that smaller is better."""
    array = np.asarray(points, dtype=np.float64)
    if array.size == 0:
        array = array.reshape(0, 2)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(f"expected points of shape (n, 2), got {array.shape}")
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
    array = np.asarray(points, dtype=np.float64).reshape(-1, len(maximise))
    costs = np.where(maximise, -array, array)
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
    points: ArrayLike, evaluated: ArrayLike, reference: ArrayLike, *, maximise: Directions
) -> NDArray[np.float64]:
    """How much each of ``points`` (n, 2) alone would add to the hypervolume of ``evaluated`` (m, 2): (n,)."""
    costs, limit = _costs(points, maximise), _costs(np.asarray(reference).reshape(1, 2), maximise)[0]
    known = np.unique(_costs(evaluated, maximise), axis=0)
    front = known[pareto_front(known, maximise=(False, False))]
    # The front is a staircase: over each step lies a strip that is not dominated yet.
    lefts = np.concatenate([[-np.inf], front[:, 0]])
    rights = np.minimum(np.concatenate([front[:, 0], [np.inf]]), limit[0])
    tops = np.minimum(np.concatenate([[np.inf], front[:, 1]]), limit[1])
    widths = np.clip(rights - np.maximum(lefts, costs[:, :1]), 0, None)  # (n, strips)
    heights = np.clip(tops - costs[:, 1:], 0, None)
    return (widths * heights).sum(1)
