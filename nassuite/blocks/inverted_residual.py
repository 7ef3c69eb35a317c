"""MobileNetV2's inverted residual (Sandler et al. 2018, section 3), with MobileNetV3's options."""

from __future__ import annotations

import torch
from torch import nn

from nassuite.blocks.layers import (
    ConvBN,
    Layout,
    SqueezeExcite,
    make_shortcut,
    shortcut_layout,
    squeeze_excite_layout,
    squeezed_channels,
    stream,
)
from nassuite.spec import BlockSpec


class InvertedResidual(nn.Module):
    """Pointwise expansion, depthwise convolution, squeeze-and-excitation, linear pointwise projection.

    (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride). With ``expand`` 1 there is no
    expansion, as in the paper's first block.
    """

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        hidden = spec.hidden_channels
        self.shortcut = make_shortcut(spec)
        self.expand = ConvBN(spec.in_channels, hidden, act=spec.act) if spec.expand != 1.0 else nn.Identity()
        self.depthwise = ConvBN(hidden, hidden, spec.kernel, stride=spec.stride, groups=hidden, act=spec.act)
        self.se = SqueezeExcite(hidden, squeezed_channels(hidden)) if spec.se else nn.Identity()
        self.project = ConvBN(hidden, spec.out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.project(self.se(self.depthwise(self.expand(x))))
        return y if self.shortcut is None else self.shortcut(x) + y

    def last_batch_norms(self) -> tuple[nn.BatchNorm2d, ...]:
        return (self.project.bn,) if self.shortcut is not None else ()

    @staticmethod
    def layout(spec: BlockSpec) -> Layout:
        hidden = (spec.hidden_channels,) if spec.expand != 1.0 else stream(spec.in_channels)
        return {
            "expand": (hidden, stream(spec.in_channels)),
            "depthwise": (hidden, (1,)),
            **squeeze_excite_layout("se", hidden),
            "project": (stream(spec.out_channels), hidden),
            **shortcut_layout(spec),
        }
