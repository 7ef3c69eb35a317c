import pytest
import torch
from torch import nn

from nassuite.blocks.attention import CoordinateAttention, EfficientChannelAttention, TripletAttention
from nassuite.blocks.inverted_residual import InvertedResidual
from nassuite.blocks.layers import SqueezeExcite
from nassuite.blocks.sandglass import SandglassBlock
from nassuite.errors import InputError
from nassuite.zoo.mnasnet import mnasnet
from nassuite.zoo.mobilenet_v1 import mobilenet_v1
from nassuite.zoo.mobilenet_v2 import (
    mobilenet_v2,
    mobilenet_v2_ca,
    mobilenet_v2_eca,
    mobilenet_v2_sa,
    mobilenet_v2_triplet,
)
from nassuite.zoo.mobilenet_v3 import mobilenet_v3_large, mobilenet_v3_small
from nassuite.zoo.mobilenext import mobilenext
from nassuite.zoo.network import ZooNetwork

# Channels and image size over map size behind the stem and each stage.
V2 = ((32, 2), (16, 2), (24, 4), (32, 8), (64, 16), (96, 16), (160, 32), (320, 32))
MAPS = {
    mobilenet_v1: ((32, 2), (64, 2), (128, 4), (256, 8), (512, 16), (1024, 32)),
    mobilenet_v2: V2,
    mobilenet_v2_ca: V2,
    mobilenet_v2_eca: V2,
    mobilenet_v2_sa: V2,
    mobilenet_v2_triplet: V2,
    mobilenet_v3_large: ((16, 2), (16, 2), (24, 4), (40, 8), (80, 16), (112, 16), (160, 32)),
    mobilenet_v3_small: ((16, 2), (16, 4), (24, 8), (40, 16), (48, 16), (96, 32)),
    mobilenext: (
        (32, 2),
        (96, 4),
        (144, 4),
        (192, 8),
        (288, 16),
        (384, 16),
        (576, 32),
        (960, 32),
        (1280, 32),
    ),
    mnasnet: ((32, 2), (16, 2), (24, 4), (40, 8), (80, 16), (96, 16), (192, 32), (320, 32)),
}


def build(factory, **config) -> ZooNetwork:
    with torch.device("meta"):
        return factory(num_classes=7, in_chans=2, **config).eval()


def maps(network: ZooNetwork, size: int = 64) -> tuple[tuple[int, int], ...]:
    x = torch.empty(1, 2, size, size, device="meta")
    found = []
    for stage in network.stages.values():
        x = stage(x)
        found.append((x.shape[1], size // x.shape[2]))
    assert network.head(x).shape == (1, 7)
    return tuple(found)


def blocks(network: nn.Module, kind: type[nn.Module]) -> list:
    return [module for module in network.modules() if isinstance(module, kind)]


@pytest.mark.parametrize("factory", MAPS)
def test_stages_have_the_papers_channels_and_strides(factory):
    assert maps(build(factory)) == MAPS[factory]


@pytest.mark.parametrize("factory", MAPS)
def test_a_stem_of_stride_1_ends_at_stride_8(factory):
    wanted = tuple((channels, max(1, stride // 4)) for channels, stride in MAPS[factory])
    assert maps(build(factory, stem_stride=1)) == wanted


@pytest.mark.parametrize("factory", MAPS)
@pytest.mark.parametrize("width_mult", [0, -1.0, float("nan"), float("inf"), "wide", True])
def test_a_width_that_is_no_positive_number_is_refused(factory, width_mult):
    with pytest.raises(InputError, match="width_mult"):
        build(factory, width_mult=width_mult)


@pytest.mark.parametrize("factory", MAPS)
def test_a_stem_stride_of_4_is_refused(factory):
    with pytest.raises(InputError, match="stem_stride 4"):
        build(factory, stem_stride=4)


def test_other_bad_options_are_refused():
    with pytest.raises(InputError, match="kernel_size 4"):
        build(mobilenet_v2_triplet, kernel_size=4)
    with pytest.raises(InputError, match="reduced_tail 2"):
        build(mobilenet_v3_small, reduced_tail=2)
    with pytest.raises(InputError, match="24 channels"):
        build(mobilenet_v2_sa, width_mult=0.1)


@pytest.mark.parametrize(
    ("factory", "sums"),
    [(mobilenet_v1, 0), (mobilenet_v2, 10), (mobilenet_v3_large, 10), (mobilenet_v3_small, 6), (mnasnet, 10)],
)
def test_sums_are_where_a_block_keeps_its_shape(factory, sums):
    found = [block for block in blocks(build(factory), InvertedResidual) if block.shortcut is not None]
    assert len(found) == sums
    for block in found:
        x = torch.empty(1, block.project.conv.out_channels, 8, 8, device="meta")
        assert block(x).shape == x.shape


def test_widths_are_multiples_of_4_at_a_tenth_and_of_8_above():
    assert [channels for channels, _ in maps(build(mobilenet_v2, width_mult=0.1))] == [
        4,
        4,
        4,
        4,
        8,
        12,
        16,
        32,
    ]
    assert [channels for channels, _ in maps(build(mobilenet_v2, width_mult=0.35))] == [
        16, 8, 8, 16, 24, 32, 56, 112,
    ]  # fmt: skip


@pytest.mark.parametrize(("width_mult", "last"), [(0.5, 1280), (1.0, 1280), (1.4, 1792)])
def test_the_last_convolution_only_grows(width_mult, last):
    assert build(mobilenet_v2, width_mult=width_mult).head[-1].classifier.in_features == last


def test_attention_gates_stand_where_their_authors_have_them():
    on_hidden = blocks(build(mobilenet_v2_ca), InvertedResidual)
    assert [isinstance(block.se, CoordinateAttention) for block in on_hidden] == [False] + [True] * 16
    assert all(block.se.reduce.in_channels == block.expand.conv.out_channels for block in on_hidden[1:])
    on_output = blocks(build(mobilenet_v2_eca), InvertedResidual)
    assert [block.output_attention.conv.kernel_size[0] for block in on_output] == [1] * 10 + [3] * 7
    assert len(blocks(build(mobilenet_v2_eca, width_mult=0.5), EfficientChannelAttention)) == 17
    for kernel_size in (3, 7):
        gates = blocks(build(mobilenet_v2_triplet, kernel_size=kernel_size), TripletAttention)
        assert len(gates) == 17
        assert {gate.height_width.conv.kernel_size for gate in gates} == {(kernel_size, kernel_size)}


def test_squeeze_excite_and_activations_of_v3_are_as_in_tables_1_and_2():
    for factory, gated, relus in (
        (mobilenet_v3_large, "000111000011111", 6),
        (mobilenet_v3_small, "10011111111", 3),
    ):
        found = blocks(build(factory), InvertedResidual)
        assert "".join(str(int(isinstance(block.se, SqueezeExcite))) for block in found) == gated
        kinds = [type(block.depthwise.act) for block in found]
        assert kinds == [nn.ReLU] * relus + [nn.Hardswish] * (len(found) - relus)


def test_a_reduced_tail_halves_the_last_stage_and_the_last_layer():
    whole, reduced = build(mobilenet_v3_large), build(mobilenet_v3_large, reduced_tail=True)
    assert maps(reduced) == (*maps(whole)[:-1], (80, 32))
    hidden = [block.depthwise.conv.out_channels for block in blocks(reduced, InvertedResidual)]
    assert hidden[-3:] == [672, 480, 480]
    assert [layer.out_features for layer in blocks(reduced.head, nn.Linear)] == [640, 7]


@pytest.mark.parametrize(("width_mult", "eps"), [(1.0, 1e-3), (0.75, 1e-5)])
def test_batch_norms_of_v3_have_the_epsilon_of_the_published_weights(width_mult, eps):
    network = build(mobilenet_v3_small, width_mult=width_mult)
    assert {layer.eps for layer in blocks(network, nn.BatchNorm2d)} == {eps}


def test_mobilenext_joins_wide_ends():
    found = blocks(build(mobilenext), SandglassBlock)
    shapes = "".join(
        "+" if block.shortcut is not None else str(len(blocks(block, nn.Conv2d))) for block in found
    )
    # Convolutions of a block without a sum: 4 whole, 3 without the first depthwise, 2 pointwise alone.
    assert shapes == "44" + "3++" + "3++" + "2+++" + "3+++" + "2++" + "4"
    middle = [block.reduce.conv.out_channels for block in found]
    assert middle == [16, 32, *[32] * 3, *[48] * 3, *[64] * 4, *[96] * 4, *[160] * 3, 208]


def test_mobilenexts_last_stage_only_grows():
    assert [maps(build(mobilenext, width_mult=w))[-1][0] for w in (0.5, 1.4)] == [1280, 1792]


def test_mnasnet_scales_its_stem_but_not_its_last_convolution():
    network = build(mnasnet, width_mult=0.5)
    assert maps(network)[:2] == ((16, 2), (8, 2))
    assert network.head[0].conv.out_channels == 1280
    assert isinstance(network.stages["stage1"][0].expand, nn.Identity)
