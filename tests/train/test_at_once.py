"""Large images go through a CPU a few at a time: with the same results, but for each part's own statistics."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from nassuite.data import Split
from nassuite.train import at_once
from nassuite.train.at_once import EVALUATED, TRAINED, parts, statistics_over
from nassuite.train.loop import TrainConfig, train
from nassuite.train.recalibrate import predict


@given(st.integers(1, 600), st.integers(8, 512), st.sampled_from([EVALUATED, TRAINED]))
def test_parts_are_all_of_it_and_of_like_size(count, side, bounds):
    rows = parts(torch.empty(count, 1, side, side), bounds)
    sizes = [part.stop - part.start for part in rows]
    assert [row for part in rows for row in range(part.start, part.stop)] == list(range(count))
    assert max(sizes) - min(sizes) <= 1
    together = min(max(at_once.PIXELS // side**2, bounds[0]), bounds[1])
    assert max(sizes) <= 1.5 * together + 1
    assert min(sizes) >= min(count, together * 2 // 3)


def test_batches_of_a_search_on_small_images_and_of_a_gpu_stay_whole():
    assert parts(torch.empty(128, 3, 32, 32), TRAINED) == [slice(0, 128)]
    assert parts(torch.empty(512, 3, 224, 224, device="meta"), EVALUATED) == [slice(0, 512)]


def test_predictions_of_parts_come_in_order():
    sizes = []

    class Told(nn.Module):
        def forward(self, x):
            sizes.append(len(x))
            return x.mean((2, 3))

    for side, expected in ((32, [50, 50]), (96, [25] * 4), (512, [4] * 25)):
        sizes.clear()
        images = torch.arange(100.0).view(100, 1, 1, 1).expand(100, 1, side, side)
        assert predict(Told(), [images]).flatten().tolist() == list(range(100))
        assert sizes == expected


def trained(monkeypatch, network, most):
    """Two epochs on 32 images of 8 pixels; parts of at most so many images."""
    monkeypatch.setattr("nassuite.train.loop.TRAINED", (most, most))
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (32, 1, 8, 8), generator=generator, dtype=torch.uint8)
    split = Split(torch.arange(32) % 2, images, 2)
    seen = []

    def backward(x, labels, step):
        seen.append(len(x))
        loss = F.cross_entropy(network(x), labels)
        loss.backward()
        return loss.item()

    log = train(network, split, TrainConfig(2, 16), backward, description="")
    return seen, log, {name: tensor.clone() for name, tensor in network.state_dict().items()}


def plain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))


def test_without_batch_norm_parts_change_nothing(monkeypatch):
    whole, log, expected = trained(monkeypatch, plain(), 16)
    assert whole == [16] * 4
    in_parts, same_log, found = trained(monkeypatch, plain(), 4)
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
