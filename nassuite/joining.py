"""``nassuite worker``: another machine's share of a search that is under way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from nassuite.errors import InputError
from nassuite.exploring import search_here, search_seconds, study_facts, study_name
from nassuite.flow import prepare
from nassuite.progress import Progress
from nassuite.run_directory import RunDirectory
from nassuite.search.driver import trials_done
from nassuite.search.storage import join_study, open_storage, reachable
from nassuite.storage_url import without_password


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
    machine finds what the run names, ``device`` is what it evaluates on. Raises InputError where the run is not
    searching yet, has no storage or one that cannot be reached, and where version, images, space, checkpoint or
    latencies are not those of the study.
    """
    run = RunDirectory(folder)
    settings, facts = run.read_settings()
    url = storage or settings.storage
    if settings.storage is None or url is None:
        raise InputError(
            f"{folder} is searched on one machine: more processes there are --workers N, more machines need a search "
            "that began with --storage"
        )
    if "supernet" not in run.stages_done() or not (run.supernet.exists() and run.samples.exists()):
        raise InputError(f"{folder} is not searching yet: its latencies or its supernet are still to come")
    opened = open_storage(url)
    # Of the target only the samples are needed, and those are in the folder.
    settings = replace(
        settings, storage=url, data=data or settings.data, device=device, baselines=None,
        target=None, runtime="onnxruntime", precision=None,
    )  # fmt: skip
    flow = prepare(run, settings, progress=progress)
    flow.search_seconds = search_seconds(facts)
    study = join_study(opened, url, study_name(run), study_facts(flow))
    progress.say(f"joined the study {study.study_name} in {without_password(url)}")
    with reachable(url):
        own = search_here(flow, study)
        return Joined(own, trials_done(study), study.study_name)
