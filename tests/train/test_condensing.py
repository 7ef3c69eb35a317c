"""Networks that learn their groups are condensed as they are trained, interrupted or not."""

import pytest
import torch
from training import Killed, Memory, noise

from nassuite.blocks.learned_group_conv import convert
from nassuite.train.distill import train_network
from nassuite.train.loop import TrainConfig
from nassuite.zoo import create_model

CONFIG = TrainConfig(2, 8, lr=0.05, seed=1)


def trained(memory=None, *, kill_at=None):
    network = create_model("condensenet86_cifar", num_classes=5, converted=False)
    steps = []
    if kill_at is not None:
        network.register_forward_pre_hook(
            lambda *_: (
                steps.append(0) or (_ for _ in ()).throw(Killed())
                if len(steps) == kill_at
                else steps.append(0)
            )
        )
    train_network(network, noise(16, side=32), CONFIG, resolution=32, checkpoints=memory)
    return network.eval()


def test_a_trained_network_can_be_converted_and_says_the_same():
    network = trained()
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = network(images), convert(network)(images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert sum(p.numel() for p in convert(network).parameters()) < sum(
        p.numel() for p in network.parameters()
    )


def test_the_masks_survive_a_stop():
    memory = Memory()
    with pytest.raises(Killed):
        trained(memory, kill_at=3)
    whole, resumed = trained().state_dict(), trained(memory).state_dict()
    assert any("mask" in name for name in whole)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
