"""Inception v2 (the network of the batch norm paper) and v3."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from nassuite.blocks.inception import Conv, Parallel, Pool, Step, Style, inception_stages
from nassuite.blocks.layers import ConvBN
from nassuite.zoo.network import PoolHead, ZooNetwork, adapted_strides

DOWN = Pool("max", 3, 2)

# Channels of: the 1x1; the 1x1 and its 3x3; the 1x1 and its two 3x3; the 1x1 behind the pooling.
V2_MODULES = {
    "3a": (64, (64, 64), (64, 96), 32),
    "3b": (64, (64, 96), (64, 96), 64),
    "4a": (224, (64, 96), (96, 128), 128),
    "4b": (192, (96, 128), (96, 128), 128),
    "4c": (160, (128, 160), (128, 160), 128),
    "4d": (96, (128, 192), (160, 192), 128),
    "5a": (352, (192, 320), (160, 224), 128),
    "5b": (352, (192, 320), (192, 224), 128),
}
# Channels of: the 1x1 and its 3x3 of stride 2; the 1x1 and its two 3x3, the last of stride 2.
V2_REDUCTIONS = {"3c": ((128, 160), (64, 96)), "4e": ((128, 192), (192, 256))}


def inception_v2(*, num_classes: int, in_chans: int, stem_stride: int = 2) -> ZooNetwork:
    """BN-Inception (Ioffe and Szegedy 2015, figure 5 of the appendix), as trained with Caffe and in pytorchcv.

    Its convolutions have a bias beside the batch norm (10016 in all), and its max poolings round up. It is
    not the Inception-ResNet v2 that some packages give under this name.
    """
    strides = adapted_strides((2,), stem_stride)
    stages: dict[str, list[Step]] = {
        "stem": [Conv(64, 7 if stem_stride == 2 else 3, stem_stride)],
        "stage2": [*(DOWN for stride in strides if stride > 1), Conv(64), Conv(192, 3)],
        "stage3": [DOWN, _v2_module("3a"), _v2_module("3b")],
        "stage4": [_v2_reduction("3c"), *(_v2_module(name) for name in ("4a", "4b", "4c", "4d"))],
        "stage5": [_v2_reduction("4e"), _v2_module("5a"), _v2_module("5b", pool="max")],
    }
    style = Style(bias=True, eps=1e-5, ceil_mode=True, count_include_pad=True)
    modules, channels = inception_stages(stages, in_chans, style)
    return ZooNetwork(modules, PoolHead(channels, num_classes))


def _v2_module(name: str, *, pool: Literal["avg", "max"] = "avg") -> Parallel:
    single, (before_three, three), (before_double, double), projection = V2_MODULES[name]
    return Parallel(
        [Conv(single)],
        [Conv(before_three), Conv(three, 3)],
        [Conv(before_double), Conv(double, 3), Conv(double, 3)],
        [Pool(pool), Conv(projection)],
    )


def _v2_reduction(name: str) -> Parallel:
    (before_three, three), (before_double, double) = V2_REDUCTIONS[name]
    return Parallel(
        [Conv(before_three), Conv(three, 3, 2)],
        [Conv(before_double), Conv(double, 3), Conv(double, 3, 2)],
        [Pool("max", 3, 2, extend=True)],
    )


# The reductions of v3, between its grids of 35x35, 17x17 and 8x8.
V3_REDUCTION_35 = Parallel(
    [Conv(384, 3, 2, valid=True)],
    [Conv(64), Conv(96, 3), Conv(96, 3, 2, valid=True)],
    [DOWN],
)
V3_REDUCTION_17 = Parallel(
    [Conv(192), Conv(320, 3, 2, valid=True)],
    [Conv(192), Conv(192, (1, 7)), Conv(192, (7, 1)), Conv(192, 3, 2, valid=True)],
    [DOWN],
)
V3_EXPANDED = Parallel(  # figure 7 of the paper: 1x3 and 3x1 side by side
    [Conv(320)],
    [Conv(384), Parallel([Conv(384, (1, 3))], [Conv(384, (3, 1))])],
    [Conv(448), Conv(384, 3), Parallel([Conv(384, (1, 3))], [Conv(384, (3, 1))])],
    [Pool("avg"), Conv(192)],
)


def inception_v3(
    *, num_classes: int, in_chans: int, stem_stride: int = 2, aux_logits: bool = False
) -> ZooNetwork:
    """Inception v3 (Szegedy et al. 2016, section 6 and table 1), in the released form that torchvision has.

    That has 5x5 convolutions at 35x35, four modules at 17x17 with 128, 160, 160 and 192 channels inside,
    and average poolings that count the padding. Stem and reductions do not pad; with ``stem_stride=1`` they do,
    or little would be left of a small image. ``aux_logits`` adds the auxiliary head behind the 17x17 grid.
    """
    strides = adapted_strides((2,), stem_stride)
    stages: dict[str, list[Step]] = {
        "stem": [Conv(32, 3, stem_stride, valid=True), Conv(32, 3, valid=True), Conv(64, 3)],
        "stage2": [*(DOWN for stride in strides if stride > 1), Conv(80), Conv(192, 3, valid=True)],
        "stage3": [DOWN, *(_v3_module_35(projection) for projection in (32, 64, 64))],
        "stage4": [V3_REDUCTION_35, *(_v3_module_17(inner) for inner in (128, 160, 160, 192))],
        "stage5": [V3_REDUCTION_17, V3_EXPANDED, V3_EXPANDED],
    }
    style = Style(count_include_pad=True, pad_all=stem_stride == 1)
    modules, channels = inception_stages(stages, in_chans, style)
    aux_heads = {"stage4": InceptionV3Aux(num_classes)} if aux_logits else None
    return ZooNetwork(modules, PoolHead(channels, num_classes, dropout=0.5), aux_heads=aux_heads)


def _v3_module_35(projection: int) -> Parallel:
    return Parallel(
        [Conv(64)],
        [Conv(48), Conv(64, 5)],
        [Conv(64), Conv(96, 3), Conv(96, 3)],
        [Pool("avg"), Conv(projection)],
    )


def _v3_module_17(inner: int) -> Parallel:
    """Figure 6 of the paper with n = 7."""
    return Parallel(
        [Conv(192)],
        [Conv(inner), Conv(inner, (1, 7)), Conv(192, (7, 1))],
        [Conv(inner), Conv(inner, (7, 1)), Conv(inner, (1, 7)), Conv(inner, (7, 1)), Conv(192, (1, 7))],
        [Pool("avg"), Conv(192)],
    )


class InceptionV3Aux(nn.Module):
    """The auxiliary classifier (section 4, figure 8): (N, 768, H, W) to (N, num_classes).

    In train mode it needs two images or more: its last batch norm sees one pixel of each.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.reduce = ConvBN(768, 128, eps=1e-3, act="relu")
        self.conv = ConvBN(128, 768, 5, padding=0, eps=1e-3, act="relu")
        self.classifier = nn.Linear(768, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # The published pooling makes 5x5 of 17x17; behind it a smaller map would not hold the 5x5 kernel.
        pooled = F.avg_pool2d(x, 5, stride=3) if min(x.shape[-2:]) >= 17 else F.adaptive_avg_pool2d(x, 5)
        features = self.conv(self.reduce(pooled))
        return self.classifier(F.adaptive_avg_pool2d(features, 1).flatten(1))
