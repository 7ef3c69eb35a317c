"""EfficientNet, GhostNet, PP-LCNet, MobileViT, HENet."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nassuite.blocks.dwcb import DWCB, S2DDown
from nassuite.blocks.ghost import GhostBottleneck
from nassuite.blocks.inverted_residual import InvertedResidual
from nassuite.blocks.layers import LayerScale, SqueezeExcite
from nassuite.blocks.mobilevit_block import MobileViTBlock
from nassuite.errors import InputError
from nassuite.zoo.efficientnet import (
    RELEASED,
    StochasticDepth,
    compound_scaling,
    efficientnet,
    scaled_efficientnet,
)
from nassuite.zoo.ghostnet import ghostnet
from nassuite.zoo.henet import henet_tinye, henet_tinym
from nassuite.zoo.mobilevit import mobilevit_s, mobilevit_xs, mobilevit_xxs
from nassuite.zoo.pp_lcnet import pp_lcnet

CHANNELS = {  # at strides 2, 4, 8, 16, 32
    efficientnet: (16, 24, 40, 112, 320),
    ghostnet: (16, 24, 40, 112, 160),
    pp_lcnet: (32, 64, 128, 256, 512),
    mobilevit_xxs: (16, 24, 48, 64, 80),
    mobilevit_xs: (32, 48, 64, 80, 96),
    mobilevit_s: (32, 64, 96, 128, 160),
    henet_tinym: (32, 64, 128, 192, 384),
    henet_tinye: (24, 48, 96, 192, 384),
}


def build(factory, **options):
    with torch.device("meta"):
        return factory(num_classes=7, in_chans=3, **options).eval()


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def maps(network, side: int) -> dict[int, int]:
    """Side of a feature map to its channels, of the last stage with that side."""
    x = torch.empty(2, 3, side, side, device="meta")
    found = {}
    for stage in network.stages.values():
        x = stage(x)
        found[x.shape[-1]] = x.shape[1]
    assert network.head(x).shape == (2, 7)
    return found


@pytest.mark.parametrize("factory", CHANNELS)
def test_channels_at_each_stride(factory):
    expected = dict(zip((112, 56, 28, 14, 7), CHANNELS[factory], strict=True))
    assert maps(build(factory), 224) == expected


@pytest.mark.parametrize("factory", CHANNELS)
def test_the_form_for_small_images_has_two_downsamplings_less(factory):
    full, *_, fourth, fifth = CHANNELS[factory]
    found = maps(build(factory, stem_stride=1), 32)
    assert list(found) == [32, 16, 8, 4]
    assert (found[8], found[4]) == (fourth, fifth)
    assert found[32] == CHANNELS[factory][1] != full
    with pytest.raises(InputError, match="stem_stride 3: 1 or 2"):
        build(factory, stem_stride=3)


def test_compound_scaling_starts_at_b0_and_doubles_the_cost():
    assert compound_scaling(0) == RELEASED[0]
    costs = [s.depth * s.width**2 * s.resolution**2 for s in map(compound_scaling, range(4))]
    ratios = [after / before for before, after in itertools.pairwise(costs)]
    assert ratios == pytest.approx([1.2 * 1.1**2 * 1.15**2] * 3, rel=0.01)
    assert 1.9 < ratios[0] < 2.1
    assert compound_scaling(2, depth=1, width=2, resolution=1).width == 4


def test_released_scalings_are_near_the_line():
    assert [compound_scaling(phi).dropout for phi in range(8)] == [s.dropout for s in RELEASED]
    line = compound_scaling(7)
    assert line.width == pytest.approx(RELEASED[7].width, rel=0.05)
    assert line.resolution == pytest.approx(RELEASED[7].resolution, rel=0.01)


@pytest.mark.parametrize(("arguments", "message"), [((-1,), "phi -1"), ((float("nan"),), "phi nan")])
def test_compound_scaling_refuses(arguments, message):
    with pytest.raises(InputError, match=message):
        compound_scaling(*arguments)


def test_compound_scaling_does_not_shrink():
    with pytest.raises(InputError, match=r"width 0\.9"):
        compound_scaling(1, width=0.9)


@pytest.mark.parametrize(
    ("compound", "blocks", "features", "eps"), [(0, 16, 1280, 1e-5), (7, 55, 2560, 1e-3)]
)
def test_efficientnet_by_number(compound, blocks, features, eps):
    network = build(efficientnet, compound=compound)
    assert sum(isinstance(m, InvertedResidual) for m in network.modules()) == blocks
    assert network.head[1].classifier.in_features == features
    assert network.head[1].dropout.p == RELEASED[compound].dropout
    assert {m.eps for m in network.modules() if isinstance(m, nn.BatchNorm2d)} == {eps}


def test_efficientnet_squeezes_by_the_blocks_input():
    network = build(efficientnet)
    gates = [m for m in network.modules() if isinstance(m, SqueezeExcite)]
    assert [(g.reduce.in_channels, g.reduce.out_channels) for g in gates[:3]] == [(32, 8), (96, 4), (144, 6)]
    assert all(isinstance(g.act, nn.SiLU) and isinstance(g.gate, nn.Sigmoid) for g in gates)


@pytest.mark.parametrize("compound", [-1, 8, 1.0, "3"])
def test_efficientnet_refuses_unknown_numbers(compound):
    with pytest.raises(InputError, match=r"compound .*: 0 to 7"):
        build(efficientnet, compound=compound)


def test_stochastic_depth_grows_along_the_network():
    network = build(efficientnet)
    dropped = [m.probability for m in network.modules() if isinstance(m, StochasticDepth)]
    assert dropped == sorted(dropped)
    # Block 14 of 0 to 15 is the last one with a sum.
    assert (len(dropped), dropped[-1]) == (9, pytest.approx(0.2 * 14 / 16))
    none = build(efficientnet, stochastic_depth=0.0)
    assert not any(isinstance(m, StochasticDepth) for m in none.modules())
    with pytest.raises(InputError, match="stochastic_depth 1"):
        scaled_efficientnet(RELEASED[0], num_classes=2, in_chans=3, stochastic_depth=1)


def test_stochastic_depth_drops_whole_images_and_keeps_the_mean():
    layer = StochasticDepth(0.25)
    x = noise(2000, 2, 1, 2)
    factors = (layer(x) / x).flatten(1)
    assert torch.allclose(factors, factors[:, :1].expand_as(factors))
    kept = factors[:, 0] > 0
    assert torch.allclose(factors[kept], torch.tensor(4 / 3))
    assert 0.7 < kept.float().mean() < 0.8
    assert layer.eval()(x) is x


def test_ghostnet_squeezes_in_fours_and_adds_where_it_can():
    network = build(ghostnet, width_mult=0.5)
    blocks = [m for m in network.modules() if isinstance(m, GhostBottleneck)]
    assert len(blocks) == 16
    assert [b.se.reduce.out_channels for b in blocks if not isinstance(b.se, nn.Identity)] == [
        *(12, 16, 60, 84, 84, 120, 120)
    ]
    assert sum(b.ends_in_sum for b in blocks) == 11
    assert network.head.mix.out_channels == 1280


@pytest.mark.parametrize("factory", [ghostnet, pp_lcnet])
@pytest.mark.parametrize("width", [0, -1.0, float("nan"), "wide"])
def test_width_mult_is_positive(factory, width):
    with pytest.raises(InputError, match=r"width_mult .*: a number above 0"):
        build(factory, width_mult=width)


def test_the_bias_of_timms_lcnet():
    def parameters(network):
        return sum(p.numel() for p in network.parameters())

    assert parameters(build(pp_lcnet, head_bias=True)) - parameters(build(pp_lcnet)) == 1280


def test_mobilevit_has_no_sum_around_its_strided_blocks():
    network = build(mobilevit_s)
    blocks = [m for m in network.modules() if isinstance(m, InvertedResidual)]
    assert [b.shortcut is not None for b in blocks] == [False, False, True, True, False, False, False]
    transformers = [m for m in network.modules() if isinstance(m, MobileViTBlock)]
    assert [len(m.transformer) - 1 for m in transformers] == [2, 4, 3]


@pytest.mark.parametrize("side", [33, 97, 224])
def test_mobilevit_takes_sizes_that_patches_do_not_tile(side):
    network = build(mobilevit_xxs)
    assert network(torch.empty(2, 3, side, side, device="meta")).shape == (2, 7)


def test_s2d_down_is_space_to_depth_and_a_pointwise_convolution():
    down = S2DDown(3, 8).eval()
    x = noise(2, 3, 7, 6)
    weight = down.conv.weight.reshape(8, 12, 1, 1)
    expected = down.bn(F.conv2d(F.pixel_unshuffle(x[:, :, :6], 2), weight, down.conv.bias))
    assert torch.allclose(down(x), expected, atol=1e-6)


def test_the_published_dwcb():
    block = DWCB(8, 16, 8, (1, 5), groups=2, bias=True, layer_scale=1.0, shortcut=nn.Identity()).eval()
    x = noise(2, 8, 4, 6)
    y = F.conv2d(x, block.depthwise.conv.weight, block.depthwise.conv.bias, padding=(0, 2), groups=8)
    y = block.expand(block.depthwise.bn(y))
    halves = [block.expand.weight[:8], block.expand.weight[8:]]
    z = block.depthwise(x)
    by_half = [F.conv2d(part, w) for part, w in zip(z.chunk(2, 1), halves, strict=True)]
    assert torch.allclose(y, torch.cat(by_half, 1) + block.expand.bias[:, None, None], atol=1e-6)
    assert torch.allclose(block(x), x + block.project(F.gelu(y)), atol=1e-6)


@pytest.mark.parametrize("factory", [henet_tinym, henet_tinye])
def test_henets_blocks(factory):
    with torch.device("meta"):
        network = factory(num_classes=7, in_chans=3)
    stages = [[m for m in stage if isinstance(m, DWCB)] for stage in list(network.stages.values())[1:]]
    assert tuple(stage[0].expand.groups for stage in stages) == (1, 2, 1, 1)
    kernels = [block.depthwise.conv.kernel_size for block in stages[2]]
    assert kernels == [(1, 5), (5, 1)] * 4
    assert {block.depthwise.conv.kernel_size for block in stages[3]} == {(3, 3)}
    assert {m.initial for m in network.modules() if isinstance(m, LayerScale)} == {1.0}
