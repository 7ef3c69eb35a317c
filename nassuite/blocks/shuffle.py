"""ShuffleNetV2's units (Ma et al. 2018, section 3.2, figure 3 c and d)."""

from __future__ import annotations

import torch
from torch import nn

from nassuite.blocks.layers import QUARTERS, ConvBN, Layout, half, make_shortcut, shortcut_layout, stream
from nassuite.spec import SHUFFLE_CYCLE, BlockSpec

TRANSFORMED = ((0, 2), (1, 3), (2, 3))
"""The quarters that a unit transforms, by its layer's turn; each turn mixes two others."""

assert len(TRANSFORMED) == SHUFFLE_CYCLE


class ShuffleUnit(nn.Module):
    """Half of the channels kept, half through pointwise, depthwise, pointwise.

    (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride). The paper shuffles the channels
    afterwards, so that the next unit transforms another half. Here the channels stay where they are and
    the units take turns in which two quarters they transform: the same up to the order of channels,
    without moving any, and a channel index goes on meaning the same feature next to other operators.
    Where the shape changes, both halves of the output are computed from the whole input (figure 3 d).
    """

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        self.keeps_shape = spec.keeps_shape
        self.transformed = TRANSFORMED[spec.layer]
        inputs = spec.in_channels // 2 if spec.keeps_shape else spec.in_channels
        outputs = spec.out_channels // 2
        self.expand = ConvBN(inputs, outputs, act=spec.act)
        self.depthwise = ConvBN(outputs, outputs, spec.kernel, stride=spec.stride, groups=outputs)
        self.project = ConvBN(outputs, outputs, act=spec.act)
        self.other: nn.Module | None = None
        self.shortcut: nn.Module | None = None
        if not spec.keeps_shape:
            self.other = nn.Sequential(
                ConvBN(inputs, inputs, spec.kernel, stride=spec.stride, groups=inputs),
                ConvBN(inputs, outputs, act=spec.act),
            )
            self.shortcut = make_shortcut(spec)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.other is None:
            quarters = list(x.chunk(QUARTERS, 1))
            first, second = self.transformed
            branch = self._branch(torch.cat((quarters[first], quarters[second]), 1))
            quarters[first], quarters[second] = branch.chunk(2, 1)
            return torch.cat(quarters, 1)
        y = torch.cat((self.other(x), self._branch(x)), 1)
        return y if self.shortcut is None else self.shortcut(x) + y

    def _branch(self, x: torch.Tensor) -> torch.Tensor:
        return self.project(self.depthwise(self.expand(x)))

    @staticmethod
    def layout(spec: BlockSpec) -> Layout:
        inputs = half(spec.in_channels) if spec.keeps_shape else stream(spec.in_channels)
        outputs = half(spec.out_channels)
        middle = (spec.out_channels // 2,)
        return {
            "expand": (middle, inputs),
            "depthwise": (middle, (1,)),
            "project": (outputs, middle),
            "other.0": (inputs, (1,)),
            "other.1": (outputs, inputs),
            **shortcut_layout(spec),
        }
