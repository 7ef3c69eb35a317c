"""Efficient dilation optimisation against planted kernels and a search by loops."""

import json

import pytest
import torch
from torch import nn

from nassuite.compress.dilations import search_dilations
from nassuite.errors import InputError
from nassuite.zoo.ic_resnet import WIDTHS, ic_resnet50, parse_pattern


def network(*, kernel=7, channels=6):
    return nn.Sequential(
        nn.Conv2d(3, 4, 7, padding=3),
        nn.ReLU(),
        nn.Conv2d(4, channels, kernel, padding=kernel // 2, bias=False),
        nn.Conv2d(channels, 5, 1),
    )


def draw(conv, seed=0):
    with torch.no_grad():
        conv.weight.normal_(generator=torch.Generator().manual_seed(seed))


def loops(weight):
    """The criterion as the paper draws it: what a dilation leaves out, for each output channel."""
    chosen = []
    middle = weight.shape[-1] // 2
    for kernel in weight.double():
        errors = {}
        for v in range(1, middle + 1):
            for h in range(1, middle + 1):
                rest = kernel.clone()
                for row in (middle - v, middle, middle + v):
                    for column in (middle - h, middle, middle + h):
                        rest[:, row, column] = 0
                errors[v, h] = rest.abs().sum().item()
        chosen.append(min(errors, key=errors.get))
    return chosen


@pytest.mark.parametrize("kernel", [5, 7, 9])
def test_the_least_l1_error_wins(kernel):
    model = network(kernel=kernel, channels=20)
    draw(model[2])
    assert search_dilations(model) == [loops(model[2].weight.detach())]


def test_planted_dilations_are_found_whatever_the_signs():
    planted = [(1, 1), (3, 1), (2, 2), (1, 3), (3, 3), (2, 1)]
    model = network()
    draw(model[2])
    with torch.no_grad():
        model[2].weight.mul_(1e-3)
        for channel, (v, h) in enumerate(planted):
            model[2].weight[channel, :, 3 - v : 4 + v : v, 3 - h : 4 + h : h] -= 1 - 2 * (channel % 2)
    assert search_dilations(model) == [planted]


def test_equal_errors_choose_the_smaller_kernel():
    model = network()
    nn.init.zeros_(model[2].weight)
    assert search_dilations(model) == [[(1, 1)] * 6]
    nn.init.ones_(model[2].weight)
    assert search_dilations(model) == [[(1, 1)] * 6]


def test_the_first_convolution_stays_unless_it_is_named():
    model = network()
    assert len(search_dilations(model)) == 1
    assert [len(layer) for layer in search_dilations(model, layers=["2", "0"])] == [6, 4]


def test_the_pattern_of_the_large_kernel_network_builds_the_network():
    with torch.device("meta"):
        large = ic_resnet50(num_classes=10, in_chans=3, large_kernel=5)
    large.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in large.parameters():
            parameter.zero_()
        large.stages["stage1"][1].spatial.conv.weight[7, :, ::2, 2] = 1.0  # five rows, three of distance two
    pattern = search_dilations(large)
    assert [len(layer) for layer in pattern] == list(WIDTHS)
    assert pattern[0][7] == (2, 1)
    assert sum(pair != (1, 1) for layer in pattern for pair in layer) == 1
    assert parse_pattern(json.loads(json.dumps(pattern)), WIDTHS) == pattern
    with torch.device("meta"):
        built = ic_resnet50(num_classes=10, in_chans=3, pattern=pattern)
    assert [len(m.branches) for m in built.modules() if hasattr(m, "branches")] == [2] + [1] * 15


def test_nothing_to_search():
    with pytest.raises(InputError, match="no convolution to search"):
        search_dilations(network(kernel=3))


@pytest.mark.parametrize(
    ("layer", "message"),
    [("9", "none of that name"), ("1", "not a convolution"), ("3", "not a convolution with an odd square")],
)
def test_a_layer_that_cannot_be_searched(layer, message):
    with pytest.raises(InputError, match=message):
        search_dilations(network(), layers=[layer])


def test_weights_that_are_not_finite():
    model = network()
    with torch.no_grad():
        model[2].weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(InputError, match="layer 2: its weights are not all finite"):
        search_dilations(model)
