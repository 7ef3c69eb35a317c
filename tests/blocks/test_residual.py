"""Residual blocks and what stands in them, against the formulas of the papers written out."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nassuite.blocks.layers import ConvBN, SqueezeExcite
from nassuite.blocks.residual import BasicBlock, Bottleneck, ZeroPadShortcut, projection
from nassuite.blocks.selective_kernel import SelectiveKernel
from nassuite.blocks.split_attention import SplitAttention

generator = torch.Generator()


@pytest.fixture(autouse=True)
def _seeded():
    generator.manual_seed(0)


def random(*shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def settled(module):
    """The module in eval mode, all parameters and statistics random."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            tensor.data = random(*tensor.shape)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_var = layer.running_var.abs() + 0.5
    return module.double().eval()


def normed(bn, x):
    scale = bn.weight / (bn.running_var + bn.eps).sqrt()
    return (x - bn.running_mean[:, None, None]) * scale[:, None, None] + bn.bias[:, None, None]


def conv(layer, x, **options):
    return normed(layer.bn, F.conv2d(x, layer.conv.weight, layer.conv.bias, **options))


@pytest.mark.parametrize("stride", [1, 2])
def test_basic_block_is_two_convolutions_and_a_sum(stride):
    block = settled(BasicBlock(4, 6, stride=stride, shortcut=projection(4, 6, stride)))
    x = random(2, 4, 7, 7)
    branch = conv(block.conv2, conv(block.conv1, x, stride=stride, padding=1).relu(), padding=1)
    torch.testing.assert_close(block(x), (branch + conv(block.shortcut, x, stride=stride)).relu())


@pytest.mark.parametrize("stride_first", [False, True])
def test_bottleneck_weighs_the_branch_before_the_sum(stride_first):
    attention = SqueezeExcite(8, 2, gate="sigmoid")
    block = settled(
        Bottleneck(4, 3, 8, stride=2, stride_first=stride_first, attention=attention,
                   shortcut=projection(4, 8, 2))
    )  # fmt: skip
    x = random(2, 4, 6, 6)
    first, second = (2, 1) if stride_first else (1, 2)
    branch = conv(block.reduce, x, stride=first).relu()
    branch = conv(block.expand, conv(block.spatial, branch, stride=second, padding=1).relu())
    squeezed = block.attention.reduce(branch.mean((2, 3), keepdim=True)).relu()
    branch = branch * block.attention.expand(squeezed).sigmoid()
    torch.testing.assert_close(block(x), (branch + conv(block.shortcut, x, stride=2)).relu())


@pytest.mark.parametrize(
    "block",
    [
        BasicBlock(4, 4),
        Bottleneck(4, 2, 4),
        Bottleneck(4, 2, 4, spatial=partial(ConvBN, groups=2), attention=SqueezeExcite(4, 2)),
        Bottleneck(4, 8, 4, spatial=SelectiveKernel),
        Bottleneck(4, 8, 4, spatial=SplitAttention),
    ],
)
def test_with_zero_last_gammas_a_block_is_its_shortcut(block):
    block = settled(block)
    (bn,) = block.last_batch_norms()
    nn.init.zeros_(bn.weight)
    nn.init.zeros_(bn.bias)
    x = random(2, 4, 5, 5)
    torch.testing.assert_close(block(x), x.relu())


def test_parameters_come_branch_attention_shortcut():
    block = Bottleneck(4, 2, 8, attention=SqueezeExcite(8, 2), shortcut=projection(4, 8, 1))
    roots = list(dict.fromkeys(name.split(".")[0] for name, _ in block.named_parameters()))
    assert roots == ["reduce", "spatial", "expand", "attention", "shortcut"]


def test_projection_is_none_where_the_shape_stays():
    assert projection(4, 4, 1) is None
    assert projection(4, 8, 1, average=True)(random(1, 4, 5, 5).float()).shape == (1, 8, 5, 5)


def test_averaging_projection_uses_every_pixel_at_odd_sizes():
    shortcut = settled(projection(1, 1, 2, average=True))
    x = torch.arange(1.0, 10.0, dtype=torch.float64).view(1, 1, 3, 3)
    pooled = torch.tensor([[[[3.0, 4.5], [7.5, 9.0]]]]).double()  # of 1 2 4 5, of 3 6, of 7 8, of 9
    torch.testing.assert_close(shortcut(x), conv(shortcut[1], pooled))


def test_option_a_takes_every_second_pixel_and_adds_zero_channels():
    x = random(2, 2, 5, 5)
    out = ZeroPadShortcut(2, 5, 2)(x)
    assert out.shape == (2, 5, 3, 3)
    torch.testing.assert_close(out[:, 1:3], x[:, :, ::2, ::2])
    assert not out[:, [0, 3, 4]].any()


@pytest.mark.parametrize("cardinality", [1, 2])
def test_split_attention_is_a_softmax_over_the_splits(cardinality):
    radix, channels = 2, 8
    layer = settled(SplitAttention(8, channels, 3, radix=radix, cardinality=cardinality))
    x = random(2, 8, 5, 5)
    maps = conv(layer.conv, x, padding=1, groups=radix * cardinality).relu()
    splits = [maps[:, r * channels : (r + 1) * channels] for r in range(radix)]
    pooled = sum(splits).mean((2, 3), keepdim=True)
    logits = layer.select(conv(layer.reduce, pooled, groups=cardinality).relu())[:, :, 0, 0]
    width = channels // cardinality
    expected = torch.zeros_like(splits[0])
    for image in range(2):
        for channel in range(channels):
            group, member = divmod(channel, width)
            rivals = torch.stack([logits[image, (group * radix + r) * width + member] for r in range(radix)])
            for weight, split in zip(rivals.softmax(0), splits, strict=True):
                expected[image, channel] += weight * split[image, channel]
    torch.testing.assert_close(layer(x), expected)
    assert layer.select.in_channels == 32


def test_selective_kernel_is_a_softmax_over_the_paths():
    layer = settled(SelectiveKernel(4, 8, stride=2, groups=2))
    x = random(2, 4, 9, 9)
    near, far = (
        conv(path, x, stride=2, padding=d, dilation=d, groups=2).relu()
        for d, path in enumerate(layer.paths, start=1)
    )
    logits = layer.select(conv(layer.reduce, (near + far).mean((2, 3), keepdim=True)).relu())
    share = torch.sigmoid(logits[:, :8] - logits[:, 8:])
    torch.testing.assert_close(layer(x), share * near + (1 - share) * far)
    assert layer.reduce.conv.out_channels == 32
    assert SelectiveKernel(4, 1024).reduce.conv.out_channels == 64
