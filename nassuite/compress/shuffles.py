"""What torch-pruning's graph has to know of channel shuffles, and of the grouped convolutions behind them.

By itself it takes a shuffle for an operation that moves no channel, and cuts the same inputs out of every group of a convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch_pruning.pruner.function import ConvPruner

from nassuite.blocks.shuffle import ChannelShuffle


class ShufflePruner(tp.BasePruningFunc):
    """Knows how many channels each shuffle has; a channel is named by its place behind the shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.widths: dict[nn.Module, int] = {}

    def seen(self, layer: nn.Module, inputs: Any, output: Tensor) -> None:
        """A forward hook."""
        self.widths[layer] = output.shape[1]

    def prune_out_channels(self, layer: nn.Module, idxs: Sequence[int]) -> nn.Module:
        self.widths[layer] -= len(idxs)
        return layer

    prune_in_channels = prune_out_channels  # so that torch-pruning takes both sides for one

    def get_out_channels(self, layer: nn.Module) -> int:
        return self.widths[layer]

    get_in_channels = get_out_channels


class GroupedConvPruner(ConvPruner):
    """Cuts out of each group of a convolution the inputs that are its own."""

    def prune_in_channels(self, layer: nn.Conv2d, idxs: Sequence[int]) -> nn.Module:
        if layer.groups == 1 or layer.transposed:
            return super().prune_in_channels(layer, idxs)
        size, removed = layer.in_channels // layer.groups, set(idxs)
        kept = [
            [place for place in range(size) if group * size + place not in removed]
            for group in range(layer.groups)
        ]
        if len({len(places) for places in kept}) > 1:
            raise ValueError("groups of a convolution would have different numbers of inputs")
        parts = zip(layer.weight.chunk(layer.groups), kept, strict=True)
        layer.weight = nn.Parameter(torch.cat([part[:, places] for part, places in parts]))
        layer.in_channels = sum(map(len, kept))
        return layer


@dataclass(frozen=True)
class _Dealt:
    """torch-pruning's indices taken from before a shuffle to behind it, or ``back``."""

    pruner: ShufflePruner
    layer: ChannelShuffle
    back: bool

    def __call__(self, indices: Sequence[Any]) -> list[Any]:
        before = self.layer.order(self.pruner.widths[self.layer])
        places = before if self.back else {channel: place for place, channel in enumerate(before)}
        return [index._replace(idx=places[index.idx]) for index in indices]


def map_shuffles(graph: tp.DependencyGraph, pruner: ShufflePruner) -> None:
    """Tells a graph in which ``pruner`` stands for the shuffles where each of them takes its channels."""
    for layer in pruner.widths.keys() & graph.module2node.keys():  # not those of which no output depends
        node = graph.module2node[layer]
        for source in node.inputs:
            for dependency in node.dependencies:
                if dependency.target is source:
                    dependency.index_mapping[0] = _Dealt(pruner, layer, back=True)
            for dependency in source.dependencies:
                if dependency.target is node:
                    dependency.index_mapping[0] = _Dealt(pruner, layer, back=False)


def tied(layer: ChannelShuffle, width: int) -> list[list[int]]:
    """The places behind a shuffle of ``width`` channels that it lets go only together.

    With one channel gone from each of the groups that it deals from, at the same place in all, the others are dealt as before.
    """
    dealt = layer.order(width) if layer.back else list(range(width))
    sets: dict[int, list[int]] = {}
    for place, channel in enumerate(dealt):
        sets.setdefault(channel // layer.groups, []).append(place)
    return list(sets.values())
