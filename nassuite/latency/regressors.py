"""Models of latency, each fitted to features of networks and what they took, by relative error."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

import numpy as np
import threadpoolctl  # type: ignore[import-untyped]
from scipy.optimize import nnls
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import RidgeCV

from nassuite.latency.features import feature_names

ALPHAS = np.logspace(-4, 3, 15)
PENALTY = 1e-3
"""Of the costs: enough for columns that say the same to share."""

Fitted = Callable[[np.ndarray], np.ndarray]
"""Features (n, F) to milliseconds (n,)."""

Fit = Callable[[np.ndarray, np.ndarray, int], Fitted]
"""Features (n, F), milliseconds (n,) and a seed to what was fitted."""


def fit_all(
    x: np.ndarray, y: np.ndarray, seed: int, *, names: Collection[str] | None = None
) -> dict[str, Fitted]:
    """Every model of ``MODELS``, or those of ``names``, and "ensemble" where all its members are there.

    ``x`` (n, F) are rows of ``features.features``, ``y`` (n,) positive milliseconds.
    """
    wanted = set(MODELS) | {"ensemble"} if names is None else set(names)
    needed = wanted | set(ENSEMBLE) if "ensemble" in wanted else wanted
    # One BLAS thread: for matrices this small more are ten times slower, and sums keep their order.
    with threadpoolctl.threadpool_limits(1, "blas"):
        fitted = {name: fit(x, y, seed) for name, fit in MODELS.items() if name in needed}
    if "ensemble" in wanted and set(ENSEMBLE) <= set(fitted):
        members = [fitted[name] for name in ENSEMBLE]
        fitted["ensemble"] = lambda q: np.exp(np.mean([np.log(member(q)) for member in members], axis=0))
    return {name: model for name, model in fitted.items() if name in wanted}


def fit_ridge(x: np.ndarray, y: np.ndarray, seed: int) -> Fitted:
    """Linear, as latencies of layers add up; rows weighted such that relative errors count."""
    scale = _scaler(x)
    model = RidgeCV(alphas=ALPHAS).fit(scale(x), y, sample_weight=1 / y**2)
    # A linear model far outside its data can fall below zero.
    floor = y.min() / 4
    return lambda q: np.maximum(model.predict(scale(q)), floor)


def fit_costs(x: np.ndarray, y: np.ndarray, seed: int) -> Fitted:
    """Linear with coefficients that are not negative: kernels cost time, none gives any back.

    That alone makes it learn from a third of the networks that the ridge needs.
    """
    used = x.std(0) > 1e-12
    scale = x[:, used].std(0)

    def columns(q: np.ndarray) -> np.ndarray:
        return np.hstack([q[:, used] / scale, np.ones((len(q), 1))])

    rows = columns(x) / y[:, None]  # by relative error, the target is 1
    penalties = np.full(rows.shape[1], math.sqrt(PENALTY))
    penalties[-1] = 0.0  # the constant's
    stacked = np.vstack([rows, np.diag(penalties)])
    target = np.concatenate([np.ones(len(rows)), np.zeros(len(penalties))])
    costs, _ = nnls(stacked, target, maxiter=100 * len(penalties))
    floor = y.min() / 4
    return lambda q: np.maximum(columns(q) @ costs, floor)


def fit_macs(x: np.ndarray, y: np.ndarray, seed: int) -> Fitted:
    """The line through MACs: what a search without measurements would go by."""
    column = [feature_names().index("macs")]
    line = fit_ridge(x[:, column], y, seed)
    return lambda q: line(q[:, column])


def fit_boosted_costs(x: np.ndarray, y: np.ndarray, seed: int) -> Fitted:
    """The costs, times boosted trees of what they miss: steps, as at the edge of a cache."""
    costs = fit_costs(x, y, seed)
    trees = GradientBoostingRegressor(
        n_estimators=150, learning_rate=0.05, max_depth=2, subsample=0.7, max_features=0.3, random_state=seed
    )
    trees.fit(x, np.log(y / costs(x)))
    return lambda q: costs(q) * np.exp(trees.predict(q))


MODELS: dict[str, Fit] = {
    "macs": fit_macs,
    "costs": fit_costs,
    "ridge": fit_ridge,
    "boosted costs": fit_boosted_costs,
}

ENSEMBLE = ("costs", "ridge")
"""Members of the ensemble, which predicts their geometric mean."""


def _scaler(x: np.ndarray) -> Fitted:
    """To zero mean and unit deviation over the rows of ``x``; constant columns become zero."""
    mean, deviation = x.mean(0), x.std(0)
    factor = np.where(deviation > 1e-12, 1 / np.where(deviation > 1e-12, deviation, 1.0), 0.0)
    return lambda q: (q - mean) * factor
