"""Layers that only change the shape, between stages of blocks that keep it (as HENet has them)."""

from __future__ import annotations

import torch
from torch import nn

from nassuite.blocks.layers import ConvBN, Layout, make_shortcut, shortcut_layout, stream
from nassuite.spec import BlockSpec


class Downsampling(nn.Module):
    """A dense convolution of stride 2 and a batch norm, beside the shortcut of a search space.

    (N, in_channels, H, W) to (N, out_channels, H / 2, W / 2). "space_to_depth" is that rearrangement with
    the pointwise convolution behind it (HENet's S2DDown), in one: a 2x2 convolution.
    "strided_conv" is 3x3.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, shortcut: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.shortcut = shortcut
        self.down = ConvBN(in_channels, out_channels, kernel, stride=2, padding=(kernel - 1) // 2)

    @classmethod
    def from_spec(cls, spec: BlockSpec) -> Downsampling:
        return cls(spec.in_channels, spec.out_channels, spec.kernel[0], shortcut=make_shortcut(spec))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.down(x)
        return y if self.shortcut is None else self.shortcut(x) + y

    def last_batch_norms(self) -> tuple[nn.BatchNorm2d, ...]:
        return (self.down.bn,) if self.shortcut is not None else ()

    @staticmethod
    def layout(spec: BlockSpec) -> Layout:
        return {"down": (stream(spec.out_channels), stream(spec.in_channels)), **shortcut_layout(spec)}
