"""MobileNeXt (Zhou et al. 2020, "Rethinking Bottleneck Structure for Efficient Mobile Network Design")."""

from __future__ import annotations

import math

from torch import nn

from nassuite.blocks.layers import ConvBN
from nassuite.blocks.sandglass import SandglassBlock
from nassuite.spec import round_to_multiple
from nassuite.zoo.mobilenet_v2 import check_width_mult
from nassuite.zoo.network import PoolHead, ZooNetwork, adapted_strides

STEM, LAST = 32, 1280
STAGES = (
    # reduction, channels, blocks, stride of the first, whether the first has both depthwise convolutions
    (2, 96, 1, 2, True),
    (6, 144, 1, 1, True),
    (6, 192, 3, 2, False),
    (6, 288, 3, 2, False),
    (6, 384, 4, 1, False),
    (6, 576, 4, 2, False),
    (6, 960, 3, 1, False),
    (6, LAST, 1, 1, True),
)


def mobilenext(
    *, num_classes: int, in_chans: int, stem_stride: int = 2, width_mult: float = 1.0
) -> ZooNetwork:
    """Table 2 of the paper as in the authors' code, which also says what the paper does not.

    First blocks of a stage have no shortcut and, but for three of them, no depthwise convolution before the
    reduction and one behind the expansion only where they have a stride. The last stage stays as
    wide as in the paper at a ``width_mult`` under 1.
    """
    check_width_mult(width_mult)
    multiple = 4 if width_mult <= 0.1 else 8
    strides = adapted_strides([stride for *_, stride, _ in STAGES], stem_stride)
    channels = round_to_multiple(STEM * width_mult, multiple)
    stages: dict[str, nn.Module] = {"stem": ConvBN(in_chans, channels, 3, stride=stem_stride, act="relu6")}
    for number, ((reduction, width, blocks, _, both), stride) in enumerate(
        zip(STAGES, strides, strict=True), 1
    ):
        scale = max(1.0, width_mult) if width == LAST else width_mult
        out_channels = round_to_multiple(width * scale, multiple)
        layers = [
            SandglassBlock(
                channels,
                _reduced(channels, out_channels, reduction),
                out_channels,
                stride=stride,
                first_depthwise=both,
                last_depthwise=both or stride > 1,
            )
        ]
        channels = out_channels
        for _ in range(1, blocks):
            reduced = _reduced(channels, channels, reduction)
            layers.append(SandglassBlock(channels, reduced, channels, shortcut=nn.Identity()))
        stages[f"stage{number}"] = nn.Sequential(*layers)
    return ZooNetwork(stages, PoolHead(channels, num_classes, dropout=0.2))


def _reduced(in_channels: int, out_channels: int, reduction: int) -> int:
    """Channels in the middle: a fraction of the input's, but not much under a sixth of the output's."""
    reduced = in_channels // reduction
    return round_to_multiple(math.ceil(out_channels / 6), 16) if reduced < out_channels / 6 else reduced
