"""The searchable operators. Each is written once and serves zoo, supernet and extracted network."""

from __future__ import annotations

from torch import nn

from nassuite.blocks.downsample import Downsampling
from nassuite.blocks.dwcb import DWCB
from nassuite.blocks.ghost import GhostBottleneck
from nassuite.blocks.inverted_residual import InvertedResidual
from nassuite.blocks.layers import Layout
from nassuite.blocks.shuffle import ShuffleUnit
from nassuite.spec import BlockSpec

BLOCKS: dict[str, type[InvertedResidual | GhostBottleneck | ShuffleUnit | DWCB | Downsampling]] = {
    "inverted_residual": InvertedResidual,
    "ghost": GhostBottleneck,
    "shuffle": ShuffleUnit,
    "dwcb": DWCB,
    "group_dwcb": DWCB,
    "alt_dwcb": DWCB,
    "space_to_depth": Downsampling,
    "strided_conv": Downsampling,
}


def build_block(spec: BlockSpec) -> nn.Module:
    """The plain module of a searchable block, with fresh weights."""
    return BLOCKS[spec.op].from_spec(spec)


def block_layout(spec: BlockSpec) -> Layout:
    """How the channels of each of the block's layers fall into segments."""
    return BLOCKS[spec.op].layout(spec)
