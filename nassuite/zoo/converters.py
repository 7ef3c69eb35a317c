"""How names are translated: from a source's, by tables that its entry in ``nassuite.zoo.sources`` holds, to ours."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

Table = Mapping[str, str]
"""Names of modules there to names here. A name stands for all that is in it; of several the longest applies."""

OUR_BLOCKS = r"stages\.stage\d+\.\d+"


def paired(theirs: str, ours: str) -> dict[str, str]:
    """A table from two lists of names, parted by spaces."""
    return dict(zip(theirs.split(), ours.split(), strict=True))


@dataclass(frozen=True)
class Blocks:
    """Blocks that repeat: the n-th there is the n-th here, whatever their numbers are.

    ``theirs`` and ``ours`` are regular expressions for a block's name, without the dot behind it. Each of
    ``tables`` is for one form of block; the one is taken whose translations are all in the network.
    """

    theirs: str
    tables: tuple[Table, ...]
    ours: str = OUR_BLOCKS


@dataclass(frozen=True)
class Source:
    """One way of naming a family of networks.

    A file is from here if for each of ``marks``, regular expressions, it has a name that begins with it.
    ``modules`` are those outside of ``blocks``. Names that match ``extras`` may be left out. ``prefix`` is
    taken off all names that begin with it.

    ``eps`` is the batch norms' there, if that differs from ours in some network. ``note`` says what else
    a user must know. ``refusal`` says why these weights cannot give their outputs here, and are refused;
    with ``refused_files``, a regular expression for the beginning of a file's name, only those are.
    """

    name: str
    marks: tuple[str, ...]
    modules: Table
    blocks: tuple[Blocks, ...] = ()
    extras: str = ""
    prefix: str = ""
    eps: float | None = None
    note: str = ""
    refusal: str = ""
    refused_files: str = ""

    def knows(self, names: Iterable[str]) -> bool:
        plain = [name.removeprefix(self.prefix) for name in names]
        return all(any(re.match(mark, name) for name in plain) for mark in self.marks)

    def translated(self, names: Iterable[str], wanted: Collection[str]) -> dict[str, str]:
        """Names of a file to those in the network, which has the ``wanted`` ones.

        What no table knows is not in the result, what the network does not have may be.
        """
        plain = {name.removeprefix(self.prefix): name for name in names}
        found: dict[str, str] = {}
        for blocks in self.blocks:
            found.update(_paired_blocks(blocks, plain, wanted))
        for name in plain:
            if name not in found:
                new = _looked_up(name, self.modules)
                if new is not None:
                    found[name] = new
        return {plain[name]: new for name, new in found.items()}


def natural_order(name: str) -> list[tuple[int, str]]:
    """A sort key under which block 10 comes behind block 9."""
    return [(int(part or 0), "") if i % 2 else (0, part) for i, part in enumerate(re.split(r"(\d+)", name))]


def _paired_blocks(blocks: Blocks, names: Iterable[str], wanted: Iterable[str]) -> dict[str, str]:
    there, here = _grouped(blocks.theirs, names), _grouped(blocks.ours, wanted)
    found = {}
    # Ours are in the order in which they run, theirs may be in any: some formats sort by name.
    for block, our_block in zip(sorted(there, key=natural_order), here, strict=False):
        for name, new in _by_best_table(there[block], here[our_block], blocks.tables).items():
            found[f"{block}.{name}"] = f"{our_block}.{new}"
    return found


def _grouped(pattern: str, names: Iterable[str]) -> dict[str, list[str]]:
    """Names by the block that they begin with, without it."""
    prefix = re.compile(f"({pattern})\\.")
    groups: dict[str, list[str]] = {}
    for name in names:
        match = prefix.match(name)
        if match:
            groups.setdefault(match[1], []).append(name[match.end() :])
    return groups


def _by_best_table(names: list[str], wanted: Collection[str], tables: Iterable[Table]) -> dict[str, str]:
    """The translations by the table under which most of them are ``wanted``; the first of equals."""

    def under(table: Table) -> dict[str, str]:
        found = {name: _looked_up(name, table) for name in names}
        return {name: new for name, new in found.items() if new is not None}

    return max((under(table) for table in tables), key=lambda found: len(set(found.values()) & set(wanted)))


def _looked_up(name: str, table: Table) -> str | None:
    """``name`` with its beginning, up to any dot, replaced by what ``table`` has for it; None if nothing."""
    ends = [len(name), *(match.start() for match in re.finditer(r"\.", name))]
    for end in (ends[0], *reversed(ends[1:])):
        if name[:end] in table:
            return (table[name[:end]] + name[end:]).lstrip(".")
    if "" in table:
        return f"{table['']}.{name}".lstrip(".")
    return None
