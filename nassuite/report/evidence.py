"""What was found out about a search afterwards: how far its ranking is to be trusted, which choices matter.

Parts of ``records.json``; units as in ``report.content``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RankingRow:
    """How well something ranks architectures by their accuracy from scratch, with 95 % bootstrap intervals."""

    name: str
    n: int
    tau: float
    tau_interval: tuple[float, float]
    rho: float
    rho_interval: tuple[float, float]


@dataclass(frozen=True)
class RankingPoint:
    """One architecture of an audit: ``inherited`` and ``scratch`` are its accuracies."""

    digest: str
    arch: str
    inherited: float
    scratch: float
    predicted_ms: float


@dataclass(frozen=True)
class RankingFacts:
    """What ``nassuite audit`` found: ``n`` architectures, each trained for ``epochs`` on ``train_images``.

    Where ``max_macs`` is given, none has more, and nothing is said of those that do.

    ``verdict`` is one of search.ranking.Verdict, ``reason`` says why. ``rows`` begin with the inherited accuracy.
    ``over_macs`` is its tau less that of MACs, ``gap`` inherited less from-scratch accuracy, both with
    low and high of the 95 % interval. ``bands`` are (from ms, to ms, n, tau within).
    """

    verdict: str
    reason: str
    n: int
    epochs: int
    train_images: int
    rows: tuple[RankingRow, ...]
    over_macs: tuple[float, float, float]
    gap: tuple[float, float, float]
    bands: tuple[tuple[float, float, int, float], ...]
    points: tuple[RankingPoint, ...]
    max_macs: int | None = None


@dataclass(frozen=True)
class Choice:
    """How much a choice of the space matters: by how much more of the variance a forecast misses when the choice is
    shuffled among architectures, for accuracy and for latency, each with its spread over shuffles."""

    name: str
    accuracy: float
    accuracy_spread: float
    latency: float
    latency_spread: float


@dataclass(frozen=True)
class Trait:
    """What the front's architectures have more or less of than all: means, and their distance in standard errors."""

    name: str
    on_front: float
    among_all: float
    errors: float


@dataclass(frozen=True)
class ChoiceFacts:
    """Which choices matter, found among ``n`` architectures, ``n_front`` of them on the front.

    ``accuracy_r2`` and ``latency_r2`` are the shares of the variance of inherited accuracy and predicted latency
    that a forecast from the choices explains on architectures held out from it.
    """

    n: int
    n_front: int
    accuracy_r2: float
    latency_r2: float
    choices: tuple[Choice, ...]
    traits: tuple[Trait, ...]
