"""DarkNet-53 (Redmon and Farhadi 2018, "YOLOv3", section 2.4 and table 1)."""

from __future__ import annotations

import torch
from torch import nn

from nassuite.blocks.layers import ConvBN
from nassuite.errors import InputError
from nassuite.zoo.network import PoolHead, ZooNetwork, adapted_strides

# (channels, residual blocks) of each stage; a 3x3 convolution of stride 2 in front.
STAGES = ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4))


class DarkBlock(nn.Module):
    """1x1 to half of the channels, 3x3 back, and the input added behind the activation: shape kept."""

    def __init__(self, channels: int, *, leak: float) -> None:
        super().__init__()
        self.reduce = _conv(channels, channels // 2, 1, leak=leak)
        self.expand = _conv(channels // 2, channels, 3, leak=leak)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.expand(self.reduce(x))

    def last_batch_norms(self) -> tuple[nn.BatchNorm2d, ...]:
        return tuple(layer for layer in self.expand.modules() if isinstance(layer, nn.BatchNorm2d))


def darknet53(*, num_classes: int, in_chans: int, stem_stride: int = 2, leak: float = 0.01) -> ZooNetwork:
    """As timm has it. The stem proper has stride 1; ``stem_stride`` is the first stage's.

    ``leak`` is the slope of the leaky ReLU below zero: 0.01 in timm's weights, 0.1 in Darknet's own.
    """
    if not 0 <= leak < 1:
        raise InputError(f"leak {leak}: a slope from 0 to below 1")
    strides = (stem_stride, *adapted_strides((2, 2, 2, 2), stem_stride))
    stages: dict[str, nn.Module] = {"stem": _conv(in_chans, 32, 3, leak=leak)}
    inputs = 32
    for number, ((channels, blocks), stride) in enumerate(zip(STAGES, strides, strict=True), 1):
        stages[f"stage{number}"] = nn.Sequential(
            _conv(inputs, channels, 3, stride=stride, leak=leak),
            *(DarkBlock(channels, leak=leak) for _ in range(blocks)),
        )
        inputs = channels
    return ZooNetwork(stages, PoolHead(inputs, num_classes))


def _conv(inputs: int, outputs: int, kernel: int, *, leak: float, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(ConvBN(inputs, outputs, kernel, stride=stride), nn.LeakyReLU(leak, inplace=True))
