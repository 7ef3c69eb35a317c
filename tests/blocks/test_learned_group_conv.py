import pytest
import torch
from torch import nn

from nassuite.blocks.learned_group_conv import (
    CondenseUnit,
    IndexedGroupConv,
    LearnedGroupConv,
    LearnedLinear,
    condense,
    convert,
    group_lasso,
)
from nassuite.errors import InputError


def _network(groups: int = 2, condense_factor: int = 4) -> nn.Sequential:
    generator = torch.Generator().manual_seed(3)
    network = nn.Sequential(
        LearnedGroupConv(8, 6, groups=groups, condense_factor=condense_factor),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        LearnedLinear(6, 5),
    ).double()
    for tensor in (*network.parameters(), network[0].norm.running_mean):
        nn.init.normal_(tensor, generator=generator)
    network[0].norm.running_var.uniform_(0.5, 2.0, generator=generator)
    return network


def _input() -> torch.Tensor:
    return torch.randn(4, 8, 3, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


@pytest.mark.parametrize(
    ("progress", "used"), [(0, 8), (0.16, 8), (1 / 6, 6), (0.3, 6), (1 / 3, 4), (0.49, 4), (0.5, 2), (1, 2)]
)
def test_each_condensing_stage_drops_a_quarter(progress, used):
    network = _network()
    condense(network, progress)
    assert network[0].conv.mask.used.sum(1).tolist() == [used, used]


def test_dropped_are_the_inputs_that_a_group_uses_least():
    network = _network()
    weight = network[0].conv.weight[:, :, 0, 0].tolist()
    condense(network, 0.5)
    for group in range(2):
        norms = [sum(abs(weight[o][i]) for o in range(group, 6, 2)) for i in range(8)]
        best = sorted(sorted(range(8), key=lambda i: norms[i])[-2:])
        assert network[0].conv.mask.index()[group].tolist() == best


def test_stage_by_stage_a_dropped_input_never_returns():
    network = _network()
    condense(network, 0.2)
    first = network[0].conv.mask.used.clone()
    with torch.no_grad():
        network[0].conv.weight[:, (first == 0).any(0)] = 100.0  # greatest norm, but too late
    condense(network, 0.5)
    assert (network[0].conv.mask.used <= first).all()
    last = network[0].conv.mask.used.clone()
    condense(network, 0.0)
    assert torch.equal(network[0].conv.mask.used, last)


def test_dropped_weights_have_no_effect_and_no_gradient():
    network = _network()
    condense(network, 0.5)
    network(_input()).sum().backward()
    conv = network[0].conv
    used = conv.mask.used.repeat(3, 1) == 1
    gradient = conv.weight.grad[:, :, 0, 0]
    assert (gradient[~used] == 0).all()
    assert (gradient[used] != 0).any()


@pytest.mark.parametrize(("groups", "condense_factor"), [(2, 4), (2, 2), (3, 2)])
@pytest.mark.parametrize("training", [False, True])
def test_converted_outputs_are_equal(groups, condense_factor, training):
    network = _network(groups, condense_factor).train(training)
    condense(network, 1.0)
    x = _input()
    converted = convert(network)
    torch.testing.assert_close(converted(x), network(x))
    assert converted[0].conv.weight.numel() == network[0].conv.weight.numel() // condense_factor
    assert converted[3].linear.weight.shape == (5, 3)
    assert isinstance(network[0], LearnedGroupConv)


def test_a_unit_converts_through_its_shuffle():
    generator = torch.Generator().manual_seed(5)
    unit = nn.Sequential(CondenseUnit(8, 4, groups=2, converted=False)).double().eval()
    for parameter in unit.parameters():
        nn.init.normal_(parameter, generator=generator)
    condense(unit, 0.5)
    x = _input()
    torch.testing.assert_close(convert(unit)(x), unit(x))
    assert unit(x).shape == (4, 12, 3, 5)


def test_a_fresh_index_is_a_usual_group_convolution():
    block = IndexedGroupConv(8, 4, groups=4).double().eval()
    x = _input()
    y = block.conv(block.norm(x).clamp(min=0))
    torch.testing.assert_close(block(x), y)


def test_group_lasso_is_the_sum_of_the_norms_in_use():
    network = _network()
    condense(network, 0.2)
    conv = network[0].conv
    expected = 0.0
    for group in range(2):
        for i in range(8):
            if conv.mask.used[group, i]:
                expected += sum(float(conv.weight[o, i]) ** 2 for o in range(group, 6, 2)) ** 0.5
    assert float(group_lasso(network)) == pytest.approx(expected)
    condense(network, 0.5)
    assert float(group_lasso(network)) == 0.0


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="still uses 8 of its 8"):
        convert(_network())
    with pytest.raises(InputError, match="nothing to convert"):
        convert(nn.Sequential(nn.Conv2d(2, 2, 1)))
    with pytest.raises(InputError, match="progress 30"):
        condense(_network(), 30)
    with pytest.raises(InputError, match="condense_factor 3"):
        LearnedGroupConv(8, 4, groups=2, condense_factor=3)
