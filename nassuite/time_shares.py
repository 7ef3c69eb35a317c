"""How a time limit is shared out between the stages of a run: a pure function of this machine's measured speeds."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from nassuite.errors import InputError

WEIGHTS = {"calibration": 0.05, "epochs": 0.45, "trials": 0.10, "finetune_epochs": 0.40}
"""Of the time that can be shared out. The supernet's and the winners' trainings gain most by more of it."""
LEAST = {"calibration": 24, "epochs": 1, "trials": 24, "finetune_epochs": 1}
MOST = {"calibration": 160, "epochs": 200, "trials": 1000, "finetune_epochs": 400}
PRUNE_SHARE = 0.25
"""Epochs after pruning, as a share of those before."""
BISECTIONS = 80
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


def parse_duration(text: str) -> float:
    """Seconds of "45s", "90m", "2h" or "1h30m". Raises InputError for anything else, and for nothing at all."""
    found = _DURATION.fullmatch(text.strip())
    hours, minutes, seconds = (float(part or 0) for part in found.groups()) if found else (0.0, 0.0, 0.0)
    total = 3600 * hours + 60 * minutes + seconds
    if not total > 0:
        raise InputError(f"--time-limit {text}: expected a duration such as 45s, 90m, 2h or 1h30m")
    return total


def duration(seconds: float) -> str:
    """About how long: "40 s", "12 min", "2 h 05 min"."""
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


class TooShort(Exception):
    """Even the least ``amounts`` take more ``seconds`` than there are."""

    def __init__(self, seconds: float, amounts: Amounts) -> None:
        super().__init__(f"the least takes {duration(seconds)}")
        self.seconds, self.amounts = seconds, amounts


@dataclass(frozen=True)
class Speeds:
    """Seconds that things take on this machine; 0 for what another run has done already.

    ``sample``: an architecture exported and measured for the predictor; ``epoch``: one of the supernet, with what
    is evaluated after it; ``trial``: an architecture's inherited accuracy; ``finalist``: one exported,
    measured and evaluated; ``winner_epoch``: one of a winner's own training; ``winner``: all else that is done for
    each winner, whatever the epochs.
    """

    sample: float
    epoch: float
    trial: float
    finalist: float
    winner_epoch: float
    winner: float


@dataclass(frozen=True)
class Work:
    """What there is to do, however long it takes; each winner is trained again after each of its ``prunings``."""

    winners: int
    finalists: int
    prunings: int = 1


@dataclass(frozen=True)
class Amounts:
    """What a run does: counts, ``finetune_epochs`` and ``prune_epochs`` for each winner."""

    calibration: int
    epochs: int
    trials: int
    finetune_epochs: int
    prune_epochs: int

    def seconds(self, speeds: Speeds, work: Work) -> float:
        epochs = self.finetune_epochs + work.prunings * self.prune_epochs
        return (
            self.calibration * speeds.sample
            + self.epochs * speeds.epoch
            + self.trials * speeds.trial
            + work.finalists * speeds.finalist
            + work.winners * (speeds.winner + epochs * speeds.winner_epoch)
        )

    def said(self, work: Work) -> str:
        each = f" for each of {work.winners} winners" if work.winners > 1 else ""
        return (
            f"{self.calibration} latency samples, {_counted(self.epochs, 'epoch')}, {self.trials} trials, "
            f"{_counted(self.finetune_epochs, 'epoch')} of fine-tuning{each}"
        )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def prune_epochs_of(finetune_epochs: int) -> int:
    return math.ceil(PRUNE_SHARE * finetune_epochs)


def share_out(seconds: float, speeds: Speeds, given: Mapping[str, int | None], work: Work) -> Amounts:
    """The amounts that take at most ``seconds`` and leave no time for one more of anything.

    Those ``given`` (not None) stay what they are. The others get time by ``WEIGHTS``, within ``LEAST`` and
    ``MOST``; what is left by whole numbers goes to whatever it is enough for, the dearest first. Raises
    TooShort where the least takes more than ``seconds``.
    """
    free = [name for name in WEIGHTS if given.get(name) is None]
    units = _units(speeds, work)

    def amounts(counts: dict[str, int]) -> Amounts:
        every = {name: value for name, value in given.items() if value is not None} | counts
        every.setdefault("prune_epochs", prune_epochs_of(every["finetune_epochs"]))
        return Amounts(**every)

    def total(counts: dict[str, int]) -> float:
        return amounts(counts).seconds(speeds, work)

    def at(level: float) -> dict[str, int]:
        """Counts where every weight is worth ``level`` seconds."""
        return {name: _within(name, level * WEIGHTS[name], units[name]) for name in free}

    least = at(0.0)
    if total(least) > seconds:
        raise TooShort(total(least), amounts(least))
    low, high = 0.0, max([seconds / WEIGHTS[name] for name in free], default=0.0)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if total(at(middle)) <= seconds else (low, middle)
    counts = at(low)
    for name in sorted(free, key=lambda name: -units[name]):
        while counts[name] < MOST[name] and total(more := counts | {name: counts[name] + 1}) <= seconds:
            counts = more
    return amounts(counts)


def epochs_that_fit(
    seconds: float, speeds: Speeds, work: Work, *, prune_epochs: int | None = None
) -> Amounts:
    """The fine-tuning that each winner gets of the ``seconds`` that are left for winners, one epoch at least."""
    done = {"calibration": 0, "epochs": 0, "trials": 0}
    left = dataclasses.replace(speeds, sample=0.0, epoch=0.0, trial=0.0, finalist=0.0)
    try:
        return share_out(seconds, left, {**done, "prune_epochs": prune_epochs}, work)
    except TooShort as error:
        return error.amounts


def _units(speeds: Speeds, work: Work) -> dict[str, float]:
    """Seconds of one more of each."""
    return {
        "calibration": speeds.sample,
        "epochs": speeds.epoch,
        "trials": speeds.trial,
        "finetune_epochs": (1 + work.prunings * PRUNE_SHARE) * work.winners * speeds.winner_epoch,
    }


def _within(name: str, seconds: float, unit: float) -> int:
    if seconds == 0:
        return LEAST[name]
    count = seconds / unit if unit > 0 else math.inf
    return int(min(max(LEAST[name], count), MOST[name]))
