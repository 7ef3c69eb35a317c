"""How many channels each group keeps, and which: from scores to cuts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from nassuite.compress.importance import Importance
from nassuite.compress.surgery import Cut, Group
from nassuite.errors import InputError

Scope = Literal["global", "local", "isomorphic"]


@dataclass(frozen=True)
class PruneConfig:
    """``ratio`` is the fraction of the prunable channels to remove, 0 <= ratio < 1.

    ``scope``: "local" removes it from every group; "global" wherever importance is least; "isomorphic"
    wherever it is least among groups of the same kinds of layers, from each such class alike (Fang et al. 2024,
    arXiv 2407.04616, section 3). Widths become multiples of ``align``, the nearest, at least one (ONNX
    Runtime is slow on others).
    """

    ratio: float
    importance: Importance = "magnitude"
    scope: Scope = "local"
    align: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.ratio < 1.0:
            raise InputError(f"pruning ratio {self.ratio}: expected 0 <= ratio < 1")
        if self.align < 1:
            raise InputError(f"alignment {self.align}: expected a number of channels, 1 or more")
        for value, known in ((self.importance, get_args(Importance)), (self.scope, get_args(Scope))):
            if value not in known:
                raise InputError(f"{value!r} is none of {', '.join(known)}")


def widths_below(group: Group, align: int) -> list[int]:
    """The aligned widths under the group's own that its units allow, ascending."""
    widths = (group.width - count * group.unit for count in range(len(group.units), 0, -1))
    return [width for width in widths if width > 0 and width % align == 0]


def widths_at(
    dense: nn.Module, groups: Sequence[Group], scores: Mapping[str, Tensor], config: PruneConfig
) -> dict[str, int]:
    """The width that each group of ``dense`` keeps at ``config.ratio``, by its root; aligned, never wider."""
    wanted = _WIDTHS[config.scope](dense, groups, scores, config.ratio)
    return {
        group.root: _aligned(wanted[group.root], group, config.align)
        if wanted[group.root] < group.width
        else group.width
        for group in groups
    }


def cuts_to(groups: Sequence[Group], scores: Mapping[str, Tensor], widths: Mapping[str, int]) -> list[Cut]:
    """Removes the least important channels of every group down to its width."""
    return [
        (group.root, True, least(scores[group.root], group, keep=widths[group.root]))
        for group in groups
        if widths[group.root] < group.width
    ]


def with_share_removed(
    config: PruneConfig, groups: Sequence[Group], widths: Mapping[str, int]
) -> PruneConfig:
    """The config with the ratio that these widths come to."""
    left = sum(widths[group.root] for group in groups) / sum(group.width for group in groups)
    return dataclasses.replace(config, ratio=1 - left)


def lower_widths(group: Group, align: int, shares: Sequence[float]) -> list[int]:
    """Aligned widths under the group's own, the nearest to these shares of it; ascending, none twice."""
    below = widths_below(group, align)
    return sorted({_nearest(below, share * group.width) for share in shares}) if below else []


def losses(scores: Tensor, group: Group) -> list[float]:
    """Entry k is the importance lost where the group loses its k least important units."""
    ascending = _folded(scores, group).double().sort().values
    return [0.0, *ascending.cumsum(0).tolist()]


def least(scores: Tensor, group: Group, *, keep: int) -> tuple[int, ...]:
    """The channels of the least important units, all but ``keep``."""
    count = (group.width - keep) // group.unit
    order = _folded(scores, group).argsort(stable=True)[:count].tolist()
    return tuple(sorted(channel for number in order for channel in group.units[number]))


def _folded(scores: Tensor, group: Group) -> Tensor:
    """(units,) sums."""
    return scores[torch.tensor(group.units)].sum(1)


def _aligned(wanted: float, group: Group, align: int) -> int:
    return _nearest([*widths_below(group, align), group.width], wanted)


def _nearest(widths: Sequence[int], wanted: float) -> int:
    """The wider of two that are as near."""
    return min(widths, key=lambda width: (abs(width - wanted), -width))


def _local_widths(
    dense: nn.Module, groups: Sequence[Group], scores: Mapping[str, Tensor], ratio: float
) -> dict[str, float]:
    return {group.root: (1.0 - ratio) * group.width for group in groups}


def _global_widths(
    dense: nn.Module, groups: Sequence[Group], scores: Mapping[str, Tensor], ratio: float
) -> dict[str, float]:
    if not groups:
        return {}
    flat = torch.cat([scores[group.root] for group in groups])
    removed = torch.zeros(len(flat), dtype=torch.bool)
    removed[flat.argsort(stable=True)[: int(ratio * len(flat))]] = True
    parts = removed.split([group.width for group in groups])
    return {group.root: float((~part).sum()) for group, part in zip(groups, parts, strict=True)}


def _isomorphic_widths(
    dense: nn.Module, groups: Sequence[Group], scores: Mapping[str, Tensor], ratio: float
) -> dict[str, float]:
    classes: dict[tuple[str, ...], list[Group]] = {}
    for group in groups:
        classes.setdefault(structure(dense, group), []).append(group)
    widths: dict[str, float] = {}
    for alike in classes.values():
        widths |= _global_widths(dense, alike, scores, ratio)
    return widths


def structure(dense: nn.Module, group: Group) -> tuple[str, ...]:
    """The kinds of layers that fall together, and on which side, in the order of the dependency graph."""
    return tuple(
        f"{type(dense.get_submodule(member.module)).__name__} {member.side}" for member in group.members
    )


_WIDTHS: dict[
    Scope, Callable[[nn.Module, Sequence[Group], Mapping[str, Tensor], float], dict[str, float]]
] = {
    "local": _local_widths,
    "global": _global_widths,
    "isomorphic": _isomorphic_widths,
}
