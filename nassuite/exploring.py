"""The stage that searches: in one process, or in several that share the journal."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from nassuite.errors import InputError
from nassuite.flow import Flow, prepare
from nassuite.progress import SILENT
from nassuite.run_directory import RunDirectory
from nassuite.search.driver import (
    Objective,
    SearchConfig,
    drop_torn_line,
    run_trials,
    sweep,
    trials_done,
)
from nassuite.stages import SEARCH_VAL_IMAGES, accuracy_of
from nassuite.time_shares import LEAST

WATCH_SECONDS = 0.5


def explore(flow: Flow) -> None:
    """The Optuna study, in this process or in several that share the journal."""
    if flow.search_seconds is not None and "search" in flow.run.stages_done():
        return  # it may have ended by time, with fewer trials than were planned
    drop_torn_line(flow.run.journal)
    sweep(flow.study)
    if flow.settings.workers > 1:
        _search_together(flow)
        sweep(flow.study)
    _search_here(flow)


def _search_together(flow: Flow) -> None:
    context = torch.multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_search_worker, args=(flow.run.root,), daemon=True)
        for _ in range(flow.settings.workers)
    ]
    for worker in workers:
        worker.start()
    try:
        done = trials_done(flow.study)
        for _ in flow.progress.track(
            _news(flow, workers, done), "search", total=flow.settings.trials, done=done
        ):
            pass
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()
    if any(worker.exitcode for worker in workers):
        flow.progress.say("a search process ended early; this one finishes its share")


def _news(flow: Flow, workers: Sequence[Any], done: int) -> Iterator[int]:
    """Yields once for each trial that the workers finish, until all of them have ended."""
    while True:
        ended = not any(worker.is_alive() for worker in workers)
        now = trials_done(flow.study)
        yield from range(done, now)
        done = now
        if ended:
            return
        time.sleep(WATCH_SECONDS)


def _search_worker(root: Path) -> None:
    """What goes wrong here is met again, and told, by the process that started this one."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    run = RunDirectory(root)
    try:
        settings, facts = run.read_settings()
        torch.set_num_threads(max(1, torch.get_num_threads() // settings.workers))
        flow = prepare(run, settings, progress=SILENT)
        flow.search_seconds = facts.get("plan", {}).get("search_seconds")
        _search_here(flow)
    except (InputError, OSError, KeyboardInterrupt):
        sys.exit(1)


def _end_with_parent() -> None:
    """A worker left over by a killed run would write into the journal of the one that resumes it."""
    if parent := torch.multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _search_here(flow: Flow) -> None:
    settings = flow.settings
    assert settings.trials is not None
    val = flow.data.val.subset(SEARCH_VAL_IMAGES, seed=settings.seed).to(flow.device)
    objective = Objective(
        lambda arch: accuracy_of(flow, arch, val), flow.predict_ms, flow.excess,
        cost=flow.minimised if settings.minimise else None,
    )  # fmt: skip
    budgets = tuple(budget / flow.margin for budget in flow.hard_budgets)
    config = SearchConfig(settings.trials, budgets, settings.sampler, settings.seed, flow.least)
    run_trials(flow.study, flow.space, objective, config, flow.progress, over=_time_is_up(flow))


def _time_is_up(flow: Flow) -> Callable[[], bool]:
    """Whether a time limit's share is used up: by repeats, which a plan does not know of, or by a machine grown busy."""
    seconds, started = flow.search_seconds, time.monotonic()
    before = flow.run.stage_seconds().get("search", 0.0)

    def is_up() -> bool:
        if seconds is None or before + time.monotonic() - started < seconds:
            return False
        done = trials_done(flow.study)
        if done < LEAST["trials"]:
            return False
        flow.progress.say(f"the search's share of the time is over: {done} trials")
        return True

    return is_up
