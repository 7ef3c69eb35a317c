"""Attention gates: (N, C, H, W) times weights in 0..1 that are computed from it."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from nassuite.blocks.layers import activation
from nassuite.blocks.shuffle import channel_shuffle
from nassuite.errors import InputError


class CoordinateAttention(nn.Module):
    """A weight for each channel and row times one for each channel and column (Hou et al. 2021, section 3.2).

    The means of all rows and of all columns are squeezed by one convolution; ``squeezed`` is a 32nd of the
    channels, at least 8.
    """

    def __init__(self, channels: int, *, reduction: int = 32) -> None:
        super().__init__()
        squeezed = max(8, channels // reduction)
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.bn = nn.BatchNorm2d(squeezed)
        self.act = activation("hard_swish")
        self.expand_rows = nn.Conv2d(squeezed, channels, 1)
        self.expand_columns = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height = int(x.shape[2])
        rows = x.mean(3, keepdim=True)  # (N, C, H, 1)
        columns = x.mean(2, keepdim=True).transpose(2, 3)  # (N, C, W, 1)
        # One tensor, because the batch norm takes its statistics over rows and columns together.
        y = self.act(self.bn(self.reduce(torch.cat((rows, columns), 2))))
        rows = self.expand_rows(y[:, :, :height]).sigmoid()
        columns = self.expand_columns(y[:, :, height:].transpose(2, 3)).sigmoid()
        return x * columns * rows


class EfficientChannelAttention(nn.Module):
    """A weight for each channel from the means of its neighbours (ECA-Net, Wang et al. 2020, section 3.2).

    One kernel of ``kernel_size`` slides over the channels' means. Raises ``InputError`` for an even size.
    """

    def __init__(self, kernel_size: int = 3) -> None:
        super().__init__()
        _check_odd(kernel_size)
        self.conv = nn.Conv1d(1, 1, kernel_size, padding=kernel_size // 2, bias=False)
        # The mean of the neighbours to begin with: as good as a random start, and equal in every run.
        nn.init.constant_(self.conv.weight, 1 / kernel_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        means = F.adaptive_avg_pool2d(x, 1).squeeze(3).transpose(1, 2)  # (N, 1, C)
        return x * self.conv(means).sigmoid().transpose(1, 2).unsqueeze(3)


class ShuffleAttention(nn.Module):
    """Half of each group gated by channel, the other half by pixel (SA-Net, Zhang and Yang 2021, section 3).

    All groups share the parameters. The channels are shuffled afterwards, so that next time the halves
    are others. Raises ``InputError`` where the channels do not split into ``groups`` of two equal halves.
    """

    def __init__(self, channels: int, *, groups: int = 8) -> None:
        super().__init__()
        if channels % (2 * groups):
            raise InputError(
                f"shuffle attention over {channels} channels: a multiple of {2 * groups} for {groups} groups"
            )
        half = channels // (2 * groups)
        self.groups = groups
        self.channel_weight = nn.Parameter(torch.zeros(1, half, 1, 1))
        self.channel_bias = nn.Parameter(torch.ones(1, half, 1, 1))
        self.pixel_weight = nn.Parameter(torch.zeros(1, half, 1, 1))
        self.pixel_bias = nn.Parameter(torch.ones(1, half, 1, 1))
        self.norm = nn.GroupNorm(half, half)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        channels, height, width = (int(size) for size in x.shape[1:])
        grouped = x.reshape(-1, channels // self.groups, height, width)
        first, second = grouped.split(channels // self.groups // 2, 1)
        mean = F.adaptive_avg_pool2d(first, 1)
        first = first * (self.channel_weight * mean + self.channel_bias).sigmoid()
        second = second * (self.pixel_weight * self.norm(second) + self.pixel_bias).sigmoid()
        y = torch.cat((first, second), 1).reshape(-1, channels, height, width)
        return channel_shuffle(y, 2)


class TripletAttention(nn.Module):
    """The mean of three gates, one for each pair of dimensions (Misra et al. 2021, section 3.2).

    A gate takes the maximum and the mean over the dimension that is left out ("Z-pool") and convolves
    them over the other two, be they channels. Raises ``InputError`` for an even ``kernel_size``.
    """

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        _check_odd(kernel_size)
        self.channels_width = _PairGate(kernel_size)
        self.height_channels = _PairGate(kernel_size)
        self.height_width = _PairGate(kernel_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # The paper turns the whole tensor, then pools. Pooling first and turning the small maps saves copies.
        channels_width = self.channels_width(_z_pool(x, 2)).transpose(1, 2)  # (N, C, 1, W)
        height_channels = self.height_channels(_z_pool(x, 3).transpose(2, 3)).transpose(1, 3)  # (N, C, H, 1)
        height_width = self.height_width(_z_pool(x, 1))  # (N, 1, H, W)
        return x * ((channels_width + height_channels + height_width) / 3)


class _PairGate(nn.Module):
    """Z-pooled maps (N, 2, A, B) to weights (N, 1, A, B)."""

    def __init__(self, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.bn = nn.BatchNorm2d(1, momentum=0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(self.conv(x)).sigmoid()


def _z_pool(x: torch.Tensor, dim: int) -> torch.Tensor:
    """Maximum and mean over ``dim``; the other two behind the two maps, in their order."""
    return torch.stack((x.amax(dim), x.mean(dim)), 1)


def _check_odd(kernel_size: int) -> None:
    if (
        not isinstance(kernel_size, int)
        or isinstance(kernel_size, bool)
        or kernel_size < 1
        or kernel_size % 2 == 0
    ):
        raise InputError(f"kernel_size {kernel_size!r}: an odd whole number from 1 up")
