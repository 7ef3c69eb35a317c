"""Models of latency, each fitted to features of networks and what they took, by relative error."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import threadpoolctl  # type: ignore[import-untyped]
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import RidgeCV

from nassuite.latency.features import feature_names

ALPHAS = np.logspace(-4, 3, 15)

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


def fit_macs(x: np.ndarray, y: np.ndarray, seed: int) -> Fitted:
    """The line through MACs: what a search without measurements would go by."""
    column = [feature_names().index("macs")]
    line = fit_ridge(x[:, column], y, seed)
    return lambda q: line(q[:, column])


def fit_gaussian_process(x: np.ndarray, y: np.ndarray, seed: int) -> Fitted:
    """Of log latency."""
    return _gaussian_process(x, y, seed)[0]


def fit_corrected_ridge(x: np.ndarray, y: np.ndarray, seed: int, kernel: Any = None) -> Fitted:
    """The ridge, times a Gaussian process of what it misses; of the ``kernel`` that is given, if one is."""
    return _corrected_ridge(x, y, seed, kernel)[0]


def corrected_ridge_kernel(x: np.ndarray, y: np.ndarray, seed: int) -> Any:
    """The kernel that suits the correction best: for fits to parts of the same data, a hundred times faster."""
    return _corrected_ridge(x, y, seed, None)[1]


def fit_boosted_ridge(x: np.ndarray, y: np.ndarray, seed: int) -> Fitted:
    """The ridge, times boosted trees of what it misses: steps, as at the edge of a cache."""
    line = fit_ridge(x, y, seed)
    trees = GradientBoostingRegressor(
        n_estimators=150, learning_rate=0.05, max_depth=2, subsample=0.7, max_features=0.3, random_state=seed
    )
    trees.fit(x, np.log(y / line(x)))
    return lambda q: line(q) * np.exp(trees.predict(q))


MODELS: dict[str, Fit] = {
    "macs": fit_macs,
    "ridge": fit_ridge,
    "gaussian process": fit_gaussian_process,
    "corrected ridge": fit_corrected_ridge,
    "boosted ridge": fit_boosted_ridge,
}

ENSEMBLE = ("gaussian process", "corrected ridge", "boosted ridge")
"""Members of the ensemble, which predicts their geometric mean."""


def _corrected_ridge(x: np.ndarray, y: np.ndarray, seed: int, kernel: Any) -> tuple[Fitted, Any]:
    line = fit_ridge(x, y, seed)
    correction, kernel = _gaussian_process(x, y / line(x), seed, kernel)
    return (lambda q: line(q) * correction(q)), kernel


def _gaussian_process(x: np.ndarray, y: np.ndarray, seed: int, kernel: Any = None) -> tuple[Fitted, Any]:
    """Of log(y), and its kernel; that of the greatest likelihood unless it is given."""
    scale = _scaler(x)
    start = ConstantKernel() * RBF(10.0, (1.0, 1e3)) + WhiteKernel(1e-2, (1e-6, 1.0))
    model = GaussianProcessRegressor(
        kernel or start, optimizer=None if kernel else "fmin_l_bfgs_b", normalize_y=True, random_state=seed
    )
    with warnings.catch_warnings():
        # A hyperparameter at its limit is a fit like any other; cross-validation judges it.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(scale(x), np.log(y))
    return (lambda q: np.exp(model.predict(scale(q)))), model.kernel_


def _scaler(x: np.ndarray) -> Fitted:
    """To zero mean and unit deviation over the rows of ``x``; constant columns become zero."""
    mean, deviation = x.mean(0), x.std(0)
    factor = np.where(deviation > 1e-12, 1 / np.where(deviation > 1e-12, deviation, 1.0), 0.0)
    return lambda q: (q - mean) * factor
