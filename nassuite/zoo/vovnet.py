"""VoVNet-39 and VoVNet-57 (Lee et al. 2019, arXiv 1904.09730)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from nassuite.blocks.layers import ConvBN
from nassuite.zoo.network import PoolHead, ZooNetwork, adapted_strides

LAYERS = 5
# (inner channels, output channels) of the modules of stages 2 to 5 (table 1).
WIDTHS = ((128, 256), (160, 512), (192, 768), (224, 1024))


class OneShotAggregation(nn.Module):
    """Five 3x3 convolutions in a row, then 1x1 on the input and all their outputs together (section 3.2).

    (N, in_channels, H, W) to (N, out_channels, H, W). With ``residual`` the input is added to that.
    """

    def __init__(self, in_channels: int, inner: int, out_channels: int, *, residual: bool = False) -> None:
        super().__init__()
        self.residual = residual
        self.layers = nn.ModuleList(
            ConvBN(inner if layer else in_channels, inner, 3, act="relu") for layer in range(LAYERS)
        )
        self.aggregate = ConvBN(in_channels + LAYERS * inner, out_channels, act="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = [x]
        for layer in self.layers:
            maps.append(layer(maps[-1]))
        y = self.aggregate(torch.cat(maps, 1))
        return x + y if self.residual else y

    def last_batch_norms(self) -> tuple[nn.BatchNorm2d, ...]:
        return (self.aggregate.bn,) if self.residual else ()


def vovnet39(*, num_classes: int, in_chans: int, stem_stride: int = 2, residual: bool = False) -> ZooNetwork:
    """As in the paper and in timm (vovnet39a). Stage 1 is split where its stride changes.

    ``residual`` adds the input in every module of a stage but the first, which the authors' released code
    and weights do, though the paper does not.
    """
    return _vovnet((1, 1, 2, 2), num_classes, in_chans=in_chans, stem_stride=stem_stride, residual=residual)


def vovnet57(*, num_classes: int, in_chans: int, stem_stride: int = 2, residual: bool = False) -> ZooNetwork:
    """``vovnet39`` with more modules in stages 4 and 5 (timm: vovnet57a)."""
    return _vovnet((1, 1, 4, 3), num_classes, in_chans=in_chans, stem_stride=stem_stride, residual=residual)


def _vovnet(
    modules: Sequence[int], num_classes: int, *, in_chans: int, stem_stride: int, residual: bool
) -> ZooNetwork:
    strides = adapted_strides((2, 2, 2, 2), stem_stride)
    stages: dict[str, nn.Module] = {
        "stem": nn.Sequential(
            ConvBN(in_chans, 64, 3, stride=stem_stride, act="relu"), ConvBN(64, 64, 3, act="relu")
        )
    }
    inputs = 128
    for number, (count, (inner, outputs), stride) in enumerate(zip(modules, WIDTHS, strides, strict=True), 2):
        layers: list[nn.Module] = []
        if number == 2:
            layers.append(ConvBN(64, inputs, 3, stride=stride, act="relu"))
        elif stride == 2:
            layers.append(nn.MaxPool2d(3, stride=2, ceil_mode=True))
        for module in range(count):
            layers.append(OneShotAggregation(inputs, inner, outputs, residual=residual and module > 0))
            inputs = outputs
        stages[f"stage{number}"] = nn.Sequential(*layers)
    return ZooNetwork(stages, PoolHead(inputs, num_classes))
