"""Inception convolution: each channel is the plain convolution of its own dilation."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nassuite.blocks.inception_conv import InceptionConv2d, InceptionConvBN
from nassuite.errors import InputError

MIXED = [(2, 1), (1, 1), (3, 2), (1, 1), (2, 1), (1, 4)]


def weights_by_channel(layer, dilations):
    """(dilations) weights in the order of the output channels."""
    left = {d: iter(b.weight) for d, b in zip(dict.fromkeys(dilations), layer.branches, strict=True)}
    return [next(left[dilation]) for dilation in dilations]


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilations", [MIXED, sorted(MIXED), [(2, 2)] * 3])
def test_each_channel_has_its_dilation_at_its_place(dilations, stride, kernel):
    layer = InceptionConv2d(3, dilations, kernel, stride=stride)
    x = torch.randn(2, 3, 9, 8, generator=torch.Generator().manual_seed(0))
    half = kernel // 2
    expected = [
        F.conv2d(x, w[None], stride=stride, padding=(half * d[0], half * d[1]), dilation=d)
        for d, w in zip(dilations, weights_by_channel(layer, dilations), strict=True)
    ]
    torch.testing.assert_close(layer(x), torch.cat(expected, 1))


def test_dense_dilations_are_the_plain_convolution():
    layer = InceptionConv2d(3, [(1, 1)] * 4)
    plain = nn.Conv2d(3, 4, 3, padding=1, bias=False)
    plain.load_state_dict({"weight": layer.branches[0].weight})
    x = torch.randn(1, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(layer(x), plain(x))


def test_it_has_the_parameters_of_the_plain_convolution_and_saves_nothing_else():
    layer = InceptionConvBN(3, MIXED, act="relu")
    assert sum(p.numel() for p in layer.conv.parameters()) == 6 * 3 * 9
    assert not any("order" in name for name in layer.state_dict())


def test_gradients_reach_every_channel():
    layer = InceptionConv2d(3, MIXED)
    layer(torch.ones(1, 3, 9, 9)).sum().backward()
    assert all(p.grad.abs().amin() > 0 for p in layer.parameters())


@pytest.mark.parametrize(("dilations", "kernel"), [([], 3), ([(0, 1)], 3), ([(1, 1)], 4)])
def test_what_is_no_convolution(dilations, kernel):
    with pytest.raises(InputError):
        InceptionConv2d(3, dilations, kernel)
