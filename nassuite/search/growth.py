"""An architecture made larger, up to what it may take."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nassuite.space import UNORDERED, Space
from nassuite.spec import Arch


def grown(space: Space, arch: Arch, *, worth: Callable[[Arch], float], fits: Callable[[Arch], bool]) -> Arch:
    """``arch`` raised step by step: of the larger neighbours that fit, always the one of most ``worth``.

    Sizes first, so that what the weights of ``arch`` can do, those of the result can too; where no larger size fits,
    another operator in one layer, if that is worth more. No size is lowered. It is ``arch`` itself where nothing fits.
    """
    while True:
        steps = [neighbour for neighbour in _larger(space, arch) if fits(neighbour)]
        if not steps:
            others = (n for n in _of_another_operator(space, arch) if worth(n) > worth(arch))
            steps = [neighbour for neighbour in others if fits(neighbour)]
        if not steps:
            return arch
        arch = max(steps, key=worth)


def _larger(space: Space, arch: Arch) -> Iterator[Arch]:
    """Each size one step up, where that makes another architecture."""
    genes = space.encode(arch)
    for name, choices in space.genes.items():
        above = () if name.endswith(UNORDERED) else [c for c in choices if c > genes[name]]  # type: ignore[operator]
        if above:
            neighbour = space.decode(genes | {name: min(above)})
            if neighbour != arch:
                yield neighbour


def _of_another_operator(space: Space, arch: Arch) -> Iterator[Arch]:
    genes = space.encode(arch)
    for name, choices in space.genes.items():
        for choice in choices if name.endswith(".operator") else ():
            neighbour = space.decode(genes | {name: choice})
            if neighbour != arch:
                yield neighbour
