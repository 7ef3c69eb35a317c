"""ResNets for 32-pixel images (He et al. 2016, arXiv 1512.03385, section 4.2)."""

from __future__ import annotations

from torch import nn

from nassuite.blocks.layers import ConvBN
from nassuite.blocks.residual import BasicBlock, ZeroPadShortcut
from nassuite.zoo.network import PoolHead, ZooNetwork
from nassuite.zoo.resnet import residual_stages

PLANES = (16, 32, 64)


def resnet20_cifar(*, num_classes: int, in_chans: int) -> ZooNetwork:
    return _resnet(20, num_classes, in_chans)


def resnet32_cifar(*, num_classes: int, in_chans: int) -> ZooNetwork:
    return _resnet(32, num_classes, in_chans)


def resnet56_cifar(*, num_classes: int, in_chans: int) -> ZooNetwork:
    return _resnet(56, num_classes, in_chans)


def _resnet(layers: int, num_classes: int, in_chans: int) -> ZooNetwork:
    """6n + 2 layers with shortcuts of option A, which have no parameters.

    Many networks of these names are ImageNet's with 64 channels, or have option B: not the paper's.
    """

    def block(in_channels: int, planes: int, stride: int) -> nn.Module:
        keeps_shape = stride == 1 and in_channels == planes
        shortcut = None if keeps_shape else ZeroPadShortcut(in_channels, planes, stride)
        return BasicBlock(in_channels, planes, stride=stride, shortcut=shortcut)

    stem = ConvBN(in_chans, PLANES[0], 3, act="relu")
    depths = ((layers - 2) // 6,) * len(PLANES)
    stages = residual_stages(depths, block, in_channels=PLANES[0], planes=PLANES)
    return ZooNetwork({"stem": stem, **stages}, PoolHead(PLANES[-1], num_classes))
