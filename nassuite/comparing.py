"""Several networks by one recipe, then measured in the same rounds: ``nassuite zoo compare``."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path

from nassuite.benchmark import time_networks
from nassuite.errors import InputError
from nassuite.latency.meter import Meter, measure
from nassuite.latency.target import Target
from nassuite.models import load_model
from nassuite.options import AUTO
from nassuite.progress import SILENT, Progress
from nassuite.records import environment, read_toml
from nassuite.report.comparison import Compared, Comparison, write_comparison
from nassuite.run_directory import RunDirectory, file_name
from nassuite.segmenting import MASKS
from nassuite.settings import to_table
from nassuite.train_settings import TrainSettings
from nassuite.training import Trained, train_model

NOT_OF_THE_RECIPE = ("model", "init", "mask_size", "device")


def compare_networks(
    names: Sequence[str],
    settings: TrainSettings,
    *,
    out: Path,
    target: Target | None = None,
    meter: Meter = measure,
    progress: Progress = SILENT,
    command: Sequence[str] | None = None,
    title: str = "",
    remarks: Sequence[str] = (),
) -> Comparison:
    """Trains each network into a folder of its own in ``out``, measures all, writes the comparison there.

    A network whose training is finished in ``out`` is not trained again, one that was interrupted goes on; with
    other settings than there it is refused. Raises InputError for anything wrong with the input.
    """
    if len(set(names)) != len(names) or not names:
        raise InputError("zoo compare takes one network or more, each once")
    if settings.data.startswith(MASKS):
        raise InputError(
            "zoo compare takes classifiers: segmentation networks are trained with nassuite train"
        )
    target = target or Target()
    trained = [_trained(name, settings, out / "models", progress) for name in names]
    sizes = {t.settings.size for t in trained}
    (size,) = sizes  # the data's, so all have the same
    assert size is not None
    networks = {name: load_model(t.folder) for name, t in zip(names, trained, strict=True)}
    in_chans = next(iter(networks.values())).normalise.mean.shape[0]
    timed = time_networks(
        networks, (in_chans, size, size), target=target, meter=meter, progress=progress, seed=settings.seed
    )
    comparison = Comparison(
        title=title or f"{len(names)} networks on {settings.data}",
        command=shlex.join(command) if command else "compare_networks(...)",
        metric=settings.metric,
        digest=read_toml(trained[0].folder / "train.toml")["data_digest"],
        target=target.describe(),
        environment=environment(),
        recipe={k: v for k, v in to_table(trained[0].settings).items() if k not in NOT_OF_THE_RECIPE},
        rows=tuple(
            Compared(
                name=name, params=t.params, macs=t.macs, val_accuracy=t.val,
                test_accuracy=t.test["accuracy"], test_interval=tuple(t.test["interval"]), test_n=t.test["n"],
                p50_ms=time.p50_ms, p90_ms=time.p90_ms, epochs=t.settings.epochs, seconds=t.seconds,
                note="noisy measurement" if time.noisy else "",
            )
            for name, t, time in zip(names, trained, timed, strict=True)
        ),
        remarks=tuple(remarks),
    )  # fmt: skip
    write_comparison(comparison, out)
    return comparison


def _trained(name: str, settings: TrainSettings, folder: Path, progress: Progress) -> Trained:
    """One network's training, begun, continued or found finished."""
    run = RunDirectory(folder / file_name(name))
    wanted = dataclasses.replace(settings, model=name)
    if not (run.root / "train.toml").is_file():
        return train_model(wanted, out=run.root, progress=progress)
    trained = train_model(None, out=run.root, resume=True, progress=progress)
    for field in dataclasses.fields(settings):
        mine, theirs = getattr(wanted, field.name), getattr(trained.settings, field.name)
        unset = mine is None or mine == AUTO or field.name == "model"
        if not unset and mine != theirs:
            raise InputError(
                f"{run.root} was trained with {field.name} {theirs}, not {mine}: give another --out, or delete it"
            )
    return trained
