"""Many workers on one study: no architecture is evaluated twice, and one whose worker died is evaluated by another.

A trial is a claim: it says which architecture it is for (``digest``) before anything is evaluated. Its number is
its ticket, as in Lamport's bakery (1974): numbers are given out one by one by every storage, so a trial that
waits until all those before it have said what they are for knows of every claim that goes before its own.

While a worker evaluates, it counts up the trial's ``beat``. Who sees the same count for too long takes the worker
for dead. No two machines' clocks are compared, and it works through a journal and a gRPC proxy too, where
Optuna's own heartbeats do not (and with those it would have to be ``study.optimize`` that calls us).
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial, Trial

BEAT_SECONDS = 10.0
GRACE_SECONDS = 60.0
"""A worker whose beat did not change for so long is dead; one that was only asleep finds its trial taken."""
POLL_SECONDS = 0.2
ATTEMPTS = 3
"""After so many workers died over it, an architecture is left alone."""
TAKEN = UpdateFinishedTrialError
"""Raised by whatever a worker does with a trial, where it was taken for dead and the trial is another's now."""

Standing = Literal["evaluate", "repeat", "leave"]


class Watch:
    """What this process saw of the others' beats. ``clock`` gives seconds from any beginning."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[int, tuple[int, float]] = {}

    def dead(self, trials: Sequence[FrozenTrial]) -> list[int]:
        """Numbers of the running trials whose beat has not changed for ``GRACE_SECONDS``."""
        now = self._clock()
        beats = {t.number: t.user_attrs.get("beat", 0) for t in trials if t.state == TrialState.RUNNING}
        unchanged = {n for n, beat in beats.items() if n in self._seen and self._seen[n][0] == beat}
        self._seen = {n: self._seen[n] if n in unchanged else (beat, now) for n, beat in beats.items()}
        return [n for n, (_, since) in self._seen.items() if now - since > GRACE_SECONDS]


def fail_dead(study: optuna.Study, trials: Sequence[FrozenTrial], watch: Watch) -> None:
    """Fails the trials of dead workers; ``lost`` then finds their architectures."""
    for number in watch.dead(trials):
        with suppress(TAKEN):  # another worker was first
            study.tell(number, state=TrialState.FAIL, skip_if_finished=True)


def evaluated(trials: Sequence[FrozenTrial]) -> dict[str, FrozenTrial]:
    """Digest to the first trial of each architecture that was evaluated."""
    found: dict[str, FrozenTrial] = {}
    for trial in trials:
        if trial.state == TrialState.COMPLETE and trial.user_attrs["evaluated"]:
            found.setdefault(trial.user_attrs["digest"], trial)
    return found


def starts(trials: Sequence[FrozenTrial]) -> set[int]:
    """Numbers of the starting points that somebody has, or that nobody could evaluate."""
    died = Counter(t.user_attrs["start"] for t in trials if "start" in t.user_attrs and not _held(t))
    held = {t.user_attrs["start"] for t in trials if "start" in t.user_attrs and _held(t)}
    return held | {start for start, times in died.items() if times >= ATTEMPTS}


def lost(trials: Sequence[FrozenTrial]) -> dict[str, dict[str, Any]]:
    """Digest to parameters of the architectures whose workers died over them, and that nobody has taken since."""
    # What was queued and never begun has no genes, and is nobody's loss.
    died = [t for t in trials if not _held(t) and "genes" in t.user_attrs and "left" not in t.user_attrs]
    taken = held(trials)
    times = Counter(t.user_attrs["digest"] for t in died)
    found = {t.user_attrs["digest"]: t.params for t in reversed(died)}
    return {d: params for d, params in found.items() if d not in taken and times[d] < ATTEMPTS}


def held(trials: Iterable[FrozenTrial]) -> set[str]:
    """Digests of the architectures that somebody has evaluated, evaluates, or will evaluate."""
    return {t.user_attrs["digest"] for t in trials if _held(t) and "digest" in t.user_attrs}


def _held(trial: FrozenTrial) -> bool:
    """Whether somebody has evaluated, evaluates, or will evaluate the trial's architecture."""
    return trial.state in (TrialState.COMPLETE, TrialState.RUNNING, TrialState.WAITING)


def settle(
    study: optuna.Study,
    trial: Trial,
    digest: str,
    *,
    most: int,
    watch: Watch,
    settled: Callable[[FrozenTrial], bool] = lambda trial: True,
) -> Standing:
    """What a trial that has said what it is for is to do; waits until that is known.

    "repeat" where a complete trial has ``settled`` its architecture, "leave" where another trial has it or ``most`` distinct ones
    are evaluated already; else "evaluate", which no two trials are told of one architecture, and no more than
    ``most`` in all.
    """
    while True:
        trials = study.get_trials(deepcopy=False)
        complete = [t for t in trials if t.state == TrialState.COMPLETE]
        if any(t.user_attrs["digest"] == digest and settled(t) for t in complete):
            return "repeat"
        done = evaluated(trials)
        before = [t for t in trials if t.number < trial.number]
        # Whoever asks next is given the trial that waits, so ours is not needed.
        waits = any(t.state == TrialState.WAITING and t.user_attrs.get("digest") == digest for t in before)
        if waits or len(done) >= most:
            return "leave"
        running = [t.user_attrs.get("digest") for t in before if t.state == TrialState.RUNNING]
        if None not in running and digest not in running and len(done) + len(running) < most:
            return "evaluate"
        time.sleep(POLL_SECONDS)
        fail_dead(study, trials, watch)


def leave(study: optuna.Study, trial: Trial) -> None:
    """Ends a trial whose architecture is not to be evaluated by it, nor counted as lost."""
    trial.set_user_attr("left", True)
    study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)


@contextmanager
def beating(trial: Trial) -> Iterator[None]:
    """Counts up the trial's beat as long as the block runs."""
    stop = threading.Event()

    def beat() -> None:
        count = 0
        while not stop.wait(BEAT_SECONDS):
            count += 1
            # A storage that is away is met again, and told of, by what the worker itself asks of it.
            with suppress(Exception):
                trial.set_user_attr("beat", count)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
