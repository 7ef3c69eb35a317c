"""MobileNeXt's sandglass block (Zhou et al. 2020, "Rethinking Bottleneck Structure", section 3)."""

from __future__ import annotations

import torch
from torch import nn

from nassuite.blocks.layers import ConvBN


class SandglassBlock(nn.Module):
    """Depthwise, pointwise reduction, pointwise expansion, depthwise: an inverted residual turned inside out.

    (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride). The shortcut joins the wide ends,
    the spatial convolutions work on the wide maps. There is no activation behind the reduction and behind the
    last depthwise convolution, which has the stride. Blocks that change the shape leave out depthwise
    convolutions: ``first_depthwise``, ``last_depthwise`` (needed for a stride).
    """

    def __init__(
        self,
        in_channels: int,
        reduced_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        first_depthwise: bool = True,
        last_depthwise: bool = True,
        shortcut: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if stride != 1 and not last_depthwise:
            raise ValueError("the stride is that of the last depthwise convolution")
        self.first: nn.Module = nn.Identity()
        if first_depthwise:
            self.first = ConvBN(in_channels, in_channels, 3, groups=in_channels, act="relu6")
        self.reduce = ConvBN(in_channels, reduced_channels)
        self.expand = ConvBN(reduced_channels, out_channels, act="relu6")
        self.last: nn.Module = nn.Identity()
        if last_depthwise:
            self.last = ConvBN(out_channels, out_channels, 3, stride=stride, groups=out_channels)
        self.shortcut = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.last(self.expand(self.reduce(self.first(x))))
        return y if self.shortcut is None else self.shortcut(x) + y

    def last_batch_norms(self) -> tuple[nn.BatchNorm2d, ...]:
        if self.shortcut is None:
            return ()
        return (self.last.bn if isinstance(self.last, ConvBN) else self.expand.bn,)
