"""Training a supernet: sandwich rule, in-place distillation, operators seen equally often.

BigNAS (Yu et al. 2020, section 3.1) for the sandwich and the soft labels; FairNAS (Chu et al. 2021,
section 3.2) for strict fairness among operators.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from nassuite.data import Split
from nassuite.nn.supernet import Supernet
from nassuite.progress import SILENT, Progress
from nassuite.space import Genes, Space
from nassuite.spec import Arch
from nassuite.train.loop import Backward, Checkpoints, TrainConfig, train
from nassuite.train.team import ALONE, Team

SOFT_SHARE = 0.5
"""The largest subnet's soft labels' share of the others' loss. BigNAS has 1, for ImageNet's 400 epochs; in the few
epochs here a teacher that knows little yet holds the others back (165 steps on digits: 32 % against 66 %)."""


def draw_sandwich(space: Space, rng: random.Random) -> list[Arch]:
    """The subnets of one step: the largest, the smallest, and random ones in between.

    Largest and smallest are those of every elastic size. For each layer, every operator is dealt to the
    same number of the subnets, so in a step in which all of them are deep enough each was
    seen equally often, and none more than once too often in any other.
    """
    count = space.step_subnets
    subnets: list[Genes] = [
        space.extreme_genes("largest"),
        space.extreme_genes("smallest"),
        *({name: rng.choice(choices) for name, choices in space.genes.items()} for _ in range(count - 2)),
    ]
    for name, choices in space.genes.items():
        if name.endswith(".operator"):
            dealt = list(choices) * (count // len(choices))
            rng.shuffle(dealt)
            for genes, operator in zip(subnets, dealt, strict=True):
                genes[name] = operator
        elif name.endswith(".act"):
            for genes in subnets[:2]:
                genes[name] = rng.choice(choices)
    return [space.decode(genes) for genes in subnets]


def resize(images: Tensor, resolution: int) -> Tensor:
    """Images (N, C, H, W) to (N, C, resolution, resolution)."""
    if images.shape[-1] == resolution:
        return images
    return F.interpolate(images, size=resolution, mode="bilinear", antialias=True)


def soft_cross_entropy(logits: Tensor, soft_labels: Tensor) -> Tensor:
    """KL divergence from ``soft_labels`` (N, classes) up to a constant; both in float32."""
    return -(soft_labels * F.log_softmax(logits.float(), 1)).sum(1).mean()


def train_supernet(
    supernet: Supernet,
    split: Split,
    config: TrainConfig,
    *,
    device: str = "cpu",
    class_weights: Tensor | None = None,
    checkpoints: Checkpoints | None = None,
    progress: Progress = SILENT,
    after_epoch: Callable[[], dict[str, float]] | None = None,
    team: Team = ALONE,
) -> list[dict[str, float]]:
    """Trains the shared weights in place; returns the log. The loss in it is that of the largest subnets.

    In a ``team`` every process draws the same architectures, for they come from the seed and the step alone, and
    each normalises its share of a batch by that share's own statistics.
    """
    return train(
        supernet, split, config, sandwich_step(supernet, config, device=device, class_weights=class_weights),
        description="supernet", device=device, checkpoints=checkpoints, progress=progress,
        after_epoch=after_epoch, team=team,
    )  # fmt: skip


def sandwich_step(
    supernet: Supernet, config: TrainConfig, *, device: str = "cpu", class_weights: Tensor | None = None
) -> Backward:
    """Leaves the gradients of a sandwich in the shared weights; gives the largest subnet's loss."""

    def hard_loss(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(
            logits.float(), labels, weight=class_weights, label_smoothing=config.label_smoothing
        )

    def backward(images: Tensor, labels: Tensor, step: int) -> float:
        archs = draw_sandwich(supernet.space, random.Random(f"{config.seed}/{step}"))
        soft_labels = None
        first = 0.0
        for arch in archs:
            with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
                logits = supernet(resize(images, arch.resolution), arch)
            if soft_labels is None:
                loss = hard_loss(logits, labels)
                soft_labels = F.softmax(logits.detach().float(), 1)
                first = loss.item()
            else:
                soft = soft_cross_entropy(logits, soft_labels)
                loss = (1 - SOFT_SHARE) * hard_loss(logits, labels) + SOFT_SHARE * soft
            loss.backward()
        return first

    return backward
