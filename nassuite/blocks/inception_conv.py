"""Inception convolution (IC-Conv, Liu et al. 2021, arXiv 2012.13587, section 3.1): dilations of each channel's own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from nassuite.blocks.layers import activation
from nassuite.errors import InputError
from nassuite.spec import Activation

Dilation = tuple[int, int]
"""Vertical and horizontal distance between the kernel's elements, 1 for a dense kernel."""


class InceptionConv2d(nn.Module):
    """Convolution without bias whose output channel c has the dilation ``dilations[c]``.

    (N, in_channels, H, W) to (N, len(dilations), H / stride, W / stride). One convolution for each dilation that
    occurs, in the order of its first channel; the outputs are then put back in the order of
    ``dilations``. It multiplies and stores exactly as much as the plain convolution.
    """

    def __init__(
        self, in_channels: int, dilations: Sequence[Dilation], kernel: int = 3, *, stride: int = 1
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise InputError(f"inception convolution with a kernel of {kernel}: it must be odd")
        if not dilations or min(map(min, dilations)) < 1:
            raise InputError("inception convolution: every channel needs a dilation from 1 up")
        channels: dict[Dilation, list[int]] = {}
        for channel, dilation in enumerate(dilations):
            channels.setdefault(dilation, []).append(channel)
        self.branches = nn.ModuleList(
            nn.Conv2d(
                in_channels,
                len(members),
                kernel,
                stride=stride,
                padding=(kernel // 2 * dilation[0], kernel // 2 * dilation[1]),
                dilation=dilation,
                bias=False,
            )
            for dilation, members in channels.items()
        )
        source = [channel for members in channels.values() for channel in members]
        # order[c] is where channel c stands in the concatenated outputs; not kept with the weights.
        order = sorted(range(len(source)), key=source.__getitem__)
        self.in_order = order == source
        self.register_buffer("order", torch.tensor(order), persistent=False)

    order: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = torch.cat([branch(x) for branch in self.branches], dim=1)
        return out if self.in_order else out.index_select(1, self.order)


class InceptionConvBN(nn.Module):
    """Inception convolution, batch norm, and an activation unless ``act`` is None."""

    def __init__(
        self,
        in_channels: int,
        dilations: Sequence[Dilation],
        kernel: int = 3,
        *,
        stride: int = 1,
        act: Activation | None = None,
    ) -> None:
        super().__init__()
        self.conv = InceptionConv2d(in_channels, dilations, kernel, stride=stride)
        self.bn = nn.BatchNorm2d(len(dilations))
        self.act = activation(act) if act else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.bn(self.conv(x)))
