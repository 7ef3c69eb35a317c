"""What an architecture takes beside time: parameters, multiply-accumulates, bytes of its file, bytes of memory.

A search asks this of thousands of architectures, so each is predicted from its parts, whose figures are
remembered; a finalist's are those of its exported file.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import nn

from nassuite.latency.cost import cost
from nassuite.latency.kernels import LAYOUT, layers
from nassuite.latency.onnx_cost import graph_cost, read_graph
from nassuite.nn.network import Interface, Normalised, Part, make, parts
from nassuite.onnx_export import export_onnx
from nassuite.spec import Arch, BlockSpec, StemSpec

WEIGHT_BYTES = 4
LAYER_BYTES = 420
"""Of the file for each kernel beside its weights: names and attributes of its nodes (at most 515 in the spaces tried)."""


def predicted(quantity: str, arch: Arch, interface: Interface) -> float:
    """``quantity`` is params, macs, size or memory, the last two in bytes, of one image in float32.

    params and macs are exact, memory (the most that activations take at once) is that of the exported graph, size
    is within some percent of the exported file's.
    """
    if quantity == "macs":
        return sum(layer.macs for layer in layers(arch, interface.in_chans)) + (
            arch.head.width * interface.num_classes
        )
    if quantity == "memory":
        # Parts run one after the other, so the largest peak of any of them is that of all.
        return max(_peaks(arch, interface))
    counted = [_weights(_anonymous(part)) for part in parts(arch, interface)]
    if quantity == "params":
        return sum(params for params, _ in counted)
    # Of batch norm, the convolution before it keeps a bias.
    elements = sum(params - channels for params, channels in counted)
    # Changes of layout are made by the runtime as it loads the file.
    kernels = sum(layer.bucket not in LAYOUT for layer in layers(arch, interface.in_chans))
    return WEIGHT_BYTES * elements + LAYER_BYTES * kernels


def ordering(quantity: str, arch: Arch, interface: Interface) -> tuple[float, ...]:
    """Orders architectures as ``predicted`` does, and where memory is equal by the next-largest peaks.

    So a descent that changes one part at a time finds its way between parts of equal peaks.
    """
    if quantity == "memory":
        return tuple(sorted(_peaks(arch, interface), reverse=True))
    return (predicted(quantity, arch, interface),)


def measured(quantity: str, path: Path, network: nn.Module, shape: tuple[int, int, int]) -> float:
    """The same of ``network`` (images of ``shape``, C, H, W) and the ONNX file in ``path`` that it was exported to."""
    if quantity == "size":
        return path.stat().st_size
    if quantity == "memory":
        return graph_cost(read_graph(path)).peak_bytes
    return float(getattr(cost(network, shape), quantity))


def _anonymous(part: Part) -> Part:
    """Equal for parts of equal modules, wherever they stand."""
    return Part("", "", part.spec, part.in_channels, part.num_classes)


@lru_cache(maxsize=65536)
def _weights(part: Part) -> tuple[int, int]:
    """Parameters, and how many of them are channels of batch norms."""
    with torch.device("meta"):
        module = make(part)
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    return sum(p.numel() for p in module.parameters()), sum(norm.num_features for norm in norms)


def _peaks(arch: Arch, interface: Interface) -> Iterator[int]:
    """Of each part, in bytes."""
    size = arch.resolution
    for part in parts(arch, interface):
        yield _part_peak(_anonymous(part), size, interface)
        stride = part.spec.stride if isinstance(part.spec, BlockSpec | StemSpec) else 1
        size = math.ceil(size / stride)


@lru_cache(maxsize=65536)
def _part_peak(part: Part, size: int, interface: Interface) -> int:
    """Of the part's exported graph, for an input of ``size`` x ``size``; the stem's with the normalisation."""
    module = make(part)
    if isinstance(part.spec, StemSpec):
        module = Normalised(module, interface.mean, interface.std)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.onnx"
        export_onnx(module, path, input_shape=(part.in_channels, size, size), check=False)
        return graph_cost(read_graph(path)).peak_bytes


def exceeded(
    limits: Sequence[Limit], path: Path, network: nn.Module, shape: tuple[int, int, int]
) -> tuple[str, ...]:
    """In words, each limit that the file in ``path`` is over."""
    values = [(limit, measured(limit.quantity, path, network, shape)) for limit in limits]
    return tuple(f"over {limit}: {limit.said(value)}" for limit, value in values if limit.excess(value) > 0)


@dataclass(frozen=True)
class Limit:
    """The most that ``quantity`` (as in ``predicted``) may be; ``flag`` and ``unit`` are how the user gave it."""

    quantity: str
    most: float
    flag: str
    unit: float

    def excess(self, value: float) -> float:
        """By which share of the limit ``value`` is over it; 0 or less if it is not."""
        return value / self.most - 1

    def said(self, value: float) -> str:
        """What ``value`` is, in the flag's unit."""
        return f"{value:,.0f}" if self.unit == 1 else f"{value / self.unit:.4g} MB"

    def __str__(self) -> str:
        return f"{self.flag} {self.most / self.unit:g}"
