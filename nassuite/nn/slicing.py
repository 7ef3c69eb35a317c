"""The one rule by which a part's parameters are views of maximal ones: leading channels, centred kernels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from nassuite.blocks.layers import Layout, Segments


def take(maximal: Tensor, dim: int, whole: Segments, part: Segments) -> Tensor:
    """Keeps a prefix of each segment of one dimension."""
    if whole == part:
        return maximal
    if len(whole) != len(part) or any(p > w for p, w in zip(part, whole, strict=True)):
        raise ValueError(f"segments {part} are no prefixes of {whole}")
    if len(whole) == 1:
        return maximal.narrow(dim, 0, part[0])
    if len(set(whole)) == 1 and len(set(part)) == 1:
        folded = maximal.unflatten(dim, (len(whole), whole[0]))
        return folded.narrow(dim + 1, 0, part[0]).flatten(dim, dim + 1)
    pieces, start = [], 0
    for w, p in zip(whole, part, strict=True):
        pieces.append(maximal.narrow(dim, start, p))
        start += w
    return torch.cat(pieces, dim)


def centre(maximal: Tensor, dim: int, size: int) -> Tensor:
    """Keeps the middle of one dimension of a kernel."""
    return maximal.narrow(dim, (maximal.shape[dim] - size) // 2, size)


def layer_of(name: str, layout: Layout) -> str:
    """The layer that a parameter belongs to: the longest of the layout's names that begins its name."""
    prefix = name
    while prefix not in layout:
        if not prefix:
            raise KeyError(f"the layout names no layer for the parameter {name}: {sorted(layout)}")
        prefix = prefix.rpartition(".")[0]
    return prefix


def slice_parameters(
    maximal: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], *, whole: Layout, part: Layout
) -> Iterator[tuple[str, Tensor]]:
    """For each name in ``shapes``: the view of ``maximal[name]`` that a part with that shape uses.

    ``whole`` and ``part`` are the layouts of the maximal module and of the part. Dimension 0 of a
    parameter follows its layer's output segments, dimension 1 the input segments, the others are
    kernels. Gradients flow through the views into the maximal tensors.
    """
    for name, shape in shapes.items():
        layer = layer_of(name, whole)
        view = maximal[name]
        for dim in range(view.dim()):
            if dim < 2:
                view = take(view, dim, whole[layer][dim], part[layer][dim])
            elif view.shape[dim] != shape[dim]:
                view = centre(view, dim, shape[dim])
        # Contiguous, so that kernels are chosen as for the extracted module's own parameters.
        yield name, view.contiguous()
