"""An architecture made larger, up to what it may take."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nassuite.space import UNORDERED, Space
from nassuite.spec import Arch


def grown(space: Space, arch: Arch, *, worth: Callable[[Arch], float], fits: Callable[[Arch], bool]) -> Arch:
    """``arch`` with its sizes raised step by step: of the larger neighbours that fit, always the one of most ``worth``.

    No size is lowered and no operator changed, so that what the weights of ``arch`` can do, those of the result can too.
    It is ``arch`` itself where no neighbour fits.
    """
    while larger := [neighbour for neighbour in _larger(space, arch) if fits(neighbour)]:
        arch = max(larger, key=worth)
    return arch


def _larger(space: Space, arch: Arch) -> Iterator[Arch]:
    """Each size one step up, where that makes another architecture."""
    genes = space.encode(arch)
    for name, choices in space.genes.items():
        above = () if name.endswith(UNORDERED) else [c for c in choices if c > genes[name]]  # type: ignore[operator]
        if above:
            neighbour = space.decode(genes | {name: min(above)})
            if neighbour != arch:
                yield neighbour
