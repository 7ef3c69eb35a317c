"""Shortcuts of option A, splits and shuffles: each side loses channels of its own, and what is left is exact."""

import copy
import json
from collections import Counter

import onnx
import pytest
import torch
from torch import nn

from nassuite.blocks.layers import ConvBN
from nassuite.blocks.residual import BasicBlock, ZeroPadShortcut
from nassuite.blocks.shuffle import DealtShuffleUnit, ShuffleUnit
from nassuite.compress.prune import PruneConfig, PruneRecord, merged, prune, replay
from nassuite.compress.selections import ChannelSelection, with_selections, without_selections
from nassuite.compress.verify import mask_equivalence
from nassuite.onnx_export import onnx_bytes, onnx_parity
from nassuite.zoo import create_model

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


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


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


FORMS = ("paper", "megvii")


def shuffle_net(form="paper", seed=0):
    torch.manual_seed(seed)
    return create_model(
        "shufflenet_v2", num_classes=10, in_chans=1, width_mult=0.5, stem_stride=1, form=form
    ).eval()


@pytest.mark.parametrize("form", FORMS)
def test_a_shuffled_stream_as_convolutions_computes_the_same(form):
    model = shuffle_net(form)
    same = with_selections(model)
    assert any(isinstance(module, ChannelSelection) for module in same.modules())
    assert difference(model, same) <= 1e-5
    assert same.state_dict().keys() >= model.state_dict().keys()
    without_selections(same)
    assert {type(module) for module in same.modules()} == {type(module) for module in model.modules()}
    assert difference(model, same) == 0.0


@pytest.mark.parametrize("form", FORMS)
def test_all_of_a_shuffled_stream_is_cut_exactly_and_reloaded_step_by_step(form):
    model = shuffle_net(form)
    once, first = prune(model, PruneConfig(0.4, "random", align=8), example=IMAGES)
    assert [kept.layer for kept in first.kept] == ["head.1.classifier"]
    assert first.gate_difference <= 1e-4
    assert not any(isinstance(module, ChannelSelection) for module in once.modules())
    twice, second = prune(once, PruneConfig(0.4, "random", align=4, seed=1), example=IMAGES)
    assert parameters(twice) < parameters(once) < parameters(model)
    record = merged(first, second)
    assert mask_equivalence(model, twice, record.history, IMAGES) <= 1e-4
    again = replay(shuffle_net(form, seed=1), PruneRecord.from_json(json.loads(json.dumps(record.to_json()))))
    again.load_state_dict(twice.state_dict())
    assert difference(again, twice) == 0.0


@pytest.mark.parametrize(
    "unit",
    [
        ShuffleUnit(16, 32, stride=2, downsamples=True, shortcut=nn.Conv2d(16, 32, 1, stride=2)),
        ShuffleUnit(16, 32),
        DealtShuffleUnit(16, 32),
        ShuffleUnit(16, 16, transformed=(0, 2)),
    ],
)
def test_units_of_other_kinds_are_left_as_they_are(unit):
    model = nn.Sequential(nn.Conv2d(1, 16, 1), unit)
    assert type(with_selections(model)[1]) is type(unit)
    assert difference(model, with_selections(model)) == 0.0


def test_units_whose_streams_stay_whole_keep_their_form():
    pruned, record = prune(shuffle_net(), PruneConfig(0.5, align=8), example=IMAGES, keep=["stages"])
    assert [layer.layer for layer in record.pruned] == ["head.0.conv"]
    assert sum(isinstance(module, ShuffleUnit) for module in pruned.modules()) == 16


def test_a_pruned_stream_is_exported_without_products_of_zero():
    pruned, _ = prune(shuffle_net(), PruneConfig(0.5, align=8), example=IMAGES)
    file = onnx_bytes(pruned, (1, 16, 16))
    assert onnx_parity(pruned, file, input_shape=(1, 16, 16)).max_abs_diff <= 1e-4
    found = Counter(node.op_type for node in onnx.load_from_string(file).graph.node)
    assert found["Conv"] == sum(isinstance(module, nn.Conv2d) for module in shuffle_net().modules())
    assert found["Transpose"] == 0


class AddedToShuffled(nn.Module):
    """What a shuffle deals out, with something added to it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.unit = ConvBN(1, 32, 3, act="relu"), ShuffleUnit(32, 32)
        self.added, self.head = ConvBN(1, 32, 3, act="relu"), nn.Linear(32, 10)

    def forward(self, x):
        return self.head((self.unit(self.stem(x)) + self.added(x)).mean((2, 3)))


def test_what_is_added_to_a_shuffled_stream_stays():
    model = AddedToShuffled()
    pruned, record = prune(model, PruneConfig(0.5, "random"), example=IMAGES)
    reasons = {layer.layer: layer.reason for layer in record.kept}
    assert reasons["added.conv"] == "added to channels that a shuffle deals out"
    assert record.gate_difference <= 1e-4
    assert {"stem.conv", "unit.expand.conv"} <= {layer.layer for layer in record.pruned}
    assert pruned.head.in_features == 32
    again = replay(AddedToShuffled(), record)
    again.load_state_dict(pruned.state_dict())
    assert difference(again, pruned) == 0.0
