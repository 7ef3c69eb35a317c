"""The training loop: batches, learning rate, clipping, checkpoints, log. Used for every training."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from nassuite.data import Augment, Split
from nassuite.progress import SILENT, Progress
from nassuite.train.optimiser import MaskedSGD, one_cycle

CHECKPOINT_SECONDS = 60.0


@dataclass(frozen=True)
class TrainConfig:
    """How to train. ``lr`` is the peak of the one-cycle schedule, ``clip`` the gradient's largest norm."""

    epochs: int
    batch_size: int = 128
    lr: float = 0.1
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    clip: float = 5.0
    seed: int = 0
    augment: Augment | None = None


@dataclass
class Checkpoint:
    """Everything needed to go on: tensors, and JSON values beside them."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any] = field(default_factory=dict)


class Checkpoints(Protocol):
    """Where a long stage keeps its state; the stage itself knows no path."""

    def load(self) -> Checkpoint | None: ...

    def save(self, checkpoint: Checkpoint) -> None: ...


Backward = Callable[[Tensor, Tensor, int], float]
"""(images, labels, step) to the loss, with gradients left in the parameters."""


def steps_per_epoch(config: TrainConfig, split: Split) -> int:
    return max(1, len(split) // config.batch_size)


def total_steps(config: TrainConfig, split: Split) -> int:
    return steps_per_epoch(config, split) * config.epochs


def train(
    module: nn.Module,
    split: Split,
    config: TrainConfig,
    backward: Backward,
    *,
    description: str,
    device: str = "cpu",
    checkpoints: Checkpoints | None = None,
    progress: Progress = SILENT,
    after_epoch: Callable[[], dict[str, float]] | None = None,
) -> list[dict[str, float]]:
    """Trains ``module`` in place and returns the log, one entry an epoch.

    Batches and augmentation of an epoch come from a generator seeded with (seed, epoch), so a training
    that was stopped and goes on from ``checkpoints`` takes the same steps as one that was not.
    """
    optimiser = MaskedSGD(module.parameters(), weight_decay=config.weight_decay)
    per_epoch = steps_per_epoch(config, split)
    steps = total_steps(config, split)
    start, log, running = _restore(module, optimiser, checkpoints)

    def save(step: int) -> None:
        if checkpoints:
            tensors = {f"model.{k}": v for k, v in module.state_dict().items()}
            tensors |= {f"velocity.{k}": v for k, v in optimiser.state().items()}
            checkpoints.save(Checkpoint(tensors, {"step": step, "log": log, "running": running}))

    saved = time.monotonic()
    numbered = progress.track(range(start, steps), description, total=steps, done=start)
    for step, (images, labels) in zip(numbered, _stream(split, config, start, steps, device), strict=False):
        optimiser.zero_grad()
        loss = backward(images, labels, step)
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"{description}: the loss is {loss} at step {step}; a smaller lr may help"
            )
        nn.utils.clip_grad_norm_(module.parameters(), config.clip)
        optimiser.step(one_cycle(step, steps, config.lr))
        running.append(loss)
        if (step + 1) % per_epoch == 0:
            entry = {"epoch": (step + 1) // per_epoch, "loss": sum(running) / len(running)}
            log.append(entry | (after_epoch() if after_epoch else {}))
            running.clear()
        if (step + 1) % per_epoch == 0 or time.monotonic() - saved > CHECKPOINT_SECONDS:
            save(step + 1)
            saved = time.monotonic()
    optimiser.zero_grad()
    return log


def _restore(
    module: nn.Module, optimiser: MaskedSGD, checkpoints: Checkpoints | None
) -> tuple[int, list[dict[str, float]], list[float]]:
    found = checkpoints.load() if checkpoints else None
    if found is None:
        return 0, [], []
    groups: dict[str, dict[str, Tensor]] = {"model": {}, "velocity": {}}
    for name, tensor in found.tensors.items():
        group, _, rest = name.partition(".")
        groups[group][rest] = tensor
    module.load_state_dict(groups["model"])
    optimiser.load_state(groups["velocity"])
    return found.meta["step"], found.meta["log"], found.meta["running"]


def _stream(
    split: Split, config: TrainConfig, start: int, steps: int, device: str
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches from step ``start`` on; those of its epoch that were taken before are drawn and dropped."""
    per_epoch = steps_per_epoch(config, split)
    batch_size = min(config.batch_size, len(split))
    for epoch in range(start // per_epoch, steps // per_epoch):
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
        batches = split.batches(
            batch_size, generator=generator, augment=config.augment, drop_last=True, device=device
        )
        for number, batch in enumerate(batches):
            if epoch * per_epoch + number >= start:
                yield batch
