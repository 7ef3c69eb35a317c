"""MnasNet (Tan et al. 2019)."""

from __future__ import annotations

from torch import nn

from nassuite.blocks.inverted_residual import InvertedResidual
from nassuite.blocks.layers import ConvBN
from nassuite.spec import round_to_multiple
from nassuite.zoo.mobilenet_v2 import check_width_mult
from nassuite.zoo.network import PoolHead, ZooNetwork, adapted_strides

STEM, LAST = 32, 1280
STAGES = (
    # kernel, expansion, channels, blocks, stride of the first
    (3, 1, 16, 1, 1),
    (3, 3, 24, 3, 2),
    (5, 3, 40, 3, 2),
    (5, 6, 80, 3, 2),
    (3, 6, 96, 2, 1),
    (5, 6, 192, 4, 2),
    (3, 6, 320, 1, 1),
)


def mnasnet(*, num_classes: int, in_chans: int, stem_stride: int = 2, width_mult: float = 1.0) -> ZooNetwork:
    """MnasNet-B1, the network without squeeze-excite, as in torchvision.

    The paper's figure 7 shows A1, which has squeeze-excite. ``width_mult`` scales the stem and the first,
    separable stage too (the oldest versions of torchvision did not), never the head's
    convolution.
    """
    check_width_mult(width_mult)
    strides = adapted_strides([stride for *_, stride in STAGES], stem_stride)
    channels = round_to_multiple(STEM * width_mult)
    stages: dict[str, nn.Module] = {"stem": ConvBN(in_chans, channels, 3, stride=stem_stride, act="relu")}
    rows = zip(STAGES, strides, strict=True)
    for number, ((kernel, expansion, width, blocks, _), first_stride) in enumerate(rows, 1):
        out_channels = round_to_multiple(width * width_mult)
        layers = []
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            # The separable stage has no shortcut, even where a width multiplier makes its ends equal.
            keeps_shape = expansion != 1 and stride == 1 and channels == out_channels
            layers.append(
                InvertedResidual(
                    channels,
                    channels * expansion,
                    out_channels,
                    kernel,
                    stride=stride,
                    act="relu",
                    expand=expansion != 1,
                    shortcut=nn.Identity() if keeps_shape else None,
                )
            )
            channels = out_channels
        stages[f"stage{number}"] = nn.Sequential(*layers)
    head = nn.Sequential(ConvBN(channels, LAST, act="relu"), PoolHead(LAST, num_classes, dropout=0.2))
    return ZooNetwork(stages, head)
