"""A search that needs no network: accuracy and latency are functions of the architecture's values."""

import time
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from small_spaces import space_of

from nassuite.search import claims
from nassuite.search.driver import Objective, SearchConfig, open_study, run_trials
from nassuite.search.storage import join_study, open_storage
from nassuite.space import Stage
from nassuite.spec import Arch

TOY = space_of(
    Stage((8, 16, 24, 32), (1, 2), 2, ("inverted_residual", "ghost", "shuffle"), (3, 5, 7), (2.0, 3.0, 4.0)),
    Stage((16, 32, 48), (1,), 2, ("dwcb", "group_dwcb"), (3, 5), (2.0, 4.0)),
    resolution=(16, 24, 32),
)
"""Fourteen genes: every one is written to the journal, and synced."""

LIMIT_MS = 20.0


class Died(Exception):
    """Raised in the middle of an evaluation, as kill -9 would end it."""


def latency_ms(arch: Arch) -> float:
    return sum(b.out_channels * b.expand * max(b.kernel) for b in arch.blocks) * arch.resolution / 1000


def accuracy(arch: Arch) -> float:
    liked = {"ghost": 2.0, "dwcb": 1.5}
    value = sum(liked.get(b.op, 1.0) * b.out_channels + 3 * b.se for b in arch.blocks)
    return value / (value + 200) + int(arch.digest, 16) % 97 / 1e5


class Counted:
    """The toy objective, which remembers what it was asked and dies at the given question."""

    def __init__(self, *, dies_at: int | None = None) -> None:
        self.asked: list[Arch] = []
        self.timed: list[Arch] = []
        self.dies_at = dies_at

    def objective(self, **more: Any) -> Objective:
        return Objective(self._accuracy, self._latency_ms, **more)

    def _latency_ms(self, arch: Arch) -> float:
        self.timed.append(arch)
        return latency_ms(arch)

    def _accuracy(self, arch: Arch) -> float:
        if len(self.asked) == self.dies_at:
            raise Died
        self.asked.append(arch)
        return accuracy(arch)


def slow_accuracy(arch: Arch) -> float:
    time.sleep(0.05)
    return accuracy(arch)


def work(journal: Path, config: SearchConfig) -> None:
    """What a worker process does."""
    run_trials(open_study(journal), TOY, Objective(slow_accuracy, latency_ms), config)


def hanging_accuracy(begun: Event, *, after: int) -> Callable[[Arch], float]:
    """Of an evaluation that never ends, after some that do; ``begun`` tells when."""
    evaluated: list[Arch] = []

    def hanging(arch: Arch) -> float:
        evaluated.append(arch)
        if len(evaluated) > after:
            begun.set()
            time.sleep(600)
        return accuracy(arch)

    return hanging


def work_until_killed(journal: Path, config: SearchConfig, begun: Event) -> None:
    objective = Objective(hanging_accuracy(begun, after=3), latency_ms)
    run_trials(open_study(journal), TOY, objective, config)


FACTS = {"nassuite": "0", "space": TOY.digest}


def work_in_storage(url: str, config: SearchConfig, begun: Event | None = None) -> None:
    """A worker on a storage; with ``begun`` it hangs at its third evaluation."""
    claims.BEAT_SECONDS, claims.GRACE_SECONDS = 0.25, 2.0
    study = join_study(open_storage(url), url, "toy", FACTS)
    evaluate = hanging_accuracy(begun, after=2) if begun else slow_accuracy
    run_trials(study, TOY, Objective(evaluate, latency_ms), config)
