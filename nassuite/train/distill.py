"""Training a plain network, from labels alone or with a teacher's soft labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
from nassuite.train.at_once import trained_at_once
from nassuite.train.loop import Backward, Checkpoints, TrainConfig, total_steps, train
from nassuite.train.mix import mix
from nassuite.train.recalibrate import predict
from nassuite.train.sandwich import resize
from nassuite.train.teaching import LOSSES, LossName, taught_loss

GROUP_LASSO = 1e-5
"""Its weight for learned group convolutions (CondenseNet, Huang et al. 2018, section 4.1)."""
AUX_WEIGHT = 0.3
"""An auxiliary head's share (GoogLeNet, Szegedy et al. 2015, section 5)."""

Told = Callable[[Tensor], tuple[Tensor, float]] | None


@dataclass(frozen=True)
class SoftLabels:
    """What a teacher says of the images of a split, and what of a student's loss that is.

    With ``cache`` the teacher sees each image once, as it is, and with ``mirror`` its mirror image too (then the mean
    of both logits teaches either): a large teacher in every step costs more than the student itself. Without, it
    sees the very views that the student sees, which teaches better (Beyer et al. 2022, section 3.1).

    ``loss`` names the term (``teaching.LOSSES``), ``temperature`` softens both sides. ``weight`` is the term's at the
    first step; with ``falling`` it goes to nothing by the last one (teacher annealing, Clark et al. 2019, section
    3.2), because a student may well end above a teacher that saw few epochs.
    """

    teacher: nn.Module
    resolution: int
    weight: float = 0.5
    temperature: float = 2.0
    loss: LossName = "soft"
    falling: bool = True
    cache: bool = True
    mirror: bool = False

    def logits(self, split: Split, device: str = "cpu") -> Tensor:
        """(N, classes), one row for each image of ``split``, in order."""

        def seen(mirrored: bool) -> Iterator[Tensor]:
            for images, _ in split.batches(256, device=device):
                yield images.flip(3) if mirrored else images

        teacher = self.teacher.to(device)
        logits = predict(teacher, seen(False), self.resolution)
        return (logits + predict(teacher, seen(True), self.resolution)) / 2 if self.mirror else logits

    @torch.no_grad()
    def views(self, images: Tensor) -> Tensor:
        """Logits of the very images (N, C, H, W) that a student is shown."""
        return self.teacher.to(images.device).eval()(resize(images, self.resolution)).float()


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
    numbered = replace(split, labels=torch.arange(len(split)))
    step = _training_step(
        network, split, config, resolution=resolution, soft_labels=soft_labels, device=device, class_weights=class_weights
    )  # fmt: skip

    def evaluated() -> dict[str, float]:
        entry = after_epoch() if after_epoch else {}
        network.train()
        return entry

    log = train(
        network, numbered, config, step,
        description=description, device=device, checkpoints=checkpoints, progress=progress,
        after_epoch=evaluated, at_once=lambda image: trained_at_once(network, image.new_zeros(1, image.shape[1], resolution, resolution)),
    )  # fmt: skip
    network.eval()
    return log


def _training_step(
    network: nn.Module,
    split: Split,
    config: TrainConfig,
    *,
    resolution: int,
    soft_labels: SoftLabels | None,
    device: str,
    class_weights: Tensor | None,
) -> Backward:
    """Leaves the gradients of a batch in ``network``; the labels that it takes are rows of ``split``."""
    labels_of = split.labels.to(device)
    steps = total_steps(config, split)
    told = _asking(soft_labels, split, steps, device)
    learns_groups = has_learned_groups(network)

    def loss_of(logits: Tensor, rows: Tensor, says: Told) -> Tensor:
        labels = labels_of[rows]
        hard = F.cross_entropy(logits, labels, weight=class_weights, label_smoothing=config.label_smoothing)
        if soft_labels is None or says is None:
            return hard
        teacher, weight = says(rows)
        term = LOSSES[soft_labels.loss](logits, teacher, labels, soft_labels.temperature)
        return taught_loss(soft_labels.loss, hard, term, weight)

    def backward(images: Tensor, rows: Tensor, step: int) -> float:
        if learns_groups:
            condense(network, step / steps)
        rng = np.random.default_rng((config.seed, step))
        images = resize(images, resolution)
        mixed = mix(images, mixup=config.mixup, cutmix=config.cutmix, rng=rng)
        images = mixed.images if mixed else images
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            outputs = _all_logits(network, images)
            says = told(images, step)
        loss = GROUP_LASSO * group_lasso(network) if learns_groups else torch.zeros((), device=device)
        for weight, logits in outputs:
            own = loss_of(logits.float(), rows, says)
            if mixed:
                other = loss_of(logits.float(), rows[mixed.partner], says)
                own = mixed.share * own + (1 - mixed.share) * other
            loss = loss + weight * own
        loss.backward()
        return loss.item()

    return backward


def _asking(
    soft_labels: SoftLabels | None, split: Split, steps: int, device: str
) -> Callable[[Tensor, int], Told]:
    """What the teacher says of a step's images: logits by their rows in ``split``, with their weight."""
    # At the first step, so that a training that was finished before asks the teacher nothing.
    cached = cache(lambda: soft_labels.logits(split, device) if soft_labels and soft_labels.cache else None)

    def told(images: Tensor, step: int) -> Told:
        if soft_labels is None:
            return None
        weight = soft_labels.weight * (1 - step / steps if soft_labels.falling else 1)
        known = cached()
        if known is not None:
            return lambda rows: (known[rows], weight)
        views = soft_labels.views(images)
        return lambda rows: (views, weight)

    return told


def _all_logits(network: Any, images: Tensor) -> list[tuple[float, Tensor]]:
    """The logits of the head, and those of auxiliary heads with their weights."""
    if not len(getattr(network, "aux_heads", ())):
        return [(1.0, network(images))]
    logits, aux = network.forward_with_aux(images)
    return [(1.0, logits), *((AUX_WEIGHT, other) for other in aux)]
