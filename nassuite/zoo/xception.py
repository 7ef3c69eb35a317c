"""Xception, and the aligned Xception that DeepLabv3+ takes its features from."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from nassuite.blocks.layers import ConvBN, activation
from nassuite.blocks.separable import SeparableConv, XceptionBlock
from nassuite.errors import InputError
from nassuite.zoo.network import FeatureNetwork, PoolHead, ZooNetwork, adapted_strides


def xception(*, num_classes: int, in_chans: int, stem_stride: int = 2) -> ZooNetwork:
    """Xception (Chollet 2017, figure 5): as in Keras, a shortcut starts before its block's first ReLU.

    Feature maps are the blocks' sums; the next block's ReLU is not in them. The stem does not pad, the rest
    does; with ``stem_stride=1`` the stem pads too.
    """
    (first,) = adapted_strides((2,), stem_stride)
    padding = 1 if stem_stride == 1 else 0
    stages: dict[str, nn.Module] = {
        "stem": nn.Sequential(
            ConvBN(in_chans, 32, 3, stride=stem_stride, padding=padding, act="relu"),
            ConvBN(32, 64, 3, padding=padding, act="relu"),
        ),
        "stage2": XceptionBlock(64, _convs(128, 128), pool_stride=first, first_relu=False),
        "stage3": XceptionBlock(128, _convs(256, 256), pool_stride=2),
        "stage4": nn.Sequential(
            XceptionBlock(256, _convs(728, 728), pool_stride=2),
            *(XceptionBlock(728, _convs(728, 728, 728)) for _ in range(8)),
        ),
        "stage5": nn.Sequential(
            XceptionBlock(728, _convs(728, 1024), pool_stride=2),
            *_exit_convs(1024, (1536, 2048)),
        ),
    }
    return ZooNetwork(stages, PoolHead(2048, num_classes, dropout=0.5))


# By output stride: the third block's stride; the dilations of the middle flow, the last block, the last convs.
DILATIONS = {16: (2, 1, 1, 2), 8: (1, 2, 2, 4)}


def aligned_xception(*, num_classes: int, in_chans: int, output_stride: int = 16) -> FeatureNetwork:
    """Aligned Xception (Chen et al. 2018, section 3.3 and figure 4), as in the well-known PyTorch DeepLabv3+.

    It has no classifier, so ``num_classes`` is not used: images (N, in_chans, H, W) to a list of two feature
    maps, 128 channels at stride 4 (for the decoder) and 2048 at ``output_stride``, 16 or 8. As in that
    implementation a block's shortcut starts behind its first ReLU (which works in place there), the
    low-level map is rectified, and the last convolution of each entry and exit block is not dilated.

    Raises ``InputError`` for another output stride.
    """
    if output_stride not in DILATIONS:
        raise InputError(f"output_stride {output_stride}: 8 or 16")
    stride, middle, last, end = DILATIONS[output_stride]
    stages: dict[str, nn.Module] = {
        "stem": nn.Sequential(
            ConvBN(in_chans, 32, 3, stride=2, act="relu"),
            ConvBN(32, 64, 3, act="relu"),
        ),
        "stage2": nn.Sequential(_aligned(64, (*_convs(128, 128), (128, 2, 1)), first_relu=False), nn.ReLU()),
        "stage3": _aligned(128, (*_convs(256, 256), (256, 2, 1)), first_relu=False),
        "stage4": nn.Sequential(
            _aligned(256, (*_convs(728, 728), (728, stride, 1))),
            *(_aligned(728, _convs(728, 728, 728, dilation=middle)) for _ in range(16)),
            _aligned(728, (*_convs(728, 1024, dilation=last), (1024, 1, 1))),
            nn.ReLU(),
            *_exit_convs(1024, (1536, 1536, 2048), dilation=end, mid_norm=True),
        ),
    }
    network = ZooNetwork(stages, nn.Identity())
    return FeatureNetwork(network, size=512, in_chans=in_chans, out_indices=(1, -1))


def _convs(*channels: int, dilation: int = 1) -> tuple[tuple[int, int, int], ...]:
    """(channels, stride, dilation) of a block's convolutions that keep the size."""
    return tuple((width, 1, dilation) for width in channels)


def _aligned(
    in_channels: int, convs: Sequence[tuple[int, int, int]], *, first_relu: bool = True
) -> XceptionBlock:
    return XceptionBlock(in_channels, convs, first_relu=first_relu, relu_shortcut=True, mid_norm=True)


def _exit_convs(
    in_channels: int, widths: Sequence[int], *, dilation: int = 1, mid_norm: bool = False
) -> list[nn.Module]:
    """The separable convolutions behind the last block, each with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for width in widths:
        layers.append(SeparableConv(in_channels, width, dilation=dilation, mid_norm=mid_norm))
        layers += [nn.BatchNorm2d(width), activation("relu")]
        in_channels = width
    return layers
