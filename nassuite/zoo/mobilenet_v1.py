"""MobileNetV1 (Howard et al. 2017, "MobileNets")."""

from __future__ import annotations

from torch import nn

from nassuite.blocks.layers import ConvBN
from nassuite.spec import round_to_multiple
from nassuite.zoo.mobilenet_v2 import check_width_mult
from nassuite.zoo.network import PoolHead, ZooNetwork, adapted_strides

STEM = 32
STAGES = (
    # channels, blocks, stride of the first
    (64, 1, 1),
    (128, 2, 2),
    (256, 2, 2),
    (512, 6, 2),
    (1024, 2, 2),
)


def mobilenet_v1(
    *, num_classes: int, in_chans: int, stem_stride: int = 2, width_mult: float = 1.0
) -> ZooNetwork:
    """Table 1 of the paper; ``width_mult`` is its alpha (section 3.3), its rho is the size of the images.

    A batch norm and a ReLU6 (the paper's own code; other implementations have a ReLU) stand behind every
    convolution, and no block has a shortcut. Pointwise convolutions have no padding: the light_cnns
    package pads them, so that maps grow, and has no batch norm in its blocks.
    """
    check_width_mult(width_mult)
    strides = adapted_strides([stride for _, _, stride in STAGES], stem_stride)
    channels = round_to_multiple(STEM * width_mult)
    stages: dict[str, nn.Module] = {"stem": ConvBN(in_chans, channels, 3, stride=stem_stride, act="relu6")}
    for number, ((width, blocks, _), stride) in enumerate(zip(STAGES, strides, strict=True), 1):
        out_channels = round_to_multiple(width * width_mult)
        layers = []
        for block in range(blocks):
            layers.append(_separable(channels, out_channels, stride if block == 0 else 1))
            channels = out_channels
        stages[f"stage{number}"] = nn.Sequential(*layers)
    return ZooNetwork(stages, PoolHead(channels, num_classes))


def _separable(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Depthwise separable convolution: section 3.1, figure 3."""
    return nn.Sequential(
        ConvBN(in_channels, in_channels, 3, stride=stride, groups=in_channels, act="relu6"),
        ConvBN(in_channels, out_channels, act="relu6"),
    )
