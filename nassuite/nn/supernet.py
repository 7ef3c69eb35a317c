"""The supernet: a bag of maximal tensors, and the architecture as an argument of every call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nassuite.blocks.layers import Layout, initialise
from nassuite.nn.network import Interface, Network, Normalise, Part, layout, make, parts
from nassuite.nn.slicing import slice_parameters
from nassuite.space import Space
from nassuite.spec import Arch

Statistics = Mapping[str, Tensor]
"""Batch-norm running statistics of one architecture, named as in its ``Network``'s state dict."""


class Supernet(nn.Module):
    """Shared weights of every architecture of ``space``; nothing about an architecture is stored here.

    There is one maximal module for each layer and operator. A call slices the parts' parameters out of
    them and runs the plain blocks with those (``torch.func.functional_call``), so a subnet computes
    what its extraction computes, bit for bit, and gradients reach the shared tensors. Running
    statistics would be a mixture of all subnets: there are none, they are passed in.
    """

    def __init__(self, space: Space, interface: Interface, *, seed: int = 0) -> None:
        super().__init__()
        self.space = space
        self.interface = interface
        self.normalise = Normalise(interface.mean, interface.std)
        self._maximal = {part.slot: part for arch in space.maximal_archs() for part in parts(arch, interface)}
        self._layouts: dict[str, Layout] = {slot: layout(part) for slot, part in self._maximal.items()}
        self.slots = nn.ModuleDict({slot: make(part) for slot, part in self._maximal.items()})
        initialise(self.slots, torch.Generator().manual_seed(seed))
        _drop_running_statistics(self.slots)

    def forward(self, x: Tensor, arch: Arch, statistics: Statistics | None = None) -> Tensor:
        """Images (N, C, R, R) in 0..1 to logits (N, num_classes).

        Without ``statistics`` every batch norm uses the batch's own, as in training.
        """
        x = self.normalise(x)
        for part in parts(arch, self.interface):
            tensors = dict(self._slices(part))
            if statistics is not None:
                tensors.update(_statistics_of(part, statistics))
            x = functional_call(_template(part, statistics is not None), tensors, (x,), strict=False)
        return x

    def extract(self, arch: Arch, statistics: Statistics | None = None) -> Network:
        """A plain module with copies of the weights; in evaluation mode where statistics are given."""
        network = Network(arch, self.interface).to(next(self.parameters()).device)
        state = dict(network.state_dict())
        with torch.no_grad():
            for part in parts(arch, self.interface):
                state.update({f"{part.name}.{name}": view for name, view in self._slices(part)})
        state.update(statistics or {})
        network.load_state_dict(state)
        return network.train(statistics is None)

    def _slices(self, part: Part) -> Iterator[tuple[str, Tensor]]:
        maximal = dict(self.slots[part.slot].named_parameters())
        shapes = {name: p.shape for name, p in _template(part, False).named_parameters()}
        return slice_parameters(maximal, shapes, whole=self._layouts[part.slot], part=_layout(part))


@lru_cache(maxsize=65536)
def _layout(part: Part) -> Layout:
    return layout(part)


@lru_cache(maxsize=65536)
def _template(part: Part, with_statistics: bool) -> nn.Module:
    """The plain module without storage, whose parameters ``functional_call`` replaces."""
    with torch.device("meta"):
        module = make(part)
    if not with_statistics:
        _drop_running_statistics(module)
    return module.train(not with_statistics)


def _drop_running_statistics(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.track_running_stats = False
            for name in ("running_mean", "running_var", "num_batches_tracked"):
                layer.register_buffer(name, None)


def _statistics_of(part: Part, statistics: Statistics) -> dict[str, Tensor]:
    prefix = f"{part.name}."
    return {name[len(prefix) :]: value for name, value in statistics.items() if name.startswith(prefix)}
