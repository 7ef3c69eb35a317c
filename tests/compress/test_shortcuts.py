"""Shortcuts of option A: both stages beside one lose channels of their own, and what is left is exact."""

import copy
import json

import pytest
import torch
from torch import nn

from nassuite.blocks.layers import ConvBN
from nassuite.blocks.residual import BasicBlock, ZeroPadShortcut
from nassuite.compress.prune import PruneConfig, PruneRecord, prune, replay
from nassuite.compress.shortcuts import ChannelSelection, with_selections
from nassuite.compress.verify import mask_equivalence

IMAGES = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(3))


class TwoStages(nn.Module):
    """A ResNet of the CIFAR kind, small."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stem = ConvBN(1, 16, 3, act="relu")
        self.first = BasicBlock(16, 16)
        self.second = BasicBlock(16, 40, stride=2, shortcut=ZeroPadShortcut(16, 40, 2))
        self.third = BasicBlock(40, 40)
        self.head = nn.Linear(40, 10)

    def forward(self, x):
        return self.head(self.third(self.second(self.first(self.stem(x)))).mean((2, 3)))


def difference(a, b):
    with torch.no_grad():
        return (a.eval()(IMAGES) - b.eval()(IMAGES)).abs().max().item()


@pytest.mark.parametrize("importance", ["magnitude", "random"])
def test_both_streams_are_cut_exactly_and_reloaded(importance):
    model = TwoStages()
    pruned, record = prune(model, PruneConfig(0.5, importance), example=IMAGES)
    widths = {layer.layer: (layer.before, layer.after) for layer in record.pruned}
    assert widths["stem.conv"] == (16, 8)
    assert widths["second.conv2.conv"] in ((40, 16), (40, 24))
    assert [kept.layer for kept in record.kept] == ["head"]
    assert record.gate_difference <= 1e-4
    assert mask_equivalence(model, pruned, record.history, IMAGES) <= 1e-4
    # Each output of the shortcut is one of the inputs that stayed, or zero.
    weight = pruned.second.shortcut.weight[:, :, 0, 0]
    assert weight.shape == (widths["second.conv2.conv"][1], 8)
    assert set(weight.unique().tolist()) <= {0.0, 1.0}
    assert weight.sum(0).max() <= 1
    assert weight.sum(1).max() <= 1
    assert not pruned.second.shortcut.weight.requires_grad

    again = replay(TwoStages(seed=1), PruneRecord.from_json(json.loads(json.dumps(record.to_json()))))
    again.load_state_dict(pruned.state_dict())
    assert difference(again, pruned) == 0.0
    assert not again.second.shortcut.weight.requires_grad
    twice, second = prune(pruned, PruneConfig(0.5, importance, align=4), example=IMAGES)
    assert second.gate_difference <= 1e-4
    assert twice.second.shortcut.weight.shape[1] == 4


def test_a_wrong_shortcut_does_not_pass_the_gate():
    model = TwoStages().eval()
    pruned, record = prune(model, PruneConfig(0.5), example=IMAGES)
    wrong = copy.deepcopy(pruned)
    with torch.no_grad():
        wrong.second.shortcut.weight.copy_(pruned.second.shortcut.weight.roll(1, 1))
    with pytest.raises(RuntimeError, match="differs from the masked"):
        mask_equivalence(model, wrong, record.history, IMAGES)


def test_a_shortcut_beside_which_nothing_is_cut_stays_what_it_is():
    """So that prunings from before it could be cut are replayed as they were."""
    model = TwoStages()
    streams = ["stem", "first.conv2", "second.conv2", "third.conv2"]
    pruned, record = prune(model, PruneConfig(0.5), example=IMAGES, keep=streams)
    assert {layer.layer for layer in record.pruned} == {
        "first.conv1.conv", "second.conv1.conv", "third.conv1.conv"
    }  # fmt: skip
    assert isinstance(pruned.second.shortcut, ZeroPadShortcut)
    assert pruned.state_dict().keys() == model.state_dict().keys()


def test_the_convolution_computes_what_the_shortcut_does():
    model = TwoStages().double()
    selected = with_selections(model)
    assert isinstance(selected.second.shortcut, ChannelSelection)
    assert isinstance(model.second.shortcut, ZeroPadShortcut)
    with torch.no_grad():
        torch.testing.assert_close(selected.eval()(IMAGES.double()), model.eval()(IMAGES.double()))
