"""A Gaussian process that predicts an objective from features, and how far it may be off."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import threadpoolctl  # type: ignore[import-untyped]
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

Array = NDArray[np.float64]
Surrogate = Callable[[Array], tuple[Array, Array]]
"""Features (n, F) to means (n,) and standard deviations (n,) of what is evaluated, without an evaluation's noise."""

CONSTANT = 1e-9


def fit_surrogate(features: Array, values: Array) -> Surrogate:
    """Fits on ``features`` (n, F) and ``values`` (n,), two or more; the same data give the same surrogate.

    The kernel is linear + smooth + noise, and the marginal likelihood says how much of each there is: with
    few evaluations it is a ridge, with many it bends (Rasmussen and Williams 2006, section 5.4).
    """
    centre, deviation = features.mean(0), features.std(0)
    varies = deviation > CONSTANT
    if not varies.any() or np.ptp(values) <= CONSTANT:
        mean, spread = float(values.mean()), float(values.std())
        return lambda q: (np.full(len(q), mean), np.full(len(q), spread))

    def scaled(q: Array) -> Array:
        # Divided by the root of their number: distances and products stay of order one.
        return (q[:, varies] - centre[varies]) / deviation[varies] / np.sqrt(varies.sum())

    noise = WhiteKernel(0.1, (1e-4, 1.0))
    kernel = (
        ConstantKernel(0.5, (1e-3, 1e2)) * DotProduct(0.1, (1e-3, 1e1))
        + ConstantKernel(0.5, (1e-3, 1e2)) * RBF(1.0, (0.1, 1e2))
        + noise
    )
    process = GaussianProcessRegressor(kernel)
    middle, scale = values.mean(), values.std()
    # One BLAS thread: for matrices this small more are slower, and sums keep their order.
    with threadpoolctl.threadpool_limits(1, "blas"), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # a parameter at its limit is a fit like any other
        process.fit(scaled(features), (values - middle) / scale)
    noise_level = process.kernel_.k2.noise_level

    def predict(q: Array) -> tuple[Array, Array]:
        with threadpoolctl.threadpool_limits(1, "blas"), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a variance that rounds below zero is set to zero
            mean, spread = process.predict(scaled(q), return_std=True)
        return middle + scale * mean, scale * np.sqrt(np.maximum(spread**2 - noise_level, 0))

    return predict
