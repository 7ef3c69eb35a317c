"""Which channels of a group may go at a time, so that grouped convolutions stay even and shuffles deal as before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

Units = tuple[tuple[int, ...], ...]
"""Sets of as many channels each; any number of these sets may go."""


def even_units(width: int, parts: int) -> Units:
    """One channel of each of ``parts`` equal runs of ``width`` channels, at the same place in all of them."""
    size = width // parts
    return tuple(tuple(range(place, width, size)) for place in range(size))


def units_behind_shuffles(
    width: int, tied: Sequence[Sequence[Sequence[int]]], parts: Sequence[Sequence[int]]
) -> Units:
    """The units of ``width`` channels that shuffles tie together and grouped convolutions divide.

    Each of ``tied`` are the sets of channels that one shuffle lets go only together: with all of a set gone, what is
    left is dealt in the order that it had. Each of ``parts`` has, for every channel, the part of a grouped
    convolution that it is in; all parts must lose as many. A set within one part is joined with one of each
    other part, one that lies in several parts unevenly never goes. Empty where that does not come out even.
    """
    even = [Counter(part) for part in parts]
    by_place: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for atom in _joined(width, tied):
        places = [
            _place(Counter(part[channel] for channel in atom), len(e))
            for part, e in zip(parts, even, strict=True)
        ]
        if None not in places:
            by_place.setdefault(tuple(place for place in places if place is not None), []).append(atom)
    alone = by_place.pop((EVERYWHERE,) * len(parts), [])
    joined = [
        tuple(sorted(channel for atom in atoms for channel in atom))
        for atoms in zip(*(by_place[place] for place in sorted(by_place)), strict=False)
    ]
    fair = [
        unit
        for unit in joined
        if all(_is_even(unit, part, len(e)) for part, e in zip(parts, even, strict=True))
    ]
    fair = [unit for unit in fair if len(unit) == len(fair[0])]
    # Units are of one size: the few sets that happen to lie across two parts evenly are left where they are few.
    return tuple(max(alone, fair, key=lambda units: sum(map(len, units))))


EVERYWHERE = -1


def _place(found: Counter[int], parts: int) -> int | None:
    """The only part that channels are in, ``EVERYWHERE`` where they are in all alike, else None."""
    if len(found) == parts and len(set(found.values())) == 1:
        return EVERYWHERE
    return next(iter(found)) if len(found) == 1 else None


def _is_even(unit: Iterable[int], part: Sequence[int], parts: int) -> bool:
    return _place(Counter(part[channel] for channel in unit), parts) == EVERYWHERE


def _joined(width: int, tied: Sequence[Sequence[Sequence[int]]]) -> list[tuple[int, ...]]:
    """The finest division of the channels in which no set of ``tied`` is divided, by their first channels."""
    leader = list(range(width))

    def find(channel: int) -> int:
        while leader[channel] != channel:
            channel = leader[channel]
        return channel

    for sets in tied:
        for together in sets:
            for channel in together:
                first, second = sorted((find(together[0]), find(channel)))
                leader[second] = first
    found: dict[int, list[int]] = {}
    for channel in range(width):
        found.setdefault(find(channel), []).append(channel)
    return [tuple(channels) for channels in found.values()]
