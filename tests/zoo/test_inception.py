import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nassuite.blocks.inception import (
    Conv,
    Parallel,
    Pool,
    Residual,
    ResponseNorm,
    Style,
    inception_layers,
)
from nassuite.blocks.layers import initialise
from nassuite.errors import InputError
from nassuite.zoo.googlenet import googlenet
from nassuite.zoo.inception import InceptionV3Aux, inception_v2, inception_v3
from nassuite.zoo.inception_v4 import inception_resnet_v2, inception_v4

FAMILY = (googlenet, inception_v2, inception_v3, inception_v4, inception_resnet_v2)


def built(steps, channels: int, style: Style) -> nn.Sequential:
    layers, _ = inception_layers(steps, channels, style)
    initialise(layers, torch.Generator().manual_seed(0))
    return layers.eval()


def image(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def on_meta(factory, **config):
    with torch.device("meta"):
        return factory(num_classes=1000, in_chans=3, **config).eval()


def shapes(network, size: int) -> dict[str, tuple[int, int]]:
    """(channels, height) behind each stage."""
    x = torch.empty(2, 3, size, size, device="meta")
    found = {}
    with torch.no_grad():
        for name, stage in network.stages.items():
            x = stage(x)
            found[name] = (x.shape[1], x.shape[2])
    return found


@pytest.mark.parametrize(
    ("factory", "size", "expected"),
    [
        (googlenet, 224, [(64, 112), (192, 56), (480, 28), (512, 14), (528, 14), (832, 14), (1024, 7)]),
        (inception_v2, 224, [(64, 112), (192, 56), (320, 28), (608, 14), (1024, 7)]),
        (inception_v3, 299, [(64, 147), (192, 71), (288, 35), (768, 17), (2048, 8)]),
        (inception_v4, 299, [(64, 147), (160, 73), (384, 35), (1024, 17), (1536, 8)]),
        (inception_resnet_v2, 299, [(64, 147), (192, 71), (320, 35), (1088, 17), (1536, 8)]),
    ],
)
def test_grids_of_the_papers(factory, size, expected):
    assert list(shapes(on_meta(factory), size).values()) == expected


@pytest.mark.parametrize("factory", FAMILY)
def test_small_images_end_at_an_eighth(factory):
    found = shapes(on_meta(factory, stem_stride=1), 32)
    assert [found[name][1] for name in ("stem", "stage2", "stage3", "stage5")] == [32, 32, 16, 4]


@pytest.mark.parametrize("factory", FAMILY)
def test_stem_stride_is_1_or_2(factory):
    with pytest.raises(InputError, match="stem_stride 3"):
        on_meta(factory, stem_stride=3)


def test_every_branch_of_inception_v2_has_the_same_size_on_odd_maps():
    assert list(shapes(on_meta(inception_v2), 200).values())[2:] == [(320, 25), (608, 13), (1024, 7)]


@pytest.mark.parametrize(
    ("config", "params"),
    [
        ({}, 13378280),
        ({"batch_norm": True}, 13385816),
        ({"batch_norm": True, "five_by_five": False}, 13004888),
    ],
)
def test_googlenet_with_its_auxiliary_heads(config, params):
    network = on_meta(googlenet, aux_logits=True, **config)
    assert sum(p.numel() for p in network.parameters()) == params
    logits, aux = network.forward_with_aux(torch.empty(2, 3, 96, 96, device="meta"))
    assert [y.shape for y in (logits, *aux)] == [(2, 1000)] * 3


def test_auxiliary_head_of_inception_v3():
    head = InceptionV3Aux(7)
    initialise(head, torch.Generator().manual_seed(0))
    head.eval()
    x = image(2, 768, 17, 17)
    pooled = torch.stack(
        [x[:, :, 3 * i : 3 * i + 5, 3 * j : 3 * j + 5].mean((2, 3)) for i in range(5) for j in range(5)],
        dim=2,
    ).unflatten(2, (5, 5))
    expected = head.classifier(head.conv(head.reduce(pooled)).mean((2, 3)))
    torch.testing.assert_close(head(x), expected, atol=1e-5, rtol=1e-4)
    assert head(x[:, :, :4, :6]).shape == (2, 7)


def test_branches_are_concatenated_in_order_and_nest():
    module = Parallel(
        [Conv(2)],
        [Conv(3), Parallel([Conv(2, (1, 3))], [Conv(4, (3, 1))])],
        [Pool("avg"), Conv(5)],
    )
    layers = built([module], 4, Style())
    branches = layers[0].branches
    x = image(2, 4, 6, 7)
    y = branches[1][0](x)
    parts = (branches[0](x), *(fork(y) for fork in branches[1][1].branches), branches[2](x))
    assert layers(x).shape == (2, 13, 6, 7)
    assert torch.equal(layers(x), torch.cat(parts, 1))


def test_average_pooling_counts_the_padding_or_not():
    x = torch.ones(1, 1, 4, 4)
    for counts, corner in ((True, 4 / 9), (False, 1.0)):
        (pool,) = built([Pool("avg")], 1, Style(count_include_pad=counts))
        assert pool(x)[0, 0, 0, 0].item() == pytest.approx(corner)
        assert pool(x)[0, 0, 1, 1].item() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("style", "sizes"), [(Style(), [3, 3]), (Style(ceil_mode=True), [4, 3]), (Style(pad_all=True), [4, 4])]
)
def test_sizes_of_unpadded_steps(style, sizes):
    x = image(1, 2, 8, 8)
    steps = (Pool("max", 3, 2), Conv(2, 3, 2, valid=True))
    assert [built([step], 2, style)(x).shape[-1] for step in steps] == sizes


@pytest.mark.parametrize("size", [1, 2, 7, 8])
def test_extended_pooling_has_the_size_of_a_strided_convolution(size):
    x = image(1, 2, size, size).relu()
    style = Style(ceil_mode=True)
    pooled = built([Pool("max", 3, 2, extend=True)], 2, style)(x)
    assert pooled.shape == built([Conv(2, 3, 2)], 2, style)(x).shape
    if size == 8:
        assert torch.equal(pooled, F.max_pool2d(x, 3, 2, ceil_mode=True))


@pytest.mark.parametrize("relu", [True, False])
def test_scaled_residual(relu):
    layers = built([Residual(Parallel([Conv(3)], [Conv(2, 3)]), 0.2, relu=relu)], 4, Style())
    (block,) = layers
    nn.init.normal_(block.conv.bias, generator=torch.Generator().manual_seed(2))
    x = image(2, 4, 5, 5)
    y = x + 0.2 * block.conv(torch.cat([branch(x) for branch in block.branches.branches], 1))
    torch.testing.assert_close(layers(x), y.relu() if relu else y)


def test_response_normalisation_is_caffes():
    (norm,) = built([ResponseNorm()], 7, Style())
    x = 50 * image(1, 7, 2, 2)
    expected = torch.empty_like(x)
    for channel in range(7):
        near = x[:, max(0, channel - 2) : channel + 3]
        expected[:, channel] = x[:, channel] / (1 + 1e-4 / 5 * near.square().sum(1)) ** 0.75
    torch.testing.assert_close(norm(x), expected)


def test_style_without_batch_norm_has_biases_instead():
    layers = built([Conv(3, 3)], 2, Style(batch_norm=False))
    assert [tuple(p.shape) for p in layers.parameters()] == [(3, 2, 3, 3), (3,)]
    assert layers(image(1, 2, 4, 4)).min() >= 0
