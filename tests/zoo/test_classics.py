import pytest
import torch
from torch import nn

from nassuite.errors import InputError
from nassuite.zoo.classics import alexnet, lenet5, vgg16, vgg16_bn
from nassuite.zoo.create import create_model


def _meta(build, **config):
    with torch.device("meta"):
        return build(num_classes=10, in_chans=config.pop("in_chans", 3), **config)


def _shapes(network, *size: int) -> list[tuple[int, ...]]:
    x = torch.empty(1, 3, *size, device="meta")
    shapes = []
    for stage in network.stages.values():
        x = stage(x)
        shapes.append(tuple(x.shape[1:]))
    return shapes


def test_alexnet_stages():
    network = _meta(alexnet)
    assert _shapes(network, 224, 224) == [(64, 55, 55), (192, 27, 27), (256, 13, 13), (256, 6, 6)]
    assert _shapes(_meta(alexnet, stem_stride=1), 32, 32) == [
        (64, 32, 32),
        (192, 15, 15),
        (256, 7, 7),
        (256, 3, 3),
    ]


@pytest.mark.parametrize("build", [vgg16, vgg16_bn])
def test_vgg_stages(build):
    sizes = [(64, 32), (128, 16), (256, 8), (512, 4), (512, 2), (512, 1)]
    assert _shapes(_meta(build), 32, 64) == [(channels, size, 2 * size) for channels, size in sizes]
    assert sum(isinstance(layer, nn.Conv2d) for layer in _meta(build).modules()) == 13


@pytest.mark.parametrize(
    ("build", "config", "sizes"),
    [
        (alexnet, {}, [(224, 224), (192, 256), (63, 63)]),
        (alexnet, {"stem_stride": 1}, [(32, 32), (40, 48)]),
        (vgg16, {}, [(224, 224), (32, 96)]),
        (vgg16_bn, {"stem_stride": 1}, [(32, 32), (64, 64)]),
    ],
)
def test_other_image_sizes(build, config, sizes):
    network = _meta(build, **config)
    for size in sizes:
        assert network(torch.empty(2, 3, *size, device="meta")).shape == (2, 10)


def test_classifier_reads_channel_by_channel():
    """The first linear layer's inputs are (channel, row, column), as in published weights."""
    network = create_model("lenet5").eval()
    maps = torch.rand(2, 16, 5, 5, generator=torch.Generator().manual_seed(0))
    expected = network.head[2:](maps.reshape(2, 400))
    torch.testing.assert_close(network.head(maps), expected)


def test_lenet5_sizes():
    network = create_model("lenet5", in_chans=3, num_classes=4)
    assert _shapes(network.to("meta"), 32, 32) == [(6, 14, 14), (16, 5, 5)]
    assert network(torch.empty(2, 3, 48, 40, device="meta")).shape == (2, 4)
    assert not list(_meta(lenet5).buffers())


@pytest.mark.parametrize(("build", "value"), [(alexnet, 2), (vgg16, 4), (vgg16_bn, 0)])
def test_bad_stem_stride(build, value):
    with pytest.raises(InputError, match=f"stem_stride {value}"):
        _meta(build, stem_stride=value)
