"""The training loop: batches, learning rate, clipping, checkpoints, log. Used for every training."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from nassuite.blocks.adder import scale_adder_gradients
from nassuite.data import Augment, Split
from nassuite.progress import SILENT, Progress
from nassuite.train.at_once import parts, statistics_over
from nassuite.train.ema import WeightAverage
from nassuite.train.optimiser import Optimiser, OptimiserName, make_optimiser
from nassuite.train.schedule import ScheduleName, learning_rate
from nassuite.train.team import ALONE, Team

CHECKPOINT_SECONDS = 60.0


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    ``lr`` is the peak of the schedule, ``clip`` the gradient's largest norm. ``ema`` is the decay of the moving
    average of the weights, 0 for none; ``mixup`` and ``cutmix`` the alphas of their Beta distributions.
    """

    epochs: int
    batch_size: int = 128
    lr: float = 0.1
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    clip: float = 5.0
    seed: int = 0
    augment: Augment | None = None
    optimiser: OptimiserName = "sgd"
    schedule: ScheduleName = "cosine"
    warmup: float = 0.2
    ema: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0


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
    team: Team = ALONE,
    at_once: Callable[[Tensor], int] | None = None,
) -> list[dict[str, float]]:
    """Trains ``module`` in place and returns the log, one entry an epoch.

    Batches and augmentation of an epoch come from a generator seeded with (seed, epoch), so a training
    that was stopped and goes on from ``checkpoints`` takes the same steps as one that was not. With
    ``config.ema`` the module is evaluated with its averaged weights, and has them at the end. Raises FloatingPointError
    where the loss is no finite number.

    ``at_once`` says how many images like one (1, C, H, W) go together: a larger batch is taken in parts, each of
    which a batch norm normalises by its own statistics (ghost batch normalisation, Hoffer et al. 2017, section 4).

    Each process of a ``team`` takes its share of every batch; the first alone reads and writes ``checkpoints`` and
    calls ``after_epoch``. A training goes on with as many processes as there are, whatever it began with.
    """
    optimiser = make_optimiser(config.optimiser, module.parameters(), weight_decay=config.weight_decay)
    average = WeightAverage(module, config.ema) if config.ema else None
    per_epoch, steps = steps_per_epoch(config, split), total_steps(config, split)
    start, log, running = _restore(module, optimiser, average, checkpoints, team)

    def save(step: int) -> None:
        if checkpoints and team.leads:
            tensors = _tensors(module, optimiser, average)
            checkpoints.save(Checkpoint(tensors, {"step": step, "log": log, "running": running}))

    saved, together = time.monotonic(), 0
    numbered = progress.track(range(start, steps), description, total=steps, done=start)
    for step, (images, labels) in zip(numbered, _stream(split, config, start, device, team), strict=False):
        optimiser.zero_grad()
        with _own_randomness(config.seed, step, device):
            together = together or (at_once(images[:1]) if at_once else len(images))
            loss = gradients_in_parts(module, backward, images, labels, step=step, together=together)
        loss = team.combine(
            module.parameters(), loss, weight=len(labels) / min(config.batch_size, len(split))
        )
        _check_finite(loss, description, step)
        nn.utils.clip_grad_norm_(module.parameters(), config.clip)
        scale_adder_gradients(module)  # sets their norms, whatever they were
        lr = learning_rate(config.schedule, step, steps, config.lr, warmup=config.warmup, log=log)
        optimiser.step(lr)
        if average:
            average.update(step)
        running.append(loss)
        epochs, left = divmod(step + 1, per_epoch)
        if left == 0:
            log.append(_entry(epochs, running, average, team, after_epoch))
            running.clear()
        if left == 0 or time.monotonic() - saved > CHECKPOINT_SECONDS:
            save(step + 1)
            saved = time.monotonic()
    optimiser.zero_grad()
    if average:
        module.load_state_dict(average.averages, strict=False)
    return log


def gradients_in_parts(
    module: nn.Module, backward: Backward, images: Tensor, labels: Tensor, *, step: int, together: int
) -> float:
    """The gradients of a batch, and its loss: means over parts, each normalised by its own statistics."""
    rows = parts(len(images), together)
    if len(rows) == 1:
        return backward(images, labels, step)
    with statistics_over(module, len(rows)):
        losses = [backward(images[part], labels[part], step) for part in rows]
    for parameter in module.parameters():
        if parameter.grad is not None:
            parameter.grad /= len(rows)
    return sum(losses) / len(losses)


def _entry(
    epoch: int,
    running: Sequence[float],
    average: WeightAverage | None,
    team: Team,
    after_epoch: Callable[[], dict[str, float]] | None,
) -> dict[str, float]:
    """The log's for an epoch: the mean loss of its steps, and what is found after it with the averaged weights."""
    entry = {"epoch": epoch, "loss": sum(running) / len(running)}
    with average.applied() if average else nullcontext():
        return entry | (team.given(after_epoch) if after_epoch else {})


def _check_finite(loss: float, description: str, step: int) -> None:
    if not math.isfinite(loss):
        raise FloatingPointError(f"{description}: the loss is {loss} at step {step}; a smaller lr may help")


@contextmanager
def _own_randomness(seed: int, step: int, device: str) -> Iterator[None]:
    """Dropout draws from the global generator: here from one of the step's own, the caller's left as it was."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if device == "cuda" else ()):
        torch.manual_seed(seed * 1_000_003 + step)
        yield


def _tensors(module: nn.Module, optimiser: Optimiser, average: WeightAverage | None) -> dict[str, Tensor]:
    tensors = {f"model.{k}": v for k, v in module.state_dict().items()}
    tensors |= {f"velocity.{k}": v for k, v in optimiser.state().items()}
    return tensors | {f"average.{k}": v for k, v in (average.averages if average else {}).items()}


def _restore(
    module: nn.Module, optimiser: Optimiser, average: WeightAverage | None, checkpoints: Checkpoints | None,
    team: Team,
) -> tuple[int, list[dict[str, float]], list[float]]:  # fmt: skip
    """Brings everything to where the checkpoints left it; in a team, to where its first process is."""
    found = checkpoints.load() if checkpoints and team.leads else None
    if found:
        _load(found.tensors, module, optimiser, average)
    begun = {"step": 0, "log": [], "running": []} if found is None else found.meta
    meta = team.given(lambda: {name: begun[name] for name in ("step", "log", "running")})
    if team.size > 1:
        _load(team.same(_tensors(module, optimiser, average)), module, optimiser, average)
    return meta["step"], meta["log"], meta["running"]


def _load(
    tensors: Mapping[str, Tensor], module: nn.Module, optimiser: Optimiser, average: WeightAverage | None
) -> None:
    groups: dict[str, dict[str, Tensor]] = {"model": {}, "velocity": {}, "average": {}}
    for name, tensor in tensors.items():
        group, _, rest = name.partition(".")
        groups[group][rest] = tensor
    module.load_state_dict(groups["model"])
    optimiser.load_state(groups["velocity"])
    if average:
        average.load_state(groups["average"])


def _stream(
    split: Split, config: TrainConfig, start: int, device: str, team: Team
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches from step ``start`` on; those of its epoch that were taken before are drawn and dropped."""
    per_epoch = steps_per_epoch(config, split)
    batch_size = min(config.batch_size, len(split))
    for epoch in range(start // per_epoch, config.epochs):
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
        batches = split.batches(
            batch_size, generator=generator, augment=config.augment, drop_last=True, device=device,
            share=(team.rank, team.size),
        )  # fmt: skip
        for number, batch in enumerate(batches):
            if epoch * per_epoch + number >= start:
                yield batch
