"""Training a plain network, from labels alone or with a teacher's soft labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nassuite.blocks.learned_group_conv import condense, group_lasso, has_learned_groups
from nassuite.data import Split
from nassuite.progress import SILENT, Progress
from nassuite.train.loop import Checkpoints, TrainConfig, total_steps, train
from nassuite.train.mix import mix
from nassuite.train.recalibrate import predict
from nassuite.train.sandwich import resize, soft_cross_entropy

GROUP_LASSO = 1e-5
"""Its weight for learned group convolutions (CondenseNet, Huang et al. 2018, section 4.1)."""
AUX_WEIGHT = 0.3
"""An auxiliary head's share (GoogLeNet, Szegedy et al. 2015, section 5)."""


@dataclass(frozen=True)
class SoftLabels:
    """What a teacher says of every image of a split, as a share of the student's loss.

    The teacher sees each image once, as it is, and the student its augmented forms: a large teacher in
    every step would cost more than the student itself. ``weight`` is the soft labels' share of the loss
    at the first step; it falls to nothing by the last one (teacher annealing, Clark et al. 2019,
    section 3.2), because a student may well end above a teacher that saw few epochs. ``temperature``
    softens both sides (Hinton et al. 2015, section 2).
    """

    teacher: nn.Module
    resolution: int
    weight: float = 0.5
    temperature: float = 2.0

    def logits(self, split: Split, device: str = "cpu") -> Tensor:
        """(N, classes), one row for each image of ``split``, in order."""
        batches = (images for images, _ in split.batches(256, device=device))
        return predict(self.teacher.to(device), batches, self.resolution)


def train_network(
    network: nn.Module,
    split: Split,
    config: TrainConfig,
    *,
    resolution: int,
    soft_labels: SoftLabels | None = None,
    description: str = "training",
    device: str = "cpu",
    class_weights: Tensor | None = None,
    checkpoints: Checkpoints | None = None,
    progress: Progress = SILENT,
    after_epoch: Callable[[], dict[str, float]] | None = None,
) -> list[dict[str, float]]:
    """Trains ``network`` in place on images resized to ``resolution``; returns the log."""
    network.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    labels_of = split.labels.to(device)
    numbered = replace(split, labels=torch.arange(len(split)))
    steps = total_steps(config, split)
    # At the first step, so that a training that was finished before asks the teacher nothing.
    taught = cache(lambda: soft_labels.logits(split, device) if soft_labels else None)

    def loss_of(logits: Tensor, rows: Tensor, share: float) -> Tensor:
        hard = F.cross_entropy(
            logits, labels_of[rows], weight=class_weights, label_smoothing=config.label_smoothing
        )
        known = taught()
        if soft_labels is None or known is None:
            return hard
        t = soft_labels.temperature
        soft = soft_cross_entropy(logits / t, F.softmax(known[rows] / t, 1)) * t * t
        return (1 - share) * hard + share * soft

    learns_groups = has_learned_groups(network)

    def backward(images: Tensor, rows: Tensor, step: int) -> float:
        if learns_groups:
            condense(network, step / steps)
        rng = np.random.default_rng((config.seed, step))
        images = resize(images, resolution)
        mixed = mix(images, mixup=config.mixup, cutmix=config.cutmix, rng=rng)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            outputs = _all_logits(network, mixed.images if mixed else images)
        share = soft_labels.weight * (1 - step / steps) if soft_labels else 0.0
        loss = GROUP_LASSO * group_lasso(network) if learns_groups else torch.zeros((), device=device)
        for weight, logits in outputs:
            own = loss_of(logits.float(), rows, share)
            if mixed:
                own = mixed.share * own + (1 - mixed.share) * loss_of(
                    logits.float(), rows[mixed.partner], share
                )
            loss = loss + weight * own
        loss.backward()
        return loss.item()

    def evaluated() -> dict[str, float]:
        entry = after_epoch() if after_epoch else {}
        network.train()
        return entry

    log = train(
        network, numbered, config, backward,
        description=description, device=device, checkpoints=checkpoints, progress=progress,
        after_epoch=evaluated,
    )  # fmt: skip
    network.eval()
    return log


def _all_logits(network: Any, images: Tensor) -> list[tuple[float, Tensor]]:
    """The logits of the head, and those of auxiliary heads with their weights."""
    if not len(getattr(network, "aux_heads", ())):
        return [(1.0, network(images))]
    logits, aux = network.forward_with_aux(images)
    return [(1.0, logits), *((AUX_WEIGHT, other) for other in aux)]
