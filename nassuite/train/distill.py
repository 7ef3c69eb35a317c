"""Training a plain network, from labels alone or with a teacher's soft labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nassuite.data import Split
from nassuite.progress import SILENT, Progress
from nassuite.train.loop import Checkpoints, TrainConfig, train
from nassuite.train.sandwich import resize, soft_cross_entropy


@dataclass(frozen=True)
class Distillation:
    """Hinton et al. 2015, section 2: ``weight`` is the soft labels' share of the loss."""

    teacher: nn.Module
    teacher_resolution: int
    weight: float = 0.5
    temperature: float = 2.0


def train_network(
    network: nn.Module,
    split: Split,
    config: TrainConfig,
    *,
    resolution: int,
    distillation: Distillation | None = None,
    description: str = "training",
    device: str = "cpu",
    class_weights: Tensor | None = None,
    checkpoints: Checkpoints | None = None,
    progress: Progress = SILENT,
    after_epoch: Callable[[], dict[str, float]] | None = None,
) -> list[dict[str, float]]:
    """Trains ``network`` in place on images resized to ``resolution``; returns the log."""
    network.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    if distillation:
        distillation.teacher.to(device).eval()

    def backward(images: Tensor, labels: Tensor, step: int) -> float:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            logits = network(resize(images, resolution))
        loss = F.cross_entropy(
            logits.float(), labels, weight=class_weights, label_smoothing=config.label_smoothing
        )
        if distillation:
            t = distillation.temperature
            with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
                taught = distillation.teacher(resize(images, distillation.teacher_resolution))
            soft = soft_cross_entropy(logits.float() / t, F.softmax(taught.float() / t, 1)) * t * t
            loss = (1 - distillation.weight) * loss + distillation.weight * soft
        loss.backward()
        return loss.item()

    def evaluated() -> dict[str, float]:
        entry = after_epoch() if after_epoch else {}
        network.train()
        return entry

    log = train(
        network, split, config, backward,
        description=description, device=device, checkpoints=checkpoints, progress=progress,
        after_epoch=evaluated,
    )  # fmt: skip
    network.eval()
    return log
