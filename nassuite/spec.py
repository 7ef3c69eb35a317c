"""Architectures as values: frozen dataclasses of tuples, with a JSON form and a digest."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

Activation = Literal["relu", "relu6", "hard_swish", "silu", "gelu"]
Shortcut = Literal["none", "identity", "pool"]


# What each searchable operator has use for; the other fields of its BlockSpec stay at their defaults.
OPERATORS: dict[str, frozenset[str]] = {
    "inverted_residual": frozenset({"kernel", "expand", "se", "act"}),
    "ghost": frozenset({"kernel", "expand", "se", "act"}),
    "shuffle": frozenset({"kernel", "act"}),
    "dwcb": frozenset({"kernel", "expand", "act"}),
    "group_dwcb": frozenset({"kernel", "expand", "act"}),
    "alt_dwcb": frozenset({"kernel", "expand", "act"}),
    "space_to_depth": frozenset(),
    "strided_conv": frozenset(),
}

DOWNSAMPLINGS = ("space_to_depth", "strided_conv")
"""Operators that only change the shape: for the first layer of a stage of stride 2."""

SHORT_NAMES = {
    "inverted_residual": "ir",
    "ghost": "gh",
    "shuffle": "sh",
    "space_to_depth": "s2d",
    "strided_conv": "conv",
}
"""Of operators in the notation of an architecture, ``str(Arch)``."""

SHUFFLE_CYCLE = 3
"""Shuffle units take turns in which half of the channels they transform; after so many it begins again."""


def round_to_multiple(value: float, multiple: int = 8) -> int:
    """The nearest multiple, never under 90 % of ``value`` (MobileNetV2's reference code)."""
    rounded = max(multiple, int(value + multiple / 2) // multiple * multiple)
    return rounded + multiple if rounded < 0.9 * value else rounded


@dataclass(frozen=True)
class StemSpec:
    """The first convolution: images (N, in_chans, R, R) to (N, width, R / stride, R / stride)."""

    width: int
    kernel: int = 3
    stride: int = 1
    act: Activation = "relu"


@dataclass(frozen=True)
class BlockSpec:
    """One searchable block, (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride).

    ``kernel`` is (height, width), ``expand`` the ratio of the hidden width to ``in_channels``.
    ``shortcut`` is "identity" in a block that keeps its shape, "pool" (average pooling and a pointwise
    convolution) where the shape changes in a search space, "none" where a published network has none
    or the family's own. ``layer`` is the position in the stage, for operators that alternate with it.
    Fields that an operator has no use for are at their defaults, so that equal networks are equal
    values.
    """

    op: str
    in_channels: int
    out_channels: int
    kernel: tuple[int, int] = (3, 3)
    stride: int = 1
    expand: float = 1.0
    se: bool = False
    act: Activation = "relu"
    shortcut: Shortcut = "none"
    layer: int = 0

    @property
    def hidden_channels(self) -> int:
        """Width between the two pointwise convolutions, a multiple of 8 unless nothing is expanded."""
        return self.in_channels if self.expand == 1.0 else round_to_multiple(self.in_channels * self.expand)

    @property
    def keeps_shape(self) -> bool:
        return self.shortcut == "identity"

    def __post_init__(self) -> None:
        if self.keeps_shape and (self.stride != 1 or self.in_channels != self.out_channels):
            raise ValueError(f"a block with an identity shortcut must keep its shape: {self}")


@dataclass(frozen=True)
class HeadSpec:
    """1x1 convolution to ``width`` channels, global average, linear classifier."""

    width: int
    act: Activation = "relu"


@dataclass(frozen=True)
class Arch:
    """A whole network. Equal values are equal networks; ``digest`` keys caches and records."""

    resolution: int
    stem: StemSpec
    stages: tuple[tuple[BlockSpec, ...], ...]
    head: HeadSpec

    @property
    def blocks(self) -> tuple[BlockSpec, ...]:
        return tuple(block for stage in self.stages for block in stage)

    @property
    def depths(self) -> tuple[int, ...]:
        return tuple(len(stage) for stage in self.stages)

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits, the same on every machine and in every version of Python."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Arch:
        """The inverse of ``to_json``, also after a trip through JSON text (lists for tuples)."""
        return cls(
            resolution=value["resolution"],
            stem=StemSpec(**value["stem"]),
            stages=tuple(
                tuple(BlockSpec(**{**b, "kernel": tuple(b["kernel"])}) for b in stage)
                for stage in value["stages"]
            ),
            head=HeadSpec(**value["head"]),
        )

    def __str__(self) -> str:
        stages = []
        for stage in self.stages:
            names = [
                SHORT_NAMES.get(b.op, b.op)
                + (f"{max(b.kernel)}" if b.op not in DOWNSAMPLINGS else "")
                + (f"e{b.expand:g}" if b.expand != 1.0 else "")
                + ("s" if b.se else "")
                for b in stage
            ]
            stages.append(f"{stage[0].out_channels}[{' '.join(names)}]")
        return f"{self.resolution}px {self.stem.width} {' '.join(stages)} {self.head.width}"
