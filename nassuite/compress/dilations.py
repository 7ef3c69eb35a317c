"""Efficient dilation optimisation (Liu et al. 2021, arXiv 2012.13587, section 3.2): dilations from trained weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nassuite.errors import InputError

Pattern = list[list[tuple[int, int]]]
"""For each searched layer, the (vertical, horizontal) dilation of each output channel; JSON as it is."""


def search_dilations(network: nn.Module, *, layers: Sequence[str] | None = None) -> Pattern:
    """The dilation of a 3x3 kernel that represents each output channel of trained large-kernel convolutions best.

    A 3x3 kernel of dilation (v, h) is nine elements of a kernel of 2 * max + 1 rows and columns. Its error is the
    sum of absolute weights outside of these nine, over all input channels: the L1 bound of what the
    output loses, where inputs behind batch norm are of one scale. The smallest error wins, of equal ones
    the smaller dilation. No image is needed.

    ``layers`` are names of convolutions with an odd square kernel from 5 up, dilation 1 and one group; without
    them it is all such convolutions but the network's first, which reads the image and stays as it is.
    The pattern is for ``create_model("ic_resnet50", pattern=...)`` if ``network`` is ic_resnet50 with
    ``large_kernel``. Raises ``InputError`` if there is nothing to search, a layer is not of that kind, or a
    weight is not finite.
    """
    found = _named(network, layers) if layers is not None else _large_kernels(network)
    return [_best_dilations(name, conv.weight.detach()) for name, conv in found]


def _large_kernels(network: nn.Module) -> list[tuple[str, nn.Conv2d]]:
    convolutions = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)]
    found = [(name, conv) for name, conv in convolutions[1:] if _is_searchable(conv)]
    if not found:
        raise InputError(
            "this network has no convolution to search: it takes kernels of 5x5, 7x7 or 9x9, as in "
            "ic_resnet50 with large_kernel=9"
        )
    return found


def _named(network: nn.Module, layers: Sequence[str]) -> list[tuple[str, nn.Conv2d]]:
    modules = dict(network.named_modules())
    found = []
    for name in layers:
        layer = modules.get(name)
        if layer is None:
            raise InputError(f"layer {name}: this network has none of that name")
        if not isinstance(layer, nn.Conv2d) or not _is_searchable(layer):
            raise InputError(
                f"layer {name}: not a convolution with an odd square kernel from 5 up, undilated"
            )
        found.append((name, layer))
    return found


def _is_searchable(conv: nn.Conv2d) -> bool:
    height, width = conv.kernel_size
    return height == width >= 5 and height % 2 == 1 and conv.dilation == (1, 1) and conv.groups == 1


def _best_dilations(name: str, weight: Tensor) -> list[tuple[int, int]]:
    """Of (O, C, k, k) weights. The least L1 norm left out is the most kept."""
    if not bool(torch.isfinite(weight).all()):
        raise InputError(f"layer {name}: its weights are not all finite")
    magnitude = weight.abs().sum(1, dtype=torch.float64).cpu()  # (O, k, k)
    centre = weight.shape[-1] // 2
    best = torch.full((len(weight),), -1.0, dtype=torch.float64)
    chosen = [(1, 1)] * len(weight)
    for dilation in _candidates(centre):
        rows, columns = ([centre - step, centre, centre + step] for step in dilation)
        kept = magnitude[:, rows][:, :, columns].sum((1, 2))
        # A sum in another order differs in its last digits: not a reason for a wider kernel.
        better = kept > best * (1 + 1e-12)
        for channel in better.nonzero()[:, 0].tolist():
            chosen[channel] = dilation
        best = torch.where(better, kept, best)
    return chosen


def _candidates(largest: int) -> list[tuple[int, int]]:
    """All dilations up to ``largest``, the smaller area first."""
    every = [(v, h) for v in range(1, largest + 1) for h in range(1, largest + 1)]
    return sorted(every, key=lambda dilation: (dilation[0] * dilation[1], dilation))
