import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nassuite.blocks.esp import (
    EESP,
    ESP,
    GatedProjection,
    PyramidPool,
    StridedEESP,
    eesp_dilations,
    hierarchical_fusion,
    resize,
)
from nassuite.blocks.pooling import adaptive_average, average_windows


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """In eval mode, with weights and statistics that no two layers share."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator) * 0.3
                tensor.copy_(noise.abs() + 0.5 if name.endswith("running_var") else noise)
    return module.eval()


def image(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def convolved(x: torch.Tensor, layer: nn.Conv2d, *, stride: int = 1, dilation: int = 1) -> torch.Tensor:
    """The layer's weights applied as the paper says, whatever the layer's own settings are."""
    padding = dilation * (layer.weight.shape[-1] // 2)
    return F.conv2d(x, layer.weight, None, stride, padding, dilation, x.shape[1] // layer.weight.shape[1])


def test_fusion_adds_all_before() -> None:
    maps = [image(1, 2, 3, 3) * scale for scale in (1.0, 10.0, 100.0)]
    fused = hierarchical_fusion(maps)
    assert all(torch.allclose(fused[i], sum(maps[: i + 1])) for i in range(3))


@pytest.mark.parametrize(("channels", "stride", "residual"), [(19, 2, False), (20, 1, True), (7, 1, True)])
def test_esp_is_the_papers(channels: int, stride: int, residual: bool) -> None:
    inputs = channels if residual else 6
    unit = randomised(ESP(inputs, channels, stride=stride, residual=residual))
    x = image(2, inputs, 20, 14)
    width = channels // 5
    assert [branch.out_channels for branch in unit.branches] == [channels - 4 * width, *[width] * 4]
    reduced = convolved(x, unit.reduce, stride=stride)
    d1, d2, d4, d8, d16 = (
        convolved(reduced, b, dilation=d) for b, d in zip(unit.branches, (1, 2, 4, 8, 16), strict=True)
    )
    merged = torch.cat([d1, d2, d2 + d4, d2 + d4 + d8, d2 + d4 + d8 + d16], 1)
    expected = unit.norm(merged + x if residual else merged)
    assert torch.allclose(unit(x), expected, atol=1e-5)
    assert unit.norm[0].eps == 1e-3
    assert unit(x).shape == (2, channels, 20 // stride, 14 // stride)


def test_esp_refuses_what_five_cannot_share() -> None:
    with pytest.raises(ValueError, match="4 channels"):
        ESP(8, 4)


@pytest.mark.parametrize(
    ("reach", "dilations"),
    [(13, [1, 2, 3, 4]), (9, [1, 2, 3, 4]), (7, [1, 1, 2, 3]), (5, [1, 1, 1, 2]), (3, [1, 1, 1, 1])],
)
def test_dilations_stay_within_the_receptive_field(reach: int, dilations: list[int]) -> None:
    assert eesp_dilations(reach) == dilations


@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(16, 16, 1), (8, 16, 1), (16, 16, 2)])
def test_eesp_is_the_papers(inputs: int, outputs: int, stride: int) -> None:
    unit = randomised(EESP(inputs, outputs, receptive_field=7, stride=stride))
    x = image(2, inputs, 12, 9)
    reduced = unit.project(x)
    fused, total = [], torch.zeros(())
    for branch, dilation in zip(unit.branches, (1, 1, 2, 3), strict=True):
        total = total + convolved(reduced, branch, stride=stride, dilation=dilation)
        fused.append(total)
    merged = unit.expand(unit.norm(torch.cat(fused, 1)))
    residual = inputs == outputs and stride == 1
    assert torch.allclose(unit(x), unit.act(merged + x if residual else merged), atol=1e-5)
    assert unit.last_batch_norms() == ((unit.expand.bn,) if residual else ())
    assert (unit.project[0].conv.groups, unit.expand.conv.groups) == (4, 4)


@pytest.mark.parametrize("side", [12, 13])
def test_down_sampler_keeps_the_pooled_map_and_adds_the_image(side: int) -> None:
    down = randomised(StridedEESP(8, 24, image_channels=2, receptive_field=9))
    x = image(2, 8, side, side)
    half = (side + 1) // 2
    small = image(2, 2, half, half)
    plain = torch.cat([F.avg_pool2d(x, 3, 2, 1), down.eesp(x)], 1)
    assert plain.shape == (2, 24, half, half)
    assert torch.allclose(down(x, None), down.act(plain))
    assert torch.allclose(down(x, small), down.act(plain + down.reinforce(small)))


def test_gradients_reach_all_but_the_unused() -> None:
    down = StridedEESP(8, 24, image_channels=3, receptive_field=9)
    down(image(2, 8, 8, 8), image(2, 3, 4, 4)).square().sum().backward()
    assert {name for name, p in down.named_parameters() if p.grad is None} == {"eesp.act.weight"}


@pytest.mark.parametrize(("extent", "length"), [(6, 6), (12, 8), (13, 9), (30, 3), (7, 5), (3, 5), (16, 8)])
def test_gathered_windows_are_adaptive_pooling(extent: int, length: int) -> None:
    x = image(2, 3, extent, extent + 1)
    ours = average_windows(average_windows(x, -2, length), -1, length + 1)
    assert torch.allclose(ours, F.adaptive_avg_pool2d(x, (length, length + 1)), atol=1e-6)
    assert torch.equal(adaptive_average(x, (length, 2)), F.adaptive_avg_pool2d(x, (length, 2)))


@pytest.mark.parametrize("last", [False, True])
def test_pyramid_pool_is_the_released_one(last: bool) -> None:
    pool = randomised(PyramidPool(6, 4, 10, last=last))
    x = image(2, 6, 10, 15)
    y = pool.project(x)
    two, more, one, half, tenth = pool.branches
    maps = torch.stack(
        [
            F.adaptive_avg_pool2d(two(resize(y, (20, 30))), (10, 15)),
            F.adaptive_avg_pool2d(more(resize(y, (15, 23))), (10, 15)),
            one(y),
            resize(half(F.adaptive_avg_pool2d(y, (5, 8))), (10, 15)),
            resize(tenth(F.adaptive_avg_pool2d(y, (5, 5))), (10, 15)),
        ],
        1,
    )  # (N, 5, width, H, W)
    normed = pool.norm(maps.flatten(1, 2)).unflatten(1, (5, 4)).transpose(1, 2).flatten(1, 2)
    expected = pool.out_norm(pool.expand(pool.merge(normed)))
    assert torch.allclose(pool(x), expected, atol=1e-5)
    assert pool(x).shape == (2, 10, 10, 15)
    assert (pool.expand.bias is not None) == last


def test_gate_of_zeros_halves() -> None:
    unit = randomised(GatedProjection(8, 12))
    assert unit.conv[0].conv.groups == 4
    with torch.no_grad():
        unit.gate[1].weight.zero_()
    x = image(2, 8, 5, 5)
    assert torch.allclose(unit(x), unit.conv(x) / 2)
