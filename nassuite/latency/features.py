"""What an architecture tells about its latency: sums over the kernels that a runtime runs for it.

Each kernel falls into a bucket, by what limits its speed (``kernels.BUCKETS``). Features are sums of a few
quantities in each bucket, so that a linear model in them is a table of costs: so much for starting
a kernel of this kind, so much for a million multiply-accumulates in it and for a million elements moved.
The square roots are for small kernels, whose speed is less.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from nassuite.latency.kernels import BUCKETS, Layer, Part, Tensor, part_layers, parts
from nassuite.spec import DOWNSAMPLINGS, Arch, BlockSpec

QUANTITIES = ("count", "work", "traffic", "sqrt_work", "sqrt_traffic")
OPERATORS = ("inverted_residual", "ghost", "shuffle", "dwcb", "group_dwcb", "alt_dwcb", "down", "other")


def feature_names() -> tuple[str, ...]:
    """One name for each column of ``features``."""
    return (*(f"{bucket}.{quantity}" for bucket in BUCKETS for quantity in QUANTITIES), "macs")


def features(arch: Arch, in_chans: int) -> np.ndarray:
    """(len(feature_names()),) float64; work, traffic and macs in millions."""
    sums = sum(found for _, found, _ in _parts(arch, in_chans))
    return np.concatenate([sums, [_totals(arch, in_chans)[1]]])


def operator_sums(arch: Arch, in_chans: int) -> np.ndarray:
    """Of each of ``OPERATORS`` its blocks, MACs and traffic, then those of the whole network (kernels for
    blocks), its weights, resolution and the logarithms of the first three; in millions.
    """
    operators = np.zeros((len(OPERATORS), 3))
    for part, _, (_, macs, traffic, _) in _parts(arch, in_chans):
        if isinstance(part, BlockSpec):
            name = "down" if part.op in DOWNSAMPLINGS else part.op if part.op in OPERATORS else "other"
            operators[OPERATORS.index(name)] += (1, macs, traffic)
    totals = _totals(arch, in_chans)
    return np.concatenate([operators.ravel(), totals, [arch.resolution], np.log(totals[:3])])


def _totals(arch: Arch, in_chans: int) -> np.ndarray:
    """Kernels, and millions of macs, elements moved and weights."""
    return np.sum([totals for _, _, totals in _parts(arch, in_chans)], axis=0)


def _parts(arch: Arch, in_chans: int) -> list[tuple[Part, np.ndarray, np.ndarray]]:
    """Each part with its sums and totals."""
    x, found = Tensor(in_chans, arch.resolution), []
    for part in parts(arch):
        sums, totals, x = _part_sums(part, x)
        found.append((part, sums, totals))
    return found


@lru_cache(maxsize=65536)
def _part_sums(part: Part, x: Tensor) -> tuple[np.ndarray, np.ndarray, Tensor]:
    """Bucket sums and totals of one part, never to be written to, and its output."""
    layers, y = part_layers(part, x)
    buckets = np.zeros((len(BUCKETS), len(QUANTITIES)))
    for layer in layers:
        buckets[BUCKETS.index(layer.bucket)] += _quantities(layer)
    totals = [(1, layer.macs / 1e6, layer.traffic / 1e6, layer.weights / 1e6) for layer in layers]
    return buckets.ravel(), np.sum(totals, axis=0), y


def _quantities(layer: Layer) -> tuple[float, ...]:
    work, traffic = layer.work / 1e6, layer.traffic / 1e6
    return 1, work, traffic, math.sqrt(work), math.sqrt(traffic)
