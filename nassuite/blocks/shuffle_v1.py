"""ShuffleNet's unit (Zhang et al. 2018, section 3.2, figure 2 b and c)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from nassuite.blocks.layers import ConvBN
from nassuite.blocks.shuffle import ChannelShuffle

Form = Literal["paper", "megvii"]


class GroupShuffleUnit(nn.Module):
    """Pointwise group convolution, channel shuffle, depthwise 3x3, pointwise group convolution, shortcut.

    (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride). At stride 1 the shortcut is added
    (and in_channels = out_channels), at stride 2 it is average-pooled and concatenated, so that the branch
    gives only out_channels - in_channels. ``middle`` are the branch's inner channels.

    ``form`` "megvii" is the wiring of the authors' released code: there the shuffle is behind the depthwise
    convolution and the other way around (channel k * groups + g goes to group g), and the pooled input
    comes first in the concatenation. Weights of one form give other outputs in the other.

    ``first_groups`` are the first convolution's (the network's first unit has 1: its input has few
    channels). ``shuffle_groups`` are the shuffle's. ``depthwise_relu`` puts a ReLU behind the depthwise
    convolution, which the paper does not.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        middle: int,
        *,
        groups: int,
        stride: int = 1,
        form: Form = "paper",
        first_groups: int | None = None,
        shuffle_groups: int | None = None,
        depthwise_relu: bool = False,
    ) -> None:
        super().__init__()
        self.form = form
        self.reduce = ConvBN(in_channels, middle, groups=first_groups or groups, act="relu")
        self.shuffle = ChannelShuffle(shuffle_groups or groups, back=form == "megvii")
        self.depthwise = ConvBN(
            middle, middle, 3, stride=stride, groups=middle, act="relu" if depthwise_relu else None
        )
        outputs = out_channels - in_channels if stride > 1 else out_channels
        self.project = ConvBN(middle, outputs, groups=groups)
        self.pool = nn.AvgPool2d(3, stride=stride, padding=1) if stride > 1 else None
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.reduce(x)
        y = self.depthwise(self.shuffle(y)) if self.form == "paper" else self.shuffle(self.depthwise(y))
        y = self.project(y)
        if self.pool is None:
            return self.relu(x + y)
        pooled = self.pool(x)
        return self.relu(torch.cat((y, pooled) if self.form == "paper" else (pooled, y), 1))

    def last_batch_norms(self) -> tuple[nn.BatchNorm2d, ...]:
        return (self.project.bn,) if self.pool is None else ()
