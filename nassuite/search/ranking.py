"""How well inherited accuracies rank architectures, against the same architectures trained from scratch.

A supernet can rank worse than a count of multiply-accumulates, so these are always told beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from nassuite.errors import InputError

Array = NDArray[np.float64]
Verdict = Literal["trust", "trust for large differences only", "do not trust", "too few to tell"]

LARGE_ONLY: Verdict = "trust for large differences only"
LEAST = 8
BOOTSTRAP_DRAWS = 1000
WIDEST = 0.35
"""An interval of tau that is wider says nothing of use: some 30 architectures are needed for less."""
GOOD, POOR = 0.5, 0.3


@dataclass(frozen=True)
class Correlation:
    """Kendall's tau-b and Spearman's rho with 95 % bootstrap intervals over architectures."""

    n: int
    tau: float
    tau_low: float
    tau_high: float
    rho: float
    rho_low: float
    rho_high: float


@dataclass(frozen=True)
class Band:
    """The architectures of one third of the latencies, and tau within it."""

    low_ms: float
    high_ms: float
    n: int
    tau: float


@dataclass(frozen=True)
class Ranking:
    """``over_macs`` is the supernet's tau less that of MACs, with its paired interval.

    ``ceiling`` is tau between two trainings from scratch with different seeds: what a perfect ranking would
    reach. ``gap`` is inherited less from-scratch accuracy (mean, low, high).
    """

    inherited: Correlation
    baselines: Mapping[str, Correlation]
    over_macs: tuple[float, float, float]
    ceiling: Correlation | None
    bands: tuple[Band, ...]
    gap: tuple[float, float, float]
    verdict: Verdict
    reason: str


def rank(
    inherited: Array,
    scratch: Array,
    *,
    latency_ms: Array,
    baselines: Mapping[str, Array],
    twice: tuple[Array, Array] | None = None,
    seed: int = 0,
) -> Ranking:
    """All arrays are (n,), one value an architecture; ``baselines`` has "MACs"; ``twice`` holds the accuracies of those that
    were trained with two seeds. Raises InputError for fewer than 8 architectures.
    """
    if len(scratch) < LEAST:
        raise InputError(f"{len(scratch)} architectures are trained: a ranking takes {LEAST} or more")
    found = correlation(inherited, scratch, seed=seed)
    over = tau_difference(inherited, baselines["MACs"], scratch, seed=seed)
    bands = _bands(inherited, scratch, latency_ms)
    verdict, reason = judge(found, over, bands)
    return Ranking(
        inherited=found,
        baselines={name: correlation(values, scratch, seed=seed) for name, values in baselines.items()},
        over_macs=over,
        ceiling=correlation(*twice, seed=seed) if twice is not None and len(twice[0]) >= LEAST else None,
        bands=bands,
        gap=_interval(lambda i: float((inherited[i] - scratch[i]).mean()), len(scratch), seed),
        verdict=verdict,
        reason=reason,
    )


def correlation(x: Array, y: Array, *, seed: int = 0) -> Correlation:
    taus = _interval(lambda i: tau(x[i], y[i]), len(x), seed)
    rhos = _interval(lambda i: _rho(x[i], y[i]), len(x), seed)
    return Correlation(len(x), *taus, *rhos)


def tau_difference(one: Array, other: Array, scratch: Array, *, seed: int = 0) -> tuple[float, float, float]:
    """How much better ``one`` (n,) ranks than ``other`` (n,), with the paired 95 % bootstrap interval."""
    return _interval(lambda i: tau(one[i], scratch[i]) - tau(other[i], scratch[i]), len(scratch), seed)


def judge(
    found: Correlation, over_macs: tuple[float, float, float], bands: Sequence[Band]
) -> tuple[Verdict, str]:
    """The verdict, and in a sentence why.

    "trust": tau is above 0.5 with its whole interval, better than MACs, and above 0.3 within each third of the
    latencies. "do not trust": tau is not surely above 0.3, or surely worse than that of MACs.
    """
    told = (
        f"tau is {found.tau:.2f} ({found.tau_low:.2f} to {found.tau_high:.2f}), {over_macs[0]:+.2f} over MACs"
    )
    within = min((band.tau for band in bands), default=found.tau)
    wide = found.tau_high - found.tau_low > WIDEST
    doubts: list[tuple[bool, Verdict, str]] = [
        (wide, "too few to tell", "; an interval that wide takes more architectures"),
        (over_macs[2] < 0, "do not trust", ": counting MACs ranks better"),
        (found.tau_low <= POOR, "do not trust", f": that is not surely more than {POOR}"),
        (over_macs[1] <= 0, LARGE_ONLY, ": not surely better than counting MACs"),
        (within <= POOR, LARGE_ONLY, f", but only {within:.2f} among architectures of like latency"),
        (found.tau_low <= GOOD, LARGE_ONLY, f": not surely more than {GOOD}"),
    ]
    for applies, verdict, why in doubts:
        if applies:
            return verdict, told + why
    return "trust", f"{told}, and at least {within:.2f} within each third of the latencies"


def _bands(inherited: Array, scratch: Array, latency_ms: Array) -> tuple[Band, ...]:
    order = np.argsort(latency_ms, kind="stable")
    return tuple(
        Band(
            float(latency_ms[third].min()), float(latency_ms[third].max()), len(third),
            tau(inherited[third], scratch[third]),
        )
        for third in np.array_split(order, 3)
    )  # fmt: skip


def tau(x: Array, y: Array) -> float:
    """Kendall's tau-b of two arrays (n,); zero where one is constant, which ranks nothing."""
    one, other = np.sign(x[:, None] - x), np.sign(y[:, None] - y)
    scale = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return float((one * other).sum()) / scale if scale > 0 else 0.0


def _rho(x: Array, y: Array) -> float:
    """Spearman's rho, likewise."""
    one, other = (rankdata(values) - (len(values) + 1) / 2 for values in (x, y))
    scale = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return float((one * other).sum()) / scale if scale > 0 else 0.0


def _interval(
    statistic: Callable[[NDArray[np.int64]], float], n: int, seed: int
) -> tuple[float, float, float]:
    """The statistic of all, and the 95 % percentile interval over architectures drawn with replacement."""
    rng = np.random.default_rng(seed)
    draws = [statistic(rng.integers(n, size=n)) for _ in range(BOOTSTRAP_DRAWS)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return statistic(np.arange(n)), float(low), float(high)
