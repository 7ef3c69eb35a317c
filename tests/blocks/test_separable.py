import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nassuite.blocks.layers import initialise
from nassuite.blocks.separable import SeparableConv, XceptionBlock


def fresh(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    initialise(module, generator)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(layer.bias, generator=generator)
            nn.init.normal_(layer.running_mean, generator=generator)
    return module.eval()


def image(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), (1, 4)])
def test_separable_conv_is_the_convolution_with_the_product_of_its_weights(stride, dilation):
    conv = fresh(SeparableConv(3, 5, stride=stride, dilation=dilation))
    dense = conv.pointwise.weight * conv.depthwise.weight.transpose(0, 1)  # (5, 3, 3, 3)
    x = image(2, 3, 9, 9)
    expected = F.conv2d(x, dense, stride=stride, padding=dilation, dilation=dilation)
    torch.testing.assert_close(conv(x), expected, atol=1e-5, rtol=1e-5)


def test_middle_norm_stands_between_the_two_convolutions():
    conv = fresh(SeparableConv(3, 5, mid_norm=True))
    x = image(2, 3, 6, 6)
    torch.testing.assert_close(conv(x), conv.pointwise(conv.norm(conv.depthwise(x))))
    assert conv.norm.num_features == 3


def test_block_is_xceptions():
    block = fresh(XceptionBlock(4, ((6, 1, 1), (8, 1, 1)), pool_stride=2))
    first, first_bn, _, second, second_bn = block.convs
    x = image(2, 4, 9, 9)
    y = second_bn(second(F.relu(first_bn(first(F.relu(x))))))
    expected = F.max_pool2d(y, 3, 2, 1) + block.shortcut(x)
    assert expected.shape == (2, 8, 5, 5)
    torch.testing.assert_close(block(x), expected)


def test_shortcut_of_a_block_that_keeps_the_shape_is_its_input():
    convs = ((4, 1, 2),) * 3
    x = image(2, 4, 8, 8)
    for rectified, expected in ((False, x), (True, F.relu(x))):
        block = fresh(XceptionBlock(4, convs, relu_shortcut=rectified, mid_norm=True))
        initialise(block, torch.Generator().manual_seed(0), zero_residuals=True)
        torch.testing.assert_close(block(x), expected)


def test_block_leaves_its_input_alone():
    x = image(1, 4, 8, 8)
    before = x.clone()
    for options in ({}, {"relu_shortcut": True}, {"first_relu": False}):
        fresh(XceptionBlock(4, ((6, 1, 1), (6, 2, 1)), **options))(x)
        assert torch.equal(x, before)


def test_block_without_first_relu_sees_negative_inputs():
    block = fresh(XceptionBlock(3, ((5, 1, 1),), first_relu=False))
    x = image(1, 3, 6, 6)
    torch.testing.assert_close(block(x), block.convs(x) + block.shortcut(x))


def test_gradients_of_a_block():
    block = fresh(XceptionBlock(2, ((3, 1, 1), (3, 2, 1)), relu_shortcut=True, mid_norm=True)).double()
    x = image(1, 2, 5, 5).double().requires_grad_()
    assert torch.autograd.gradcheck(block, (x,))
