"""MobileNetV2's inverted residual (Sandler et al. 2018, section 3), with the options of those that followed."""

from __future__ import annotations

import torch
from torch import nn

from nassuite.blocks.layers import (
    ConvBN,
    Layout,
    SqueezeExcite,
    make_shortcut,
    shortcut_layout,
    squeeze_excite_layout,
    squeezed_channels,
    stream,
)
from nassuite.spec import Activation, BlockSpec


class InvertedResidual(nn.Module):
    """Pointwise expansion, depthwise convolution, attention, linear pointwise projection.

    (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride). With ``expand`` False there is no
    expansion, as in the paper's first block. ``attention`` stands between depthwise convolution and
    projection (MobileNetV3, Howard et al. 2019, section 3), ``output_attention`` behind the
    projection, before the sum. ``shortcut`` is the module whose output is added, None where nothing is.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int] = 3,
        *,
        stride: int = 1,
        act: Activation = "relu6",
        expand: bool = True,
        eps: float = 1e-5,
        attention: nn.Module | None = None,
        output_attention: nn.Module | None = None,
        shortcut: nn.Module | None = None,
    ) -> None:
        super().__init__()
        hidden = hidden_channels
        self.shortcut = shortcut
        self.expand = ConvBN(in_channels, hidden, eps=eps, act=act) if expand else nn.Identity()
        self.depthwise = ConvBN(hidden, hidden, kernel, stride=stride, groups=hidden, eps=eps, act=act)
        self.se = attention or nn.Identity()
        self.project = ConvBN(hidden, out_channels, eps=eps)
        self.output_attention = output_attention or nn.Identity()

    @classmethod
    def from_spec(cls, spec: BlockSpec) -> InvertedResidual:
        hidden = spec.hidden_channels
        return cls(
            spec.in_channels,
            hidden,
            spec.out_channels,
            spec.kernel,
            stride=spec.stride,
            act=spec.act,
            expand=spec.expand != 1.0,
            attention=SqueezeExcite(hidden, squeezed_channels(hidden)) if spec.se else None,
            shortcut=make_shortcut(spec),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.output_attention(self.project(self.se(self.depthwise(self.expand(x)))))
        return y if self.shortcut is None else self.shortcut(x) + y

    def last_batch_norms(self) -> tuple[nn.BatchNorm2d, ...]:
        return (self.project.bn,) if self.shortcut is not None else ()

    @staticmethod
    def layout(spec: BlockSpec) -> Layout:
        hidden = (spec.hidden_channels,) if spec.expand != 1.0 else stream(spec.in_channels)
        return {
            "expand": (hidden, stream(spec.in_channels)),
            "depthwise": (hidden, (1,)),
            **squeeze_excite_layout("se", hidden),
            "project": (stream(spec.out_channels), hidden),
            **shortcut_layout(spec),
        }
