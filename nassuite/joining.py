"""``nassuite worker``: another machine's share of a search that is under way."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from nassuite.errors import InputError
from nassuite.exploring import search_here, search_seconds, study_facts
from nassuite.flow import prepare
from nassuite.progress import Progress
from nassuite.run_directory import RunDirectory
from nassuite.search.driver import trials_done
from nassuite.search.storage import join_study, open_storage, reachable, trials_in_storage
from nassuite.storage_url import without_password

POLL_SECONDS = 5.0


@dataclass(frozen=True)
class Joined:
    """What a worker came to: the architectures that it evaluated, and all that are."""

    own: int
    done: int
    study: str


def join(
    folder: Path,
    *,
    progress: Progress,
    storage: str | None = None,
    data: str | None = None,
    device: str = "auto",
) -> Joined:
    """Evaluates architectures of the run in ``folder`` until its study has all its trials.

    ``folder`` is the run's own or a copy of it: it is read and not written. ``storage`` and ``data`` are where this
    machine finds what the run names, ``device`` is what it evaluates on. A run that a process works on and that is not
    searching yet is waited for, as long as that process works on it. Raises InputError where the run is not
    searching and nothing works on it, has no storage or one that cannot be reached, and where version, images, space,
    checkpoint or latencies are not those of the study.
    """
    run = RunDirectory(folder)
    settings, facts = run.read_settings()
    url = storage or settings.storage
    if settings.storage is None or url is None:
        raise InputError(
            f"{folder} is searched on one machine: more processes there are --workers N, more machines need a search "
            "that began with --storage"
        )
    if not _becomes(run, lambda: _is_trained(run), progress):
        raise InputError(f"{folder} is not searching yet: its latencies or its supernet are still to come")
    opened = open_storage(url)
    # Of the target only the samples are needed, and those are in the folder.
    settings = replace(
        settings, storage=url, data=data or settings.data, device=device, baselines=None,
        target=None, runtime="onnxruntime", precision=None,
    )  # fmt: skip
    flow = prepare(run, settings, progress=progress)
    flow.search_seconds = search_seconds(facts)
    name = run.study_name()
    _becomes(run, lambda: trials_in_storage(url, name) is not None, progress)
    study = join_study(opened, url, name, study_facts(flow))
    progress.say(f"joined the study {study.study_name} in {without_password(url)}")
    with reachable(url):
        own = search_here(flow, study)
        return Joined(own, trials_done(study), study.study_name)


def _is_trained(run: RunDirectory) -> bool:
    return "supernet" in run.stages_done() and run.supernet.exists() and run.samples.exists()


def _becomes(run: RunDirectory, ready: Callable[[], bool], progress: Progress) -> bool:
    """Whether it is ``ready``, now or by what a process does that works on the run."""
    told = False
    while not ready():
        if not run.in_use():
            return ready()  # it may have been just that process's last deed
        if not told:
            progress.say(f"{run.root} is not searching yet: waiting as long as a process works on it")
            told = True
        time.sleep(POLL_SECONDS)
    return True
