"""What trainings of classifiers and of segmentation networks share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from nassuite.checkpoints import FileCheckpoints
from nassuite.data import Augment
from nassuite.errors import InputError
from nassuite.options import AUTO
from nassuite.train.loop import TrainConfig
from nassuite.train_settings import TrainSettings

PEAK_LR = {"sgd": 0.1, "rmsprop": 0.01, "adamw": 0.002}
"""For batches of 128; it grows and falls with the batch (Goyal et al. 2017, section 2.1)."""


@dataclass(frozen=True, eq=False)
class Job:
    """A training that was checked and can begin: ``run`` trains into a folder, and writes result.json last."""

    settings: TrainSettings
    data_digest: str
    run: Callable[[Path], None]


def with_device_and_lr(settings: TrainSettings) -> TrainSettings:
    """Resolves what the machine and other settings decide. Raises InputError without the device asked for."""
    lr = settings.lr or PEAK_LR[settings.optimizer] * settings.batch_size / 128
    return dataclasses.replace(settings, device=cuda_or_cpu(settings.device), lr=lr)


def cuda_or_cpu(device: str) -> str:
    """What "auto" means on this machine. Raises InputError where "cuda" is asked for and not there."""
    if device == AUTO:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: this machine has no CUDA device; use --device cpu or auto")
    return device


def train_config(settings: TrainSettings, augment: Augment) -> TrainConfig:
    assert settings.lr is not None
    return TrainConfig(
        settings.epochs, settings.batch_size, settings.lr,
        weight_decay=settings.weight_decay, label_smoothing=settings.label_smoothing, seed=settings.seed,
        augment=augment, optimiser=settings.optimizer, schedule=settings.schedule,  # type: ignore[arg-type]
        warmup=settings.warmup, ema=settings.ema, mixup=settings.mixup, cutmix=settings.cutmix,
    )  # fmt: skip


def seconds_before(out: Path) -> float:
    """What an interrupted training in ``out`` had taken."""
    meta = FileCheckpoints(out / "checkpoint.safetensors").meta()
    return meta["log"][-1].get("seconds", 0.0) if meta and meta["log"] else 0.0
