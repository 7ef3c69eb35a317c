"""AdderNets (Chen et al. 2020, arXiv 1912.13200): ResNets whose inner convolutions are adder layers."""

from __future__ import annotations

import torch
from torch import nn

from nassuite.blocks.adder import AdderBN
from nassuite.blocks.layers import ConvBN
from nassuite.blocks.residual import BasicBlock, projection
from nassuite.zoo.network import ZooNetwork
from nassuite.zoo.resnet import EXPANSION, PLANES, bottleneck_resnet, plain_bottleneck, residual_stages

CIFAR_PLANES = (16, 32, 64)


def adder_resnet20(*, num_classes: int, in_chans: int) -> ZooNetwork:
    """The CIFAR network of the authors' code: section 4.2's ResNet-20 with shortcuts of option B.

    The first and the last layer multiply, all others, the shortcuts too, are adder layers. Images in
    train mode come in batches of two or more: the logits pass a batch norm.
    """

    def block(in_channels: int, planes: int, stride: int) -> nn.Module:
        return BasicBlock(
            in_channels,
            planes,
            stride=stride,
            conv=AdderBN,
            shortcut=projection(in_channels, planes, stride, conv=AdderBN),
        )

    stem = ConvBN(in_chans, CIFAR_PLANES[0], 3, act="relu")
    stages = residual_stages((3, 3, 3), block, in_channels=CIFAR_PLANES[0], planes=CIFAR_PLANES)
    return ZooNetwork({"stem": stem, **stages}, NormedHead(CIFAR_PLANES[-1], num_classes, bias=False))


def adder_resnet50(*, num_classes: int, in_chans: int, stem_stride: int = 2) -> ZooNetwork:
    """The authors' ImageNet network: ResNet-50 v1b, adder layers but for the first and the last layer."""
    return bottleneck_resnet(
        50,
        plain_bottleneck(conv=AdderBN),
        num_classes=num_classes,
        in_chans=in_chans,
        stem_stride=stem_stride,
        head=NormedHead(PLANES[-1] * EXPANSION, num_classes, bias=True),
    )


class NormedHead(nn.Module):
    """Global average pooling and a linear classifier, written as 1x1 convolution with batch norm.

    (N, channels, H, W) to (N, num_classes).
    """

    def __init__(self, channels: int, num_classes: int, *, bias: bool) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = ConvBN(channels, num_classes, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.pool(x)).flatten(1)
