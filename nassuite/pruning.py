"""A network made smaller until a target is met, in a run directory of its own: ``nassuite prune``.

DIR/prune.toml (settings as resolved, facts), steps.jsonl (what was measured and cut), training/ (checkpoints of
the fine-tunings), then model.safetensors with model.json, dense.onnx, model.onnx with labels.txt, and last
pruning.json. The same cuts and training steps interrupted or not.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from nassuite.classifying import evaluate_file
from nassuite.compress.goal import Goal, GoalKind, Judge
from nassuite.compress.importance import OF_THE_LOSS
from nassuite.compress.prune import PruneRecord, merged
from nassuite.compress.steps import Plan, prepare, prune_in_steps
from nassuite.compress.widths import PruneConfig
from nassuite.data import Data, default_augment
from nassuite.errors import InputError
from nassuite.export import export_onnx
from nassuite.latency.certificate import Certificate, certify
from nassuite.latency.cost import cost
from nassuite.latency.meter import Measurement, Meter, measure
from nassuite.latency.target import Target, vector_channels
from nassuite.metrics import score
from nassuite.model_source import Brought, bring_model
from nassuite.models import save_model
from nassuite.progress import SILENT, Progress
from nassuite.prune_settings import PruneSettings
from nassuite.records import SCHEMA_VERSION, cpu_info, environment, read_json, write_json, write_text
from nassuite.run_directory import FileCheckpoints, RunDirectory, read_settings, remembering
from nassuite.settings import to_table, write_toml
from nassuite.train.distill import SoftLabels, train_network
from nassuite.train.loop import TrainConfig
from nassuite.train.recalibrate import predict
from nassuite.training_job import cuda_or_cpu

SCORING_IMAGES = 1024
"""Training images from which scores of the loss are worked out."""


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
    """What a pruning led to. ``met`` says whether the target holds for the file in ``folder``, as measured.

    ``rows`` are the dense and the pruned model; ``record`` is what was cut of the dense one.
    """

    folder: Path
    rows: tuple[Row, Row]
    record: PruneRecord
    met: bool
    certificate: Certificate | None


@dataclass(frozen=True, eq=False)
class _Task:
    """What every part of a pruning needs."""

    settings: PruneSettings
    brought: Brought
    target: Target
    meter: Meter
    progress: Progress
    out: Path

    @property
    def data(self) -> Data:
        return self.brought.data

    @property
    def dense(self) -> nn.Module:
        return self.brought.model

    @property
    def goal(self) -> Goal | None:
        """None where the ratio itself is the target."""
        name, wanted = self.settings.target
        kinds: dict[str, GoalKind] = {
            "target_ms": "target_ms", "speedup": "speedup", "target_macs": "target_macs",
            "target_params": "target_params",
        }  # fmt: skip
        return Goal(kinds[name], wanted, self.settings.percentile) if name in kinds else None


def prune_model(
    settings: PruneSettings | None,
    *,
    out: Path,
    resume: bool = False,
    meter: Meter = measure,
    progress: Progress = SILENT,
    command: Sequence[str] | None = None,
) -> Pruned:
    """Prunes ``settings.model`` into the folder ``out``; with ``resume`` goes on with the settings found there.

    Validation images decide, test is read once, at the end. Raises InputError for anything wrong with the input,
    and where the target cannot be reached; nothing is left behind then.
    """
    run, facts = RunDirectory(out), {}
    if resume:
        settings, facts = read_settings(out / "prune.toml", PruneSettings, "pruning")
    elif settings is None:
        raise InputError("no settings: give a model, or --resume")
    else:
        if (out / "prune.toml").is_file():
            raise InputError(f"--out {out} is a pruning: continue it with --resume {out}, or give another")
        run.check_new()
        facts = {"command": shlex.join(command) if command else "prune_model(...)"}
        channels, reason = vector_channels(cpu_info())
        if settings.align == "auto":
            progress.say(f"widths become multiples of {channels}: {reason} (--align)")
            facts["align"] = f"{channels} taken, because {reason}"
        settings = settings.resolved(vector_channels=channels)
    target = Target(threads=settings.threads)
    task = _Task(settings, _brought(settings, progress), target, meter, progress, out)
    _check_facts(facts, task)
    plan = _plan(task)
    prepared = None if resume else prepare(task.dense, plan, name=settings.model)
    if not resume:
        run.create()
    with run.locked():
        if not resume:
            write_toml(out / "prune.toml", {**facts, "settings": to_table(settings)})
        if not (out / "pruning.json").is_file():
            plan = dataclasses.replace(plan, remember=remembering(out / "steps.jsonl"))
            pruned, record = prune_in_steps(task.dense, plan, prepared)
            _finish(task, pruned, record, facts)
        return _read_result(out)


def _brought(settings: PruneSettings, progress: Progress) -> Brought:
    return bring_model(
        settings.model, weights=settings.weights, data=settings.data, size=settings.size,
        train_images=settings.train_images, seed=settings.seed, progress=progress,
    )  # fmt: skip


def _check_facts(facts: dict[str, Any], task: _Task) -> None:
    """Fills in what the model and the images are; InputError if a run that goes on finds others."""
    digest = hashlib.sha256()
    for name, tensor in task.dense.state_dict().items():
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    for fact, found, what in (
        ("data_digest", task.data.digest, "images"),
        ("model_digest", digest.hexdigest()[:16], "weights"),
    ):
        if facts.setdefault(fact, found) != found:
            raise InputError(f"{task.out} began with other {what} than there are now: start a new pruning")


def _plan(task: _Task) -> Plan:
    settings, goal = task.settings, task.goal
    scoring = task.data.train.subset(SCORING_IMAGES, settings.seed)
    judge = (
        Judge(goal, task.dense, task.brought.shape, task.target, task.meter, settings.seed) if goal else None
    )

    def batches() -> Iterable[tuple[Tensor, Tensor]] | None:
        return scoring.batches(128) if settings.importance in OF_THE_LOSS else None

    def accuracy(network: nn.Module) -> float:
        val = task.data.val
        return score(predict(network, (x for x, _ in val.batches(512))), val.labels, metric="top1")

    assert settings.strategy is not None
    assert settings.steps is not None
    return Plan(
        strategy=settings.strategy,  # type: ignore[arg-type]
        config=PruneConfig(
            0.0, settings.importance, settings.scope, int(settings.align), settings.seed  # type: ignore[arg-type]
        ),
        steps=settings.steps,
        example=next(task.data.val.batches(8, channels_last=False))[0],
        judge=judge,
        ratio=settings.ratio,
        batches=batches,
        tune=lambda network, step, last: _tune(task, network, step, last),
        short_tune=lambda network, step: _short_tune(task, network, step),
        accuracy=accuracy,
        progress=task.progress,
    )  # fmt: skip


def epochs_after(step: int, last: bool, *, steps: int, epochs: int) -> int:
    """Equal numbers for all planned steps but the last, which gets what is left; unplanned ones get none."""
    each = epochs // steps
    if last:
        return epochs - each * min(step, steps - 1)
    return each if step < steps - 1 else 0


def _tune(task: _Task, network: nn.Module, step: int, last: bool) -> None:
    """Distils ``network`` from the dense model, in place."""
    settings = task.settings
    assert settings.steps is not None
    epochs = epochs_after(step, last, steps=settings.steps, epochs=settings.finetune_epochs)
    if settings.strategy == "netadapt":
        _short_tune(task, network, step)
        epochs = settings.finetune_epochs if last else 0
    if epochs == 0:
        return
    config = TrainConfig(
        epochs, settings.batch_size, settings.lr, seed=settings.seed + step, augment=default_augment(task.data)
    )
    train_network(
        network, task.data.train, config, resolution=task.data.size,
        soft_labels=SoftLabels(task.dense, task.data.size),
        description=f"distilling the pruned model, step {step + 1}", device=cuda_or_cpu(settings.device),
        checkpoints=FileCheckpoints(task.out / "training" / f"step-{step}.safetensors"), progress=task.progress,
    )  # fmt: skip
    network.cpu().eval()
    task.dense.cpu()


def _short_tune(task: _Task, network: nn.Module, step: int) -> None:
    """One pass over a few images with their labels alone: the same for every candidate of a step."""
    settings = task.settings
    if settings.finetune_epochs == 0:
        return
    few = task.data.train.subset(settings.short_images, settings.seed + step)
    config = TrainConfig(
        1, settings.batch_size, settings.lr, seed=settings.seed + step, augment=default_augment(task.data)
    )
    train_network(
        network, few, config, resolution=task.data.size, device=cuda_or_cpu(settings.device),
        description="fine-tuning shortly",
    )  # fmt: skip
    network.cpu().eval()


def _finish(task: _Task, pruned: nn.Module, record: PruneRecord, facts: dict[str, Any]) -> None:
    """Exports both, measures both in the same rounds, reads test, writes what was found."""
    settings, data, out, description = task.settings, task.data, task.out, task.brought.description
    before = PruneRecord.from_json(description.cuts) if description.cuts else None
    save_model(
        out, pruned, dataclasses.replace(description, cuts=merged(before, record).to_json())
    )
    images = next(data.val.batches(256, channels_last=False))[0]
    paths = [out / "dense.onnx", out / "model.onnx"]
    for model, path in zip((task.dense, pruned), paths, strict=True):
        export_onnx(model, path, input_shape=task.brought.shape, images=images)
    measurements = task.meter(paths, task.target, progress=task.progress, seed=settings.seed)
    rows = []
    for name, model, path, m in zip(
        ("dense", "pruned"), (task.dense, pruned), paths, measurements, strict=True
    ):
        val, test = (evaluate_file(path, split) for split in (data.val, data.test))
        counted = cost(model, task.brought.shape)
        rows.append(
            Row(
                name, counted.params, counted.macs, m.p50_ms, m.p90_ms, m.ratio / measurements[0].ratio,
                val["accuracy"], test["accuracy"], tuple(test["interval"]),
            )
        )  # fmt: skip
    met = True
    kind, wanted = settings.target
    if kind == "target_ms":
        certificate = certify(measurements[1], wanted, percentile=settings.percentile)
        met = certificate.verdict == "pass"
        write_json(out / "certificate.json", certificate.to_json())
    elif kind == "speedup":
        met = measurements[0].ratio / measurements[1].ratio >= wanted
    write_text(out / "labels.txt", "".join(f"{label}\n" for label in data.labels))
    write_json(
        out / "pruning.json",
        {
            "schema_version": SCHEMA_VERSION,
            **facts,
            "settings": to_table(settings),
            "met": met,
            "models": [dataclasses.asdict(row) for row in rows],
            "pruned": [dataclasses.asdict(layer) for layer in record.pruned],
            "kept": [dataclasses.asdict(layer) for layer in record.kept],
            "gate_difference": record.gate_difference,
            "record": record.to_json(),
            "target": task.target.describe(),
            "environment": environment(),
        },
    )


def _read_result(out: Path) -> Pruned:
    try:
        value = read_json(out / "pruning.json")
        dense, pruned = (
            Row(**{**row, "test_interval": tuple(row["test_interval"])}) for row in value["models"]
        )
        certificate = None
        if (path := out / "certificate.json").is_file():
            stored = read_json(path)
            certificate = certify(
                Measurement.from_json(stored["measurement"]), stored["budget_ms"],
                percentile=stored["percentile"], confidence=stored["confidence"],
            )  # fmt: skip
        return Pruned(
            out, (dense, pruned), PruneRecord.from_json(value["record"]), value["met"], certificate
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{out / 'pruning.json'} is damaged ({error}): delete it, and --resume makes it"
        ) from None
