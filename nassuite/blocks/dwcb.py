"""HENet's depthwise convolution blocks DWCB, GroupDWCB, AltDWCB, and its downsampling (Horizon Robotics)."""

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
from nassuite.spec import Activation, BlockSpec

GROUPS = {"dwcb": 1, "group_dwcb": 2, "alt_dwcb": 1}


class S2DDown(ConvBN):
    """Space to depth, pointwise convolution, batch norm: what HENet puts between its stages.

    (N, in_channels, H, W) to (N, out_channels, H // 2, W // 2). The first two together are one 2x2
    convolution of stride 2 with a bias, and run as that.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 2, stride=2, padding=0, bias=True)


class DWCB(nn.Module):
    """Depthwise convolution, two pointwise convolutions with one activation, layer scale, residual sum.

    (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride). GroupDWCB's first pointwise
    convolution has two groups, the halves of the stream; AltDWCB's ``kernel`` is (1, k) in even layers of a
    stage and (k, 1) in odd ones. HENet changes shape between stages (``S2DDown``); in a block that does,
    the depthwise convolution takes the stride and a batch norm, in place of the layer scale, ends the
    branch.

    Published are ``bias`` True, one in the depthwise convolution although a batch norm follows, and a
    ``layer_scale`` that starts at 1.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int] = 3,
        *,
        stride: int = 1,
        act: Activation = "gelu",
        groups: int = 1,
        bias: bool = False,
        layer_scale: float = 0.1,
        shortcut: nn.Module | None = None,
    ) -> None:
        super().__init__()
        keeps_shape = isinstance(shortcut, nn.Identity)
        self.shortcut = shortcut
        self.depthwise = ConvBN(
            in_channels, in_channels, kernel, stride=stride, groups=in_channels, bias=bias
        )
        self.expand = nn.Conv2d(in_channels, hidden_channels, 1, groups=groups)
        self.act = activation(act)
        self.project = nn.Conv2d(hidden_channels, out_channels, 1)
        self.scale = LayerScale(out_channels, layer_scale) if keeps_shape else nn.Identity()
        self.bn = nn.Identity() if keeps_shape else nn.BatchNorm2d(out_channels)

    @classmethod
    def from_spec(cls, spec: BlockSpec) -> DWCB:
        return cls(
            spec.in_channels,
            spec.hidden_channels,
            spec.out_channels,
            spec.kernel,
            stride=spec.stride,
            act=spec.act,
            groups=GROUPS[spec.op],
            shortcut=make_shortcut(spec),
        )

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
