"""ResNets: shapes at each stride, and the details that parameter counts do not show."""

import pytest
import torch
from torch import nn

from nassuite.blocks.residual import Bottleneck, ZeroPadShortcut
from nassuite.errors import InputError
from nassuite.zoo import resnest, resnet, resnet_cifar
from nassuite.zoo.network import FeatureNetwork

DEEP = [
    resnet.resnet50_v1b,
    resnet.resnet50_v1d,
    resnet.resnext50_32x4d,
    resnet.se_resnet50,
    resnet.sknet50,
    resnest.resnest50,
]
DEEP_CHANNELS = [64, 256, 512, 1024, 2048]
BASIC_CHANNELS = [64, 64, 128, 256, 512]


def on_meta(build, **options):
    with torch.device("meta"):
        return build(num_classes=10, in_chans=3, **options).eval()


def maps(network, size, **options):
    features = FeatureNetwork(network, size=size, in_chans=3, **options)
    return features.feature_info, features(torch.empty(2, 3, size, size, device="meta"))


@pytest.mark.parametrize(
    ("build", "channels"), [(resnet.resnet18, BASIC_CHANNELS), *((build, DEEP_CHANNELS) for build in DEEP)]
)
def test_feature_maps_at_every_stride(build, channels):
    size = 72  # 4.5 pixels at stride 16: what rounds down shows
    info, found = maps(on_meta(build), size)
    assert [one.reduction for one in info] == [2, 4, 8, 16, 32]
    assert [one.channels for one in info] == [one.shape[1] for one in found] == channels
    assert [one.shape[-1] for one in found] == [-(-size // one.reduction) for one in info]


@pytest.mark.parametrize("build", [resnet.resnet34, resnet.se_resnet50, resnest.resnest50])
def test_the_form_for_small_images_ends_at_stride_8(build):
    network = on_meta(build, stem_stride=1)
    info, _ = maps(network, 32)
    assert [one.reduction for one in info] == [1, 2, 4, 8]
    assert network(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 10)
    assert not any(isinstance(layer, nn.MaxPool2d) for layer in network.modules())
    assert max(c.kernel_size for c in network.modules() if isinstance(c, nn.Conv2d)) == (3, 3)


def test_stem_stride_is_one_or_two():
    with pytest.raises(InputError, match="stem_stride 3"):
        on_meta(resnet.resnet18, stem_stride=3)


def downsampling(network):
    """The convolutions of stage 2's first block that have a stride."""
    block = network.stages["stage2"][0]
    return [name for name, c in block.named_modules() if isinstance(c, nn.Conv2d) and c.stride == (2, 2)]


@pytest.mark.parametrize(
    ("build", "strided"),
    [
        (resnet.resnet50_v1b, ["spatial.conv", "shortcut.conv"]),
        (resnet.resnet50_v1d, ["spatial.conv"]),
        (resnet.se_resnet50, ["reduce.conv", "shortcut.conv"]),
        (resnet.sknet50, ["spatial.paths.0.conv", "spatial.paths.1.conv", "shortcut.conv"]),
        (resnest.resnest50, []),
    ],
)
def test_where_the_stride_is(build, strided):
    assert downsampling(on_meta(build)) == strided


def test_resnest_pools_behind_the_split_attention_where_it_halves_only():
    stages = on_meta(resnest.resnest50).stages
    pools = {
        f"{stage}.{name}": (pool.kernel_size, pool.stride, pool.padding)
        for stage, blocks in stages.items()
        for name, pool in blocks.named_modules()
        if isinstance(pool, nn.AvgPool2d)
    }
    expected = {}
    for stage, first in (("stage2", 0), ("stage3", 0), ("stage4", 0)):
        expected[f"{stage}.{first}.spatial.1"] = (3, 2, 1)
        expected[f"{stage}.{first}.shortcut.0"] = (2, 2, 0)
    assert pools == expected


def test_the_caffe_stem_pools_without_padding_and_rounds_up():
    network = resnet.se_resnet50(num_classes=10, in_chans=3)
    pool = network.stages["stage1"][0]
    x = torch.zeros(1, 1, 8, 8)
    x[0, 0, 3, 3] = 1.0
    out = pool(x)
    assert out.shape[-1] == 4
    assert out[0, 0].nonzero().tolist() == [[1, 1]]  # padded by one it would be in [2, 2] too


def test_depths_and_widths():
    blocks = {
        name: [sum(isinstance(m, Bottleneck) for m in stage) for stage in list(network.stages.values())[1:]]
        for name, network in (
            ("resnet50", on_meta(resnet.resnet50_v1b)),
            ("resnet101", on_meta(resnet.resnet101)),
        )
    }
    assert blocks == {"resnet50": [3, 4, 6, 3], "resnet101": [3, 4, 23, 3]}
    assert sum(p.numel() for p in on_meta(resnet.resnet101).parameters()) == 44549160 - 990 * 2049


@pytest.mark.parametrize("layers", [20, 32, 56])
def test_cifar_networks_have_their_layers_and_no_shortcut_parameters(layers):
    network = on_meta(getattr(resnet_cifar, f"resnet{layers}_cifar"))
    weighty = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(weighty) == layers
    assert sum(isinstance(m, ZeroPadShortcut) for m in network.modules()) == 2
    info, _ = maps(network, 32)
    assert [(one.channels, one.reduction) for one in info] == [(16, 1), (32, 2), (64, 4)]


def test_cifar_parameters_are_in_the_order_of_published_checkpoints():
    shapes = [tuple(p.shape) for p in on_meta(resnet_cifar.resnet20_cifar).parameters()]
    expected = [(16, 3, 3, 3), (16,), (16,)]
    channels = 16
    for planes in (16, 32, 64):
        for _ in range(3):
            expected += [(planes, channels, 3, 3), (planes,), (planes,)]
            expected += [(planes, planes, 3, 3), (planes,), (planes,)]
            channels = planes
    assert shapes == [*expected, (10, 64), (10,)]
