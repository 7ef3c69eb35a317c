"""How much of a network can be pruned exactly, tried out: pruned by half, held to the gate, run, exported, compared."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nassuite.compress.prune import Proven, PruneConfig, prove, prune_proven
from nassuite.compress.surgery import TRANSPOSED, all_outputs
from nassuite.compress.verify import scrambled
from nassuite.errors import InputError
from nassuite.latency.cost import cost
from nassuite.onnx_export import onnx_bytes, onnx_parity


@dataclass(frozen=True)
class Coverage:
    """``channels`` are the outputs of all layers with weights, ``prunable`` those in groups that can be cut exactly.

    ``params_left`` and ``macs_left`` are shares with half of the prunable channels removed. ``gate_difference``
    and ``onnx_difference`` are relative to the outputs' scale. ``reasons`` counts layers left alone.
    """

    model: str
    shape: tuple[int, int, int]
    channels: int
    prunable: int
    groups: int
    params_left: float
    macs_left: float
    gate_difference: float
    onnx_difference: float
    reasons: dict[str, int]

    @property
    def share(self) -> float:
        return self.prunable / self.channels

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def coverage(
    model: nn.Module, shape: tuple[int, int, int], *, name: str, align: int = 8, seed: int = 0
) -> Coverage:
    """Prunes a copy of ``model`` with random weights, for images (N, *shape).

    Raises ``MaskEquivalenceError`` or ``ParityError`` if the pruned network is wrong, ``InputError`` if it
    cannot be exported.
    """
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(4, *shape, generator=generator)
    dense = scrambled(model.eval(), images, generator)
    config = PruneConfig(0.5, importance="random", align=align, seed=seed)
    proven = prove(dense, config, example=images)
    pruned, record = prune_proven(proven, config)
    before, after = all_outputs(dense, images), all_outputs(pruned, images)
    if [tensor.shape for tensor in before] != [tensor.shape for tensor in after]:
        raise InputError(f"{name}: outputs of other shapes after pruning")
    parity = onnx_parity(_Main(pruned), onnx_bytes(_Main(pruned), shape), input_shape=shape)
    dense_cost, pruned_cost = cost(dense, shape), cost(pruned, shape)
    return Coverage(
        model=name,
        shape=shape,
        channels=sum(map(_channels, dense.modules())),
        prunable=sum(_prunable(dense, proven).values()),
        groups=len(record.pruned),
        params_left=pruned_cost.params / dense_cost.params,
        macs_left=pruned_cost.macs / dense_cost.macs,
        gate_difference=record.gate_difference,
        onnx_difference=parity.max_abs_diff / max(parity.scale, 1e-12),
        reasons=dict(Counter(_kind(layer.reason) for layer in record.kept).most_common()),
    )


def _channels(layer: nn.Module) -> int:
    """The outputs of a layer that has a weight matrix or kernel, 0 for another."""
    if isinstance(layer, TRANSPOSED):
        return layer.out_channels
    return next((len(p) for p in layer.parameters(recurse=False) if p.ndim > 1), 0)


def _prunable(dense: nn.Module, proven: Proven) -> dict[str, int]:
    """By layer, the outputs that are in a group."""
    found: dict[str, set[int]] = {}
    for group in proven.groups:
        for member in group.members:
            if member.side == "out" and _channels(dense.get_submodule(member.module)):
                found.setdefault(member.module, set()).update(member.channels)
    return {layer: len(channels) for layer, channels in found.items()}


def _kind(reason: str) -> str:
    """A reason without its figures and places, so that equal ones count together."""
    stopped = re.match(r"not exact: with this cut \S* ?\((\w+)\) does not run", reason)
    return (
        f"not exact: with the cut {stopped[1]} does not run"
        if stopped
        else re.sub(" finds a relative.*|(?<= a layer's length): .*", "", reason)
    )


class _Main(nn.Module):
    """A network's only output, or the last of several."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        outputs = self.network(images)
        return outputs if isinstance(outputs, Tensor) else outputs[-1]
