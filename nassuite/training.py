"""One network trained on one data set, in a run directory of its own: ``nassuite train``.

DIR/train.toml (settings as resolved, facts), checkpoint.safetensors, log.json, then model.safetensors with
model.json, model.onnx with labels.txt, and last result.json. The same steps interrupted or not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nassuite.classifying import prepare_classifier
from nassuite.errors import InputError
from nassuite.progress import SILENT, Progress
from nassuite.records import read_json, write_toml
from nassuite.run_directory import RunDirectory, begin_or_resume
from nassuite.segmenting import MASKS, prepare_segmentation
from nassuite.settings import to_table
from nassuite.train_settings import TrainSettings


@dataclass(frozen=True)
class Trained:
    """What a training reached.

    ``val`` is the run's metric, for segmentation the mean IoU. ``test`` has accuracy, correct, n, interval and
    confusion; miou, n and confusion for segmentation.
    """

    folder: Path
    settings: TrainSettings
    params: int
    macs: int
    val: float
    test: dict[str, Any]
    seconds: float


def train_model(
    settings: TrainSettings | None,
    *,
    out: Path,
    resume: bool = False,
    progress: Progress = SILENT,
    command: Sequence[str] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Trained:
    """Trains one network into the folder ``out``; with ``resume`` goes on with the settings found there.

    Validation is looked at after every epoch, test is read once, at the end. ``facts`` are written beside the
    settings. Raises InputError for anything wrong with the input.
    """
    run = RunDirectory(out)
    found = begin_or_resume(
        out / "train.toml", TrainSettings, settings, what="training", resume=resume, command=command
    )
    settings, noted = found
    if not resume:
        noted |= facts or {}
    prepare = prepare_segmentation if settings.data.startswith(MASKS) else prepare_classifier
    job = prepare(settings, progress)
    if noted.setdefault("data_digest", job.data_digest) != job.data_digest:
        raise InputError(
            f"{out} was trained on other images than {settings.data} has now: start a new training"
        )
    if not resume:
        run.create()
    with run.locked():
        if not resume:
            write_toml(out / "train.toml", {**noted, "settings": to_table(job.settings)})
        if not (out / "result.json").is_file():
            job.run(out)
        return _read_result(out, job.settings)


def _read_result(out: Path, settings: TrainSettings) -> Trained:
    try:
        value = read_json(out / "result.json")
        return Trained(out, settings, *(value[name] for name in ("params", "macs", "val", "test", "seconds")))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{out / 'result.json'} is damaged ({error}): delete it, and --resume makes it"
        ) from None
