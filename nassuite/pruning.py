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

from nassuite.checkpoints import FileCheckpoints
from nassuite.compress.goal import Goal, Judge
from nassuite.compress.importance import OF_THE_LOSS
from nassuite.compress.steps import Plan, measure_candidates, prepare, prune_in_steps
from nassuite.compress.widths import PruneConfig
from nassuite.data import Data, default_augment
from nassuite.latency.choice import chosen_target
from nassuite.latency.meter import Meter, measure
from nassuite.latency.remote import meter_of
from nassuite.latency.target import Target, vector_channels
from nassuite.metrics import score
from nassuite.onnx_export import export_onnx
from nassuite.options import AUTO
from nassuite.progress import SILENT, Progress
from nassuite.prune_settings import PruneSettings
from nassuite.pruning_result import Pruned, read_result, write_result
from nassuite.pruning_source import Brought, bring_model
from nassuite.records import cpu_info, write_toml
from nassuite.run_directory import (
    RunDirectory,
    begin_or_resume,
    check_unchanged,
    remembering,
)
from nassuite.settings import to_table
from nassuite.train.distill import SoftLabels, train_network
from nassuite.train.loop import TrainConfig
from nassuite.train.recalibrate import predict
from nassuite.training_job import cuda_or_cpu

SCORING_IMAGES = 1024
"""Training images from which scores of the loss are worked out."""


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
    run = RunDirectory(out)
    found = begin_or_resume(
        out / "prune.toml", PruneSettings, settings, what="pruning", resume=resume, command=command
    )
    settings, facts = found
    brought = _brought(settings, progress)
    if not resume:
        settings, facts["align"] = resolved(settings, progress)
    target, meter = _where(settings, brought, out, meter=meter, progress=progress)
    task = _Task(settings, brought, target, meter, progress, out)
    check_facts(facts, brought, out)
    plan = _plan(task)
    # By hand something is to be measured before anything is known, and the run waits for it.
    prepared = None if resume or settings.by_hand else prepare(task.dense, plan, name=settings.model)
    if not resume:
        run.create()
    with run.locked():
        if not resume:
            write_toml(out / "prune.toml", {**facts, "settings": to_table(settings)})
        if not (out / "pruning.json").is_file():
            if settings.by_hand and plan.judge is not None and not (out / "steps.jsonl").is_file():
                measure_candidates(task.dense, plan)
                prepared = prepare(task.dense, plan, name=settings.model)
            plan = dataclasses.replace(plan, remember=remembering(out / "steps.jsonl"))
            pruned, record = prune_in_steps(task.dense, plan, prepared)
            write_result(
                out, task.brought, pruned, record,
                settings=settings, facts=facts, target=target, meter=meter, progress=progress,
            )  # fmt: skip
        return read_result(out)


def _where(
    settings: PruneSettings, brought: Brought, out: Path, *, meter: Meter, progress: Progress
) -> tuple[Target, Meter]:
    """What latencies are of, and what measures there; ``auto`` is decided by the dense model on known images."""
    if settings.target is not None:
        again = f"nassuite prune --resume {shlex.quote(str(out))}"
        return meter_of(settings.target, threads=settings.threads, folder=out / "device", go_on=again)
    target = chosen_target(
        settings.runtime, settings.precision, threads=settings.threads, progress=progress,
        export=lambda path: export_onnx(brought.model, path, input_shape=brought.shape, check=False),
        images=next(brought.data.val.batches(256, channels_last=False))[0].numpy(),
    )  # fmt: skip
    return target, meter


def resolved(settings: PruneSettings, progress: Progress) -> tuple[PruneSettings, str]:
    """The settings with what this machine decides, and where their alignment comes from."""
    channels, reason = vector_channels(cpu_info())
    filled = settings.resolved(vector_channels=channels)
    if settings.align != AUTO:
        return filled, f"{settings.align}, as asked for"
    progress.say(f"widths become multiples of {channels}: {reason} (--align)")
    return filled, f"{channels}: {reason}"


def _brought(settings: PruneSettings, progress: Progress) -> Brought:
    return bring_model(
        settings.model, weights=settings.weights, data=settings.data, size=settings.size,
        train_images=settings.train_images, seed=settings.seed, progress=progress,
    )  # fmt: skip


def check_facts(facts: dict[str, Any], brought: Brought, out: Path) -> None:
    """Fills in what the model and the images are; InputError if a run that goes on finds others."""
    digest = hashlib.sha256()
    for name, tensor in brought.model.state_dict().items():
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    found = {"data": brought.data.digest, "model": digest.hexdigest()[:16]}
    check_unchanged(facts, found, out, "pruning")


def plan_of(
    settings: PruneSettings,
    dense: nn.Module,
    example: Tensor,
    *,
    target: Target,
    meter: Meter = measure,
    progress: Progress = SILENT,
) -> Plan:
    """What resolved settings mean for a network; it fine-tunes nothing and knows no images but ``example``."""
    assert settings.strategy is not None
    assert settings.steps is not None
    name, wanted = settings.goal
    judge = None
    if name != "ratio":
        goal = Goal(name, wanted, settings.percentile)  # type: ignore[arg-type]
        _, channels, height, width = example.shape
        judge = Judge(goal, dense, (channels, height, width), target, meter, settings.seed)
    config = PruneConfig(
        0.0, settings.importance, settings.scope, int(settings.align), settings.seed,  # type: ignore[arg-type]
    )  # fmt: skip
    return Plan(
        settings.strategy,  # type: ignore[arg-type]
        config, settings.steps, example, judge, ratio=settings.ratio, progress=progress,
    )  # fmt: skip


def _plan(task: _Task) -> Plan:
    """With the task's images, and its fine-tuning."""
    settings, data = task.settings, task.data
    scoring = data.train.subset(SCORING_IMAGES, settings.seed)

    def batches() -> Iterable[tuple[Tensor, Tensor]] | None:
        return scoring.batches(128) if settings.importance in OF_THE_LOSS else None

    def accuracy(network: nn.Module) -> float:
        return score(predict(network, (x for x, _ in data.val.batches(512))), data.val.labels)

    example = next(data.val.batches(8, channels_last=False))[0]
    plan = plan_of(
        settings, task.dense, example, target=task.target, meter=task.meter, progress=task.progress
    )
    return dataclasses.replace(
        plan,
        batches=batches,
        tune=lambda network, step, last: _tune(task, network, step, last),
        short_tune=lambda network, step: _short_tune(task, network, step),
        accuracy=accuracy,
    )


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
        epochs,
        settings.batch_size,
        settings.lr,
        seed=settings.seed + step,
        augment=default_augment(task.data),
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
