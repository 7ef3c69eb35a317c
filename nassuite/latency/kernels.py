"""Which kernels a runtime runs for an architecture, worked out from its description without building it.

The model is ONNX Runtime on a CPU, whose graphs were read after its optimiser. Convolutions take
channels in blocks of ``BLOCK``: widths in between are filled up and cost as much as the next multiple, and a
tensor has to be copied from the plain layout into the blocked one and back wherever an operator knows
only one of them. Concatenations, pools and sums of blocked tensors stay blocked only where the channels fill their
blocks; slices and squeeze-and-excitation's products never do. Batch norms, layer scales, clamps and
hard swish are part of the convolution before them, and so is a sum.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from nassuite.spec import DOWNSAMPLINGS, Arch, BlockSpec, HeadSpec, StemSpec, round_to_multiple

BLOCK = 16
"""Channels that ONNX Runtime's blocked convolutions take at a time under AVX-512 (8 under AVX2)."""

FILTERS = 4 * BLOCK
"""Output channels of a pointwise convolution for which its inputs are read once."""

CLAMPS = ("relu", "relu6")

BUCKETS = (
    "dense", "pointwise", "grouped", "grouped_plain",
    "depthwise_3", "depthwise_5", "depthwise_7", "depthwise_flat", "depthwise_stride",
    "squeeze_excite", "gate", "activation", "add", "add_fused", "add_plain", "concat", "concat_plain", "slice",
    "pool", "pool_plain", "block", "unblock", "classifier",
)  # fmt: skip
"""Kinds of kernels, by what limits their speed."""

LAYOUT = ("block", "unblock")
"""Those that change a tensor's layout."""


@dataclass(frozen=True)
class Layer:
    """One kernel. Counts are of elements and multiply-accumulates, for one image."""

    bucket: str
    macs: int = 0
    work: int = 0
    """``macs`` with the channels filled up: what is calculated."""
    traffic: int = 0
    """Elements read and written: inputs, outputs and weights, channels filled up."""
    weights: int = 0


@dataclass(frozen=True)
class Tensor:
    """(channels, size, size), in blocks of channels or plain."""

    channels: int
    size: int
    blocked: bool = False

    @property
    def elements(self) -> int:
        """What is moved when all of it is read."""
        return (filled(self.channels) if self.blocked else self.channels) * self.size**2

    @property
    def full(self) -> bool:
        """Whether operators other than convolutions take it in blocks."""
        return self.blocked and self.channels % BLOCK == 0


Part = StemSpec | BlockSpec | HeadSpec


def filled(channels: int) -> int:
    """``channels`` with the last block filled up."""
    return -(-channels // BLOCK) * BLOCK


def layers(arch: Arch, in_chans: int) -> Iterator[Layer]:
    """All kernels; those of the classifier have no ``macs``, as the number of classes is not known."""
    x = Tensor(in_chans, arch.resolution)
    for part in parts(arch):
        found, x = part_layers(part, x)
        yield from found


def parts(arch: Arch) -> tuple[Part, ...]:
    """In the order in which they run."""
    return (arch.stem, *arch.blocks, arch.head)


def part_layers(part: Part, x: Tensor) -> tuple[list[Layer], Tensor]:
    """Kernels of one part whose input is ``x``, and its output."""
    run = _Run()
    if isinstance(part, StemSpec):
        y = run.conv(x, part.width, (part.kernel, part.kernel), part.stride, act=part.act)
    elif isinstance(part, HeadSpec):
        y = run.conv(x, part.width, act=part.act)
        run.add("classifier", traffic=part.width)
    elif part.op == "ghost":
        y = _ghost(run, part, x)
    elif part.op == "shuffle":
        y = _shuffle(run, part, x)
    elif part.op in ("dwcb", "group_dwcb", "alt_dwcb"):
        y = _dwcb(run, part, x)
    elif part.op in DOWNSAMPLINGS:
        y = _with_shortcut(run, part, x, run.conv(x, part.out_channels, part.kernel, 2))
    else:
        y = _inverted_residual(run, part, x)
    return run.layers, y


def _inverted_residual(run: _Run, b: BlockSpec, x: Tensor) -> Tensor:
    y = run.conv(x, b.hidden_channels, act=b.act) if b.expand != 1.0 else x
    y = run.depthwise(y, b.kernel, b.stride, act=b.act)
    y = run.squeeze_excite(y) if b.se else y
    return _with_shortcut(run, b, x, run.conv(y, b.out_channels))


def _ghost(run: _Run, b: BlockSpec, x: Tensor) -> Tensor:
    y = _ghost_module(run, x, b.hidden_channels, b.act)
    y = run.depthwise(y, b.kernel, b.stride) if b.stride != 1 else y
    y = run.squeeze_excite(y) if b.se else y
    y = _ghost_module(run, y, b.out_channels, "relu")
    if b.shortcut == "none":
        return run.sum(run.conv(run.depthwise(x, b.kernel, b.stride), b.out_channels), y)
    return _with_shortcut(run, b, x, y, after_conv=b.shortcut == "pool")


def _ghost_module(run: _Run, x: Tensor, channels: int, act: str) -> Tensor:
    primary = run.conv(x, channels // 2, act=act)
    return run.concat(primary, run.depthwise(primary, (3, 3), 1, act=act))


def _shuffle(run: _Run, b: BlockSpec, x: Tensor) -> Tensor:
    half = b.out_channels // 2
    if b.keeps_shape:
        # Quarters are cut out and put together, before the branch and after it.
        y = run.plain(_branch(run, b, run.sliced(run.plain(x), half)))
        return run.sliced(y, b.out_channels)
    other = run.conv(run.depthwise(x, b.kernel, b.stride), half, act=b.act)
    return _with_shortcut(run, b, x, run.concat(other, _branch(run, b, x)))


def _branch(run: _Run, b: BlockSpec, x: Tensor) -> Tensor:
    half = b.out_channels // 2
    y = run.depthwise(run.conv(x, half, act=b.act), b.kernel, b.stride)
    return run.conv(y, half, act=b.act)


def _dwcb(run: _Run, b: BlockSpec, x: Tensor) -> Tensor:
    y = run.depthwise(x, b.kernel, b.stride)
    y = run.conv(y, b.hidden_channels, groups=2 if b.op == "group_dwcb" else 1, act=b.act)
    return _with_shortcut(run, b, x, run.conv(y, b.out_channels))


def _with_shortcut(run: _Run, b: BlockSpec, x: Tensor, y: Tensor, *, after_conv: bool = True) -> Tensor:
    """``y`` plus the block's shortcut from ``x``; ``after_conv``: whether one of the two is a convolution's."""
    if b.shortcut == "pool":
        return run.sum(run.conv(run.pool(x, b.stride), b.out_channels), y, fused=after_conv)
    return run.sum(x, y, fused=after_conv) if b.shortcut == "identity" else y


class _Run:
    """The kernels of one part, in order; each method adds those of one operator and gives its output."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self._copies: list[tuple[Tensor, Tensor]] = []

    def add(self, bucket: str, *, macs: int = 0, work: int = 0, traffic: int = 0, weights: int = 0) -> None:
        self.layers.append(Layer(bucket, macs, work, traffic, weights))

    def blocked(self, x: Tensor) -> Tensor:
        return x if x.blocked else self._copied(x, "block")

    def plain(self, x: Tensor) -> Tensor:
        return self._copied(x, "unblock") if x.blocked else x

    def _copied(self, x: Tensor, bucket: str) -> Tensor:
        """A tensor is copied once, however many read it."""
        for original, copy in self._copies:
            if original is x:
                return copy
        copy = Tensor(x.channels, x.size, blocked=not x.blocked)
        self.add(bucket, traffic=x.elements + copy.elements)
        self._copies.append((x, copy))
        return copy

    def conv(
        self,
        x: Tensor,
        channels: int,
        kernel: tuple[int, int] = (1, 1),
        stride: int = 1,
        *,
        groups: int = 1,
        act: str = "relu",
    ) -> Tensor:
        size = math.ceil(x.size / stride)
        weights = channels * (x.channels // groups) * kernel[0] * kernel[1]
        is_plain = groups > 1 and bool(x.channels // groups % BLOCK or channels // groups % BLOCK)
        # The first convolution takes images as they are.
        x = self.plain(x) if is_plain or x.channels < BLOCK else self.blocked(x)
        y = Tensor(channels, size, blocked=not is_plain)
        if kernel != (1, 1):
            bucket = "dense"
        elif groups > 1:
            bucket = "grouped_plain" if is_plain else "grouped"
        else:
            bucket = "pointwise"
        area = kernel[0] * kernel[1]
        calculated = y.elements * (x.elements // x.size**2) // groups * area
        reads = math.ceil(y.elements / size**2 / groups / FILTERS)
        traffic = reads * x.elements + y.elements + calculated // size**2
        self.add(bucket, macs=weights * size**2, work=calculated, traffic=traffic, weights=weights)
        return self._activated(y, act)

    def depthwise(self, x: Tensor, kernel: tuple[int, int], stride: int, *, act: str = "relu") -> Tensor:
        x = self.blocked(x)
        y = Tensor(x.channels, math.ceil(x.size / stride), blocked=True)
        if stride > 1:
            bucket = "depthwise_stride"
        elif kernel[0] != kernel[1]:
            bucket = "depthwise_flat"
        else:
            bucket = f"depthwise_{min(max(kernel[0], 3), 7)}"
        area = kernel[0] * kernel[1]
        weights = x.channels * area
        self.add(
            bucket, macs=weights * y.size**2, work=y.elements * area, traffic=x.elements + y.elements, weights=weights
        )  # fmt: skip
        return self._activated(y, act)

    def _activated(self, x: Tensor, act: str) -> Tensor:
        if not (act in CLAMPS or (act == "hard_swish" and x.blocked)):
            self.add("activation", traffic=2 * x.elements)
        return x

    def squeeze_excite(self, x: Tensor) -> Tensor:
        weights = 2 * x.channels * round_to_multiple(x.channels / 4)
        self.add("squeeze_excite", macs=weights, work=weights, traffic=x.elements + weights, weights=weights)
        x = self.plain(x)
        self.add("gate", traffic=2 * x.elements)
        return Tensor(x.channels, x.size)

    def sum(self, x: Tensor, y: Tensor, *, fused: bool = False) -> Tensor:
        if x.blocked and y.blocked:
            self.add("add_fused" if fused else "add", traffic=y.elements * (1 if fused else 3))
            return y
        y = self.plain(y)
        self.plain(x)
        self.add("add_plain", traffic=3 * y.elements)
        return Tensor(y.channels, y.size)

    def concat(self, *parts: Tensor) -> Tensor:
        full = all(part.full for part in parts)
        y = Tensor(sum(part.channels for part in parts), parts[0].size, blocked=full)
        for part in parts:
            if not full:
                self.plain(part)
        self.add("concat" if full else "concat_plain", traffic=2 * y.elements)
        return y

    def sliced(self, x: Tensor, channels: int) -> Tensor:
        """Quarters of ``x`` and others as one tensor: cut out, then put together."""
        y = Tensor(channels, x.size)
        self.add("slice", traffic=4 * y.elements)
        return y

    def pool(self, x: Tensor, stride: int) -> Tensor:
        if stride == 1:
            return x
        x = x if x.full else self.plain(x)
        y = Tensor(x.channels, math.ceil(x.size / stride), blocked=x.full)
        self.add("pool" if y.blocked else "pool_plain", traffic=x.elements + y.elements)
        return y
