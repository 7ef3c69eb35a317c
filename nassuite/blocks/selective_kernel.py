"""Selective kernel convolution (SKNet, Li et al. 2019, arXiv 1903.06586, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from nassuite.blocks.layers import ConvBN
from nassuite.spec import Activation


class SelectiveKernel(nn.Module):
    """Convolutions of several dilations, between which each channel of each image chooses softly.

    (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride). A 5x5 kernel is a 3x3 one of dilation
    2, as in the paper. The attention's hidden layer has out_channels / reduction channels, at least
    ``min_hidden``. Its batch norm sees one value for each image: in train mode a batch needs two images.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        groups: int = 1,
        dilations: Sequence[int] = (1, 2),
        reduction: int = 16,
        min_hidden: int = 32,
        act: Activation | None = "relu",
    ) -> None:
        super().__init__()
        hidden = max(out_channels // reduction, min_hidden)
        self.paths = nn.ModuleList(
            ConvBN(
                in_channels, out_channels, kernel, stride=stride, dilation=dilation, groups=groups, act=act
            )
            for dilation in dilations
        )
        self.reduce = ConvBN(out_channels, hidden, act="relu")
        self.select = nn.Conv2d(hidden, out_channels * len(dilations), 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = torch.stack([path(x) for path in self.paths], dim=1)  # (N, paths, C, H, W)
        logits = self.select(self.reduce(F.adaptive_avg_pool2d(maps.sum(1), 1)))
        weights = logits.unflatten(1, (len(self.paths), -1)).softmax(1)  # (N, paths, C, 1, 1)
        return (maps * weights).sum(1)
