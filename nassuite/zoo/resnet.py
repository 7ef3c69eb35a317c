"""ResNets for ImageNet, and what others put in the place of their convolutions: ResNeXt, SE-ResNet, SKNet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import nn

from nassuite.blocks.layers import ConvBN, SqueezeExcite
from nassuite.blocks.residual import BasicBlock, Bottleneck, MakeConv, projection
from nassuite.blocks.selective_kernel import SelectiveKernel
from nassuite.zoo.network import PoolHead, ZooNetwork, adapted_strides

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
"""Layers of the network to blocks of each stage (He et al. 2016, table 1)."""
PLANES = (64, 128, 256, 512)
EXPANSION = 4

MakeBlock = Callable[[int, int, int], nn.Module]
"""(in_channels, planes, stride) to a block; ``planes`` is the stage's entry in ``PLANES``."""


def resnet18(*, num_classes: int, in_chans: int, stem_stride: int = 2) -> ZooNetwork:
    """He et al. 2016, table 1; its weights are torchvision's resnet18."""
    return _basic(18, num_classes, in_chans, stem_stride)


def resnet34(*, num_classes: int, in_chans: int, stem_stride: int = 2) -> ZooNetwork:
    """He et al. 2016, table 1; its weights are torchvision's resnet34."""
    return _basic(34, num_classes, in_chans, stem_stride)


def resnet50_v1b(*, num_classes: int, in_chans: int, stem_stride: int = 2) -> ZooNetwork:
    """He et al. 2016, table 1, with the stride in the 3x3 convolution: torchvision's resnet50.

    Not light_cnns' network of this name, which is ``resnet50_v1d``.
    """
    return bottleneck_resnet(
        50, plain_bottleneck(), num_classes=num_classes, in_chans=in_chans, stem_stride=stem_stride
    )


def resnet101(*, num_classes: int, in_chans: int, stem_stride: int = 2) -> ZooNetwork:
    """He et al. 2016, table 1, with the stride in the 3x3 convolution: torchvision's resnet101."""
    return bottleneck_resnet(
        101, plain_bottleneck(), num_classes=num_classes, in_chans=in_chans, stem_stride=stem_stride
    )


def resnet50_v1d(*, num_classes: int, in_chans: int, stem_stride: int = 2) -> ZooNetwork:
    """ResNet-D (He et al. 2019, section 4.2): three 3x3 convolutions in the stem, pooled shortcuts."""
    return bottleneck_resnet(
        50,
        plain_bottleneck(average=True),
        num_classes=num_classes,
        in_chans=in_chans,
        stem_stride=stem_stride,
        deep_stem=True,
    )


def resnext50_32x4d(*, num_classes: int, in_chans: int, stem_stride: int = 2) -> ZooNetwork:
    """Xie et al. 2017, table 1: 32 groups of 4 channels."""
    return bottleneck_resnet(
        50,
        plain_bottleneck(spatial=partial(ConvBN, groups=32), widen=2),
        num_classes=num_classes,
        in_chans=in_chans,
        stem_stride=stem_stride,
    )


def sknet50(*, num_classes: int, in_chans: int, stem_stride: int = 2) -> ZooNetwork:
    """Li et al. 2019, table 1: ResNeXt-50 32x4d with selective kernels (timm's skresnext50_32x4d)."""
    return bottleneck_resnet(
        50,
        plain_bottleneck(spatial=partial(SelectiveKernel, groups=32), widen=2),
        num_classes=num_classes,
        in_chans=in_chans,
        stem_stride=stem_stride,
    )


def se_resnet50(*, num_classes: int, in_chans: int, stem_stride: int = 2) -> ZooNetwork:
    """Hu et al. 2018, table 1, the authors' Caffe model (timm's legacy_seresnet50).

    The stride is in the first 1x1 convolution, and the stem's pooling is unpadded but rounds up: other
    SE-ResNets have the same parameters and other outputs.
    """

    def block(in_channels: int, planes: int, stride: int) -> nn.Module:
        channels = planes * EXPANSION
        return Bottleneck(
            in_channels,
            planes,
            channels,
            stride=stride,
            stride_first=True,
            attention=SqueezeExcite(channels, channels // 16, gate="sigmoid"),
            shortcut=projection(in_channels, channels, stride),
        )

    return bottleneck_resnet(
        50,
        block,
        num_classes=num_classes,
        in_chans=in_chans,
        stem_stride=stem_stride,
        pool=nn.MaxPool2d(3, stride=2, ceil_mode=True),
    )


def plain_bottleneck(
    *, conv: MakeConv = ConvBN, spatial: MakeConv | None = None, widen: int = 1, average: bool = False
) -> MakeBlock:
    """Blocks of ``widen`` times the usual width, with these convolutions and kind of shortcut."""

    def block(in_channels: int, planes: int, stride: int) -> nn.Module:
        channels = planes * EXPANSION
        return Bottleneck(
            in_channels,
            planes * widen,
            channels,
            stride=stride,
            conv=conv,
            spatial=spatial,
            shortcut=projection(in_channels, channels, stride, conv=conv, average=average),
        )

    return block


def bottleneck_resnet(
    layers: int,
    block: MakeBlock,
    *,
    num_classes: int,
    in_chans: int,
    stem_stride: int,
    deep_stem: bool = False,
    pool: nn.Module | None = None,
    head: nn.Module | None = None,
) -> ZooNetwork:
    """A network of bottlenecks; ``pool`` and ``head`` if they are not the usual ones.

    With ``stem_stride`` 1 the stem is a 3x3 convolution without pooling. Raises ``InputError`` for another
    than 1 or 2.
    """
    stem, pooling = _stem(in_chans, stem_stride, deep=deep_stem, pool=pool)
    stages = residual_stages(DEPTHS[layers], block, in_channels=64, first=pooling, expansion=EXPANSION)
    return ZooNetwork({"stem": stem, **stages}, head or PoolHead(PLANES[-1] * EXPANSION, num_classes))


def residual_stages(
    depths: Sequence[int],
    block: MakeBlock,
    *,
    in_channels: int,
    planes: Sequence[int] = PLANES,
    expansion: int = 1,
    first: Sequence[nn.Module] = (),
) -> dict[str, nn.Module]:
    """Stages of ``depths`` blocks; each but the first halves the size. ``first`` comes before the first block."""
    stages: dict[str, nn.Module] = {}
    for number, (depth, width) in enumerate(zip(depths, planes, strict=True), start=1):
        layers = list(first) if number == 1 else []
        for index in range(depth):
            layers.append(block(in_channels, width, 2 if index == 0 and number > 1 else 1))
            in_channels = width * expansion
        stages[f"stage{number}"] = nn.Sequential(*layers)
    return stages


def _basic(layers: int, num_classes: int, in_chans: int, stem_stride: int) -> ZooNetwork:
    def block(in_channels: int, planes: int, stride: int) -> nn.Module:
        return BasicBlock(
            in_channels, planes, stride=stride, shortcut=projection(in_channels, planes, stride)
        )

    stem, pooling = _stem(in_chans, stem_stride)
    stages = residual_stages(DEPTHS[layers], block, in_channels=64, first=pooling)
    return ZooNetwork({"stem": stem, **stages}, PoolHead(PLANES[-1], num_classes))


def _stem(
    in_chans: int, stem_stride: int, *, deep: bool = False, pool: nn.Module | None = None
) -> tuple[nn.Module, list[nn.Module]]:
    """The stem (64 channels) and the pooling behind it, which belongs to the first stage: it halves again."""
    (pool_stride,) = adapted_strides((2,), stem_stride)
    stem: nn.Module
    if deep:
        stem = nn.Sequential(
            ConvBN(in_chans, 32, 3, stride=stem_stride, act="relu"),
            ConvBN(32, 32, 3, act="relu"),
            ConvBN(32, 64, 3, act="relu"),
        )
    else:
        stem = ConvBN(in_chans, 64, 7 if stem_stride == 2 else 3, stride=stem_stride, act="relu")
    if pool_stride == 1:
        return stem, []
    return stem, [pool or nn.MaxPool2d(3, stride=2, padding=1)]
