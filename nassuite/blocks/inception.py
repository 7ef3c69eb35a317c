"""Inception modules: parallel branches, concatenated (Szegedy et al. 2015, section 4, and what followed).

A network is written as data, a sequence of steps: ``Conv``, ``Pool``, ``ResponseNorm``, ``Parallel`` and
``Residual``; a branch is such a sequence too. ``Style`` says what all its steps have in common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from nassuite.blocks.layers import ConvBN, activation


@dataclass(frozen=True)
class Conv:
    """A convolution and its ReLU, padded to keep the size at stride 1 unless ``valid``. Kernel (H, W)."""

    channels: int
    kernel: int | tuple[int, int] = 1
    stride: int = 1
    valid: bool = False


@dataclass(frozen=True)
class Pool:
    """A pooling: padded where its stride is 1, else not.

    ``extend`` puts a row and a column of zeros behind the last ones: under ``ceil_mode`` an odd map then gets
    the size that a padded convolution gives it. It changes nothing on an even map behind a ReLU.
    """

    kind: Literal["avg", "max"]
    kernel: int = 3
    stride: int = 1
    extend: bool = False


@dataclass(frozen=True)
class ResponseNorm:
    """Local response normalisation across channels (Krizhevsky et al. 2012, section 3.3), Caffe's constants."""

    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75


class Parallel:
    """Branches that take the same input; their outputs are concatenated."""

    def __init__(self, *branches: Sequence[Step]) -> None:
        self.branches = branches


@dataclass(frozen=True)
class Residual:
    """``ScaledResidual`` around these branches."""

    branches: Parallel
    scale: float
    relu: bool = True


Step = Conv | Pool | ResponseNorm | Parallel | Residual


@dataclass(frozen=True)
class Style:
    """How a network makes its convolutions and poolings.

    Without ``batch_norm`` convolutions have a bias; ``bias`` gives them one beside it. ``ceil_mode`` is that of
    max pooling, ``count_include_pad`` that of average pooling. ``pad_all`` pads also what else is
    not: for images so small that borders cannot be lost.
    """

    batch_norm: bool = True
    bias: bool = False
    eps: float = 1e-3
    ceil_mode: bool = False
    count_include_pad: bool = False
    pad_all: bool = False


class Concat(nn.Module):
    """Branches on the same input (N, C, H, W), concatenated along the channels in their order."""

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class ScaledResidual(nn.Module):
    """Inception-ResNet's module (Szegedy et al. 2017, section 3.3 and figures 16 to 20).

    ReLU(x + scale * conv(branches(x))), where the 1x1 ``conv`` has a bias and no batch norm and brings the
    ``joined`` channels of the branches to those of x. ``relu`` False leaves the ReLU out.
    """

    def __init__(
        self, branches: nn.Module, joined: int, channels: int, *, scale: float, relu: bool = True
    ) -> None:
        super().__init__()
        self.scale = scale
        self.branches = branches
        self.conv = nn.Conv2d(joined, channels, 1)
        self.act = nn.ReLU() if relu else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(x + self.scale * self.conv(self.branches(x)))


def inception_layers(steps: Sequence[Step], in_channels: int, style: Style) -> tuple[nn.Sequential, int]:
    """The modules of ``steps``, one after another, and the channels of their output."""
    layers = []
    channels = in_channels
    for step in steps:
        layer, channels = _layer(step, channels, style)
        layers.append(layer)
    return nn.Sequential(*layers), channels


def inception_stages(
    stages: Mapping[str, Sequence[Step]], in_channels: int, style: Style
) -> tuple[dict[str, nn.Module], int]:
    """The modules of stages that run one after another, by name, and the channels of the last one's output."""
    modules: dict[str, nn.Module] = {}
    channels = in_channels
    for name, steps in stages.items():
        modules[name], channels = inception_layers(steps, channels, style)
    return modules, channels


def _layer(step: Step, in_channels: int, style: Style) -> tuple[nn.Module, int]:
    match step:
        case Conv():
            return _conv(step, in_channels, style), step.channels
        case Pool():
            return _pool(step, style), in_channels
        case ResponseNorm():
            return nn.LocalResponseNorm(step.size, alpha=step.alpha, beta=step.beta), in_channels
        case Parallel():
            built = [inception_layers(branch, in_channels, style) for branch in step.branches]
            return Concat([branch for branch, _ in built]), sum(channels for _, channels in built)
        case Residual():
            branches, joined = _layer(step.branches, in_channels, style)
            residual = ScaledResidual(branches, joined, in_channels, scale=step.scale, relu=step.relu)
            return residual, in_channels


def _conv(step: Conv, in_channels: int, style: Style) -> nn.Module:
    kernel = (step.kernel, step.kernel) if isinstance(step.kernel, int) else step.kernel
    unpadded = step.valid and not style.pad_all
    padding = (0, 0) if unpadded else (kernel[0] // 2, kernel[1] // 2)
    if not style.batch_norm:
        conv = nn.Conv2d(in_channels, step.channels, kernel, stride=step.stride, padding=padding)
        return nn.Sequential(conv, activation("relu"))
    return ConvBN(
        in_channels,
        step.channels,
        kernel,
        stride=step.stride,
        padding=padding,
        bias=style.bias,
        eps=style.eps,
        act="relu",
    )


def _pool(step: Pool, style: Style) -> nn.Module:
    padding = step.kernel // 2 if step.stride == 1 or style.pad_all else 0
    if step.kind == "avg":
        return nn.AvgPool2d(step.kernel, step.stride, padding, count_include_pad=style.count_include_pad)
    pool = nn.MaxPool2d(step.kernel, step.stride, padding, ceil_mode=style.ceil_mode)
    return nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), pool) if step.extend else pool
