"""Runs the Optuna study: asks for architectures, evaluates what is new, and can be stopped anywhere."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nassuite.errors import InputError
from nassuite.progress import SILENT, Progress
from nassuite.search import claims
from nassuite.search.parameters import suggest, to_params
from nassuite.search.samplers import SamplerFactory, guided_sampler, make_sampler, sampler_factory
from nassuite.space import Genes, Space
from nassuite.spec import Arch

if TYPE_CHECKING:
    import optuna

STUDY_NAME = "nassuite"
LATENCY = "latency_ms"
"""Among a trial's constraints."""
ASKS_PER_TRIAL = 20
"""Repeats and architectures over budget cost next to nothing; this bounds how many there may be."""


@dataclass(frozen=True)
class SearchConfig:
    """``trials`` counts distinct architectures whose accuracy was evaluated."""

    trials: int
    budgets_ms: tuple[float, ...]
    sampler: str = "nsga2"
    seed: int = 0
    starts: tuple[Arch, ...] = ()
    """Tried first, behind both ends of the space in every operator."""

    @property
    def limit_ms(self) -> float:
        return max(self.budgets_ms, default=math.inf)


@dataclass(frozen=True)
class Evaluation:
    """One architecture's inherited accuracy (0..1, validation) and predicted latency.

    ``cost`` is what else is minimised (``--minimise``), by prediction.
    """

    number: int
    arch: Arch
    accuracy: float
    latency_ms: float
    cost: float | None = None


@dataclass(frozen=True)
class Objective:
    """What the search asks of an architecture; accuracy is asked only where the latency and all else is in reach.

    ``excess`` names what is limited beside the latency: 0 or less where the limit is kept. ``cost`` is a third
    objective, minimised.
    """

    accuracy: Callable[[Arch], float]
    latency_ms: Callable[[Arch], float]
    excess: Callable[[Arch], Mapping[str, float]] = lambda arch: {}
    cost: Callable[[Arch], float] | None = None


def directions(minimised: int) -> list[optuna.study.StudyDirection]:
    """Accuracy is maximised; ``minimised`` objectives follow, the latency first."""
    from optuna.study import StudyDirection

    return [StudyDirection.MAXIMIZE, *[StudyDirection.MINIMIZE] * minimised]


def open_study(journal: Path, name: str = STUDY_NAME, *, minimised: int = 1) -> optuna.Study:
    """The study in a journal file, made if it is not there. Accuracy is maximised, latency minimised.

    ``minimised`` objectives, the latency among them.

    Raises InputError for a journal that is damaged.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal.parent.mkdir(parents=True, exist_ok=True)
    try:
        return optuna.create_study(
            storage=_storage(journal),
            study_name=name,
            directions=directions(minimised),
            sampler=make_sampler("random", 0),
            load_if_exists=True,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{journal} is damaged ({error}): delete it, and --resume searches again") from None


def _storage(journal: Path) -> optuna.storages.JournalStorage:
    import filelock
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    # Optuna's own locks outlive a process that is killed: for ever, where the journal's path is relative.
    lock: Any = filelock.FileLock(_lock_of(journal))
    return JournalStorage(JournalFileBackend(str(journal), lock_obj=lock))


def _lock_of(journal: Path) -> Path:
    return journal.with_name(f".{journal.name}.lock")


def trials_done(study: optuna.Study) -> int:
    """How many distinct architectures are evaluated."""
    return len(_evaluated(study))


def trials_in(journal: Path, name: str = STUDY_NAME) -> int:
    """``trials_done`` of a journal that another process may be writing; the journal is not touched."""
    import optuna

    if not journal.exists():
        return 0
    try:
        return trials_done(optuna.load_study(study_name=name, storage=_storage(journal)))
    except (ValueError, KeyError, TypeError):
        return 0


def keep(study: optuna.Study, journal: Path) -> None:
    """Copies a study that is elsewhere into a journal file, whole or not at all."""
    import optuna

    temporary = journal.with_name(f".{journal.name}.copy")
    temporary.unlink(missing_ok=True)  # what a killed process left of one
    copy = optuna.create_study(
        storage=_storage(temporary), study_name=STUDY_NAME, directions=study.directions
    )
    for key, value in study.user_attrs.items():
        copy.set_user_attr(key, value)
    copy.add_trials(study.get_trials(deepcopy=False))
    os.replace(temporary, journal)
    _lock_of(temporary).unlink(missing_ok=True)


def drop_torn_line(journal: Path) -> None:
    """Cuts off what a full disk or a power cut left of a last line; a journal with more after it is damaged.

    Call it while no worker runs.
    """
    if not journal.exists():
        return
    content = journal.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(journal, whole)


def queue(study: optuna.Study, space: Space, archs: Iterable[Arch]) -> None:
    """Has these tried before what the sampler proposes, but for those that somebody has tried, or is about to."""
    trials = study.get_trials(deepcopy=False)
    held = set(claims.evaluated(trials)) | claims.held(t for t in trials if t.state.name != "COMPLETE")
    for arch in archs:
        if arch.digest not in held:
            held.add(arch.digest)
            study.enqueue_trial(to_params(space, space.encode(arch)), {"digest": arch.digest})


def sweep(study: optuna.Study) -> None:
    """Fails the trials that a process left behind when it died. Call it while no worker runs."""
    import optuna

    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    while study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,)):
        study.tell(study.ask(), state=optuna.trial.TrialState.FAIL)


def run_trials(
    study: optuna.Study,
    space: Space,
    objective: Objective,
    config: SearchConfig,
    progress: Progress = SILENT,
    *,
    over: Callable[[], bool] = lambda: False,
) -> None:
    """Evaluates until ``config.trials`` distinct architectures are done, by this worker and all others.

    A sampler's random state is not stored, so every trial gets a fresh sampler seeded from the study's
    seed and the number of trials before it: a study that was stopped and goes on makes the same trials.
    It ends earlier where the space has no more architectures, or none that is easily found in reach, and as
    soon as it is ``over``.
    """
    new = _new_evaluations(study, space, objective, config, over)
    for _ in progress.track(
        new, "search", total=config.trials, done=len(_evaluated(study)), unit="architectures"
    ):
        pass


def evaluations(study: optuna.Study, space: Space) -> list[Evaluation]:
    """Distinct evaluated architectures in the order in which they were finished."""
    return [
        Evaluation(number, space.decode(t.user_attrs["genes"]), *t.values)
        for number, t in enumerate(_evaluated(study).values())
    ]


def _evaluated(study: optuna.Study) -> dict[str, optuna.trial.FrozenTrial]:
    return claims.evaluated(study.get_trials(deepcopy=False))


def _new_evaluations(
    study: optuna.Study, space: Space, objective: Objective, config: SearchConfig, over: Callable[[], bool]
) -> Iterator[None]:
    """Makes trials, and yields for each architecture that was evaluated, here or by another worker."""
    objective = replace(
        objective,
        latency_ms=cache(objective.latency_ms),
        cost=cache(objective.cost) if objective.cost else None,
    )
    watch = claims.Watch()
    worker = _Worker(study, space, objective, config, _sampler_factory(space, objective, config), watch)
    known = len(_evaluated(study))
    while True:
        trials = study.get_trials(deepcopy=False)
        done = len(claims.evaluated(trials))
        yield from (None for _ in range(known, done))
        known = done
        finished = _in_state(trials, "COMPLETE")
        settled = {t.user_attrs["digest"] for t in finished if _is_settled(t, config.limit_ms)}
        exhausted = len(settled) == space.size
        if done >= config.trials or exhausted or over() or len(finished) >= ASKS_PER_TRIAL * config.trials:
            return
        claims.fail_dead(study, trials, watch)
        if done + len(_in_state(trials, "RUNNING")) < config.trials:
            _run_one(worker)
        else:  # what is left is in others' hands, and becomes ours if they die
            time.sleep(claims.POLL_SECONDS)


def _is_settled(trial: optuna.trial.FrozenTrial, limit_ms: float) -> bool:
    """Whether nothing is left to ask of a complete trial's architecture: it was evaluated, or is out of reach.

    A search that goes on under a higher limit meets those again that were out of reach of the one before.
    """
    others = (value for name, value in trial.constraints.items() if name != LATENCY)
    return trial.user_attrs["evaluated"] or trial.values[1] > limit_ms or any(value > 0 for value in others)


def _in_state(trials: Sequence[optuna.trial.FrozenTrial], state: str) -> list[optuna.trial.FrozenTrial]:
    return [trial for trial in trials if trial.state.name == state]


def _sampler_factory(space: Space, objective: Objective, config: SearchConfig) -> SamplerFactory:
    """Seed of a trial to its sampler. The guided one has no random state to lose, and keeps its plan."""
    if config.sampler != "guided":
        return sampler_factory(config.sampler)
    guided = guided_sampler(
        space, objective.latency_ms, budgets_ms=config.budgets_ms, seed=config.seed,
        within=lambda arch: all(over <= 0 for over in objective.excess(arch).values()), cost=objective.cost,
    )  # fmt: skip
    return lambda seed: guided


@dataclass(frozen=True)
class _Worker:
    """What one worker's trials share."""

    study: optuna.Study
    space: Space
    objective: Objective
    config: SearchConfig
    sampler: SamplerFactory
    watch: claims.Watch


def _run_one(worker: _Worker) -> None:
    """One trial: of a starting point, of an architecture that was lost, or of what the sampler proposes."""
    study = worker.study
    trials = study.get_trials(deepcopy=False)
    # Those that others are at count, or two workers that begin a trial at the same count would make the same.
    number = len(_in_state(trials, "COMPLETE")) + len(_in_state(trials, "RUNNING"))
    seed = int.from_bytes(hashlib.sha256(f"{worker.config.seed}/{number}".encode()).digest()[:4], "big")
    study.sampler = worker.sampler(seed)
    starts, tried = _starting_points(worker.space, worker.config), claims.starts(trials)
    start = next((n for n in range(len(starts)) if n not in tried), None) if number < len(starts) else None
    lost = claims.lost(trials)
    if start is not None:
        digest = worker.space.decode(starts[start]).digest
        study.enqueue_trial(to_params(worker.space, starts[start]), {"digest": digest, "start": start})
    elif lost:
        digest, params = next(iter(lost.items()))
        study.enqueue_trial(params, {"digest": digest})
    trial = study.ask()
    with claims.beating(trial), suppress(claims.TAKEN):
        _evaluate(worker, trial)


def _evaluate(worker: _Worker, trial: optuna.Trial) -> None:
    study, config, objective = worker.study, worker.config, worker.objective
    genes = worker.space.canonical(suggest(trial, worker.space))
    arch = worker.space.decode(genes)
    trial.set_user_attr("digest", arch.digest)
    trial.set_user_attr("genes", genes)
    standing = claims.settle(
        study, trial, arch.digest, most=config.trials, watch=worker.watch,
        settled=partial(_is_settled, limit_ms=config.limit_ms),
    )  # fmt: skip
    if standing == "leave":
        claims.leave(study, trial)
        return
    latency = objective.latency_ms(arch)
    over = dict(objective.excess(arch))
    if math.isfinite(config.limit_ms):
        over[LATENCY] = latency - config.limit_ms
    new = standing == "evaluate" and all(value <= 0 for value in over.values())
    if standing == "repeat":
        complete = _in_state(study.get_trials(deepcopy=False), "COMPLETE")
        same = (t for t in complete if t.user_attrs["digest"] == arch.digest)
        values = max(same, key=lambda t: t.user_attrs["evaluated"]).values
    else:
        # Infeasible trials are compared by how far they are over the limits, so their accuracy is not asked for.
        values = [objective.accuracy(arch) if new else 0.0, latency]
        values += [objective.cost(arch)] if objective.cost else []
    trial.set_user_attr("evaluated", new)
    for name, value in over.items():
        trial.set_constraint(name, value)
    study.tell(trial, values, skip_if_finished=True)


def _starting_points(space: Space, config: SearchConfig) -> Sequence[Genes]:
    """Both ends of the space in every operator: NSGA-II then interpolates instead of feeling its way."""
    ends = [
        space.extreme(which, operator) for which in ("smallest", "largest") for operator in space.operators
    ]
    return [space.encode(arch) for arch in (*ends, *config.starts)]
