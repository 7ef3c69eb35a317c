"""What an architecture tells about its latency, worked out from its description without building it.

A network is taken apart into the layers that a runtime executes (``layers``). Each falls into one
bucket, by what limits its speed: pointwise convolutions by arithmetic and by whether their channels
fill the runtime's vectors, depthwise ones by memory, all of them by the cost of starting a
kernel. Features are sums over layers of a few quantities in each bucket and of each operator, so that
a linear model in them is a table of costs per operator, plus totals.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from nassuite.spec import DOWNSAMPLINGS, Arch, BlockSpec, HeadSpec, StemSpec, round_to_multiple

VECTOR_CHANNELS = 16
"""Channels that ONNX Runtime's blocked convolutions take at a time under AVX-512 (8 under AVX2)."""

OPERATORS = ("inverted_residual", "ghost", "shuffle", "dwcb", "group_dwcb", "alt_dwcb", "down", "other")
BUCKETS = (
    "dense", "pointwise", "pointwise_half", "pointwise_unaligned", "grouped",
    "depthwise_3", "depthwise_5", "depthwise_7", "depthwise_flat", "depthwise_stride", "depthwise_unaligned",
    "squeeze_excite", "activation", "add", "scale", "concat", "pool",
)  # fmt: skip
BUCKET_QUANTITIES = ("count", "macs", "traffic", "sqrt_macs", "sqrt_traffic")
OPERATOR_QUANTITIES = ("count", "macs", "traffic")
TOTALS = ("layers", "macs", "traffic", "weights", "resolution", "log_layers", "log_macs", "log_traffic")


@dataclass(frozen=True)
class Layer:
    """One kernel of the runtime. Counts are of elements and multiply-accumulates, for one image."""

    bucket: str
    macs: int
    traffic: int
    """Elements read and written: inputs, outputs and weights."""
    weights: int = 0


def feature_names() -> tuple[str, ...]:
    """One name for each column of ``features``."""
    return (
        *(f"{bucket}.{quantity}" for bucket in BUCKETS for quantity in BUCKET_QUANTITIES),
        *(f"{operator}.{quantity}" for operator in OPERATORS for quantity in OPERATOR_QUANTITIES),
        *TOTALS,
    )


def features(arch: Arch, in_chans: int) -> np.ndarray:
    """(len(feature_names()),) float64; macs, traffic and weights in millions."""
    size = math.ceil(arch.resolution / arch.stem.stride)
    total = _part_sums(arch.stem, size, in_chans)
    for block in arch.blocks:
        total = total + _part_sums(block, size)
        size = math.ceil(size / block.stride)
    total = total + _part_sums(arch.head, size, arch.blocks[-1].out_channels)
    count, macs, traffic, weights = total[-4:]
    logs = (math.log(count), math.log(macs), math.log(traffic))
    return np.array([*total[:-4], count, macs, traffic, weights, arch.resolution, *logs])


def layers(arch: Arch, in_chans: int) -> Iterator[Layer]:
    """All layers in the order in which they run; the classifier is left out, it is alike in all."""
    size = math.ceil(arch.resolution / arch.stem.stride)
    yield from part_layers(arch.stem, size, in_chans)
    for block in arch.blocks:
        yield from part_layers(block, size)
        size = math.ceil(size / block.stride)
    yield from part_layers(arch.head, size, arch.blocks[-1].out_channels)


def part_layers(part: StemSpec | BlockSpec | HeadSpec, size: int, in_channels: int = 0) -> Iterator[Layer]:
    """Layers of one part whose input (the stem: whose output) is ``size`` x ``size``."""
    if isinstance(part, StemSpec):
        yield _conv(in_channels, part.width, (part.kernel, part.kernel), size, part.stride)
        yield from _activation(part.act, part.width, size)
    elif isinstance(part, HeadSpec):
        yield _conv(in_channels, part.width, (1, 1), size)
        yield from _activation(part.act, part.width, size)
    elif part.op == "ghost":
        yield from _ghost(part, size)
    elif part.op == "shuffle":
        yield from _shuffle(part, size)
    elif part.op in ("dwcb", "group_dwcb", "alt_dwcb"):
        yield from _dwcb(part, size)
    elif part.op in DOWNSAMPLINGS:
        yield _conv(part.in_channels, part.out_channels, part.kernel, math.ceil(size / 2), 2)
    else:
        yield from _inverted_residual(part, size)
    if isinstance(part, BlockSpec):
        yield from _shortcut(part, math.ceil(size / part.stride))


def _shortcut(b: BlockSpec, out: int) -> Iterator[Layer]:
    """Of inputs added to the block's own output, at ``out`` x ``out``."""
    if b.shortcut == "pool":
        if b.stride > 1:
            yield _elementwise("pool", b.in_channels, out, tensors=1 + b.stride**2)
        yield _conv(b.in_channels, b.out_channels, (1, 1), out)
    if b.shortcut == "pool" or (b.keeps_shape and b.op != "shuffle"):
        yield _elementwise("add", b.out_channels, out, tensors=3)


def _inverted_residual(b: BlockSpec, size: int) -> Iterator[Layer]:
    hidden, out = b.hidden_channels, math.ceil(size / b.stride)
    if b.expand != 1.0:
        yield _conv(b.in_channels, hidden, (1, 1), size)
        yield from _activation(b.act, hidden, size)
    yield _depthwise(hidden, b.kernel, out, b.stride)
    yield from _activation(b.act, hidden, out)
    yield from _squeeze_excite(b.se, hidden, out)
    yield _conv(hidden, b.out_channels, (1, 1), out)


def _ghost(b: BlockSpec, size: int) -> Iterator[Layer]:
    hidden, out = b.hidden_channels, math.ceil(size / b.stride)
    yield from _ghost_module(b.in_channels, hidden, size, b.act)
    if b.stride != 1:
        yield _depthwise(hidden, b.kernel, out, b.stride)
    yield from _squeeze_excite(b.se, hidden, out)
    yield from _ghost_module(hidden, b.out_channels, out, "relu")
    if b.shortcut == "none":
        yield _depthwise(b.in_channels, b.kernel, out, b.stride)
        yield _conv(b.in_channels, b.out_channels, (1, 1), out)
        yield _elementwise("add", b.out_channels, out, tensors=3)


def _ghost_module(in_channels: int, out_channels: int, size: int, act: str) -> Iterator[Layer]:
    primary = out_channels // 2
    yield _conv(in_channels, primary, (1, 1), size)
    yield from _activation(act, primary, size)
    yield _depthwise(primary, (3, 3), size, 1)
    yield from _activation(act, primary, size)
    yield _elementwise("concat", out_channels, size, tensors=2)


def _shuffle(b: BlockSpec, size: int) -> Iterator[Layer]:
    inputs = b.in_channels // 2 if b.keeps_shape else b.in_channels
    half, out = b.out_channels // 2, math.ceil(size / b.stride)
    if b.keeps_shape:
        yield _elementwise("concat", b.in_channels, size, tensors=2)
    yield _conv(inputs, half, (1, 1), size)
    yield from _activation(b.act, half, size)
    yield _depthwise(half, b.kernel, out, b.stride)
    yield _conv(half, half, (1, 1), out)
    yield from _activation(b.act, half, out)
    if not b.keeps_shape:
        yield _depthwise(inputs, b.kernel, out, b.stride)
        yield _conv(inputs, half, (1, 1), out)
        yield from _activation(b.act, half, out)
    # The quarters are cut out and put together again.
    yield _elementwise("concat", b.out_channels, out, tensors=4)


def _dwcb(b: BlockSpec, size: int) -> Iterator[Layer]:
    hidden, out = b.hidden_channels, math.ceil(size / b.stride)
    yield _depthwise(b.in_channels, b.kernel, out, b.stride)
    yield _conv(b.in_channels, hidden, (1, 1), out, groups=2 if b.op == "group_dwcb" else 1)
    yield from _activation(b.act, hidden, out)
    yield _conv(hidden, b.out_channels, (1, 1), out)
    if b.keeps_shape:
        yield _elementwise("scale", b.out_channels, out, tensors=2)


def _conv(
    in_channels: int,
    out_channels: int,
    kernel: tuple[int, int],
    size: int,
    stride: int = 1,
    *,
    groups: int = 1,
) -> Layer:
    """A convolution over all channels of its group, to ``size`` x ``size`` pixels."""
    weights = out_channels * (in_channels // groups) * kernel[0] * kernel[1]
    narrowest = math.gcd(in_channels // groups, out_channels // groups, VECTOR_CHANNELS)
    if kernel != (1, 1):
        bucket = "dense"
    elif groups > 1:
        bucket = "grouped"
    else:
        aligned = {VECTOR_CHANNELS: "pointwise", VECTOR_CHANNELS // 2: "pointwise_half"}
        bucket = aligned.get(narrowest, "pointwise_unaligned")
    traffic = (in_channels * stride**2 + out_channels) * size**2 + weights
    return Layer(bucket, weights * size**2, traffic, weights)


def _depthwise(channels: int, kernel: tuple[int, int], size: int, stride: int) -> Layer:
    weights = channels * kernel[0] * kernel[1]
    if channels % VECTOR_CHANNELS:
        bucket = "depthwise_unaligned"
    elif stride > 1:
        bucket = "depthwise_stride"
    elif kernel[0] != kernel[1]:
        bucket = "depthwise_flat"
    else:
        bucket = f"depthwise_{min(max(kernel[0], 3), 7)}"
    return Layer(bucket, weights * size**2, channels * (stride**2 + 1) * size**2 + weights, weights)


def _squeeze_excite(present: bool, channels: int, size: int) -> Iterator[Layer]:
    if present:
        weights = 2 * channels * round_to_multiple(channels / 4)
        yield Layer("squeeze_excite", weights, 3 * channels * size**2 + weights, weights)


def _activation(act: str, channels: int, size: int) -> Iterator[Layer]:
    # Runtimes fuse a clamp into the convolution before it; other functions are a pass of their own.
    if act not in ("relu", "relu6"):
        yield _elementwise("activation", channels, size, tensors=2)


def _elementwise(bucket: str, channels: int, size: int, *, tensors: int) -> Layer:
    """Reads and writes ``tensors`` tensors of ``channels`` x ``size`` x ``size``."""
    return Layer(bucket, 0, tensors * channels * size**2)


@lru_cache(maxsize=65536)
def _part_sums(part: StemSpec | BlockSpec | HeadSpec, size: int, in_channels: int = 0) -> np.ndarray:
    """Bucket sums, operator sums, then count, macs, traffic and weights of one part; never written to."""
    buckets = np.zeros((len(BUCKETS), len(BUCKET_QUANTITIES)))
    operators = np.zeros((len(OPERATORS), len(OPERATOR_QUANTITIES)))
    totals = np.zeros(4)
    for layer in part_layers(part, size, in_channels):
        macs, traffic, weights = layer.macs / 1e6, layer.traffic / 1e6, layer.weights / 1e6
        buckets[BUCKETS.index(layer.bucket)] += (1, macs, traffic, math.sqrt(macs), math.sqrt(traffic))
        totals += (1, macs, traffic, weights)
    if isinstance(part, BlockSpec):
        operator = "down" if part.op in DOWNSAMPLINGS else part.op if part.op in OPERATORS else "other"
        operators[OPERATORS.index(operator)] = (1, totals[1], totals[2])
    return np.concatenate([buckets.ravel(), operators.ravel(), totals])
