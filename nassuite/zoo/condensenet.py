"""CondenseNet (Huang et al. 2018, arXiv 1711.09224).

Learned group convolutions are trained in one form and run in another: ``condense``, ``group_lasso`` and
``convert`` of ``nassuite.blocks.learned_group_conv`` take a network built here with ``converted=False``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from nassuite.blocks.learned_group_conv import CondenseUnit, IndexedLinear, LearnedLinear
from nassuite.errors import InputError
from nassuite.zoo.network import ZooNetwork, adapted_strides

# Dense blocks: (units, growth). The growth doubles from block to block (section 3.3).
IMAGENET = ((4, 8), (6, 16), (8, 32), (10, 64), (8, 128))
CIFAR = ((14, 8), (14, 16), (14, 32))


class CondenseHead(nn.Module):
    """Global average pooling, and a classifier of half of the channels: (N, C, H, W) to (N, num_classes)."""

    def __init__(self, channels: int, num_classes: int, *, converted: bool) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = (IndexedLinear if converted else LearnedLinear)(channels, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.pool(x).flatten(1))


def condensenet74(
    *, num_classes: int, in_chans: int, stem_stride: int = 2, groups: int = 4, converted: bool = True
) -> ZooNetwork:
    """CondenseNet-74 for ImageNet (section 4.2), with G = C = ``groups``, 4 or 8.

    ``converted`` is the form that runs, whose parameters the paper reports; False is the form that trains.
    The classifier's half is part of both: the authors' code drops it only when it converts, which
    changes the outputs, here it is dropped in training as the paper says.
    """
    strides = (1, *adapted_strides((2, 2, 2, 2), stem_stride))
    return _condensenet(
        IMAGENET, stem_stride, strides, num_classes, in_chans=in_chans, groups=groups, converted=converted
    )


def condensenet86_cifar(
    *, num_classes: int, in_chans: int, groups: int = 4, converted: bool = True
) -> ZooNetwork:
    """CondenseNet-86 for 32-pixel images (section 4.1): 14 units in each of three dense blocks.

    The 65.8 M operations that the authors report count activations and poolings too.
    """
    return _condensenet(
        CIFAR, 1, (1, 2, 2), num_classes, in_chans=in_chans, groups=groups, converted=converted
    )


def _condensenet(
    blocks: Sequence[tuple[int, int]],
    stem_stride: int,
    strides: Sequence[int],
    num_classes: int,
    *,
    in_chans: int,
    groups: int,
    converted: bool,
) -> ZooNetwork:
    if groups not in (4, 8):
        raise InputError(f"groups {groups}: 4 or 8")
    channels = 2 * blocks[0][1]
    stages: dict[str, nn.Module] = {
        "stem": nn.Conv2d(in_chans, channels, 3, stride=stem_stride, padding=1, bias=False)
    }
    for number, ((units, growth), stride) in enumerate(zip(blocks, strides, strict=True), 1):
        # A transition is a pooling only: all features are passed on to all later layers.
        layers: list[nn.Module] = [nn.AvgPool2d(2)] if stride == 2 else []
        for _ in range(units):
            layers.append(CondenseUnit(channels, growth, groups=groups, converted=converted))
            channels += growth
        if number == len(blocks):
            layers += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
        stages[f"stage{number}"] = nn.Sequential(*layers)
    return ZooNetwork(stages, CondenseHead(channels, num_classes, converted=converted))
