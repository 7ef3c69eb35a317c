import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nassuite.blocks.layers import initialise
from nassuite.errors import InputError
from nassuite.zoo.espnet import espnet, espnet_c
from nassuite.zoo.espnetv2 import espnetv2, espnetv2_seg


def image(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def shapes(module: nn.Module, count: int) -> list[tuple[int, ...]]:
    return [tuple(parameter.shape) for parameter in list(module.parameters())[:count]]


@pytest.mark.parametrize("classes", [2, 5, 20])
def test_espnet_gives_the_images_size(classes: int) -> None:
    network = espnet(num_classes=classes, in_chans=3, p=1, q=1).eval()
    assert network(image(2, 3, 32, 24)).shape == (2, classes, 32, 24)


def test_espnet_c_gives_an_eighth_of_any_size() -> None:
    network = espnet_c(num_classes=4, in_chans=1, p=1, q=1).eval()
    assert network(image(2, 1, 33, 24)).shape == (2, 4, 5, 3)


def test_parameters_stand_as_in_the_released_decoder() -> None:
    network = espnet(num_classes=20, in_chans=3, p=2, q=3)
    decoder = [tuple(p.shape) for name, p in network.named_parameters() if not name.startswith("encoder.")]
    assert decoder[:7] == [(20, 131, 1, 1), (20,), (20,), (20, 36, 3, 3), (20,), (20,), (20,)]
    assert decoder[7] == (20, 20, 2, 2)
    assert decoder[8:12] == [(40,), (40,), (40,), (4, 40, 1, 1)]
    assert decoder[-5:] == [(20, 20, 2, 2), (20,), (20,), (20,), (20, 20, 2, 2)]
    assert shapes(network, 8)[4:] == [(19,), (19,), (19,), (12, 19, 3, 3)]


def test_upsampling_starts_as_repeating_pixels() -> None:
    x = image(1, 7, 3, 2)
    up = espnet(num_classes=7, in_chans=3).up_eighth
    assert torch.allclose(up(x), F.interpolate(x, scale_factor=2.0))


@pytest.mark.parametrize("option", [{"p": 0}, {"q": 1.5}, {"p": True}])
def test_depths_that_are_none_are_refused(option: dict[str, int]) -> None:
    for factory in (espnet, espnet_c):
        with pytest.raises(InputError, match="a whole number from 1 up"):
            factory(num_classes=20, in_chans=3, **option)


def test_espnet_names_the_size_it_cannot_take() -> None:
    with pytest.raises(InputError, match=r"image 32 x 30: .* multiples of 8"):
        espnet(num_classes=20, in_chans=3)(image(1, 3, 32, 30))


@pytest.mark.parametrize("size", [(40, 56), (33, 47)])
def test_the_image_that_stages_hand_on_is_that_of_each_level(size: tuple[int, int]) -> None:
    """Against every level given the image as the reference has it: pooled anew from the whole of it."""
    network = espnetv2(num_classes=5, in_chans=2, scale=0.5).eval()
    initialise(network, torch.Generator().manual_seed(0), zero_residuals=False)
    x = given = whole = image(2, 2, *size)
    stages = list(network.stages.values())
    x, given = stages[0].conv(x), stages[0](given)
    for number, stage in enumerate(stages[1:], start=1):
        pooled = whole
        for _ in range(number + 1):
            pooled = F.avg_pool2d(pooled, 3, 2, 1)
        plain, x = stage.level(x, None), stage.level(x, pooled if number < 4 else None)
        given = stage(given)
        assert torch.allclose(given[:, : x.shape[1]], x, rtol=1e-4, atol=1e-4)
        assert torch.allclose(plain, x, rtol=1e-2) == (number == 4)
    assert torch.allclose(network(whole), network.head(x), atol=1e-5)


def test_widths_and_strides_of_the_paper() -> None:
    network = espnetv2(num_classes=5, in_chans=3, scale=1.25).eval()
    x, found = image(1, 3, 64, 64), []
    for stage in network.stages.values():
        x = stage(x)
        found.append((x.shape[1], 64 // x.shape[-1]))
    assert found == [(32 + 3, 2), (80 + 3, 4), (160 + 3, 8), (320 + 3, 16), (640, 32)]


def test_stem_stride_1_ends_at_stride_8() -> None:
    network = espnetv2(num_classes=5, in_chans=3, scale=0.5, stem_stride=1).eval()
    x, sides = image(1, 3, 32, 32), []
    for stage in network.stages.values():
        x = stage(x)
        sides.append(x.shape[-1])
    assert sides == [32, 32, 16, 8, 4]
    with pytest.raises(InputError, match="stem_stride 3"):
        espnetv2(num_classes=5, in_chans=3, stem_stride=3)


@pytest.mark.parametrize("scale", [0, 0.7, 2.5, True, "1", [1]])
def test_other_scales_are_refused(scale: float) -> None:
    for factory in (espnetv2, espnetv2_seg):
        with pytest.raises(InputError, match=r"expected one of 0\.5, 1\.0"):
            factory(num_classes=5, in_chans=3, scale=scale)


@pytest.mark.parametrize("size", [(32, 48), (41, 30)])
def test_espnetv2_seg_gives_the_images_size(size: tuple[int, int]) -> None:
    network = espnetv2_seg(num_classes=3, in_chans=1, scale=0.5).eval()
    assert network(image(2, 1, *size)).shape == (2, 3, *size)


def test_gradients_reach_all_of_the_segmenter_but_what_the_released_one_leaves_unused() -> None:
    network = espnetv2_seg(num_classes=3, in_chans=3, scale=0.5)
    network(image(2, 3, 32, 32)).square().sum().backward()
    without = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()}
    assert without == {f"levels.{number}.down.eesp.act.weight" for number in range(3)}
