"""A Gaussian process that predicts an objective from features, and how far it may be off."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import scipy.optimize
import threadpoolctl  # type: ignore[import-untyped]
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Kernel, Matern, WhiteKernel

Array = NDArray[np.float64]
Surrogate = Callable[[Array], tuple[Array, Array]]
"""Features (n, F) to means (n,) and standard deviations (n,) of what is evaluated, without an evaluation's noise."""

CONSTANT = 1e-9
LENGTHS = 3
SPREAD = 1.0
"""Of a feature's length scale about the common one, in natural logarithms: a factor of 2.7."""
STEPS = 15
FITTED = 300
"""Of so many evaluations the kernel is fitted to; the time goes with the square of their number times that of the features."""


def fit_surrogate(features: Array, values: Array) -> Surrogate:
    """Fits on ``features`` (n, F) and ``values`` (n,), two or more; the same data give the same surrogate.

    The kernel is linear + Matérn + noise, and the marginal likelihood says how much of each there is: with few evaluations it is a
    ridge, with many it bends (Rasmussen and Williams 2006, section 5.4). Each feature has its own length scale (automatic relevance
    determination, section 5.1), drawn towards one that all have in common as far as the evaluations leave it open: all at liberty
    overfit a few dozen evaluations, and one alone lets the many features that do not matter hide those that do.
    """
    centre, deviation = features.mean(0), features.std(0)
    varies = deviation > CONSTANT
    if not varies.any() or np.ptp(values) <= CONSTANT:
        mean, spread = float(values.mean()), float(values.std())
        return lambda q: (np.full(len(q), mean), np.full(len(q), spread))

    def scaled(q: Array) -> Array:
        # Divided by the root of their number: distances and products stay of order one.
        return (q[:, varies] - centre[varies]) / deviation[varies] / np.sqrt(varies.sum())

    middle, scale = values.mean(), values.std()
    # One BLAS thread: for matrices this small more are slower, and sums keep their order.
    with threadpoolctl.threadpool_limits(1, "blas"), warnings.catch_warnings():
        # a parameter at its limit, or stopped early, is a fit like any other
        warnings.simplefilter("ignore", ConvergenceWarning)
        process = _fitted(scaled(features), (values - middle) / scale)
    noise_level = process.kernel_.k2.noise_level

    def predict(q: Array) -> tuple[Array, Array]:
        with threadpoolctl.threadpool_limits(1, "blas"), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a variance that rounds below zero is set to zero
            mean, spread = process.predict(scaled(q), return_std=True)
        return middle + scale * mean, scale * np.sqrt(np.maximum(spread**2 - noise_level, 0))

    return predict


def _fitted(x: Array, y: Array) -> GaussianProcessRegressor:
    some = np.linspace(0, len(y) - 1, min(len(y), FITTED)).astype(int)
    alike = GaussianProcessRegressor(_kernel(1.0)).fit(x[some], y[some]).kernel_
    own = _kernel(np.full(x.shape[1], alike.k1.k2.k2.length_scale))
    common = np.concatenate([alike.theta[:LENGTHS], own.theta[LENGTHS:-1], alike.theta[-1:]])
    own.theta = common

    def most_probable(
        loss: Callable[..., tuple[float, Array]], begin: Array, bounds: Array
    ) -> tuple[Array, float]:
        def with_prior(theta: Array) -> tuple[float, Array]:
            value, gradient = loss(theta, eval_gradient=True)
            away = np.zeros_like(theta)
            away[LENGTHS:-1] = theta[LENGTHS:-1] - common[LENGTHS:-1]
            return value + (away**2).sum() / (2 * SPREAD**2), gradient + away / SPREAD**2

        found = scipy.optimize.minimize(
            with_prior, begin, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS}
        )
        return found.x, found.fun

    kernel = GaussianProcessRegressor(own, optimizer=most_probable).fit(x[some], y[some]).kernel_
    return GaussianProcessRegressor(kernel, optimizer=None).fit(x, y)


def _kernel(lengths: float | Array) -> Kernel:
    """Its ``theta``: LENGTHS others, then the logarithms of ``lengths``, then the noise."""
    return (
        ConstantKernel(0.5, (1e-3, 1e2)) * DotProduct(0.1, (1e-3, 1e1))
        + ConstantKernel(0.5, (1e-3, 1e2)) * Matern(lengths, (0.02, 3e2), nu=2.5)
        + WhiteKernel(0.1, (1e-4, 1.0))
    )
