"""Architectures as numbers, for what learns their accuracy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nassuite.latency.features import operator_sums
from nassuite.space import Space
from nassuite.spec import OPERATORS as FIELDS
from nassuite.spec import Arch

IN_CHANS = 3
"""Of the stem's cost, which is alike in all architectures of a space."""


def describe_arch(arch: Arch, space: Space) -> NDArray[np.float64]:
    """(F,): sizes of the stages; for each layer there may be its operator as one-hot, kernel, expansion and SE, zeros
    where depth leaves it out; sums over operators and the whole network (count, MACs, memory traffic)."""
    parts = [float(arch.resolution), float(arch.stem.width), float(arch.head.width)]
    for stage, blocks in zip(space.stages, arch.stages, strict=True):
        parts += [np.log(blocks[0].out_channels), len(blocks)]
        for layer in range(max(stage.depth)):
            operators = stage.operators(layer)
            if layer >= len(blocks):
                parts += [0.0] * (len(operators) + 3)
                continue
            block = blocks[layer]
            used = FIELDS[block.op]
            parts += [float(block.op == operator) for operator in operators]
            parts.append(float(max(block.kernel)))
            parts.append(block.expand if "expand" in used else 0.0)
            parts.append(float(block.se))
    return np.concatenate([parts, operator_sums(arch, IN_CHANS)])
