"""HENet's depthwise convolution blocks: DWCB, GroupDWCB, AltDWCB (Horizon Robotics' HENet)."""

from __future__ import annotations

import torch
from torch import nn

from nassuite.blocks.layers import ConvBN, LayerScale, Layout, activation, half, stream
from nassuite.spec import BlockSpec

GROUPS = {"dwcb": 1, "group_dwcb": 2, "alt_dwcb": 1}


class DWCB(nn.Module):
    """Depthwise convolution, two pointwise convolutions with one activation, layer scale, residual sum.

    (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride). GroupDWCB's first pointwise
    convolution has two groups, the halves of the stream; AltDWCB's ``kernel`` is (1, k) in even layers of a
    stage and (k, 1) in odd ones. HENet changes shape between stages by a strided convolution and a
    batch norm; here the depthwise convolution takes the stride and a batch norm ends the block,
    without residual sum.
    """

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        hidden = spec.hidden_channels
        self.residual = spec.residual
        self.depthwise = ConvBN(
            spec.in_channels, spec.in_channels, spec.kernel, stride=spec.stride, groups=spec.in_channels
        )
        self.expand = nn.Conv2d(spec.in_channels, hidden, 1, groups=GROUPS[spec.op])
        self.act = activation(spec.act)
        self.project = nn.Conv2d(hidden, spec.out_channels, 1)
        self.scale = LayerScale(spec.out_channels) if spec.residual else nn.Identity()
        self.bn = nn.Identity() if spec.residual else nn.BatchNorm2d(spec.out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.project(self.act(self.expand(self.depthwise(x))))
        return x + self.scale(y) if self.residual else self.bn(y)

    @staticmethod
    def layout(spec: BlockSpec) -> Layout:
        inputs, outputs = stream(spec.in_channels), stream(spec.out_channels)
        groups = GROUPS[spec.op]
        hidden = (spec.hidden_channels // groups,) * groups
        return {
            "depthwise": (inputs, (1,)),
            "expand": (hidden, inputs if groups == 1 else half(spec.in_channels)),
            "project": (outputs, hidden),
            "scale": (outputs, (1,)),
            "bn": (outputs, (1,)),
        }
