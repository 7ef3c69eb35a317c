"""Shortcuts of option A, splits and channel shuffles with either side cut: channels picked one by one.

None of them has weights that a cut could take from, and each ties channels together that need not be: two stages of a ResNet, or
all units of a ShuffleNetV2. As the convolutions that they are, with weights of 0 and 1, they are cut like any other
layer, and each side loses channels of its own. What is left is no convolution any more, where it can be said more cheaply.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nassuite.blocks.residual import ZeroPadShortcut
from nassuite.blocks.shuffle import ChannelShuffle, DealtShuffleUnit, ShuffleUnit


class ChannelSelection(nn.Conv2d):
    """Each output is one of the inputs (``picked``) or zero (None), at every ``stride``-th pixel: a 1x1 convolution, not trained.

    (N, inputs, H, W) to (N, len(picked), H / stride, W / stride).
    """

    def __init__(self, inputs: int, picked: Sequence[int | None], stride: int = 1) -> None:
        super().__init__(inputs, len(picked), 1, stride=stride, bias=False)
        self.requires_grad_(False)
        self.weight.zero_()
        for row, channel in enumerate(picked):
            if channel is not None:
                self.weight[row, channel] = 1.0


class StreamSelection(ChannelSelection):
    """Part of a split or a shuffle: an output is of no use without its input, and goes with it."""

    def picked(self) -> list[int]:
        return self.weight.flatten(1).argmax(1).tolist()


class ChannelPick(nn.Module):
    """What a ``StreamSelection`` does, by index: (N, inputs, H, W) to (N, len(picked), H, W)."""

    def __init__(self, inputs: int, picked: Sequence[int]) -> None:
        super().__init__()
        self.inputs, self.chosen = inputs, list(picked)
        first, count = self.chosen[0], len(self.chosen)
        self.slice = slice(first, first + count) if self.chosen == list(range(first, first + count)) else None
        # A pruned network is built again from its record: the indices are no weights of it.
        self.register_buffer("index", torch.tensor(self.chosen), persistent=False)

    index: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.slice] if self.slice is not None else x.index_select(1, self.index)


@dataclass(frozen=True)
class Picks:
    """Of a unit's input the channels that it keeps and those that it transforms, and the order in which both come out.

    None where it does nothing of the kind.
    """

    kept: list[int] | None
    moved: list[int] | None
    order: list[int] | None


def _picks(unit: ShuffleUnit | DealtShuffleUnit, width: int) -> Picks | None:
    """Those of a unit whose halves have ``width`` channels; None where it moves none, or takes turns as in a supernet."""
    both = list(range(2 * width))
    if unit.other is None and unit.expand.conv.in_channels != width:  # halves that grow
        return None
    if isinstance(unit, DealtShuffleUnit):
        return None if unit.other is not None else Picks(both[::2], both[1::2], None)
    if unit.transformed is not None or unit.shortcut is not None:
        return None
    dealt = ChannelShuffle(2).order(2 * width)
    return Picks(None, None, dealt) if unit.other is not None else Picks(both[:width], both[width:], dealt)


class PickedShuffleUnit(nn.Module):
    """A shuffle unit that says which channels it moves, so that each of them can be cut: the shapes are the unit's.

    Its layers are the unit's own, by the same names.
    """

    def __init__(self, unit: ShuffleUnit | DealtShuffleUnit, picks: Picks) -> None:
        super().__init__()
        self.whole = (unit,)  # no submodule: its layers would be there twice
        self.expand, self.depthwise, self.project = unit.expand, unit.depthwise, unit.project
        self.other = unit.other
        both = 2 * self.project.conv.out_channels
        self.kept, self.moved, self.order = (
            None if picked is None else StreamSelection(both, picked)
            for picked in (picks.kept, picks.moved, picks.order)
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.other is not None:
            kept, moved = self.other(x), x
        else:
            assert self.kept is not None
            assert self.moved is not None
            kept, moved = self.kept(x), self.moved(x)
        y = torch.cat((kept, self.project(self.depthwise(self.expand(moved)))), 1)
        return y if self.order is None else self.order(y)


def with_selections(model: nn.Module) -> nn.Module:
    """A copy of ``model`` that computes the same, its shortcuts of option A, splits and shuffles as convolutions."""
    copied = copy.deepcopy(model)
    like = next(copied.parameters(), torch.empty(0))
    for name, module in list(copied.named_modules()):
        if made := _as_selection(module):
            copied.set_submodule(name, made.to(like).train(module.training))
    return copied


def _as_selection(module: nn.Module) -> nn.Module | None:
    if isinstance(module, ZeroPadShortcut):
        return _of_shortcut(module)
    if isinstance(module, ChannelPick):
        return StreamSelection(module.inputs, module.chosen)
    if isinstance(module, (ShuffleUnit, DealtShuffleUnit)):
        picks = _picks(module, module.project.conv.out_channels)
        return None if picks is None else PickedShuffleUnit(module, picks)
    return None


def _of_shortcut(shortcut: ZeroPadShortcut) -> ChannelSelection:
    picked: list[int | None] = [None] * shortcut.before
    picked += range(shortcut.in_channels)
    return ChannelSelection(shortcut.in_channels, picked + [None] * shortcut.behind, shortcut.stride)


def without_selections(model: nn.Module) -> None:
    """Undoes ``with_selections`` in place where nothing was cut, and says what is left of splits and shuffles by index."""
    for undone in (_whole, _settled):
        for name, module in list(model.named_modules()):
            if made := undone(module):
                model.set_submodule(name, made.train(module.training))


def _whole(module: nn.Module) -> nn.Module | None:
    """The shuffle unit without selections, if it moves its channels as they stand here."""
    if not isinstance(module, PickedShuffleUnit):
        return None
    (unit,) = module.whole
    unit.expand, unit.depthwise, unit.project = module.expand, module.depthwise, module.project
    unit.other = module.other
    width = module.project.conv.out_channels
    plain = _picks(unit, width)
    if plain is None:
        return None
    pairs = ((module.kept, plain.kept), (module.moved, plain.moved), (module.order, plain.order))
    same = all(part is None or _chosen(part) == (2 * width, picked) for part, picked in pairs)
    return unit if same else None


def _chosen(part: nn.Module) -> tuple[int, list[int]]:
    if isinstance(part, ChannelPick):
        return part.inputs, part.chosen
    assert isinstance(part, StreamSelection)
    return part.in_channels, part.picked()


def _settled(module: nn.Module) -> nn.Module | None:
    """A selection in a cheaper form, if it has one."""
    if isinstance(module, StreamSelection):
        if not module.weight.flatten(1).any(1).all():  # zeros that something is added to
            return None
        return ChannelPick(*_chosen(module)).to(module.weight.device)
    if not isinstance(module, ChannelSelection) or module.out_channels < module.in_channels:
        return None
    shortcut = ZeroPadShortcut(module.in_channels, module.out_channels, module.stride[0])
    whole = _of_shortcut(shortcut).to(module.weight).weight
    return shortcut if torch.equal(whole, module.weight) else None
