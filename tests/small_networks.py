"""Networks of a few layers, for tests that a network of the zoo would only make slow; ``small_networks:plain``."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def conv_bn(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


class Plain(nn.Module):
    """A stem, one residual block whose inside is free, a wide last layer: four groups of channels."""

    def __init__(self, num_classes: int, in_chans: int) -> None:
        super().__init__()
        self.stem, self.down = conv_bn(in_chans, 16), conv_bn(16, 32, 2)
        self.block = nn.Sequential(conv_bn(32, 48), conv_bn(48, 32))
        self.last = conv_bn(32, 64, 2)
        self.classifier = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(self.stem(x))
        return self.classifier(self.last(x + self.block(x)).mean((2, 3)))


def plain(num_classes: int = 10, in_chans: int = 1) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Plain(num_classes, in_chans)


def raising(num_classes: int) -> nn.Module:
    raise RuntimeError("the moon is in the wrong house")


def of_seven_classes() -> nn.Module:
    return Plain(7, 1)


def unprunable(num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(256, num_classes))
