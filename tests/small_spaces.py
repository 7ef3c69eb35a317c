"""Search spaces and supernets that are small enough to be tried in every combination that matters."""

import copy
import random

import torch
from torch import Tensor

from nassuite.nn.network import Interface
from nassuite.nn.supernet import Supernet
from nassuite.space import Space, Stage
from nassuite.spec import DOWNSAMPLINGS, OPERATORS, Arch

ALL_OPERATORS = tuple(op for op in OPERATORS if op not in DOWNSAMPLINGS)

INTERFACE = Interface(3, 5, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))

SIX = Space(
    name="six",
    resolution=(16, 24),
    stem_width=(8, 16),
    stem_kernel=3,
    stem_stride=1,
    stem_act="relu",
    stages=(
        Stage(
            (8, 16, 24), (1, 2), 1, ALL_OPERATORS, (3, 5), (2.0, 3.0), (False, True), ("relu", "hard_swish")
        ),
        Stage((16, 24, 40), (1, 2, 4), 2, ALL_OPERATORS, (3, 5, 7), (1.5, 4.0), (False, True), ("silu",)),
        Stage((32, 48), (1, 2), 2, ALL_OPERATORS, (3,), (1.0,), (False, True), ("gelu", "relu6")),
    ),
    head_width=(32, 64),
    head_act="hard_swish",
)
"""All six operators, everything elastic."""

DIGIT = Space(
    name="digit",
    resolution=(16,),
    stem_width=(8,),
    stem_kernel=3,
    stem_stride=1,
    stem_act="relu",
    stages=(
        Stage((16, 24), (1, 2), 2, ("inverted_residual", "ghost"), (3, 5), (2.0, 3.0)),
        Stage((24, 32), (1, 2), 2, ("shuffle", "dwcb"), (3,), (2.0,)),
    ),
    head_width=(64,),
    head_act="relu",
)
"""Learns digits at 16 pixels in seconds."""


DOWN = Space(
    name="down",
    resolution=(16,),
    stem_width=(8, 16),
    stem_kernel=3,
    stem_stride=1,
    stem_act="relu",
    stages=(
        Stage(
            (16, 24), (1, 2, 3), 2, ("dwcb", "group_dwcb", "alt_dwcb"), (3, 5), (2.0, 3.0),
            downsample=(*DOWNSAMPLINGS, "dwcb"),
        ),
        Stage((24, 40), (1, 3), 2, ("shuffle", "alt_dwcb"), (3,), (2.0,), downsample=DOWNSAMPLINGS),
    ),
    head_width=(32,),
    head_act="relu",
)  # fmt: skip
"""Stages that begin with a downsampling of their own, as HENet's do."""


def space_of(
    *stages: Stage,
    resolution: tuple[int, ...] = (16,),
    stem: tuple[int, ...] = (8,),
    head: tuple[int, ...] = (16,),
) -> Space:
    return Space("made", resolution, stem, 3, 1, "relu", stages, head, "relu")


def arch_of(space: Space, seed: int) -> Arch:
    return space.sample(random.Random(seed))


def scrambled_supernet(space: Space = SIX, seed: int = 0, interface: Interface = INTERFACE) -> Supernet:
    """Fresh weights hide mistakes: their last batch norms are zero, their shortcuts the identity."""
    supernet = Supernet(space, interface, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    return supernet


def images(resolution: int, *, count: int = 3, seed: int = 0, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((count, channels, resolution, resolution), generator=generator)


def touched(supernet: Supernet, arch: Arch) -> dict[str, Tensor]:
    """Which elements of the shared tensors an extraction takes: those whose number is found in it."""
    numbered = copy.deepcopy(supernet)
    sizes = [parameter.numel() for parameter in numbered.parameters()]
    assert sum(sizes) < 2**24, "numbers have to be exact in float32"
    with torch.no_grad():
        for numbers, parameter in zip(
            torch.arange(sum(sizes)).split(sizes), numbered.parameters(), strict=True
        ):
            parameter.copy_(numbers.view_as(parameter))
    found = torch.zeros(sum(sizes), dtype=torch.bool)
    for parameter in numbered.extract(arch).parameters():
        found[parameter.detach().flatten().long()] = True
    masks = zip(found.split(sizes), numbered.named_parameters(), strict=True)
    return {name: mask.view_as(parameter) for mask, (name, parameter) in masks}
