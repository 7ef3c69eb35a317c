"""HENet's depthwise convolution blocks: DWCB, GroupDWCB, AltDWCB (Horizon Robotics' HENet)."""

from __future__ import annotations

import torch
from torch import nn

from nassuite.blocks.layers import (
    ConvBN,
    LayerScale,
    Layout,
    activation,
    half,
    make_shortcut,
    shortcut_layout,
    stream,
)
from nassuite.spec import BlockSpec

GROUPS = {"dwcb": 1, "group_dwcb": 2, "alt_dwcb": 1}


class DWCB(nn.Module):
    """Depthwise convolution, two pointwise convolutions with one activation, layer scale, residual sum.

    (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride). GroupDWCB's first pointwise
    convolution has two groups, the halves of the stream; AltDWCB's ``kernel`` is (1, k) in even layers of a
    stage and (k, 1) in odd ones. HENet changes shape between stages by a strided convolution and a
    batch norm; here the depthwise convolution takes the stride and a batch norm, in place of the layer
    scale, ends the branch.
    """

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        hidden = spec.hidden_channels
        self.shortcut = make_shortcut(spec)
        self.depthwise = ConvBN(
            spec.in_channels, spec.in_channels, spec.kernel, stride=spec.stride, groups=spec.in_channels
        )
        self.expand = nn.Conv2d(spec.in_channels, hidden, 1, groups=GROUPS[spec.op])
        self.act = activation(spec.act)
        self.project = nn.Conv2d(hidden, spec.out_channels, 1)
        self.scale = LayerScale(spec.out_channels) if spec.keeps_shape else nn.Identity()
        self.bn = nn.Identity() if spec.keeps_shape else nn.BatchNorm2d(spec.out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.project(self.act(self.expand(self.depthwise(x))))
        y = self.bn(self.scale(y))
        return y if self.shortcut is None else self.shortcut(x) + y

    def last_batch_norms(self) -> tuple[nn.BatchNorm2d, ...]:
        return (self.bn,) if isinstance(self.bn, nn.BatchNorm2d) and self.shortcut is not None else ()

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
            **shortcut_layout(spec),
        }
