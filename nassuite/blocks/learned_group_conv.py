"""CondenseNet's learned group convolution (Huang et al. 2018, sections 3.1 and 3.2), trained and converted.

While it trains, a pointwise convolution is dense, and each of its groups of outputs drops the inputs that it
uses least, in C - 1 condensing stages over the first half of the training (``condense``), pushed there by a
group lasso (``group_lasso``). Then every group uses in_channels / C inputs, and ``convert`` makes it
an index, a usual group convolution and a shuffle with equal outputs.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional as F

from nassuite.blocks.shuffle import channel_shuffle
from nassuite.errors import InputError


class GroupMask(nn.Module):
    """Which inputs each group of outputs still uses. Output o of a weight belongs to group o % groups.

    The buffer ``used`` (groups, in_features) holds ones and zeros. Raises ``InputError`` for a number of
    inputs that ``condense_factor`` does not divide.
    """

    used: torch.Tensor

    def __init__(self, in_features: int, groups: int, condense_factor: int) -> None:
        super().__init__()
        if condense_factor < 2 or in_features % condense_factor:
            raise InputError(
                f"condense_factor {condense_factor}: from 2 up, and a divisor of the {in_features} inputs"
            )
        self.condense_factor = condense_factor
        self.register_buffer("used", torch.ones(groups, in_features))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight (out_features, in_features, ...) with zeros where its group has dropped the input."""
        mask = self.used.repeat(weight.shape[0] // self.used.shape[0], 1)
        return weight * mask.view(*mask.shape, *[1] * (weight.dim() - 2))

    @torch.no_grad()
    def condense(self, weight: torch.Tensor, progress: float) -> None:
        """Drops, for each group, the inputs of the least L1 norm that it should be without by now."""
        groups, inputs = self.used.shape
        stages = self.condense_factor - 1
        stage = min(int(2 * progress * stages + 1e-9), stages)
        wanted = inputs - stage * (inputs // self.condense_factor)
        if wanted < self._count():
            norms = weight.abs().view(-1, groups, inputs).sum(0).masked_fill(self.used == 0, -1.0)
            self.used.zero_().scatter_(1, norms.topk(wanted, 1).indices, 1.0)

    def finished(self) -> bool:
        return self._count() == self.used.shape[1] // self.condense_factor

    def index(self) -> torch.Tensor:
        """The inputs of the groups, ascending in each: (groups, in_features / condense_factor)."""
        if not self.finished():
            raise InputError(
                f"a learned group convolution still uses {self._count()} of its {self.used.shape[1]} inputs: "
                f"condense it to progress 0.5 before it is converted"
            )
        return self.used.nonzero()[:, 1].view(self.used.shape[0], -1)

    def _count(self) -> int:
        return int(self.used[0].sum())


class LearnedPointwise(nn.Conv2d):
    """A pointwise convolution without bias, dense but for what its mask has dropped."""

    def __init__(self, in_channels: int, out_channels: int, *, groups: int, condense_factor: int) -> None:
        super().__init__(in_channels, out_channels, 1, bias=False)
        self.mask = GroupMask(in_channels, groups, condense_factor)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.mask(self.weight))


class LearnedGroupConv(nn.Module):
    """Batch norm, ReLU, learned pointwise convolution: (N, in_channels, H, W) to (N, out_channels, H, W)."""

    def __init__(
        self, in_channels: int, out_channels: int, *, groups: int, condense_factor: int | None = None
    ) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv = LearnedPointwise(
            in_channels, out_channels, groups=groups, condense_factor=condense_factor or groups
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(self.relu(self.norm(x)))


class LearnedLinear(nn.Linear):
    """A classifier that drops half of its inputs halfway: one group, condense factor 2 (section 4.2)."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.mask = GroupMask(in_features, 1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.mask(self.weight), self.bias)


class IndexedGroupConv(nn.Module):
    """What a ``LearnedGroupConv`` becomes: inputs by index, batch norm, ReLU, group convolution, shuffle.

    A fresh one, not converted from anything, has an index under which it is a usual group convolution.
    """

    index: torch.Tensor

    def __init__(
        self, in_channels: int, out_channels: int, *, groups: int, condense_factor: int | None = None
    ) -> None:
        super().__init__()
        selected = in_channels * groups // (condense_factor or groups)
        self.groups = groups
        self.norm = nn.BatchNorm2d(selected)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(selected, out_channels, 1, groups=groups, bias=False)
        self.register_buffer("index", torch.arange(selected) % in_channels)

    @classmethod
    @torch.no_grad()
    def converted(cls, learned: LearnedGroupConv) -> IndexedGroupConv:
        conv = learned.conv
        index = conv.mask.index()  # (groups, inputs of a group)
        groups = len(index)
        made = cls(
            conv.in_channels, conv.out_channels, groups=groups, condense_factor=conv.mask.condense_factor
        )
        made.to(conv.weight).train(learned.training)
        made.index.copy_(index.flatten())
        for name, value in learned.norm.state_dict().items():
            getattr(made.norm, name).copy_(value[made.index] if value.dim() else value)
        for group in range(groups):
            ours = made.conv.weight.view(groups, -1, *made.conv.weight.shape[1:])[group]
            ours.copy_(conv.weight[group::groups, index[group]])
        return made

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.norm(torch.index_select(x, 1, self.index)))
        return channel_shuffle(self.conv(x), self.groups)


class IndexedLinear(nn.Module):
    """What a ``LearnedLinear`` becomes: (N, in_features), half of them by index, to (N, out_features)."""

    index: torch.Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features // 2, out_features)
        self.register_buffer("index", torch.arange(in_features // 2))

    @classmethod
    @torch.no_grad()
    def converted(cls, learned: LearnedLinear) -> IndexedLinear:
        index = learned.mask.index()[0]
        made = cls(learned.in_features, learned.out_features).to(learned.weight).train(learned.training)
        made.index.copy_(index)
        made.linear.weight.copy_(learned.weight[:, index])
        made.linear.bias.copy_(learned.bias)
        return made

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(torch.index_select(x, 1, self.index))


class CondenseUnit(nn.Module):
    """Learned pointwise convolution to 4 * growth channels, 3x3 group convolution to growth (section 3).

    (N, in_channels, H, W) to (N, in_channels + growth, H, W): the input comes first. ``converted`` chooses
    the form of the pointwise convolution. Channels are not shuffled in between: a learned group's
    outputs are spread over all groups of the 3x3 convolution.
    """

    def __init__(self, in_channels: int, growth: int, *, groups: int, converted: bool) -> None:
        super().__init__()
        middle = 4 * growth
        pointwise = IndexedGroupConv if converted else LearnedGroupConv
        self.pointwise = pointwise(in_channels, middle, groups=groups)
        self.spatial = nn.Sequential(
            nn.BatchNorm2d(middle),
            nn.ReLU(inplace=True),
            nn.Conv2d(middle, growth, 3, padding=1, groups=groups, bias=False),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat((x, self.spatial(self.pointwise(x))), 1)


def has_learned_groups(network: nn.Module) -> bool:
    """Whether it is in the form in which groups are learned."""
    return any(isinstance(layer, LearnedPointwise | LearnedLinear) for layer in network.modules())


def condense(network: nn.Module, progress: float) -> None:
    """Brings the masks of all learned layers to the stage of a training that is at ``progress``, 0 to 1.

    Call it before each step or each epoch. The last stage is reached at 0.5; what is dropped stays dropped.
    """
    if not 0 <= progress <= 1:
        raise InputError(f"progress {progress}: the part of the training that is done, from 0 to 1")
    for layer in network.modules():
        if isinstance(layer, LearnedPointwise | LearnedLinear):
            layer.mask.condense(layer.weight, progress)


def group_lasso(network: nn.Module) -> torch.Tensor:
    """The sum of the L2 norms of each group's weights from each input (section 3.1, "Group Lasso").

    A scalar to add to the loss, times 1e-5 in the paper. Convolutions whose last stage is reached, and
    dropped inputs, add nothing.
    """
    total = next(network.parameters()).new_zeros(())
    for layer in network.modules():
        if isinstance(layer, LearnedPointwise) and not layer.mask.finished():
            groups, inputs = layer.mask.used.shape
            squares = layer.weight.pow(2).view(-1, groups, inputs).sum(0)
            # The root's slope at 0 is infinite.
            total = total + (squares.clamp(min=1e-6).sqrt() * layer.mask.used).sum()
    return total


def convert(network: nn.Module) -> nn.Module:
    """A copy of a condensed network in its index and group convolution form: smaller, with equal outputs.

    Raises ``InputError`` if it has no learned layer, or one whose condensing stages are not all done.
    """
    converted = copy.deepcopy(network)
    found = [(n, m) for n, m in converted.named_modules() if isinstance(m, LearnedGroupConv | LearnedLinear)]
    if not found:
        raise InputError(
            "nothing to convert: no learned group convolution (it is built with converted=False)"
        )
    for name, module in found:
        parent, _, child = name.rpartition(".")
        made: nn.Module
        if isinstance(module, LearnedLinear):
            made = IndexedLinear.converted(module)
        else:
            made = IndexedGroupConv.converted(module)
        setattr(converted.get_submodule(parent), child, made)
    return converted
