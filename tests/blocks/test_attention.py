import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nassuite.blocks.attention import (
    CoordinateAttention,
    EfficientChannelAttention,
    ShuffleAttention,
    TripletAttention,
)
from nassuite.errors import InputError

GATES = {
    "coordinate": lambda: CoordinateAttention(16),
    "channel": lambda: EfficientChannelAttention(3),
    "shuffle": lambda: ShuffleAttention(16, groups=4),
    "triplet": lambda: TripletAttention(3),
}


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def randomised(gate: nn.Module, seed: int = 1) -> nn.Module:
    """All parameters and statistics at random, in float64: at their start values some do nothing."""
    generator = torch.Generator().manual_seed(seed)
    gate = gate.double().eval()
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        for buffer in gate.buffers():
            if buffer.is_floating_point():
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator, dtype=torch.float64))
    return gate


def test_coordinate_attention_weighs_rows_and_columns():
    gate, x = randomised(CoordinateAttention(16)), images(2, 16, 3, 5)
    wanted = torch.empty_like(x)

    def squeezed(means: torch.Tensor) -> torch.Tensor:  # (16,) of one row or column
        y = gate.reduce.weight[:, :, 0, 0] @ means + gate.reduce.bias
        y = (y - gate.bn.running_mean) / (gate.bn.running_var + gate.bn.eps).sqrt()
        y = y * gate.bn.weight + gate.bn.bias
        return y * (y + 3).clamp(0, 6) / 6

    def weight(conv: nn.Conv2d, means: torch.Tensor) -> torch.Tensor:
        return (conv.weight[:, :, 0, 0] @ squeezed(means) + conv.bias).sigmoid()

    for n in range(2):
        for i in range(3):
            for j in range(5):
                row, column = x[n, :, i, :].mean(1), x[n, :, :, j].mean(1)
                wanted[n, :, i, j] = (
                    x[n, :, i, j] * weight(gate.expand_rows, row) * weight(gate.expand_columns, column)
                )
    torch.testing.assert_close(gate(x), wanted)


@pytest.mark.parametrize(("channels", "squeezed"), [(16, 8), (256, 8), (960, 30)])
def test_coordinate_attention_squeezes_to_a_32nd_but_no_less_than_8(channels, squeezed):
    assert CoordinateAttention(channels).reduce.out_channels == squeezed


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_channel_attention_slides_over_the_channels_with_zeros_at_the_ends(kernel_size):
    gate, x = randomised(EfficientChannelAttention(kernel_size)), images(2, 6, 2, 3)
    means = x.mean((2, 3))
    wanted = torch.empty_like(x)
    for n in range(2):
        for c in range(6):
            neighbours = range(c - kernel_size // 2, c + kernel_size // 2 + 1)
            total = sum(
                gate.conv.weight[0, 0, k] * means[n, i] for k, i in enumerate(neighbours) if 0 <= i < 6
            )
            wanted[n, c] = x[n, c] * total.sigmoid()
    torch.testing.assert_close(gate(x), wanted)


def test_shuffle_attention_gates_each_group_alike_and_then_deals_the_channels_out():
    groups, half = 4, 2
    gate, x = randomised(ShuffleAttention(16, groups=groups)), images(2, 16, 3, 2)
    gated = torch.empty_like(x)
    for n in range(2):
        for group in range(groups):
            for k in range(half):
                c = group * 2 * half + k
                strength = gate.channel_weight[0, k, 0, 0] * x[n, c].mean() + gate.channel_bias[0, k, 0, 0]
                gated[n, c] = x[n, c] * strength.sigmoid()
                c += half
                normal = (x[n, c] - x[n, c].mean()) / (x[n, c].var(correction=0) + gate.norm.eps).sqrt()
                normal = normal * gate.norm.weight[k] + gate.norm.bias[k]
                strength = gate.pixel_weight[0, k, 0, 0] * normal + gate.pixel_bias[0, k, 0, 0]
                gated[n, c] = x[n, c] * strength.sigmoid()
    dealt = [c for pair in zip(range(8), range(8, 16), strict=True) for c in pair]
    torch.testing.assert_close(gate(x), gated[:, dealt])


def test_triplet_attention_is_the_mean_of_three_turned_gates():
    gate, x = randomised(TripletAttention(3)), images(2, 4, 3, 5)

    def gated(turned: torch.Tensor, pair: nn.Module) -> torch.Tensor:
        pooled = torch.stack((turned.max(1).values, turned.mean(1)), 1)
        y = F.conv2d(pooled, pair.conv.weight, padding=1)
        y = (y - pair.bn.running_mean) / (pair.bn.running_var + pair.bn.eps).sqrt()
        return turned * (y * pair.bn.weight + pair.bn.bias).sigmoid()

    upright = gated(x, gate.height_width)
    swapped_height = gated(x.permute(0, 2, 1, 3), gate.channels_width).permute(0, 2, 1, 3)
    swapped_width = gated(x.permute(0, 3, 2, 1), gate.height_channels).permute(0, 3, 2, 1)
    torch.testing.assert_close(gate(x), (upright + swapped_height + swapped_width) / 3)


@pytest.mark.parametrize("name", GATES)
def test_gates_have_right_gradients(name):
    gate, x = randomised(GATES[name]()), images(1, 16, 2, 2).requires_grad_()
    assert torch.autograd.gradcheck(gate, (x,), fast_mode=True)


@pytest.mark.parametrize("name", GATES)
def test_gates_keep_the_shape_and_weaken_without_changing_signs(name):
    gate, x = randomised(GATES[name]()), images(3, 16, 4, 2)
    y = gate(x)
    if name == "shuffle":
        y = y[:, [*range(0, 16, 2), *range(1, 16, 2)]]
    assert y.shape == x.shape
    assert bool((y * x > 0).all())
    assert bool((y.abs() < x.abs()).all())


@pytest.mark.parametrize("name", GATES)
def test_images_of_a_batch_do_not_see_each_other(name):
    gate, x = randomised(GATES[name]()), images(3, 16, 4, 3)
    torch.testing.assert_close(gate(x)[1:2], gate(x[1:2]))


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="24 channels: a multiple of 16"):
        ShuffleAttention(24)
    for kernel_size in (0, 4, -3, 3.0):
        with pytest.raises(InputError, match="kernel_size"):
            TripletAttention(kernel_size)
        with pytest.raises(InputError, match="kernel_size"):
            EfficientChannelAttention(kernel_size)


def test_channel_attention_starts_equal_without_a_seed():
    assert torch.equal(EfficientChannelAttention(3).conv.weight, torch.full((1, 1, 3), 1 / 3))
