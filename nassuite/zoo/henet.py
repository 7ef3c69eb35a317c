"""HENet (Horizon Robotics): TinyM and TinyE."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal, NamedTuple

from torch import nn

from nassuite.blocks.dwcb import DWCB, S2DDown
from nassuite.blocks.layers import ConvBN
from nassuite.zoo.network import ZooNetwork, adapted_strides

MIXED = 1024
GROUP_WIDTH = {64: 64, 96: 48, 128: 64}
"""Channels to the channels of one group of GroupDWCB; the narrowest stage has a single group."""


class Stage(NamedTuple):
    block: Literal["dwcb", "group_dwcb", "alt_dwcb"]
    depth: int
    width: int
    expand: int


TINY_M = (
    Stage("group_dwcb", 4, 64, 2),
    Stage("group_dwcb", 3, 128, 2),
    Stage("alt_dwcb", 8, 192, 2),
    Stage("dwcb", 6, 384, 3),
)
TINY_E = (
    Stage("dwcb", 3, 48, 2),
    Stage("group_dwcb", 3, 96, 2),
    Stage("alt_dwcb", 8, 192, 2),
    Stage("dwcb", 6, 384, 3),
)


def henet_tinym(*, num_classes: int, in_chans: int, stem_stride: int = 2) -> ZooNetwork:
    """HENet TinyM, as in Horizon's toolkit."""
    return _henet(TINY_M, num_classes=num_classes, in_chans=in_chans, stem_stride=stem_stride)


def henet_tinye(*, num_classes: int, in_chans: int, stem_stride: int = 2) -> ZooNetwork:
    """HENet TinyE, as in Horizon's toolkit.

    In both, convolutions have a bias in front of a batch norm too, all but the last one, and layer scales
    start at 1. That code keeps the downsamplings in a list of their own behind all stages; here each
    begins its stage, so its weights come in another order.
    """
    return _henet(TINY_E, num_classes=num_classes, in_chans=in_chans, stem_stride=stem_stride)


def _henet(rows: tuple[Stage, ...], *, num_classes: int, in_chans: int, stem_stride: int) -> ZooNetwork:
    (second_stride,) = adapted_strides([2], stem_stride)
    inputs = rows[0].width // 2
    stages: dict[str, nn.Module] = {
        "stem": ConvBN(in_chans, inputs, 3, stride=stem_stride, bias=True, act="relu")
    }
    for number, row in enumerate(rows, 1):
        down = (
            ConvBN(inputs, row.width, 3, stride=second_stride, bias=True, act="relu")
            if number == 1
            else S2DDown(inputs, row.width)
        )
        blocks = (_block(row, layer) for layer in range(row.depth))
        stages[f"stage{number}"] = nn.Sequential(down, *blocks)
        inputs = row.width
    head = OrderedDict(
        norm=nn.BatchNorm2d(inputs),
        pool=nn.AdaptiveAvgPool2d(1),
        mix=ConvBN(inputs, MIXED, act="gelu"),
        flatten=nn.Flatten(1),
        classifier=nn.Linear(MIXED, num_classes),
    )
    return ZooNetwork(stages=stages, head=nn.Sequential(head))


def _block(row: Stage, layer: int) -> DWCB:
    kernel: int | tuple[int, int] = 3
    if row.block == "alt_dwcb":
        kernel = (1, 5) if layer % 2 == 0 else (5, 1)
    return DWCB(
        row.width,
        row.width * row.expand,
        row.width,
        kernel,
        groups=row.width // GROUP_WIDTH[row.width] if row.block == "group_dwcb" else 1,
        bias=True,
        layer_scale=1.0,
        shortcut=nn.Identity(),
    )
