"""Training a supernet: sandwich rule, in-place distillation, operators seen equally often.

BigNAS (Yu et al. 2020, section 3.1) for the sandwich and the soft labels; FairNAS (Chu et al. 2021,
section 3.2) for strict fairness among operators. What each of these is worth here was measured
(``studies/ranking.py``).
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from nassuite.data import Split
from nassuite.nn.supernet import Supernet
from nassuite.progress import SILENT, Progress
from nassuite.space import UNORDERED, Genes, Space, Value
from nassuite.spec import Arch
from nassuite.train.at_once import trained_at_once
from nassuite.train.loop import Backward, Checkpoints, TrainConfig, train
from nassuite.train.team import ALONE, Team

Within = Callable[[Arch], bool]
"""Whether an architecture is of those that a supernet is trained for."""


@dataclass(frozen=True)
class SandwichConfig:
    """Which subnets a step has, and what they learn from.

    ``subnets`` are their number (None: ``Space.step_subnets``). With ``ends`` the first two are the largest and the
    smallest, else all are random. With ``fair`` every operator of a layer is dealt to the same number of
    subnets, which then has to divide theirs; without, each draws its own. ``kinship`` is the share of the layers in
    which a fair deal is that of the layers before, so that there are subnets of mostly one operator.
    ``soft_share`` is the first subnet's soft labels' part of the others' loss. BigNAS has 1, for ImageNet's 400 epochs; in
    the few epochs here a teacher that knows little yet holds the others back (165 steps on digits: 32 % against 66 %).
    With ``mean_shared`` stem and head, which all subnets use, are moved by the mean of their gradients, not by
    the sum. With ``whole_largest`` the largest is that of the whole space even where the others have to be within
    something: a better teacher, that costs more.
    """

    subnets: int | None = None
    ends: bool = True
    fair: bool = True
    kinship: float = 0.0
    soft_share: float = 0.5
    mean_shared: bool = False
    whole_largest: bool = False


SANDWICH = SandwichConfig()


def draw_sandwich(
    space: Space, rng: random.Random, config: SandwichConfig = SANDWICH, *, within: Within | None = None
) -> list[Arch]:
    """The subnets of one step: the largest, the smallest, and random ones in between.

    Largest and smallest are those of every elastic size. For each layer, every operator is dealt to the
    same number of the subnets, so in a step in which all of them are deep enough each was
    seen equally often, and none more than once too often in any other. A subnet that is not ``within`` is made
    smaller until it is: the first as little as that takes, the others by more, at random.
    """
    count = config.subnets or space.step_subnets
    ends = [space.extreme_genes("largest"), space.extreme_genes("smallest")] if config.ends else []
    subnets: list[Genes] = [
        *ends,
        *(
            {name: rng.choice(choices) for name, choices in space.genes.items()}
            for _ in range(count - len(ends))
        ),
    ]
    deals: dict[tuple[Value, ...], list[Value]] = {}
    for name, choices in space.genes.items():
        if name.endswith(".operator") and config.fair:
            kept = config.kinship > 0 and choices in deals and rng.random() < config.kinship
            if not kept:
                deals[choices] = list(choices) * (count // len(choices))
                rng.shuffle(deals[choices])
            for genes, operator in zip(subnets, deals[choices], strict=True):
                genes[name] = operator
        elif name.endswith(UNORDERED):
            for genes in ends:
                genes[name] = rng.choice(choices)
    if within is not None:
        subnets = [
            genes
            if number == 0 and config.whole_largest
            else _shrunk(space, genes, within, rng, least=number == 0)
            for number, genes in enumerate(subnets)
        ]
    return [space.decode(genes) for genes in subnets]


def _shrunk(space: Space, genes: Genes, within: Within, rng: random.Random, *, least: bool) -> Genes:
    """Elastic sizes lowered by one choice at a time, in random order, until ``within``, or as far as they go.

    No further with ``least``, else to anywhere between there and the smallest; what is within already
    stays as it is.
    """
    if within(space.decode(genes)):
        return genes
    genes = space.canonical(genes)
    cuts = [
        name
        for name, choices in space.genes.items()
        if not name.endswith(UNORDERED)
        for _ in range(choices.index(genes[name]))
    ]
    rng.shuffle(cuts)

    def after(cut: int) -> Genes:
        lowered = dict(genes)
        for name in cuts[:cut]:
            lowered[name] = space.genes[name][space.genes[name].index(lowered[name]) - 1]
        return lowered

    needed = bisect_left(range(len(cuts)), True, key=lambda cut: within(space.decode(after(cut))))
    return after(needed if least else rng.randint(needed, len(cuts)))


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
    sandwich: SandwichConfig = SANDWICH,
    within: Within | None = None,
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
    step = sandwich_step(
        supernet, config, sandwich=sandwich, within=within, device=device, class_weights=class_weights
    )

    def at_once(image: Tensor) -> int:
        largest = supernet.space.extreme("largest")
        size = largest.resolution
        return trained_at_once(supernet.extract(largest), image.new_zeros(1, image.shape[1], size, size))

    return train(
        supernet, split, config, step, description="supernet", device=device, checkpoints=checkpoints,
        progress=progress, after_epoch=after_epoch, team=team, at_once=at_once,
    )  # fmt: skip


def sandwich_step(
    supernet: Supernet,
    config: TrainConfig,
    *,
    sandwich: SandwichConfig = SANDWICH,
    within: Within | None = None,
    device: str = "cpu",
    class_weights: Tensor | None = None,
) -> Backward:
    """Leaves the gradients of a sandwich in the shared weights; gives the first, the largest subnet's loss."""
    shared = [p for slot in ("stem", "head") for p in supernet.slots[slot].parameters()]

    def hard_loss(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(
            logits.float(), labels, weight=class_weights, label_smoothing=config.label_smoothing
        )

    def backward(images: Tensor, labels: Tensor, step: int) -> float:
        # A batch may come in parts, whose gradients add up.
        earlier = [(p, p.grad) for p in shared] if sandwich.mean_shared else []
        for parameter, _ in earlier:
            parameter.grad = None
        archs = draw_sandwich(supernet.space, random.Random(f"{config.seed}/{step}"), sandwich, within=within)
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
                loss = (1 - sandwich.soft_share) * hard_loss(logits, labels) + sandwich.soft_share * soft
            loss.backward()
        for parameter, before in earlier:
            if parameter.grad is not None:
                parameter.grad /= len(archs)
            if before is not None:
                parameter.grad = before if parameter.grad is None else before + parameter.grad
        return first

    return backward
