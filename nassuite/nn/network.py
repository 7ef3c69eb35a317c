"""``build`` makes the plain network of an architecture."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from nassuite.blocks import block_layout, build_block
from nassuite.blocks.layers import ConvBN, Layout, initialise, stream
from nassuite.spec import Arch, BlockSpec, HeadSpec, StemSpec


@dataclass(frozen=True)
class Interface:
    """What a network has to fit: the images' channels and normalisation, and the classes."""

    in_chans: int
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Part:
    """One module of a network: its name there, its slot in the supernet, and what it is built from."""

    name: str
    slot: str
    spec: StemSpec | BlockSpec | HeadSpec
    in_channels: int
    num_classes: int = 0


def parts(arch: Arch, interface: Interface) -> tuple[Part, ...]:
    """The network's modules in the order in which they run."""
    found = [Part("stem", "stem", arch.stem, interface.in_chans)]
    for s, stage in enumerate(arch.stages):
        for layer, block in enumerate(stage):
            slot = f"stage{s}_layer{layer}_{block.op}"
            found.append(Part(f"blocks.{len(found) - 1}", slot, block, block.in_channels))
    last = arch.blocks[-1].out_channels
    found.append(Part("head", "head", arch.head, last, interface.num_classes))
    return tuple(found)


class Head(nn.Module):
    """Pointwise convolution, global average pooling, linear classifier: to logits (N, num_classes)."""

    def __init__(self, spec: HeadSpec, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv = ConvBN(in_channels, spec.width, act=spec.act)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(spec.width, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.pool(self.conv(x)).flatten(1))


def make(part: Part) -> nn.Module:
    """The plain module of a part, (N, in_channels, H, W) to its output; the head's are logits (N, num_classes)."""
    spec = part.spec
    if isinstance(spec, BlockSpec):
        return build_block(spec)
    if isinstance(spec, HeadSpec):
        return Head(spec, part.in_channels, part.num_classes)
    return ConvBN(part.in_channels, spec.width, spec.kernel, stride=spec.stride, act=spec.act)


def layout(part: Part) -> Layout:
    """Segments of the outputs and inputs of each of the part's layers."""
    spec = part.spec
    if isinstance(spec, BlockSpec):
        return block_layout(spec)
    if isinstance(spec, HeadSpec):
        hidden, classes = (spec.width,), (part.num_classes,)
        return {"conv": (hidden, stream(part.in_channels)), "classifier": (classes, hidden)}
    return {"": (stream(spec.width), (part.in_channels,))}


class Normalise(nn.Module):
    """Images 0..1 to zero mean and unit deviation, so that no caller has to know either."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.mean) / self.std


class Normalised(nn.Module):
    """A network for normalised images, behind their normalisation: takes images (N, C, H, W) in 0..1."""

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.normalise = Normalise(mean, std)
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(self.normalise(x))

    @property
    def aux_heads(self) -> Collection[Any]:
        """Classifiers that serve training alone; none for most networks."""
        return getattr(self.network, "aux_heads", ())

    def forward_with_aux(self, x: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        return self.network.forward_with_aux(self.normalise(x))  # type: ignore[operator]


class Network(nn.Module):
    """The plain network of an architecture: images (N, C, R, R) in 0..1 to logits (N, num_classes)."""

    def __init__(self, arch: Arch, interface: Interface) -> None:
        super().__init__()
        made = [make(part) for part in parts(arch, interface)]
        self.normalise = Normalise(interface.mean, interface.std)
        self.stem = made[0]
        self.blocks = nn.Sequential(*made[1:-1])
        self.head = made[-1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.stem(self.normalise(x))))


def build(arch: Arch, interface: Interface, *, seed: int = 0) -> Network:
    """The network of ``arch`` with fresh weights drawn from ``seed``."""
    network = Network(arch, interface)
    initialise(network, torch.Generator().manual_seed(seed))
    return network
