"""A search space, declared once as TOML; sampling, encoding, size and neighbours derive from it."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from nassuite.spec import OPERATORS, SHUFFLE_CYCLE, Activation, Arch, BlockSpec, HeadSpec, StemSpec

Value = int | float | str | bool
Genes = dict[str, Value]
"""Gene name ("stage1.layer0.kernel") to the value chosen; the space says what may be chosen."""

LAYER_FIELDS = ("operator", "kernel", "expand", "se", "act")
UNORDERED = (".operator", ".act")
"""Genes of which no value is larger than another; the others are elastic sizes."""


@dataclass(frozen=True)
class Stage:
    """Choices of one stage; its first layer takes the stride and the change of width.

    ``downsample`` are the operators of that layer, where they are others than those of the rest.
    """

    width: tuple[int, ...]
    depth: tuple[int, ...]
    stride: int
    operator: tuple[str, ...]
    kernel: tuple[int, ...]
    expand: tuple[float, ...]
    se: tuple[bool, ...] = (False,)
    act: tuple[Activation, ...] = ("relu",)
    downsample: tuple[str, ...] = ()

    def operators(self, layer: int) -> tuple[str, ...]:
        return self.downsample if self.downsample and layer == 0 else self.operator


@dataclass(frozen=True)
class Space:
    """Every choice of a search space.

    A network is a stem, stages of blocks and a head (``spec.Arch``). ``genes`` names the choices;
    ``decode`` makes the architecture of a set of genes, and genes that do not matter in it (a kernel
    size of a layer that the depth left out) change nothing.
    """

    name: str
    resolution: tuple[int, ...]
    stem_width: tuple[int, ...]
    stem_kernel: int
    stem_stride: int
    stem_act: Activation
    stages: tuple[Stage, ...]
    head_width: tuple[int, ...]
    head_act: Activation
    _genes: dict[str, tuple[Value, ...]] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_genes", dict(_name_genes(self)))

    @property
    def genes(self) -> Mapping[str, tuple[Value, ...]]:
        """Every gene and its choices, in order."""
        return self._genes

    @property
    def digest(self) -> str:
        """Changes with every change of a choice; a supernet belongs to one digest."""
        fields = {k: v for k, v in asdict(self).items() if k not in ("_genes", "name")}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def step_subnets(self) -> int:
        """Subnets in a training step: at least four, and a multiple of every layer's operator count."""
        common = math.lcm(*(len(stage.operators(layer)) for stage in self.stages for layer in (0, 1)))
        return common * math.ceil(4 / common)

    def decode(self, genes: Mapping[str, Value]) -> Arch:
        """The architecture; a missing gene is a ``KeyError``, an unknown value a ``ValueError``."""
        for name, choices in self.genes.items():
            if genes[name] not in choices:
                raise ValueError(f"{name} = {genes[name]!r} is not one of {choices}")
        g: Any = genes
        stem = StemSpec(g["stem.width"], self.stem_kernel, self.stem_stride, self.stem_act)
        stages, channels = [], stem.width
        for s, stage in enumerate(self.stages):
            blocks = []
            for layer in range(g[f"stage{s}.depth"]):
                chosen = {name: g[f"stage{s}.layer{layer}.{name}"] for name in LAYER_FIELDS}
                out = g[f"stage{s}.width"]
                blocks.append(_block(chosen, layer, channels, out, stage.stride))
                channels = out
            stages.append(tuple(blocks))
        return Arch(g["resolution"], stem, tuple(stages), HeadSpec(g["head.width"], self.head_act))

    def encode(self, arch: Arch) -> Genes:
        """Genes that decode to ``arch``; those that do not matter in it take their first choice."""
        genes: Genes = {name: choices[0] for name, choices in self.genes.items()}
        genes["resolution"], genes["stem.width"] = arch.resolution, arch.stem.width
        genes["head.width"] = arch.head.width
        for s, stage in enumerate(arch.stages):
            genes[f"stage{s}.depth"], genes[f"stage{s}.width"] = len(stage), stage[0].out_channels
            for layer, block in enumerate(stage):
                prefix = f"stage{s}.layer{layer}."
                genes[prefix + "operator"] = block.op
                for name in OPERATORS[block.op]:
                    if not (name == "kernel" and _kernel_is_fixed(block.op, block.stride)):
                        value = getattr(block, name)
                        genes[prefix + name] = max(value) if name == "kernel" else value
        if self.decode(genes) != arch:
            raise ValueError(f"the architecture {arch} is not in the space {self.name}")
        return genes

    def canonical(self, genes: Mapping[str, Value]) -> Genes:
        """The same for all genes that decode to the same architecture."""
        return self.encode(self.decode(genes))

    def sample(self, rng: random.Random) -> Arch:
        return self.decode({name: rng.choice(choices) for name, choices in self.genes.items()})

    def mutate(self, arch: Arch, rng: random.Random, *, probability: float = 0.1) -> Arch:
        """A neighbour: each gene is drawn again with ``probability``, and at least one is."""
        genes = self.encode(arch)
        open_genes = [name for name, choices in self.genes.items() if len(choices) > 1]
        if not open_genes:
            return arch
        changed = [name for name in open_genes if rng.random() < probability]
        for name in changed or [rng.choice(open_genes)]:
            genes[name] = rng.choice([v for v in self.genes[name] if v != genes[name]])
        return self.decode(genes)

    def extreme_genes(self, which: Literal["smallest", "largest"]) -> Genes:
        """Every elastic size at its minimum or maximum; operators and activations are the first choices."""
        pick: Callable[[Sequence[Any]], Value] = min if which == "smallest" else max
        return {
            name: choices[0] if name.endswith(UNORDERED) else pick(choices)
            for name, choices in self.genes.items()
        }

    def extreme(self, which: Literal["smallest", "largest"], operator: str | None = None) -> Arch:
        """The smallest or largest architecture, with ``operator`` in every layer that allows it."""
        genes = self.extreme_genes(which)
        for name, choices in self.genes.items():
            if name.endswith(".operator") and operator in choices:
                genes[name] = operator
        return self.decode(genes)

    @property
    def operators(self) -> tuple[str, ...]:
        """All operators of the space, in the order in which its stages name them."""
        return tuple(
            dict.fromkeys(op for stage in self.stages for layer in (0, 1) for op in stage.operators(layer))
        )

    def maximal_archs(self) -> Iterator[Arch]:
        """Largest architectures that together have every operator in every layer that allows it."""
        for operator in self.operators:
            yield self.extreme("largest", operator)

    @property
    def size(self) -> int:
        """The number of different architectures."""
        total = len(self.resolution) * len(self.stem_width) * len(self.head_width)
        for stage in self.stages:
            first = sum(_variants(stage, op, stage.stride) for op in stage.operators(0))
            others = sum(_variants(stage, op, 1) for op in stage.operators(1))
            total *= len(stage.width) * sum(first * others ** (depth - 1) for depth in stage.depth)
        return total


def _name_genes(space: Space) -> Iterator[tuple[str, tuple[Value, ...]]]:
    yield "resolution", space.resolution
    yield "stem.width", space.stem_width
    for s, stage in enumerate(space.stages):
        yield f"stage{s}.width", stage.width
        yield f"stage{s}.depth", stage.depth
        for layer in range(max(stage.depth)):
            for name in LAYER_FIELDS:
                choices = stage.operators(layer) if name == "operator" else getattr(stage, name)
                yield f"stage{s}.layer{layer}.{name}", choices
    yield "head.width", space.head_width


def _kernel_is_fixed(op: str, stride: int) -> bool:
    """A ghost bottleneck has a depthwise convolution at stride 2 only; its cheap ones are 3x3."""
    return op == "ghost" and stride == 1


def _block(
    chosen: Mapping[str, Any], layer: int, in_channels: int, out_channels: int, stride: int
) -> BlockSpec:
    op = chosen["operator"]
    stride = stride if layer == 0 else 1
    used = {name: chosen[name] for name in OPERATORS[op] if name != "kernel"}
    if op == "space_to_depth":
        used["kernel"] = (2, 2)
    elif "kernel" in OPERATORS[op] and not _kernel_is_fixed(op, stride):
        size = chosen["kernel"]
        used["kernel"] = ((1, size), (size, 1))[layer % 2] if op == "alt_dwcb" else (size, size)
    if op == "shuffle" and layer > 0:
        used["layer"] = layer % SHUFFLE_CYCLE
    return BlockSpec(
        op,
        in_channels if layer == 0 else out_channels,
        out_channels,
        stride=stride,
        shortcut="pool" if layer == 0 else "identity",
        **used,
    )


def _variants(stage: Stage, op: str, stride: int) -> int:
    used = [n for n in OPERATORS[op] if not (n == "kernel" and _kernel_is_fixed(op, stride))]
    return math.prod(len(getattr(stage, name)) for name in used)
