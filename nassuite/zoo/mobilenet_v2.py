"""MobileNetV2 (Sandler et al. 2018), and with the attention gates whose papers were tried on it."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import nn

from nassuite.blocks.attention import (
    CoordinateAttention,
    EfficientChannelAttention,
    ShuffleAttention,
    TripletAttention,
)
from nassuite.blocks.inverted_residual import InvertedResidual
from nassuite.blocks.layers import ConvBN
from nassuite.errors import InputError
from nassuite.spec import round_to_multiple
from nassuite.zoo.network import PoolHead, ZooNetwork, adapted_strides

STEM, LAST = 32, 1280
STAGES = (
    # expansion, channels, blocks, stride of the first
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)

Gate = Callable[[int], nn.Module]


def mobilenet_v2(
    *, num_classes: int, in_chans: int, stem_stride: int = 2, width_mult: float = 1.0
) -> ZooNetwork:
    """Table 2 of the paper, widths rounded to multiples of 8 as in its code, of 4 up to ``width_mult`` 0.1.

    The last convolution, which is part of the head, is only ever widened. Implementations that cut widths
    off (``int(channels * width_mult)``) agree at 1.0 alone.
    """
    return _network(
        num_classes=num_classes,
        in_chans=in_chans,
        stem_stride=stem_stride,
        width_mult=width_mult,
        dropout=0.2,
    )


def mobilenet_v2_ca(
    *, num_classes: int, in_chans: int, stem_stride: int = 2, width_mult: float = 1.0
) -> ZooNetwork:
    """With coordinate attention (Hou et al. 2021, figure 3) on the hidden channels of blocks that expand."""
    return _network(
        num_classes=num_classes,
        in_chans=in_chans,
        stem_stride=stem_stride,
        width_mult=width_mult,
        dropout=0.1,
        attention=CoordinateAttention,
    )


def mobilenet_v2_eca(
    *, num_classes: int, in_chans: int, stem_stride: int = 2, width_mult: float = 1.0
) -> ZooNetwork:
    """With efficient channel attention (Wang et al. 2020, section 4.2) on the output of every block.

    The kernel is 1, from the stage of 96 channels on 3: that is the authors' code. The
    light_cnns package has the paper's adaptive kernel instead, and on hidden channels.
    """
    return _network(
        num_classes=num_classes,
        in_chans=in_chans,
        stem_stride=stem_stride,
        width_mult=width_mult,
        dropout=0.25,
        output_attention=_channel_attention,
    )


def mobilenet_v2_sa(
    *, num_classes: int, in_chans: int, stem_stride: int = 2, width_mult: float = 1.0
) -> ZooNetwork:
    """With shuffle attention (Zhang and Yang 2021) on the hidden channels of blocks that expand.

    The paper has ResNets only; this is the light_cnns package's network, with 8 groups.
    """
    return _network(
        num_classes=num_classes,
        in_chans=in_chans,
        stem_stride=stem_stride,
        width_mult=width_mult,
        dropout=0.1,
        attention=ShuffleAttention,
    )


def mobilenet_v2_triplet(
    *, num_classes: int, in_chans: int, stem_stride: int = 2, width_mult: float = 1.0, kernel_size: int = 7
) -> ZooNetwork:
    """With triplet attention (Misra et al. 2021, section 4.1) on the output of every block.

    The light_cnns package has it on hidden channels of the blocks that expand instead.
    """
    return _network(
        num_classes=num_classes,
        in_chans=in_chans,
        stem_stride=stem_stride,
        width_mult=width_mult,
        dropout=0.25,
        output_attention=lambda _: TripletAttention(kernel_size),
    )


def check_width_mult(width_mult: float) -> None:
    """Raises ``InputError`` unless it is a number above 0."""
    number = isinstance(width_mult, (int, float)) and not isinstance(width_mult, bool)
    if not number or not 0 < width_mult < math.inf:
        raise InputError(f"width_mult {width_mult!r}: a number above 0")


def _channel_attention(channels: int) -> nn.Module:
    return EfficientChannelAttention(1 if channels < 96 else 3)


def _network(
    *,
    num_classes: int,
    in_chans: int,
    stem_stride: int,
    width_mult: float,
    dropout: float,
    attention: Gate | None = None,
    output_attention: Gate | None = None,
) -> ZooNetwork:
    """``attention`` is made for a block's hidden channels, ``output_attention`` for the table's channels."""
    check_width_mult(width_mult)
    multiple = 4 if width_mult <= 0.1 else 8
    strides = adapted_strides([stride for *_, stride in STAGES], stem_stride)
    channels = round_to_multiple(STEM * width_mult, multiple)
    stages: dict[str, nn.Module] = {"stem": ConvBN(in_chans, channels, 3, stride=stem_stride, act="relu6")}
    for number, ((expansion, width, blocks, _), first_stride) in enumerate(
        zip(STAGES, strides, strict=True), 1
    ):
        out_channels = round_to_multiple(width * width_mult, multiple)
        layers = []
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            hidden = channels * expansion
            layers.append(
                InvertedResidual(
                    channels,
                    hidden,
                    out_channels,
                    stride=stride,
                    expand=expansion != 1,
                    attention=attention(hidden) if attention and expansion != 1 else None,
                    output_attention=output_attention(width) if output_attention else None,
                    shortcut=nn.Identity() if stride == 1 and channels == out_channels else None,
                )
            )
            channels = out_channels
        stages[f"stage{number}"] = nn.Sequential(*layers)
    last = round_to_multiple(LAST * max(1.0, width_mult), multiple)
    head = nn.Sequential(ConvBN(channels, last, act="relu6"), PoolHead(last, num_classes, dropout=dropout))
    return ZooNetwork(stages, head)
