import copy

import pytest
import torch
from torch import nn

from nassuite.blocks.layers import initialise
from nassuite.blocks.separable import SeparableConv
from nassuite.errors import InputError
from nassuite.zoo.xception import aligned_xception, xception


def on_meta(factory, **config):
    with torch.device("meta"):
        return factory(num_classes=1000, in_chans=3, **config).eval()


def shapes(network, size: int) -> list[tuple[int, int]]:
    """(channels, height) behind each stage."""
    x = torch.empty(2, 3, size, size, device="meta")
    found = []
    for stage in network.stages.values():
        x = stage(x)
        found.append((x.shape[1], x.shape[2]))
    return found


def test_grids_of_xception():
    assert shapes(on_meta(xception), 299) == [(64, 147), (128, 74), (256, 37), (728, 19), (2048, 10)]


def test_small_images_end_at_an_eighth():
    expected = [(64, 32), (128, 32), (256, 16), (728, 8), (2048, 4)]
    assert shapes(on_meta(xception, stem_stride=1), 32) == expected


@pytest.fixture(scope="module")
def aligned():
    return {
        output_stride: on_meta(aligned_xception, output_stride=output_stride) for output_stride in (8, 16)
    }


@pytest.mark.parametrize(("output_stride", "size"), [(16, 4), (8, 8)])
def test_aligned_xception_gives_a_fine_and_a_coarse_map(aligned, output_stride, size):
    network = aligned[output_stride]
    low, high = network(torch.empty(2, 3, 64, 64, device="meta"))
    assert (low.shape, high.shape) == ((2, 128, 16, 16), (2, 2048, size, size))
    described = [(info.channels, info.reduction) for info in network.feature_info]
    assert described == [(128, 4), (2048, output_stride)]


def test_output_strides_share_their_weights(aligned):
    by_stride = [
        {name: tensor.shape for name, tensor in network.state_dict().items()} for network in aligned.values()
    ]
    assert by_stride[0] == by_stride[1]


@pytest.mark.parametrize(
    ("output_stride", "middle", "end"), [(16, {1}, [1, 1, 1, 2, 2, 2]), (8, {2}, [2, 2, 1, 4, 4, 4])]
)
def test_dilations_of_aligned_xception(aligned, output_stride, middle, end):
    convs = [m.depthwise for m in aligned[output_stride].modules() if isinstance(m, SeparableConv)]
    found = [conv.dilation[0] for conv in convs]
    assert found[:9] == [1] * 9
    assert set(found[9:57]) == middle
    assert found[57:] == end


def test_low_level_map_is_rectified(aligned):
    first = nn.Sequential(aligned[16].stages["stem"], aligned[16].stages["stage2"])
    first = copy.deepcopy(first).to_empty(device="cpu").train()
    initialise(first, torch.Generator().manual_seed(0), zero_residuals=False)
    low = first(torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)))
    assert low.shape == (2, 128, 4, 4)
    assert low.min() == 0
    assert low.max() > 0


def test_bad_input():
    with pytest.raises(InputError, match="output_stride 32: 8 or 16"):
        on_meta(aligned_xception, output_stride=32)
    with pytest.raises(InputError, match="stem_stride 4"):
        on_meta(xception, stem_stride=4)
