"""Shortcuts of option A with either side cut: channels picked one by one instead of padded with zeros.

A ``ZeroPadShortcut`` has no weights that a cut could take from, and couples the channels of two stages. As the convolution
that it is, with weights of 0 and 1, it is cut like any other layer, and each stage loses channels of its own.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from nassuite.blocks.residual import ZeroPadShortcut


class ChannelSelection(nn.Conv2d):
    """Each output is one of the inputs or zero, at every ``stride``-th pixel: a 1x1 convolution that is not trained.

    (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride).
    """

    def __init__(self, shortcut: ZeroPadShortcut) -> None:
        inputs = shortcut.in_channels
        outputs = inputs + shortcut.before + shortcut.behind
        super().__init__(inputs, outputs, 1, stride=shortcut.stride, bias=False)
        self.requires_grad_(False)
        self.weight.zero_()
        self.weight[shortcut.before : shortcut.before + inputs, :, 0, 0] = torch.eye(inputs)


def with_selections(model: nn.Module) -> nn.Module:
    """A copy of ``model`` that computes the same, its shortcuts of option A as convolutions."""
    copied = copy.deepcopy(model)
    like = next(copied.parameters(), torch.empty(0))
    for name, module in list(copied.named_modules()):
        if isinstance(module, ZeroPadShortcut):
            selection = ChannelSelection(module).to(like)
            copied.set_submodule(name, selection.train(module.training))
    return copied


def restore_whole_shortcuts(model: nn.Module) -> None:
    """Convolutions of ``with_selections`` from which nothing was cut become shortcuts of option A again, in place."""
    for name, module in list(model.named_modules()):
        if not isinstance(module, ChannelSelection) or module.out_channels < module.in_channels:
            continue
        shortcut = ZeroPadShortcut(module.in_channels, module.out_channels, module.stride[0])
        if torch.equal(ChannelSelection(shortcut).to(module.weight).weight, module.weight):
            model.set_submodule(name, shortcut.train(module.training))
