"""Predicts latencies from features of architectures, and says how far to trust that.

Several scikit-learn models are fitted on the same measurements; the one with the least held-out
error is kept. What is stored of a predictor is the measurements and the seed: fitting them again
gives the same one.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import threadpoolctl  # type: ignore[import-untyped]
from scipy.stats import kendalltau
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import RidgeCV

from nassuite.errors import InputError
from nassuite.latency.features import feature_names

FOLDS = 5
LEAST_SAMPLES = 12
SAFE = "ridge"
ALPHAS = np.logspace(-4, 3, 15)

Fitted = Callable[[np.ndarray], np.ndarray]
"""Features (n, F) to milliseconds (n,)."""


@dataclass(frozen=True)
class HeldOutError:
    """Of predictions for networks that the model was not fitted on. ``mape`` and rates are fractions."""

    n: int
    mape: float
    within_5_percent: float
    within_10_percent: float
    kendall_tau: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"error {self.mape:.1%}, within 5 % {self.within_5_percent:.0%}, within 10 % "
            f"{self.within_10_percent:.0%}, Kendall tau {self.kendall_tau:.3f} (n = {self.n}, held out)"
        )


@dataclass(frozen=True)
class Predictor:
    """``model`` is the kept model's name, ``error`` the error to expect of it, ``errors`` that of each
    model under the same cross-validation, the line through MACs ("macs") among them.

    ``held_out`` (n, 2) is what was predicted for each network while it was held out, and measured.
    """

    model: str
    error: HeldOutError
    errors: Mapping[str, HeldOutError]
    held_out: np.ndarray
    _fitted: Fitted = field(repr=False)

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Milliseconds (n,) for features (n, F)."""
        return self._fitted(np.atleast_2d(features))

    def upper(self, features: np.ndarray, *, probability: float = 0.9) -> np.ndarray:
        """Milliseconds (n,) under which a new network of the same kind is with ``probability``.

        Cross-conformal: the prediction times a quantile of the held-out ratios (Vovk 2015). Raises
        InputError where there are too few measurements for that probability.
        """
        if not 0 < probability < 1:
            raise InputError(f"probability {probability:g}: expected a number between 0 and 1")
        ratios = np.sort(self.held_out[:, 1] / self.held_out[:, 0])
        n = len(ratios)
        rank = math.ceil((n + 1) * probability)
        if rank > n:
            needed = math.ceil(probability / (1 - probability))
            raise InputError(f"a bound at probability {probability:g} takes {needed} measurements, not {n}")
        return self.predict(features) * ratios[rank - 1]


def fit_predictor(features: np.ndarray, latency_ms: np.ndarray, *, seed: int) -> Predictor:
    """Fits on ``features`` (n, F), rows of ``features.features``, and ``latency_ms`` (n,).

    Cross-validated: a network measured twice is held out with its twin. The error and ``held_out``
    are those of the whole procedure: in each fold of the model that was best in the other folds.
    Raises InputError for fewer than 12 different networks or latencies that are not positive.
    """
    x, y = np.asarray(features, dtype=float), np.asarray(latency_ms, dtype=float)
    if x.shape != (len(y), len(feature_names())):
        raise InputError(f"features have shape {x.shape}, expected {(len(y), len(feature_names()))}")
    if not (np.isfinite(y).all() and (y > 0).all()):
        raise InputError("latencies must be positive numbers of milliseconds")
    fold = _folds(x, seed)
    # One BLAS thread: for matrices this small more are ten times slower, and sums keep their order.
    with threadpoolctl.threadpool_limits(1, "blas"):
        return _cross_validate(x, y, fold, seed)


def held_out_error(predicted_ms: np.ndarray, measured_ms: np.ndarray) -> HeldOutError:
    miss = np.abs(predicted_ms / measured_ms - 1)
    tau = float(kendalltau(predicted_ms, measured_ms).statistic)
    return HeldOutError(
        n=len(miss),
        mape=float(miss.mean()),
        within_5_percent=float((miss <= 0.05).mean()),
        within_10_percent=float((miss <= 0.10).mean()),
        kendall_tau=tau if math.isfinite(tau) else 0.0,
    )


def _cross_validate(x: np.ndarray, y: np.ndarray, fold: np.ndarray, seed: int) -> Predictor:
    held_out = {name: np.empty(len(y)) for name in MODELS}
    for number in range(FOLDS):
        train, test = fold != number, fold == number
        for name, fit in MODELS.items():
            held_out[name][test] = fit(x[train], y[train], seed)(x[test])

    misses = {name: np.abs(predicted / y - 1) for name, predicted in held_out.items()}
    nested = np.empty(len(y))
    for number in range(FOLDS):
        others = {name: miss[fold != number] for name, miss in misses.items()}
        nested[fold == number] = held_out[_best(others)][fold == number]
    best = _best(misses)
    return Predictor(
        model=best,
        error=held_out_error(nested, y),
        errors={name: held_out_error(predicted, y) for name, predicted in held_out.items()},
        held_out=np.stack([nested, y], axis=1),
        _fitted=MODELS[best](x, y, seed),
    )


def _best(misses: Mapping[str, np.ndarray]) -> str:
    """The least mean miss, if it beats the ridge's by more than two standard errors; else the ridge.

    With a dozen measurements the least error is mostly luck, and the ridge has the right form.
    """
    challenger = min(misses, key=lambda name: misses[name].mean())
    gain = misses[SAFE] - misses[challenger]
    return challenger if gain.mean() > 2 * gain.std() / math.sqrt(len(gain)) else SAFE


def _folds(x: np.ndarray, seed: int) -> np.ndarray:
    """A fold number for each row (n,); equal rows share one."""
    unique, inverse = np.unique(x, axis=0, return_inverse=True)
    if len(unique) < LEAST_SAMPLES:
        raise InputError(f"{len(unique)} different networks measured: a predictor takes {LEAST_SAMPLES}")
    return np.random.default_rng(seed).permutation(np.arange(len(unique)) % FOLDS)[inverse.ravel()]


def _fit_ridge(x: np.ndarray, y: np.ndarray, seed: int) -> Fitted:
    """Linear, as latencies of layers add up; rows weighted such that relative errors count."""
    scale = _scaler(x)
    model = RidgeCV(alphas=ALPHAS).fit(scale(x), y, sample_weight=1 / y**2)
    # A linear model far outside its data can fall below zero.
    floor = y.min() / 4
    return lambda q: np.maximum(model.predict(scale(q)), floor)


def _fit_macs(x: np.ndarray, y: np.ndarray, seed: int) -> Fitted:
    """The line through MACs: what a search without measurements would go by."""
    column = [feature_names().index("macs")]
    line = _fit_ridge(x[:, column], y, seed)
    return lambda q: line(q[:, column])


def _fit_gaussian_process(x: np.ndarray, y: np.ndarray, seed: int) -> Fitted:
    """Of log latency."""
    scale = _scaler(x)
    kernel = ConstantKernel() * RBF(10.0, (1.0, 1e3)) + WhiteKernel(1e-2, (1e-6, 1.0))
    model = GaussianProcessRegressor(kernel, normalize_y=True, random_state=seed)
    with warnings.catch_warnings():
        # A hyperparameter at its limit is a fit like any other; cross-validation judges it.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(scale(x), np.log(y))
    return lambda q: np.exp(model.predict(scale(q)))


def _fit_corrected_ridge(x: np.ndarray, y: np.ndarray, seed: int) -> Fitted:
    """The ridge, times a Gaussian process of what it misses."""
    line = _fit_ridge(x, y, seed)
    correction = _fit_gaussian_process(x, y / line(x), seed)
    return lambda q: line(q) * correction(q)


def _fit_boosting(x: np.ndarray, y: np.ndarray, seed: int) -> Fitted:
    """Of log latency."""
    model = GradientBoostingRegressor(
        n_estimators=200, learning_rate=0.05, max_depth=3, subsample=0.7, random_state=seed
    )
    model.fit(x, np.log(y))
    return lambda q: np.exp(model.predict(q))


def _scaler(x: np.ndarray) -> Fitted:
    """To zero mean and unit deviation over the rows of ``x``; constant columns become zero."""
    mean, deviation = x.mean(0), x.std(0)
    factor = np.where(deviation > 1e-12, 1 / np.where(deviation > 1e-12, deviation, 1.0), 0.0)
    return lambda q: (q - mean) * factor


MODELS: dict[str, Callable[[np.ndarray, np.ndarray, int], Fitted]] = {
    "macs": _fit_macs,
    "ridge": _fit_ridge,
    "gaussian process": _fit_gaussian_process,
    "corrected ridge": _fit_corrected_ridge,
    "gradient boosting": _fit_boosting,
}
