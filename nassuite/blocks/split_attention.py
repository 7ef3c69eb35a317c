"""Split attention (ResNeSt, Zhang et al. 2020, arXiv 2004.08955, section 3.1)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from nassuite.blocks.layers import ConvBN
from nassuite.spec import Activation


class SplitAttention(nn.Module):
    """A convolution into ``radix`` maps that compete, channel by channel, for a place in their weighted sum.

    (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride). The attention's hidden layer has
    in_channels * radix / reduction channels, at least 32. Its batch norm sees one value for each image: in
    train mode a batch needs two images.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        radix: int = 2,
        cardinality: int = 1,
        reduction: int = 4,
        act: Activation | None = "relu",
    ) -> None:
        super().__init__()
        self.radix = radix
        self.cardinality = cardinality
        hidden = max(in_channels * radix // reduction, 32)
        self.conv = ConvBN(
            in_channels, out_channels * radix, kernel, stride=stride, groups=cardinality * radix, act=act
        )
        self.reduce = ConvBN(out_channels, hidden, groups=cardinality, bias=True, act="relu")
        self.select = nn.Conv2d(hidden, out_channels * radix, 1, groups=cardinality)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.conv(x).unflatten(1, (self.radix, -1))  # (N, radix, C, H, W)
        logits = self.select(self.reduce(F.adaptive_avg_pool2d(maps.sum(1), 1)))
        # The convolution's channels are ordered by cardinal group, then by radix.
        logits = logits.flatten(1).unflatten(1, (self.cardinality, self.radix, -1))
        weights = logits.softmax(2).transpose(1, 2).flatten(2)  # (N, radix, C)
        return (maps * weights[..., None, None]).sum(1)
