"""A trained network made smaller until a target is met: ``nassuite prune``.

Channels that can be cut exactly are found once. Then the smallest ratio on a grid that meets the target is
looked for by bisection, where the target is a latency with the exported file measured beside the
dense one each time: fewer MACs are often no fewer milliseconds. What is left is distilled from the dense
model and measured again.
"""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from nassuite.classifying import evaluate_file, same_labels
from nassuite.compress.prune import Proven, PruneConfig, PruneRecord, prove, prune_proven
from nassuite.data import Data, DataConfig, default_augment, load_data
from nassuite.errors import InputError
from nassuite.latency.certificate import Certificate, certify
from nassuite.latency.cost import Cost, cost
from nassuite.latency.meter import Measurement, Meter, measure
from nassuite.latency.target import Target
from nassuite.models import Description, load_model, read_description, save_model
from nassuite.nn.network import Normalised
from nassuite.onnx_export import export_onnx
from nassuite.progress import SILENT, Progress
from nassuite.prune_settings import PruneSettings
from nassuite.records import SCHEMA_VERSION, environment, write_json, write_text
from nassuite.run_directory import FileCheckpoints, RunDirectory
from nassuite.settings import read_toml, to_table
from nassuite.train.distill import SoftLabels, train_network
from nassuite.train.loop import TrainConfig
from nassuite.training_job import cuda_or_cpu

GRID = tuple(n / 20 for n in range(1, 20))
TAYLOR_IMAGES = 1024


@dataclass(frozen=True)
class Row:
    """One model in the outcome: accuracies as fractions, latencies measured in the same rounds."""

    name: str
    params: int
    macs: int
    p50_ms: float
    p90_ms: float
    ratio: float
    val: float
    test: float
    test_interval: tuple[float, float]


@dataclass(frozen=True)
class Pruned:
    """What a pruning led to. ``met`` says whether the target holds for the file in ``folder``, as measured."""

    folder: Path
    rows: tuple[Row, Row]
    record: PruneRecord
    met: bool
    certificate: Certificate | None


@dataclass(frozen=True, eq=False)
class _Task:
    """What every step of a pruning needs."""

    settings: PruneSettings
    data: Data
    dense: nn.Module
    target: Target
    meter: Meter
    progress: Progress

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.data.in_chans, self.data.size, self.data.size


def prune_model(
    settings: PruneSettings, *, out: Path, meter: Meter = measure, progress: Progress = SILENT
) -> Pruned:
    """Prunes the model in ``settings.model`` into ``out``, a folder like that of a training.

    Raises InputError for anything wrong with the input, and where no ratio meets the target.
    """
    run = RunDirectory(out)
    run.check_new()
    target = Target(threads=settings.threads)
    description = read_description(Path(settings.model))
    if description.cuts is not None:
        raise InputError(
            f"{settings.model} is pruned already: prune the model that it was made of, to a further target"
        )
    data = _data(settings, description, progress)
    task = _Task(settings, data, load_model(settings.model), target, meter, progress)
    pruned, record = _smallest_ratio(task, *_proven(task))
    run.create()
    with run.locked():
        _finetune(task, pruned, out)
        assert isinstance(pruned, Normalised)
        save_model(out, pruned, dataclasses.replace(description, cuts=record.to_json()))
        return _finish(task, pruned, record, out)


def _data(settings: PruneSettings, description: Description, progress: Progress) -> Data:
    name, path, subset = settings.data, Path(settings.model) / "train.toml", None
    if not name:
        if not path.is_file():
            raise InputError(f"{settings.model} does not say what it was trained on: give --data")
        trained = read_toml(path)["settings"]
        name, subset = trained["data"], trained.get("train_images")
    config = DataConfig(name, size=description.size, seed=settings.seed, train_images=subset)
    data = load_data(config, progress=progress)
    same_labels(description, data, settings.model, name)
    return data


def _proven(task: _Task) -> tuple[Proven, PruneConfig]:
    settings = task.settings
    config = PruneConfig(0.5, settings.importance, settings.scope, settings.align, settings.seed)  # type: ignore[arg-type]
    example = next(task.data.val.batches(8, channels_last=False))[0]
    task.progress.say("looking for the channels that can be cut exactly")
    proven = prove(task.dense, config, example=example)
    if not proven.groups:
        raise InputError(
            f"{settings.model}: nothing of it can be pruned exactly with --align {settings.align}"
        )
    return proven, config


def _smallest_ratio(task: _Task, proven: Proven, config: PruneConfig) -> tuple[nn.Module, PruneRecord]:
    """The least pruned candidate of the grid that meets the target."""
    settings, (name, wanted) = task.settings, task.settings.target

    def candidate(ratio: float) -> tuple[nn.Module, PruneRecord]:
        taylor = settings.importance == "taylor"
        images = task.data.train.subset(TAYLOR_IMAGES, settings.seed) if taylor else None
        return prune_proven(
            proven, dataclasses.replace(config, ratio=ratio), batches=images.batches(128) if images else None
        )

    if name == "ratio":
        return candidate(wanted)
    low, high, best, said = 0, len(GRID) - 1, None, ""
    while low <= high:
        middle = (low + high) // 2
        found = candidate(GRID[middle])
        met, said = _meets(task, found[0])
        task.progress.say(f"removing {GRID[middle]:.0%} of the channels: {said}{', enough' if met else ''}")
        if met:
            best, high = found, middle - 1
        else:
            low = middle + 1
    if best is None:
        raise InputError(
            f"no pruning reaches {name.replace('_', '-')} {wanted:g}: with {GRID[-1]:.0%} of the channels removed it is "
            f"{said}; a smaller network to begin with, or a smaller --align, goes further"
        )
    return best


def _meets(task: _Task, pruned: nn.Module) -> tuple[bool, str]:
    """Whether a candidate meets the target, and what was found."""
    name, wanted = task.settings.target
    if name in ("target_macs", "target_params"):
        left = _share(cost(pruned, task.shape), cost(task.dense, task.shape), name)
        return left <= wanted, f"{left:.1%} left"
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / "dense.onnx", Path(folder) / "pruned.onnx"]
        for model, path in zip((task.dense, pruned), paths, strict=True):
            export_onnx(model, path, input_shape=task.shape, check=False)
        first, second = task.meter(paths, task.target, seed=task.settings.seed)
    met = _meets_latency(first, second, task.settings)
    return met, f"{second.p50_ms:.3g} ms of {first.p50_ms:.3g} ms"


def _share(left: Cost, whole: Cost, name: str) -> float:
    return left.macs / whole.macs if name == "target_macs" else left.params / whole.params


def _meets_latency(dense: Measurement, pruned: Measurement, settings: PruneSettings) -> bool:
    name, wanted = settings.target
    if name == "speedup":
        return dense.ratio / pruned.ratio >= wanted
    return pruned.percentile_ms(settings.percentile) <= wanted


def _finetune(task: _Task, pruned: nn.Module, out: Path) -> None:
    settings = task.settings
    if settings.finetune_epochs == 0:
        return
    config = TrainConfig(
        settings.finetune_epochs, settings.batch_size, settings.lr, seed=settings.seed,
        augment=default_augment(task.data),
    )  # fmt: skip
    train_network(
        pruned, task.data.train, config, resolution=task.data.size,
        soft_labels=SoftLabels(task.dense, task.data.size), description="distilling the pruned model",
        device=cuda_or_cpu(settings.device), checkpoints=FileCheckpoints(out / "checkpoint.safetensors"),
        progress=task.progress,
    )  # fmt: skip
    pruned.cpu().eval()
    task.dense.cpu()


def _finish(task: _Task, pruned: nn.Module, record: PruneRecord, out: Path) -> Pruned:
    """Exports both, measures both in the same rounds, reads test, writes what was found."""
    settings, data = task.settings, task.data
    images = next(data.val.batches(256, channels_last=False))[0]
    paths = [out / "dense.onnx", out / "model.onnx"]
    for model, path in zip((task.dense, pruned), paths, strict=True):
        export_onnx(model, path, input_shape=task.shape, images=images)
    measurements = task.meter(paths, task.target, progress=task.progress, seed=settings.seed)
    rows = []
    for name, model, path, m in zip(
        ("dense", "pruned"), (task.dense, pruned), paths, measurements, strict=True
    ):
        val, test = (evaluate_file(path, split) for split in (data.val, data.test))
        counted = cost(model, task.shape)
        rows.append(
            Row(
                name, counted.params, counted.macs, m.p50_ms, m.p90_ms, m.ratio / measurements[0].ratio,
                val["accuracy"], test["accuracy"], tuple(test["interval"]),
            )
        )  # fmt: skip
    certificate, met = None, True
    kind, wanted = settings.target
    if kind == "target_ms":
        certificate = certify(measurements[1], wanted, percentile=settings.percentile)
        met = certificate.verdict == "pass"
        write_json(out / "certificate.json", certificate.to_json())
    elif kind == "speedup":
        met = _meets_latency(measurements[0], measurements[1], settings)
    write_text(out / "labels.txt", "".join(f"{label}\n" for label in data.labels))
    write_json(out / "pruning.json", _record_json(task, rows, record, met))
    return Pruned(out, (rows[0], rows[1]), record, met, certificate)


def _record_json(task: _Task, rows: list[Row], record: PruneRecord, met: bool) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "settings": to_table(task.settings),
        "met": met,
        "models": [dataclasses.asdict(row) for row in rows],
        "pruned": [dataclasses.asdict(layer) for layer in record.pruned],
        "kept": [dataclasses.asdict(layer) for layer in record.kept],
        "gate_difference": record.gate_difference,
        "target": task.target.describe(),
        "environment": environment(),
    }
