"""Pieces that the blocks share, and the rule for how channels are laid out.

A channel index means the same feature at every width, or shared weights could not serve several
widths. Tensors *between* blocks therefore have one layout: four equal quarters, each a prefix of
the maximal quarter (``stream``). Halves of it are what ghost (primary | cheap) and shuffle
(kept | branch) need, quarters are what the channel shuffle moves, and a residual sum agrees with all.
Tensors *inside* a block have the layout that the block gives them.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from nassuite.spec import Activation, BlockSpec, round_to_multiple

Segments = tuple[int, ...]
"""Channels of one tensor dimension as consecutive segments; a narrower one keeps a prefix of each."""

Layout = dict[str, tuple[Segments, Segments]]
"""Layer name (a prefix of its parameters' names) to the segments of its outputs and inputs."""

QUARTERS = 4

_ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hard_swish": nn.Hardswish,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
}


def stream(channels: int) -> Segments:
    """Segments of a tensor between blocks."""
    return (channels // QUARTERS,) * QUARTERS


def half(channels: int) -> Segments:
    """Segments of the first (or second) half of a tensor between blocks."""
    return stream(channels)[: QUARTERS // 2]


def activation(name: Activation) -> nn.Module:
    """To be put behind a convolution or a batch norm only, whose gradients do not need their output."""
    kind = _ACTIVATIONS[name]
    # The others' gradients need their input, so in place they would copy it first.
    return kind(inplace=True) if kind is nn.ReLU else kind()


class ConvBN(nn.Module):
    """Convolution without bias, batch norm, and an activation unless ``act`` is None.

    ``padding`` is (height, width) or one number; None keeps the size at stride 1. ``eps`` is the batch norm's.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int] = 1,
        *,
        stride: int = 1,
        padding: int | tuple[int, int] | None = None,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
        eps: float = 1e-5,
        act: Activation | None = None,
    ) -> None:
        super().__init__()
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        if padding is None:
            padding = (height // 2 * dilation, width // 2 * dilation)
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            (height, width),
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            bias=bias,
        )
        self.bn = nn.BatchNorm2d(out_channels, eps=eps)
        self.act = activation(act) if act else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.bn(self.conv(x)))


class SqueezeExcite(nn.Module):
    """Channel attention (Hu et al. 2018, section 3), by default with MobileNetV3's hard sigmoid (section 5.3)."""

    def __init__(
        self,
        channels: int,
        squeezed: int,
        *,
        act: Activation = "relu",
        gate: Literal["hard_sigmoid", "sigmoid"] = "hard_sigmoid",
    ) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.act = activation(act)
        self.expand = nn.Conv2d(squeezed, channels, 1)
        self.gate = nn.Hardsigmoid() if gate == "hard_sigmoid" else nn.Sigmoid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = F.adaptive_avg_pool2d(x, 1)  # (N, C, 1, 1)
        return x * self.gate(self.expand(self.act(self.reduce(mean))))


def squeezed_channels(channels: int) -> int:
    """A quarter of the channels, as in MobileNetV3."""
    return round_to_multiple(channels / 4)


def squeeze_excite_layout(name: str, channels: Segments) -> Layout:
    """Of the two convolutions in the ``SqueezeExcite`` called ``name``, over ``channels``."""
    squeezed = (squeezed_channels(sum(channels)),)
    return {f"{name}.reduce": (squeezed, channels), f"{name}.expand": (channels, squeezed)}


class LayerScale(nn.Module):
    """A learnable factor for each channel (CaiT, Touvron et al. 2021, section 2, and its start value)."""

    def __init__(self, channels: int, initial: float = 0.1) -> None:
        super().__init__()
        self.initial = initial
        self.weight = nn.Parameter(torch.full((channels,), initial))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight[:, None, None]


class PoolShortcut(nn.Module):
    """Shortcut of a block that changes the shape: average pooling, then a pointwise convolution.

    ResNet-D's (He et al. 2019, "Bag of Tricks", section 4.2). It starts as the identity from each quarter of
    the input to that of the output, so at first every operator passes on the same stream and adds
    to it. Without it the operators' outputs have nothing in common, and a supernet that mixes them
    in every step does not learn in the number of steps that one can afford.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.pool = (
            nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False) if stride > 1 else nn.Identity()
        )
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(self.pool(x))

    @torch.no_grad()
    def start_as_identity(self) -> None:
        weight = self.conv.weight.view(QUARTERS, self.conv.out_channels // QUARTERS, QUARTERS, -1)
        weight.zero_()
        for quarter in range(QUARTERS):
            weight[quarter, :, quarter].fill_diagonal_(1.0)


def make_shortcut(spec: BlockSpec) -> nn.Module | None:
    """The module whose output a block adds to its own; None where it adds nothing."""
    if spec.shortcut == "pool":
        return PoolShortcut(spec.in_channels, spec.out_channels, spec.stride)
    return nn.Identity() if spec.shortcut == "identity" else None


def shortcut_layout(spec: BlockSpec) -> Layout:
    """Of the convolution in a ``PoolShortcut``; other shortcuts have no parameters."""
    return {"shortcut.conv": (stream(spec.out_channels), stream(spec.in_channels))}


def initialise(module: nn.Module, generator: torch.Generator, *, zero_residuals: bool = True) -> None:
    """Fan-out normal convolutions, unit batch norms; a residual branch's last batch norm starts at 0.

    The zero start is BigNAS's (Yu et al. 2020, section 3.2): every block begins as the identity. It asks
    a block for ``last_batch_norms()``.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.out_channels * layer.kernel_size[0] * layer.kernel_size[1] // layer.groups
            nn.init.normal_(layer.weight, std=(2.0 / fan_out) ** 0.5, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.01, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, LayerScale):
            nn.init.constant_(layer.weight, layer.initial)
        elif draw := getattr(layer, "draw_weights", None):
            draw(generator)
    for layer in module.modules():
        if isinstance(layer, PoolShortcut):
            layer.start_as_identity()
    if zero_residuals:
        zero_last_batch_norms(module)


def zero_last_batch_norms(module: nn.Module) -> None:
    """Every residual branch starts at zero (Goyal et al. 2017, section 5.1)."""
    for layer in module.modules():
        for bn in getattr(layer, "last_batch_norms", tuple)():
            nn.init.zeros_(bn.weight)
