"""What a process adds to all that it measures.

The ratio to the reference still differs between processes that measure the same network, by some 3 %: memory lies
elsewhere, a neighbour is busy, and a short reference feels that differently than a long candidate. All
networks of one process share the difference, so it shows in what a model misses on the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nassuite.latency.meter import Relative, normalised_ms
from nassuite.latency.regressors import fit_all

ROUNDS = 2
FOLDS = 5
LEAST = 24
"""Fewer networks tell too little of processes."""

FAR = 3.0
"""Standard deviations beyond which a miss says more about the model than about the process."""


def steadied_ms(x: np.ndarray, samples: Sequence[Relative], *, seed: int) -> np.ndarray:
    """``normalised_ms`` (n,) without what their processes added, for networks of features ``x`` (n, F).

    Samples of one process are those of one ``reference_ms``. A process's share is estimated for each
    network from the others measured in it, held out from the model, and shrunk as a random effect (Henderson
    1975) by variances that are estimated too: where processes do not differ, nothing changes.
    """
    ms = np.array(normalised_ms(samples))
    _, process = np.unique([sample.reference_ms for sample in samples], return_inverse=True)
    if len(ms) < LEAST or process.max() == 0:
        return ms
    fold = np.random.default_rng(seed).permutation(np.arange(len(ms)) % FOLDS)
    steady = ms
    for _ in range(ROUNDS):
        predicted = np.empty(len(ms))
        for number in range(FOLDS):
            train = fold != number
            model = fit_all(x[train], steady[train], seed, names=("costs",))["costs"]
            predicted[~train] = model(x[~train])
        steady = ms / np.exp(shares(np.log(ms / predicted), process))
    return steady


def shares(misses: np.ndarray, process: np.ndarray) -> np.ndarray:
    """What the ``process`` (n,) of each network added to its miss (n,), by the others of that process."""
    centre = np.median(misses)
    spread = 1.4826 * np.median(np.abs(misses - centre))
    near = np.clip(misses - centre, -FAR * spread, FAR * spread)
    count = np.bincount(process)
    mean = np.bincount(process, near) / count
    between, within = _variances(near, process, count, mean)
    if between <= 0:
        return np.zeros(len(misses))
    others = count[process] - 1
    return (mean[process] * count[process] - near) / (others + within / between)


def _variances(
    values: np.ndarray, process: np.ndarray, count: np.ndarray, mean: np.ndarray
) -> tuple[float, float]:
    """Between processes and within them, by the analysis of variance of groups of unequal size."""
    n, groups = len(values), len(count)
    if n == groups:
        return 0.0, 1.0
    within = float(np.sum((values - mean[process]) ** 2)) / (n - groups)
    among = float(np.sum(count * (mean - values.mean()) ** 2)) / (groups - 1)
    size = (n - np.sum(count**2) / n) / (groups - 1)
    return (among - within) / size, within
