"""Large images go through a CPU a few at a time: with the same results, but for each part's own statistics."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from nassuite.data import Split
from nassuite.nn.network import Interface, Network
from nassuite.space_file import load_space
from nassuite.train.at_once import (
    evaluated_at_once,
    largest_activation,
    parts,
    statistics_over,
    trained_at_once,
)
from nassuite.train.loop import TrainConfig, train
from nassuite.train.recalibrate import predict


@given(st.integers(1, 600), st.integers(1, 300))
def test_parts_are_all_of_it_and_of_like_size(count, together):
    rows = parts(count, together)
    sizes = [part.stop - part.start for part in rows]
    assert [row for part in rows for row in range(part.start, part.stop)] == list(range(count))
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= 1.5 * together + 1
    assert min(sizes) >= min(count, together * 2 // 3)


class Wide(nn.Module):
    """Gives 64 times as much as it gets, in the middle; counts what it is given."""

    def __init__(self):
        super().__init__()
        self.sizes = []
        self.widen = nn.Conv2d(1, 64, 1, bias=False)
        self.drop = nn.Dropout(0.5)
        nn.init.ones_(self.widen.weight)

    def forward(self, x):
        self.sizes.append(len(x))
        return self.drop(self.widen(x)).mean((1, 2, 3), keepdim=True).flatten(1)


def test_the_largest_activation_is_found_and_the_network_left_as_it_was():
    network = Wide()
    assert largest_activation(network, torch.empty(1, 1, 10, 20)) == 64 * 200 * 4
    assert largest_activation(nn.Conv2d(3, 1, 1), torch.empty(1, 3, 4, 4)) == 3 * 16 * 4
    assert network.training
    assert network.drop.training
    assert not network.widen._forward_hooks


def test_predictions_of_parts_come_in_order():
    network = Wide().eval()
    for side, expected in ((32, [50, 50]), (96, [7, 7, 7, 7, 7, 7, 8] * 2), (512, [4] * 25)):
        network.sizes.clear()
        images = torch.arange(100.0).view(100, 1, 1, 1).expand(100, 1, side, side)
        assert predict(network, [images]).flatten().tolist() == pytest.approx(list(range(100)), rel=1e-5)
        assert network.sizes[1:] == expected


def test_no_part_of_a_training_is_too_small_for_batch_norm_and_small_images_stay_whole():
    assert trained_at_once(Wide(), torch.empty(1, 1, 512, 512)) == 16
    assert trained_at_once(Wide(), torch.empty(1, 1, 32, 32)) == 256
    tiny = load_space("tiny")
    largest = Network(tiny.extreme("largest"), Interface(3, 10, (0.5,) * 3, (0.25,) * 3))
    assert len(parts(128, trained_at_once(largest, torch.empty(1, 3, 32, 32)))) == 1
    assert evaluated_at_once(largest, torch.empty(1, 3, 224, 224, device="meta")) == 2**20


def trained(network, together):
    """Two epochs on 32 images of 8 pixels, of which so many go together."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (32, 1, 8, 8), generator=generator, dtype=torch.uint8)
    split = Split(torch.arange(32) % 2, images, 2)
    seen = []

    def backward(x, labels, step):
        seen.append(len(x))
        loss = F.cross_entropy(network(x), labels)
        loss.backward()
        return loss.item()

    log = train(network, split, TrainConfig(2, 16), backward, description="", at_once=lambda image: together)
    return seen, log, {name: tensor.clone() for name, tensor in network.state_dict().items()}


def plain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))


def test_without_batch_norm_parts_change_nothing():
    whole, log, expected = trained(plain(), 16)
    assert whole == [16] * 4
    in_parts, same_log, found = trained(plain(), 4)
    assert in_parts == [4] * 16
    assert [entry["loss"] for entry in same_log] == pytest.approx([entry["loss"] for entry in log])
    for name, tensor in expected.items():
        assert torch.allclose(found[name], tensor, atol=1e-6), name


def test_running_statistics_move_as_far_as_in_one_pass():
    layer = nn.BatchNorm2d(2)
    images = torch.randn(8, 2, 4, 4, generator=torch.Generator().manual_seed(0)) + 3
    with statistics_over(nn.Sequential(layer), 4):
        for _ in range(4):
            layer(images)
    one = nn.BatchNorm2d(2)
    one(images)
    assert layer.momentum == one.momentum
    assert torch.allclose(layer.running_mean, one.running_mean, atol=1e-6)
    assert torch.allclose(layer.running_var, one.running_var, atol=1e-6)
