"""AdderNets: which layers multiply, and that training reaches all of them."""

import pytest
import torch
from torch import nn

from nassuite.blocks.adder import AdderConv2d, scale_adder_gradients
from nassuite.zoo.adder import adder_resnet20, adder_resnet50


def on_meta(build, **options):
    with torch.device("meta"):
        return build(num_classes=10, in_chans=3, **options)


@pytest.mark.parametrize(("build", "layers"), [(adder_resnet20, 18 + 2), (adder_resnet50, 48 + 4)])
def test_the_first_and_the_last_layer_multiply_and_no_other(build, layers):
    network = on_meta(build)
    multiplying = [name for name, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert multiplying == ["stages.stem.conv", "head.classifier.conv"]
    # Those of the blocks' branches, and the projections.
    assert sum(isinstance(m, AdderConv2d) for m in network.modules()) == layers


def adder_operations(network, size):
    counts = []

    def count(layer, _, output):
        counts.append(layer.weight.numel() * output.shape[2] * output.shape[3])

    for layer in network.modules():
        if isinstance(layer, AdderConv2d):
            layer.register_forward_hook(count)
    with torch.no_grad():
        network.eval()(torch.empty(1, 3, size, size, device="meta"))
    return sum(counts)


def test_adder_operations_are_the_published_ones():
    assert adder_operations(on_meta(adder_resnet20), 32) / 1e6 == pytest.approx(40.370, abs=1e-3)
    assert adder_operations(on_meta(adder_resnet50), 224) / 1e6 == pytest.approx(3969.122, abs=1e-3)


def test_small_images_through_the_large_network():
    network = on_meta(adder_resnet50, stem_stride=1).eval()
    with torch.no_grad():
        assert network(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 10)


def test_a_training_step_moves_every_layer():
    network = adder_resnet20(num_classes=10, in_chans=3)
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    nn.functional.cross_entropy(network(x), torch.tensor([1, 2])).backward()
    scale_adder_gradients(network)
    for layer in network.modules():
        if isinstance(layer, AdderConv2d):
            norm = layer.weight.grad.norm() / layer.weight.numel() ** 0.5
            assert norm.item() == pytest.approx(0.2, rel=1e-4)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
