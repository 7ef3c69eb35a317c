"""ShuffleNetV2's units (Ma et al. 2018, section 3.2, figure 3 c and d)."""

from __future__ import annotations

import torch
from torch import nn

from nassuite.blocks.layers import ConvBN, Layout, half, stream
from nassuite.spec import BlockSpec


def swap_quarters(kept: torch.Tensor, branch: torch.Tensor) -> torch.Tensor:
    """Two halves (N, C / 2, H, W) to (N, C, H, W), each new half with half of each old one.

    Channel shuffle with two groups, up to the order inside each half, which the pointwise
    convolution after it does not see. Interleaving, the usual order, would make a channel's meaning
    depend on the width; moving quarters does not, and it is two splits and one concatenation.
    """
    kept_a, kept_b = kept.chunk(2, 1)
    branch_a, branch_b = branch.chunk(2, 1)
    return torch.cat((kept_a, branch_a, kept_b, branch_b), 1)


class ShuffleUnit(nn.Module):
    """Half of the channels kept, half through pointwise, depthwise, pointwise; then shuffled.

    (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride). Where the shape changes, both
    halves of the output are computed from the whole input (figure 3 d, here also at stride 1).
    """

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        self.residual = spec.residual
        inputs = spec.in_channels // 2 if spec.residual else spec.in_channels
        outputs = spec.out_channels // 2
        self.expand = ConvBN(inputs, outputs, act=spec.act)
        self.depthwise = ConvBN(outputs, outputs, spec.kernel, stride=spec.stride, groups=outputs)
        self.project = ConvBN(outputs, outputs, act=spec.act)
        self.shortcut = (
            nn.Identity()
            if spec.residual
            else nn.Sequential(
                ConvBN(inputs, inputs, spec.kernel, stride=spec.stride, groups=inputs),
                ConvBN(inputs, outputs, act=spec.act),
            )
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept, branch = x.chunk(2, 1) if self.residual else (x, x)
        return swap_quarters(self.shortcut(kept), self.project(self.depthwise(self.expand(branch))))

    @staticmethod
    def layout(spec: BlockSpec) -> Layout:
        inputs = half(spec.in_channels) if spec.residual else stream(spec.in_channels)
        outputs = half(spec.out_channels)
        middle = (spec.out_channels // 2,)
        return {
            "expand": (middle, inputs),
            "depthwise": (middle, (1,)),
            "project": (outputs, middle),
            "shortcut.0": (inputs, (1,)),
            "shortcut.1": (outputs, inputs),
        }
