"""The least of something that a space has."""

from __future__ import annotations

from collections.abc import Callable

from nassuite.space import Space
from nassuite.spec import Arch


def smallest(space: Space, cost: Callable[[Arch], tuple[float, ...]]) -> Arch:
    """The architecture of least ``cost`` (compared as tuples are), by coordinate descent from the smallest sizes.

    Exact where every gene has a best choice whatever the others are, as it is with sums over layers.
    """
    genes = space.extreme_genes("smallest")
    best, improved = cost(space.decode(genes)), True
    while improved:
        improved = False
        for name, choices in space.genes.items():
            for choice in choices:
                tried = genes | {name: choice}
                if (value := cost(space.decode(tried))) < best:
                    genes, best, improved = tried, value, True
    return space.decode(genes)
