"""The moving average of the weights: by hand, swapped in and out, and through a stop of the training."""

import copy

import pytest
import torch
from torch import nn
from training import Killed, Memory, noise

from nassuite.train.ema import WeightAverage
from nassuite.train.loop import TrainConfig, train


def test_by_hand():
    layer = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        average = WeightAverage(layer, 0.5)
        layer.weight.fill_(3.0)
        average.update(0)  # decay 1/10: 0.1 * 1 + 0.9 * 3
        assert average.averages["weight"].item() == pytest.approx(2.8)
        average.update(1000)  # decay 0.5
    assert average.averages["weight"].item() == pytest.approx(2.9)


def test_applied_is_undone():
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    average = WeightAverage(module, 0.9)
    with torch.no_grad():
        module[0].weight.add_(1.0)
    own = copy.deepcopy(module.state_dict())
    with average.applied():
        torch.testing.assert_close(module[0].weight, own["0.weight"] - 1.0)
    assert all(torch.equal(value, own[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize("optimiser", ["sgd", "rmsprop", "adamw"])
def test_a_training_with_average_that_was_stopped_ends_the_same(optimiser):
    config = TrainConfig(3, 8, lr=0.01, seed=2, ema=0.9, optimiser=optimiser, schedule="plateau")
    split = noise(24, side=8)

    def run(memory, stop=None):
        layer = nn.Linear(192, 5)
        nn.init.constant_(layer.weight, 0.01)
        nn.init.zeros_(layer.bias)

        def backward(images, labels, step):
            if step == stop:
                raise Killed
            loss = nn.functional.cross_entropy(layer(images.flatten(1)), labels)
            loss.backward()
            return loss.item()

        log = train(layer, split, config, backward, description="test", checkpoints=memory)
        return layer, log

    whole, log = run(Memory())
    memory = Memory()
    with pytest.raises(Killed):
        run(memory, stop=7)
    resumed, again = run(memory)
    assert torch.equal(whole.weight, resumed.weight)
    assert log == again
