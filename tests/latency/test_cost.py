import pytest
import torch
from torch import nn

from nassuite.latency.cost import cost


@pytest.mark.parametrize(
    ("layer", "shape", "macs", "params", "kind"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), (3, 10, 12), 3 * 8 * 9 * 120, 3 * 8 * 9 + 8, "conv"),
        (nn.Conv2d(3, 8, 3, stride=2), (3, 11, 11), 3 * 8 * 9 * 25, 3 * 8 * 9 + 8, "conv"),
        (nn.Conv2d(4, 4, (1, 5), bias=False), (4, 6, 9), 4 * 4 * 5 * 6 * 5, 80, "conv"),
        (nn.Conv2d(4, 8, 3, dilation=2), (4, 9, 9), 4 * 8 * 9 * 25, 4 * 8 * 9 + 8, "conv"),
        (nn.Conv2d(8, 12, 3, groups=4, bias=False), (8, 5, 5), 2 * 12 * 9 * 9, 216, "grouped"),
        (nn.Conv2d(8, 8, 5, padding=2, groups=8), (8, 4, 4), 8 * 25 * 16, 208, "depthwise"),
        (nn.Conv2d(6, 10, 1), (6, 7, 7), 60 * 49, 70, "pointwise"),
        (nn.ConvTranspose2d(4, 6, 2, stride=2), (4, 5, 5), 4 * 6 * 4 * 25, 4 * 6 * 4 + 6, "transposed"),
        (nn.ConvTranspose2d(4, 6, 3, groups=2), (4, 5, 5), 4 * 3 * 9 * 25, 4 * 3 * 9 + 6, "transposed"),
        (nn.Conv1d(4, 6, 3), (4, 10), 4 * 6 * 3 * 8, 78, "conv"),
        (nn.Linear(7, 5), (7,), 35, 40, "linear"),
        (nn.Linear(7, 5), (3, 7), 3 * 35, 40, "linear"),
    ],
)
def test_single_layers_by_hand(layer, shape, macs, params, kind):
    counted = cost(layer, shape)
    assert (counted.macs, counted.params, counted.layers[0].kind) == (macs, params, kind)


def test_memory_by_hand():
    counted = cost(
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.ReLU(), nn.Conv2d(8, 2, 1)), (3, 4, 4)
    )
    assert counted.activation_bytes == 4 * (8 * 16 + 2 * 16)
    first, second = (3 * 16 + 8 * 16 + 216), (8 * 16 + 2 * 16 + 18)
    assert counted.memory_access_bytes == 4 * (first + second)
    assert [layer.name for layer in counted.layers] == ["0", "2"]
    assert counted.layers[0].in_shape == (3, 4, 4)
    assert counted.layers[1].out_shape == (2, 4, 4)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(4)

    def forward(self, x):
        return self.bn(self.conv(self.conv(x)))


def test_a_layer_called_twice_counts_twice_its_parameters_once():
    counted = cost(Twice(), (4, 5, 5))
    assert counted.macs == 2 * 4 * 4 * 9 * 25
    assert counted.params == 4 * 4 * 9 + 8


def test_the_module_is_left_as_it_was():
    module = Twice().train()
    calls = []
    module.conv.register_forward_hook(lambda *_: calls.append(1))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    cost(module, (4, 5, 5))
    assert module.training
    assert module.conv.training
    assert len(module.conv._forward_hooks) == 1
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_a_module_on_the_meta_device_costs_the_same():
    with torch.device("meta"):
        module = Twice()
    assert cost(module, (4, 5, 5)) == cost(Twice(), (4, 5, 5))


def test_a_module_without_weights_costs_nothing():
    assert cost(nn.ReLU(), (3, 4, 4)).macs == 0
