"""Ghost module and ghost bottleneck (GhostNet, Han et al. 2020, sections 3.1 and 3.2), ratio 2."""

from __future__ import annotations

import torch
from torch import nn

from nassuite.blocks.layers import (
    ConvBN,
    Layout,
    Segments,
    SqueezeExcite,
    half,
    make_shortcut,
    shortcut_layout,
    squeeze_excite_layout,
    squeezed_channels,
    stream,
)
from nassuite.spec import Activation, BlockSpec

CHEAP_KERNEL = 3


class GhostModule(nn.Module):
    """Half of the output by a pointwise convolution, the other half from it by a cheap depthwise one."""

    def __init__(self, in_channels: int, out_channels: int, act: Activation | None) -> None:
        super().__init__()
        primary = out_channels // 2
        self.primary = ConvBN(in_channels, primary, act=act)
        self.cheap = ConvBN(primary, primary, CHEAP_KERNEL, groups=primary, act=act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        primary = self.primary(x)
        return torch.cat((primary, self.cheap(primary)), 1)


def _ghost_layout(name: str, primary: Segments, inputs: Segments) -> Layout:
    return {f"{name}.primary": (primary, inputs), f"{name}.cheap": (primary, (1,))}


class GhostBottleneck(nn.Module):
    """Ghost expansion, depthwise convolution at stride 2, attention, ghost projection.

    (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride). Without ``shortcut`` it has that of
    the authors' code where the shape changes, a depthwise and a pointwise convolution. ``kernel`` is
    that of the depthwise convolutions; the cheap ones stay 3x3 (paper, section 4.1.1).
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int] = 3,
        *,
        stride: int = 1,
        act: Activation = "relu",
        attention: nn.Module | None = None,
        shortcut: nn.Module | None = None,
    ) -> None:
        super().__init__()
        hidden = hidden_channels
        self.expand = GhostModule(in_channels, hidden, act)
        self.depthwise = (
            ConvBN(hidden, hidden, kernel, stride=stride, groups=hidden) if stride != 1 else nn.Identity()
        )
        self.se = attention or nn.Identity()
        self.project = GhostModule(hidden, out_channels, None)
        self.ends_in_sum = shortcut is not None
        self.shortcut = shortcut or nn.Sequential(
            ConvBN(in_channels, in_channels, kernel, stride=stride, groups=in_channels),
            ConvBN(in_channels, out_channels),
        )

    @classmethod
    def from_spec(cls, spec: BlockSpec) -> GhostBottleneck:
        hidden = spec.hidden_channels
        return cls(
            spec.in_channels,
            hidden,
            spec.out_channels,
            spec.kernel,
            stride=spec.stride,
            act=spec.act,
            attention=SqueezeExcite(hidden, squeezed_channels(hidden)) if spec.se else None,
            shortcut=make_shortcut(spec),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shortcut(x) + self.project(self.se(self.depthwise(self.expand(x))))

    def last_batch_norms(self) -> tuple[nn.BatchNorm2d, ...]:
        return (self.project.primary.bn, self.project.cheap.bn) if self.ends_in_sum else ()

    @staticmethod
    def layout(spec: BlockSpec) -> Layout:
        inputs, outputs = stream(spec.in_channels), stream(spec.out_channels)
        primary = (spec.hidden_channels // 2,)
        hidden = primary * 2
        return {
            **_ghost_layout("expand", primary, inputs),
            "depthwise": (hidden, (1,)),
            **squeeze_excite_layout("se", hidden),
            **_ghost_layout("project", half(spec.out_channels), hidden),
            "shortcut.0": (inputs, (1,)),
            "shortcut.1": (outputs, inputs),
            **shortcut_layout(spec),
        }
