"""Who is measured at the end of a search, and who wins."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nassuite.search.driver import Evaluation
from nassuite.search.pareto import pareto_front
from nassuite.spec import Arch

REACH = 1.03
"""Architectures predicted to miss the budget by up to 3 % are evaluated and measured too: the predictor may be wrong."""

HEADROOM = 1.05
MNAS_EXPONENT = -0.07
PLACES = 3
"""How many ``places`` has, at the most."""


@dataclass(frozen=True, eq=False)
class Finalist:
    """A measured architecture. ``correct`` says for each validation image whether it was right.

    ``latency_ms`` is the percentile that the budget asks for, ``reference_ms`` what the reference network took beside it;
    ``passes`` says that the certificate does and that the
    file keeps all other limits (``exceeds`` names those that it does not). ``cost`` is what else is minimised,
    measured.
    """

    evaluation: Evaluation
    macs: int
    accuracy: float
    correct: np.ndarray
    latency_ms: float
    passes: bool
    p50_ms: float
    p90_ms: float
    aa_ratio: float
    reference_ms: float
    cost: float | None = None
    exceeds: tuple[str, ...] = ()


def in_reach_ms(budget_ms: float, margin: float = 1.0) -> float:
    """Up to which prediction an architecture may keep the budget; ``margin`` as for ``nominate``."""
    return budget_ms * REACH if margin == 1.0 else budget_ms / margin


def nominate(
    evaluations: Sequence[Evaluation],
    budget_ms: float,
    count: int,
    *,
    images: int,
    preference: Callable[[Arch], float],
    margin: float = 1.0,
) -> list[Evaluation]:
    """``count`` architectures in reach of the budget, the most accurate first; the fastest where none is.

    Half of them are those of most ``preference`` among all that are within one standard error of the best: what
    cannot be told apart on ``images`` validation images is told apart by ``choose_winner``'s rule, which is
    MACs, or less of what is minimised. The other half are the most accurate of the rest. With a ``margin`` above 1, predictions have to be that factor under the
    budget.
    """
    limit_ms = in_reach_ms(budget_ms, margin)
    reachable = [e for e in evaluations if e.latency_ms <= limit_ms]
    if not reachable:
        return sorted(evaluations, key=lambda e: e.latency_ms)[:count]
    ranked = sorted(reachable, key=lambda e: (-e.accuracy, e.latency_ms))
    close = _close(ranked, images)
    large = {e.number for e in sorted(close, key=lambda e: -preference(e.arch))[: count // 2]}
    others = [e.number for e in ranked if e.number not in large][: count - len(large)]
    return [e for e in ranked if e.number in large or e.number in others]


def _close(evaluations: Sequence[Evaluation], images: int) -> list[Evaluation]:
    """Those within one standard error of the most accurate, of ``images`` validation images."""
    best = max(e.accuracy for e in evaluations)
    noise = math.sqrt(max(0.0, best * (1 - best)) / images)
    return [e for e in evaluations if e.accuracy >= best - noise]


def front(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Those that no other beats in both accuracy and predicted latency, the fastest first."""
    points = np.array([(e.accuracy, e.latency_ms) for e in evaluations]).reshape(-1, 2)
    mask = pareto_front(points, maximise=(True, False))
    return sorted((e for e, on in zip(evaluations, mask, strict=True) if on), key=lambda e: e.latency_ms)


def knee(points: Sequence[Evaluation], last: Evaluation) -> Evaluation:
    """Of a front: the one farthest above the line from its fastest to ``last``, in shares of the ranges (Das 1999).

    The fastest, where ``last`` is no more accurate.
    """
    first = points[0]
    latencies, accuracies = last.latency_ms - first.latency_ms, last.accuracy - first.accuracy

    def above(e: Evaluation) -> float:
        return (e.accuracy - first.accuracy) / accuracies - (e.latency_ms - first.latency_ms) / latencies

    return max(points, key=above) if latencies > 0 and accuracies > 0 else first


def places(evaluations: Sequence[Evaluation], *, images: int) -> dict[str, float]:
    """Budgets in milliseconds under which the ends of the front and its knee can be deployed.

    The slow end is the slowest of all that ``images`` validation images cannot tell from the most accurate: a larger
    network gains by its own training what a supernet's weights hide. With room for what predictions are off
    by and a certificate asks for, then rounded up to two digits.
    """
    points = front(evaluations)
    last = max(_close(evaluations, images), key=lambda e: e.latency_ms)
    found = {"fastest": points[0], "knee": knee(points, last), "most accurate": last}
    return {name: _rounded_up(e.latency_ms * HEADROOM) for name, e in found.items()}


def _rounded_up(value: float) -> float:
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / unit * (1 - 1e-9)) * unit:.6g}")


def reward(accuracy: float, latency_ms: float, target_ms: float) -> float:
    """Of MnasNet (Tan et al. 2019, section 3.1, equation 2, soft constraint): the target may be missed, at a price.

    Twice the latency is worth as much as 5 % of the accuracy.
    """
    return accuracy * (latency_ms / target_ms) ** MNAS_EXPONENT


def nominate_by_reward(evaluations: Sequence[Evaluation], target_ms: float, count: int) -> list[Evaluation]:
    """The ``count`` of most reward as predicted, the best first."""
    return sorted(evaluations, key=lambda e: -reward(e.accuracy, e.latency_ms, target_ms))[:count]


def within_noise(better: np.ndarray, other: np.ndarray) -> bool:
    """Whether ``other`` is less often right by no more than one standard error of the paired difference.

    Both say for each image whether it was right, (N,). Only images on which the two disagree tell
    anything (McNemar 1947).
    """
    only_better = int((better & ~other).sum())
    only_other = int((other & ~better).sum())
    return only_better - only_other <= math.sqrt(only_better + only_other)


def choose_winner(finalists: Sequence[Finalist]) -> Finalist | None:
    """The most accurate that passes; the one of most MACs among those that are within noise of it.

    Weights of a supernet are far from trained, and hide what a larger network gains by its own training:
    where they cannot tell two apart, MACs are known to rank better than they do. Where something else is
    minimised, the user has said what decides: the least of that.
    """
    passing = [f for f in finalists if f.passes]
    if not passing:
        return None
    best = max(passing, key=lambda f: f.accuracy)
    equals = [f for f in passing if within_noise(best.correct, f.correct)]
    return max(equals, key=lambda f: (f.macs if f.cost is None else -f.cost, f.accuracy))


def winner_by_reward(finalists: Sequence[Finalist], target_ms: float) -> Finalist | None:
    """The one of most reward, as measured, among those that keep all limits."""
    kept = [f for f in finalists if not f.exceeds]
    return max(kept, key=lambda f: reward(f.accuracy, f.latency_ms, target_ms), default=None)


def to_json(finalist: Finalist) -> dict[str, Any]:
    return {
        "number": finalist.evaluation.number,
        "arch": finalist.evaluation.arch.to_json(),
        "search_accuracy": finalist.evaluation.accuracy,
        "predicted_ms": finalist.evaluation.latency_ms,
        "macs": finalist.macs,
        "val_accuracy": finalist.accuracy,
        "latency_ms": finalist.latency_ms,
        "passes": finalist.passes,
        "p50_ms": finalist.p50_ms,
        "p90_ms": finalist.p90_ms,
        "aa_ratio": finalist.aa_ratio,
        "reference_ms": finalist.reference_ms,
        "cost": finalist.cost,
        "exceeds": list(finalist.exceeds),
    }
