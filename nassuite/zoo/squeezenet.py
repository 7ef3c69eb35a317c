"""SqueezeNet 1.0 and 1.1 (Iandola et al. 2016, arXiv 1602.07360)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from nassuite.blocks.fire import Fire
from nassuite.zoo.network import ZooNetwork, adapted_strides

# Stages of fire modules, a max pooling in front of each: (squeezed, expanded by 1x1 and as many by 3x3).
V1_0 = (
    ((16, 64), (16, 64), (32, 128)),
    ((32, 128), (48, 192), (48, 192), (64, 256)),
    ((64, 256),),
)
V1_1 = (
    ((16, 64), (16, 64)),
    ((32, 128), (32, 128)),
    ((48, 192), (48, 192), (64, 256), (64, 256)),
)


def squeezenet1_0(*, num_classes: int, in_chans: int, stem_stride: int = 2) -> ZooNetwork:
    """Table 1 of the paper, as torchvision has it: a 7x7 stem without padding, poolings that round up.

    With ``stem_stride`` 1 the stem is a padded 3x3, and the first pooling is left out.
    """
    return _squeezenet(V1_0, 96, 7, num_classes, in_chans=in_chans, stem_stride=stem_stride)


def squeezenet1_1(*, num_classes: int, in_chans: int, stem_stride: int = 2) -> ZooNetwork:
    """The authors' later release: a 3x3 stem of 64 channels, earlier poolings, 2.4 times cheaper."""
    return _squeezenet(V1_1, 64, 3, num_classes, in_chans=in_chans, stem_stride=stem_stride)


def _squeezenet(
    fires: Sequence[Sequence[tuple[int, int]]],
    channels: int,
    kernel: int,
    num_classes: int,
    *,
    in_chans: int,
    stem_stride: int,
) -> ZooNetwork:
    strides = adapted_strides((2, 2, 2), stem_stride)
    if stem_stride == 1:
        conv = nn.Conv2d(in_chans, channels, 3, padding=1)
    else:
        conv = nn.Conv2d(in_chans, channels, kernel, stride=2)
    stages: dict[str, nn.Module] = {"stem": nn.Sequential(conv, nn.ReLU(inplace=True))}
    for number, (stage, stride) in enumerate(zip(fires, strides, strict=True), 1):
        layers: list[nn.Module] = [nn.MaxPool2d(3, stride=2, ceil_mode=True)] if stride == 2 else []
        for squeezed, expanded in stage:
            layers.append(Fire(channels, squeezed, expanded))
            channels = 2 * expanded
        stages[f"stage{number}"] = nn.Sequential(*layers)
    head = nn.Sequential(
        nn.Dropout(0.5),
        nn.Conv2d(channels, num_classes, 1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    return ZooNetwork(stages, head)
