"""Residual blocks (He et al. 2016, arXiv 1512.03385, section 3); the convolutions and the attention come from outside.

ResNeXt's grouped convolution, selective kernels, split attention, inception convolutions and adder layers
all take the place of one or all convolutions of the same two blocks.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn
from torch.nn import functional as F

from nassuite.blocks.layers import ConvBN
from nassuite.spec import Activation


class MakeConv(Protocol):
    """Makes a convolution with its batch norm and activation, padded to keep the size: ``ConvBN`` or another."""

    def __call__(
        self, in_channels: int, out_channels: int, kernel: int, /, *, stride: int, act: Activation | None
    ) -> nn.Module: ...


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a sum (figure 5, left).

    (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride). ``attention`` weighs the branch
    before the sum; ``shortcut`` is needed where the shape changes.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        conv: MakeConv = ConvBN,
        attention: nn.Module | None = None,
        shortcut: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, out_channels, 3, stride=stride, act="relu")
        self.conv2 = conv(out_channels, out_channels, 3, stride=1, act=None)
        self.attention = nn.Identity() if attention is None else attention
        self.shortcut = nn.Identity() if shortcut is None else shortcut
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.attention(self.conv2(self.conv1(x))) + self.shortcut(x))

    def last_batch_norms(self) -> tuple[nn.BatchNorm2d, ...]:
        return _last_batch_norm(self.conv2)


class Bottleneck(nn.Module):
    """1x1 convolution down to ``width``, 3x3, 1x1 up to ``out_channels``, and a sum (figure 5, right).

    (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride). ``conv`` makes the convolutions,
    ``spatial`` the 3x3 one if it is another. The stride is the 3x3 convolution's ("v1b", torchvision), with
    ``stride_first`` the first 1x1 one's (the paper's Caffe model).
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        out_channels: int,
        *,
        stride: int = 1,
        stride_first: bool = False,
        conv: MakeConv = ConvBN,
        spatial: MakeConv | None = None,
        attention: nn.Module | None = None,
        shortcut: nn.Module | None = None,
    ) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_first else (1, stride)
        self.reduce = conv(in_channels, width, 1, stride=first, act="relu")
        self.spatial = (spatial or conv)(width, width, 3, stride=second, act="relu")
        self.expand = conv(width, out_channels, 1, stride=1, act=None)
        self.attention = nn.Identity() if attention is None else attention
        self.shortcut = nn.Identity() if shortcut is None else shortcut
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branch = self.attention(self.expand(self.spatial(self.reduce(x))))
        return self.act(branch + self.shortcut(x))

    def last_batch_norms(self) -> tuple[nn.BatchNorm2d, ...]:
        return _last_batch_norm(self.expand)


def _last_batch_norm(module: nn.Module) -> tuple[nn.BatchNorm2d, ...]:
    return tuple(layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d))[-1:]


def projection(
    in_channels: int, out_channels: int, stride: int, *, conv: MakeConv = ConvBN, average: bool = False
) -> nn.Module | None:
    """The shortcut of a block: None where it keeps the shape, else a strided 1x1 convolution (option B).

    With ``average`` it is ResNet-D's: average pooling takes the stride, so that no pixel is left out
    (He et al. 2019, "Bag of Tricks", section 4.2).
    """
    if stride == 1 and in_channels == out_channels:
        return None
    if not average or stride == 1:
        return conv(in_channels, out_channels, 1, stride=stride, act=None)
    pool = nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(pool, conv(in_channels, out_channels, 1, stride=1, act=None))


class ZeroPadShortcut(nn.Module):
    """Shortcut without parameters (option A, section 3.3): every ``stride``-th pixel, new channels are zero.

    Half of the new channels stand before the old ones and half behind, as in akamaster's checkpoints.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.before = (out_channels - in_channels) // 2
        self.behind = out_channels - in_channels - self.before
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.behind))
