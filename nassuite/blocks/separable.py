"""Depthwise separable convolution and the blocks of the Xceptions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from nassuite.blocks.layers import ConvBN, activation


class SeparableConv(nn.Module):
    """Depthwise 3x3 and pointwise convolution without anything between them (Chollet 2017, section 3).

    (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride). ``mid_norm`` puts a batch norm
    between the two, as DeepLabv3+ does (Chen et al. 2018, section 3.3). There is no activation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        mid_norm: bool = False,
    ) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            in_channels,
            in_channels,
            3,
            stride=stride,
            padding=dilation,
            dilation=dilation,
            groups=in_channels,
            bias=False,
        )
        self.norm = nn.BatchNorm2d(in_channels) if mid_norm else nn.Identity()
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pointwise(self.norm(self.depthwise(x)))


class XceptionBlock(nn.Module):
    """Separable convolutions between ReLU and batch norm, and a shortcut (Chollet 2017, figure 5).

    ``convs`` are the (channels, stride, dilation) of each. ``pool_stride`` above 1 adds the paper's 3x3
    max pooling behind them; DeepLabv3+ has a convolution of stride 2 instead, and ``mid_norm``. ``first_relu``
    False leaves out the first ReLU. With ``relu_shortcut`` the shortcut starts behind that ReLU, not before it.
    """

    def __init__(
        self,
        in_channels: int,
        convs: Sequence[tuple[int, int, int]],
        *,
        pool_stride: int = 1,
        first_relu: bool = True,
        relu_shortcut: bool = False,
        mid_norm: bool = False,
    ) -> None:
        super().__init__()
        out_channels = convs[-1][0]
        total = pool_stride * math.prod(stride for _, stride, _ in convs)
        changes = total > 1 or in_channels != out_channels
        self.shortcut = ConvBN(in_channels, out_channels, stride=total) if changes else nn.Identity()
        self.first_relu = nn.ReLU() if first_relu else nn.Identity()
        self.relu_shortcut = relu_shortcut
        layers: list[nn.Module] = []
        width = in_channels
        for channels, stride, dilation in convs:
            if layers:
                layers.append(activation("relu"))
            layers.append(SeparableConv(width, channels, stride=stride, dilation=dilation, mid_norm=mid_norm))
            layers.append(nn.BatchNorm2d(channels))
            width = channels
        self.convs = nn.Sequential(*layers)
        self.pool = nn.MaxPool2d(3, pool_stride, 1) if pool_stride > 1 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        activated = self.first_relu(x)
        shortcut = self.shortcut(activated if self.relu_shortcut else x)
        return shortcut + self.pool(self.convs(activated))

    def last_batch_norms(self) -> tuple[nn.BatchNorm2d, ...]:
        last = self.convs[-1]
        assert isinstance(last, nn.BatchNorm2d)
        return (last,)
