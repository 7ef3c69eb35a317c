import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nassuite.blocks.layers import ConvBN, initialise
from nassuite.blocks.sandglass import SandglassBlock


def fresh(block: SandglassBlock) -> SandglassBlock:
    """Float64, eval mode, every weight and statistic at random."""
    generator = torch.Generator().manual_seed(0)
    initialise(block, generator, zero_residuals=False)
    block = block.double().eval()
    with torch.no_grad():
        for layer in block.modules():
            if isinstance(layer, nn.BatchNorm2d):
                for values in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                    values.copy_(0.5 + torch.rand(values.shape, generator=generator))
    return block


def image(channels: int) -> torch.Tensor:
    return torch.randn(2, channels, 7, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def layer(x: torch.Tensor, of: ConvBN, *, stride: int = 1, groups: int = 1) -> torch.Tensor:
    x = F.conv2d(x, of.conv.weight, stride=stride, padding=of.conv.weight.shape[-1] // 2, groups=groups)
    return F.batch_norm(x, of.bn.running_mean, of.bn.running_var, of.bn.weight, of.bn.bias)


def test_wide_ends_narrow_middle_and_a_sum():
    block = fresh(SandglassBlock(12, 4, 12, shortcut=nn.Identity()))
    x = image(12)
    y = F.relu6(layer(x, block.first, groups=12))
    y = F.relu6(layer(layer(y, block.reduce), block.expand))  # nothing between the two
    torch.testing.assert_close(block(x), x + layer(y, block.last, groups=12))


def test_the_stride_is_that_of_the_last_convolution():
    block = fresh(SandglassBlock(6, 4, 12, stride=2, first_depthwise=False))
    x = image(6)
    y = F.relu6(layer(layer(x, block.reduce), block.expand))
    assert block(x).shape == (2, 12, 4, 3)
    torch.testing.assert_close(block(x), layer(y, block.last, stride=2, groups=12))


def test_without_depthwise_convolutions_it_ends_in_the_activation():
    block = fresh(SandglassBlock(6, 4, 12, first_depthwise=False, last_depthwise=False))
    x = image(6)
    torch.testing.assert_close(block(x), F.relu6(layer(layer(x, block.reduce), block.expand)))


def test_a_zeroed_last_batch_norm_leaves_the_shortcut():
    block = SandglassBlock(12, 4, 12, shortcut=nn.Identity())
    initialise(block, torch.Generator().manual_seed(0))
    x = image(12).float()
    assert block.last_batch_norms() == (block.last.bn,)
    assert torch.equal(block.train()(x), x)


def test_a_block_without_a_sum_has_no_batch_norm_to_zero():
    assert SandglassBlock(12, 4, 6).last_batch_norms() == ()


def test_a_stride_needs_the_last_depthwise_convolution():
    with pytest.raises(ValueError, match="last depthwise"):
        SandglassBlock(12, 4, 6, stride=2, last_depthwise=False)
