"""ESPNet's and ESPNetv2's units: one reduced map through several dilations, fused step by step.

ESPNet is Mehta et al. 2018 (arXiv 1803.06815), ESPNetv2 Mehta et al. 2019 (arXiv 1811.11431). Modules
are registered in the order of the released implementations, so that their weights fit in turn.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nassuite.blocks.layers import ConvBN
from nassuite.blocks.pooling import adaptive_average
from nassuite.blocks.shuffle import channel_shuffle

ESP_DILATIONS = (1, 2, 4, 8, 16)
ESP_EPS = 1e-3  # of every batch norm of ESPNet; ESPNetv2 has PyTorch's 1e-5
EESP_BRANCHES = 4
REINFORCING = 3  # channels between the two convolutions of an image's way into a down-sampler
PYRAMID_SCALES = (2.0, 1.5, 1.0, 0.5, 0.1)
LEAST_SIDE = 5  # of a map in the pyramid, in pixels


def bn_prelu(channels: int, *, eps: float = 1e-5) -> nn.Sequential:
    """Batch norm and PReLU of (N, channels, H, W)."""
    return nn.Sequential(nn.BatchNorm2d(channels, eps=eps), nn.PReLU(channels))


def conv_bn_prelu(
    in_channels: int,
    out_channels: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    groups: int = 1,
    eps: float = 1e-5,
) -> nn.Sequential:
    """Convolution, batch norm, PReLU: (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
    conv = ConvBN(in_channels, out_channels, kernel, stride=stride, groups=groups, eps=eps)
    return nn.Sequential(conv, nn.PReLU(out_channels))


def hierarchical_fusion(maps: Iterable[Tensor]) -> list[Tensor]:
    """Each map plus all before it, against the grid that a dilation leaves (ESPNet, section 3.1, "HFF")."""
    return list(itertools.accumulate(maps))


class ESP(nn.Module):
    """Efficient spatial pyramid (ESPNet, section 3.1): reduce, split, transform, merge.

    (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride), out_channels 5 or more; the
    reduction is pointwise, with a stride of 2 a 3x3 convolution. As in the released network the
    undilated branch stays out of the fusion's sums and takes the channels that five do not share
    evenly, and a residual sum comes before the batch norm, not behind it.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int = 1, residual: bool = False
    ) -> None:
        super().__init__()
        width = out_channels // len(ESP_DILATIONS)
        if width == 0:
            raise ValueError(f"{out_channels} channels do not make {len(ESP_DILATIONS)} branches")
        widest = out_channels - width * (len(ESP_DILATIONS) - 1)
        kernel = 1 if stride == 1 else 3
        self.residual = residual
        self.reduce = nn.Conv2d(in_channels, width, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.branches = nn.ModuleList(
            nn.Conv2d(width, widest if d == 1 else width, 3, padding=d, dilation=d, bias=False)
            for d in ESP_DILATIONS
        )
        self.norm = bn_prelu(out_channels, eps=ESP_EPS)

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.reduce(x)
        plain, *dilated = [branch(reduced) for branch in self.branches]
        merged = torch.cat([plain, *hierarchical_fusion(dilated)], 1)
        return self.norm(x + merged if self.residual else merged)


class EESP(nn.Module):
    """Depthwise ESP (ESPNetv2, section 3.2): grouped pointwise, dilated depthwise, grouped pointwise.

    (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride), residual where the shape stays. The
    inputs are a multiple of 4, the outputs of 16, as each of four branches is projected in four groups.
    ``receptive_field`` bounds the dilations: a branch whose dilated kernel would reach further has a plain
    one. With ``activate`` False neither sum nor activation ends the unit, as a down-sampler wants it; the
    PReLU that is then unused is there all the same, because the released weights and parameter counts
    have it.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        receptive_field: int,
        stride: int = 1,
        activate: bool = True,
    ) -> None:
        super().__init__()
        width = out_channels // EESP_BRANCHES
        self.activate = activate
        self.residual = activate and stride == 1 and in_channels == out_channels
        self.project = conv_bn_prelu(in_channels, width, groups=EESP_BRANCHES)
        self.branches = nn.ModuleList(
            nn.Conv2d(width, width, 3, stride=stride, padding=d, dilation=d, groups=width, bias=False)
            for d in eesp_dilations(receptive_field)
        )
        self.expand = ConvBN(out_channels, out_channels, groups=EESP_BRANCHES)
        self.norm = bn_prelu(out_channels)
        self.act = nn.PReLU(out_channels)

    def last_batch_norms(self) -> tuple[nn.BatchNorm2d, ...]:
        return (self.expand.bn,) if self.residual else ()

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.project(x)
        fused = hierarchical_fusion(branch(reduced) for branch in self.branches)
        merged = self.expand(self.norm(torch.cat(fused, 1)))
        if not self.activate:
            return merged
        return self.act(x + merged if self.residual else merged)


def eesp_dilations(receptive_field: int) -> list[int]:
    """Of the four branches, smallest first: a 3x3 kernel of dilation d spans 2 d + 1 pixels."""
    spanning = range(1, EESP_BRANCHES + 1)
    return sorted(d if 2 * d + 1 <= receptive_field else 1 for d in spanning)


class StridedEESP(nn.Module):
    """Down-sampler with a way for the image (ESPNetv2, section 3.2, figure 2).

    The map (N, in_channels, H, W) goes through average pooling and, beside it, a strided EESP that gives the
    other channels; the image, (N, image_channels, H / stride, W / stride) by then, is added through two small
    convolutions. Without an image (None) nothing is added: the classifier's last level has the
    convolutions, and does not use them.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        image_channels: int,
        receptive_field: int,
        stride: int = 2,
    ) -> None:
        super().__init__()
        self.eesp = EESP(
            in_channels,
            out_channels - in_channels,
            receptive_field=receptive_field,
            stride=stride,
            activate=False,
        )
        self.pool = nn.AvgPool2d(3, stride=stride, padding=1)
        self.reinforce = nn.Sequential(
            conv_bn_prelu(image_channels, REINFORCING, 3), ConvBN(REINFORCING, out_channels)
        )
        self.act = nn.PReLU(out_channels)

    def forward(self, x: Tensor, image: Tensor | None) -> Tensor:
        merged = torch.cat([self.pool(x), self.eesp(x)], 1)
        return self.act(merged if image is None else merged + self.reinforce(image))


class PyramidPool(nn.Module):
    """Efficient pyramid pooling of the EdgeNets decoder: depthwise convolutions at five scales.

    (N, in_channels, H, W) to (N, out_channels, H, W), inside in ``width`` channels. The ``last`` one of a
    decoder ends in its convolution, with a bias.
    """

    def __init__(self, in_channels: int, width: int, out_channels: int, *, last: bool = False) -> None:
        super().__init__()
        count = len(PYRAMID_SCALES)
        self.branches = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False) for _ in PYRAMID_SCALES
        )
        self.project = conv_bn_prelu(in_channels, width)
        self.norm = bn_prelu(count * width)
        self.merge = conv_bn_prelu(count * width, width, 3, groups=width)
        self.expand = nn.Conv2d(width, out_channels, 1, bias=last)
        self.out_norm = nn.Identity() if last else bn_prelu(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.project(x)
        maps = [
            self._at_scale(x, scale, conv) for scale, conv in zip(PYRAMID_SCALES, self.branches, strict=True)
        ]
        # Shuffled, the five maps of a channel stand side by side: each group of the merge is one channel.
        stacked = channel_shuffle(self.norm(torch.cat(maps, 1)), len(maps))
        return self.out_norm(self.expand(self.merge(stacked)))

    @staticmethod
    def _at_scale(x: Tensor, scale: float, conv: nn.Module) -> Tensor:
        sides = spatial_size(x)
        height, width = (max(LEAST_SIDE, math.ceil(side * scale)) for side in sides)
        if scale < 1:
            return resize(conv(adaptive_average(x, (height, width))), sides)
        if scale > 1:
            return adaptive_average(conv(resize(x, (height, width))), sides)
        return conv(x)


class GatedProjection(nn.Module):
    """The EdgeNets decoder's way in for encoder maps: (N, in_channels, H, W) to (N, out_channels, H, W).

    A grouped 3x3 convolution, weighted by a sigmoid of the pooled map, as in squeeze-and-excitation.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.Sigmoid()
        )
        self.conv = conv_bn_prelu(in_channels, out_channels, 3, groups=math.gcd(in_channels, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) * self.gate(x)


def spatial_size(x: Tensor) -> tuple[int, int]:
    """Height and width as plain numbers, so that an exported graph has them as constants."""
    return int(x.shape[-2]), int(x.shape[-1])


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, the corner pixels kept in place, as the released decoder does it."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)
