"""The stage that searches: in one process, in several that share the journal, or on many machines.

On many machines the study is in the run's storage; when it is done, the run's folder gets a copy of it as its
journal, so that what comes later needs no storage.
"""

from __future__ import annotations

import os
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from nassuite import __version__
from nassuite.errors import InputError
from nassuite.flow import Flow, prepare
from nassuite.progress import SILENT
from nassuite.records import sha256_file
from nassuite.run_directory import RunDirectory
from nassuite.search.driver import (
    Evaluation,
    Objective,
    SearchConfig,
    drop_torn_line,
    keep,
    queue,
    run_trials,
    sweep,
    trials_done,
)
from nassuite.search.finalists import in_reach_ms
from nassuite.search.storage import begin_study, join_study, open_storage, reachable
from nassuite.spec import Arch
from nassuite.stages import accuracy_of
from nassuite.storage_url import without_password
from nassuite.time_shares import LEAST

if TYPE_CHECKING:
    import optuna

WATCH_SECONDS = 0.5


def explore(flow: Flow) -> None:
    """The Optuna study, in this process or in several that share it."""
    if flow.search_seconds is not None and "search" in flow.run.stages_done():
        return  # it may have ended by time, with fewer trials than were planned
    if flow.settings.storage is not None:
        _explore_in_storage(flow, flow.settings.storage)
        return
    drop_torn_line(flow.run.journal)
    sweep(flow.study)
    if flow.settings.workers > 1:
        _search_together(flow, flow.study)
        sweep(flow.study)
    search_here(flow, flow.study)


def _explore_in_storage(flow: Flow, url: str) -> None:
    if flow.run.journal.exists():
        return
    name = flow.run.study_name()
    study = begin_study(open_storage(url), url, name, study_facts(flow), minimised=flow.minimised_count)
    flow.progress.say(
        f"the study is {name} in {without_password(url)}; "
        f"other machines join with: nassuite worker {shlex.quote(str(flow.run.root))}"
    )
    with reachable(url):
        if flow.settings.workers > 1:
            _search_together(flow, study)
        search_here(flow, study)
        keep(study, flow.run.journal)


def study_facts(flow: Flow) -> dict[str, str]:
    """What all workers of a study have to agree on."""
    return {
        "nassuite": __version__,
        "space": flow.space.digest,
        "data": flow.data.digest,
        "supernet": sha256_file(flow.run.supernet),
        "latencies": sha256_file(flow.run.samples),
    }


def _search_together(flow: Flow, study: optuna.Study) -> None:
    context = torch.multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_search_worker, args=(flow.run.root, flow.settings.storage), daemon=True)
        for _ in range(flow.settings.workers)
    ]
    for worker in workers:
        worker.start()
    try:
        done = trials_done(study)
        for _ in flow.progress.track(
            _news(study, workers, done), "search", total=flow.settings.trials, done=done, unit="architectures"
        ):
            pass
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()
    if any(worker.exitcode for worker in workers):
        flow.progress.say("a search process ended early; this one finishes its share")


def _news(study: optuna.Study, workers: Sequence[Any], done: int) -> Iterator[int]:
    """Yields once for each trial that the workers finish, until all of them have ended."""
    while True:
        ended = not any(worker.is_alive() for worker in workers)
        now = trials_done(study)
        yield from range(done, now)
        done = now
        if ended:
            return
        time.sleep(WATCH_SECONDS)


def _search_worker(root: Path, storage: str | None) -> None:
    """What goes wrong here is met again, and told, by the process that started this one.

    ``storage`` is passed on, for it may hold a password, which no file does.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    run = RunDirectory(root)
    try:
        settings, facts = run.read_settings()
        torch.set_num_threads(max(1, torch.get_num_threads() // settings.workers))
        flow = prepare(run, replace(settings, storage=storage), progress=SILENT)
        flow.search_seconds = search_seconds(facts)
        if storage is None:
            search_here(flow, flow.study)
        else:
            study = join_study(open_storage(storage), storage, run.study_name(), study_facts(flow))
            with reachable(storage):
                search_here(flow, study)
    except (InputError, OSError, KeyboardInterrupt):
        sys.exit(1)


def _end_with_parent() -> None:
    """A worker left over by a killed run would write into the journal of the one that resumes it."""
    if parent := torch.multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def search_further(flow: Flow, limits_ms: Mapping[float, float], trials: int) -> None:
    """So many more trials, up to other predictions than the budgets are: ``limits_ms`` by budget."""
    assert flow.settings.trials is not None
    total = flow.settings.trials + trials
    if trials_done(flow.study) < total:
        said = ", ".join(f"{budget:g} ms as {limit:.3g} ms" for budget, limit in limits_ms.items())
        flow.progress.say(
            f"room is left under budgets: the search goes on for {trials} trials, predictions taking {said}"
        )
    limits = tuple(in_reach_ms(limit, flow.margin) for limit in limits_ms.values())
    search_here(flow, flow.study, trials=total, limits_ms=limits)
    _read_again(flow)


def evaluate_these(flow: Flow, archs: Iterable[Arch]) -> list[Evaluation]:
    """Trials of these architectures, whatever they are predicted to take; none again that had one."""
    wanted = {arch.digest: arch for arch in archs}
    evaluated = {e.arch.digest for e in flow.evaluated}
    queue(flow.study, flow.space, wanted.values())
    search_here(flow, flow.study, trials=len(evaluated | wanted.keys()), limits_ms=())
    _read_again(flow)
    return [e for e in flow.evaluated if e.arch.digest in wanted]


def _read_again(flow: Flow) -> None:
    """Has the run's evaluations read again where they are asked for next, with the new ones."""
    flow.__dict__.pop("evaluated", None)


def search_here(
    flow: Flow, study: optuna.Study, *, trials: int | None = None, limits_ms: Sequence[float] | None = None
) -> int:
    """Evaluates in this process until the study's trials are done; how many were this process's own.

    ``trials`` and the limits of the predictions are those of the settings, if they are not given.
    """
    settings = flow.settings
    trials = settings.trials if trials is None else trials
    assert trials is not None
    own = 0

    def accuracy(arch: Arch) -> float:
        nonlocal own
        own += 1
        return accuracy_of(flow, arch, flow.search_val)

    objective = Objective(
        accuracy, flow.predict_ms, flow.excess, cost=flow.minimised if settings.minimise else None
    )
    if limits_ms is None:
        limits_ms = [in_reach_ms(budget, flow.margin) for budget in flow.hard_budgets]
    config = SearchConfig(trials, tuple(limits_ms), settings.sampler, settings.seed, flow.least)
    run_trials(study, flow.space, objective, config, flow.progress, over=_time_is_up(flow, study))
    return own


def search_seconds(facts: Mapping[str, Any]) -> float | None:
    """What a run's time limit, if it has one, leaves for its search."""
    return facts.get("plan", {}).get("search_seconds")


def _time_is_up(flow: Flow, study: optuna.Study) -> Callable[[], bool]:
    """Whether a time limit's share is used up: by repeats, which a plan does not know of, or by a machine grown busy."""
    seconds, started = flow.search_seconds, time.monotonic()
    before = flow.run.stage_seconds().get("search", 0.0)

    def is_up() -> bool:
        if seconds is None or before + time.monotonic() - started < seconds:
            return False
        done = trials_done(study)
        if done < LEAST["trials"]:
            return False
        flow.progress.say(f"the search's share of the time is over: {done} trials")
        return True

    return is_up
