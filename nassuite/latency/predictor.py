"""Predicts latencies from features of architectures, and says how far to trust that.

Several scikit-learn models are fitted on the same measurements; the one with the least held-out
error is kept. What is stored of a predictor is the measurements and the seed: fitting them again
gives the same one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from nassuite.errors import InputError
from nassuite.latency.features import feature_names
from nassuite.latency.regressors import Fitted, fit_all

FOLDS = 5
LEAST_SAMPLES = 12
SAFE = "costs"


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

    ``fitted_on`` counts the measured networks. ``held_out`` (n, 2) is what was predicted for each of them
    while it was held out, and measured; of those drawn at random alone, as all errors are.
    """

    model: str
    error: HeldOutError
    errors: Mapping[str, HeldOutError]
    fitted_on: int
    held_out: np.ndarray
    _fitted: Fitted = field(repr=False)

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Milliseconds (n,) for features (n, F)."""
        return self._fitted(np.atleast_2d(features))

    def upper(self, features: np.ndarray, *, probability: float = 0.9) -> np.ndarray:
        """Milliseconds (n,) under which a network drawn like ``held_out`` is with ``probability``.

        Raises InputError where there are too few measurements for that probability.
        """
        return self.predict(features) * self.margin(probability)

    def margin(self, probability: float) -> float:
        """What a prediction is multiplied by so that a network is under it with ``probability``.

        Cross-conformal: a quantile of the held-out ratios of measured to predicted (Vovk 2015). It holds
        over networks drawn as those were; a search that picks the predictor's errors out has less.
        """
        if not 0 < probability < 1:
            raise InputError(f"probability {probability:g}: expected a number between 0 and 1")
        ratios = np.sort(self.held_out[:, 1] / self.held_out[:, 0])
        n = len(ratios)
        rank = math.ceil((n + 1) * probability)
        if rank > n:
            needed = math.ceil(probability / (1 - probability))
            raise InputError(f"a bound at probability {probability:g} takes {needed} measurements, not {n}")
        return float(ratios[rank - 1])


def fit_predictor(
    features: np.ndarray, latency_ms: np.ndarray, *, seed: int, drawn: np.ndarray | None = None
) -> Predictor:
    """Fits on ``features`` (n, F), rows of ``features.features``, and ``latency_ms`` (n,).

    Cross-validated: a network measured twice is held out with its twin. The error and ``held_out``
    are those of the whole procedure: in each fold of the model that was best in the other folds.
    ``drawn`` (n,) says which networks were drawn at random; the others, chosen because they
    are hard to predict or at the ends of a space, are learnt from but tell nothing of the next one drawn.
    Where fewer than 12 were, all do.
    Raises InputError for fewer than 12 different networks or latencies that are not positive.
    """
    x, y = np.asarray(features, dtype=float), np.asarray(latency_ms, dtype=float)
    if x.shape != (len(y), len(feature_names())):
        raise InputError(f"features have shape {x.shape}, expected {(len(y), len(feature_names()))}")
    if not (np.isfinite(y).all() and (y > 0).all()):
        raise InputError("latencies must be positive numbers of milliseconds")
    if drawn is None or drawn.sum() < LEAST_SAMPLES:
        drawn = np.ones(len(y), dtype=bool)
    return _cross_validate(x, y, folds(x, seed), drawn, seed)


def held_out_error(predicted_ms: np.ndarray, measured_ms: np.ndarray) -> HeldOutError:
    """Of predictions (n,) against measurements (n,), both in milliseconds."""
    miss = np.abs(predicted_ms / measured_ms - 1)
    tau = float(kendalltau(predicted_ms, measured_ms).statistic)
    return HeldOutError(
        n=len(miss),
        mape=float(miss.mean()),
        within_5_percent=float((miss <= 0.05).mean()),
        within_10_percent=float((miss <= 0.10).mean()),
        kendall_tau=tau if math.isfinite(tau) else 0.0,
    )


def _cross_validate(
    x: np.ndarray, y: np.ndarray, fold: np.ndarray, drawn: np.ndarray, seed: int
) -> Predictor:
    held_out: dict[str, np.ndarray] = {}
    for number in range(FOLDS):
        train, test = fold != number, fold == number
        for name, model in fit_all(x[train], y[train], seed).items():
            held_out.setdefault(name, np.empty(len(y)))[test] = model(x[test])

    misses = {name: np.abs(predicted / y - 1) for name, predicted in held_out.items()}
    nested = np.empty(len(y))
    for number in range(FOLDS):
        others = drawn & (fold != number)
        kept = _best({name: miss[others] for name, miss in misses.items()})
        nested[fold == number] = held_out[kept][fold == number]
    best = _best({name: miss[drawn] for name, miss in misses.items()})
    return Predictor(
        model=best,
        error=held_out_error(nested[drawn], y[drawn]),
        errors={name: held_out_error(predicted[drawn], y[drawn]) for name, predicted in held_out.items()},
        fitted_on=len(y),
        held_out=np.stack([nested, y], axis=1)[drawn],
        _fitted=fit_all(x, y, seed, names=(best,))[best],
    )


def _best(misses: Mapping[str, np.ndarray]) -> str:
    """The least mean miss, if it beats that of the costs by more than two standard errors; else the costs.

    With a dozen measurements the least error is mostly luck, and the costs have the right form.
    """
    challenger = min(misses, key=lambda name: misses[name].mean())
    gain = misses[SAFE] - misses[challenger]
    return challenger if gain.mean() > 2 * gain.std() / math.sqrt(len(gain)) else SAFE


def folds(x: np.ndarray, seed: int) -> np.ndarray:
    """A fold number for each row (n,); equal rows share one."""
    unique, inverse = np.unique(x, axis=0, return_inverse=True)
    if len(unique) < LEAST_SAMPLES:
        raise InputError(f"{len(unique)} different networks measured: a predictor takes {LEAST_SAMPLES}")
    return np.random.default_rng(seed).permutation(np.arange(len(unique)) % FOLDS)[inverse.ravel()]
