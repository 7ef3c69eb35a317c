import pytest
import torch
from torch import nn

from nassuite.errors import InputError
from nassuite.zoo.create import create_model
from nassuite.zoo.shufflenet import shufflenet_v1, shufflenet_v1_cifar, shufflenet_v2


def _meta(build, **config):
    with torch.device("meta"):
        return build(num_classes=1000, in_chans=3, **config)


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("groups", "params"), [(3, 1864728), (8, 2433768)])
def test_v1_released_code_at_width_1(groups, params):
    assert _count(_meta(shufflenet_v1, groups=groups, form="megvii")) == params


@pytest.mark.parametrize(
    ("groups", "width_mult", "params"),
    [(4, 1.0, 1968344), (3, 0.75, 1238266), (3, 0.5, 718324), (1, 0.25, 209746)],
)
def test_v1_text_form_at_other_widths(groups, width_mult, params):
    assert _count(_meta(shufflenet_v1, groups=groups, width_mult=width_mult, form="paper")) == params


@pytest.mark.parametrize(
    ("width_mult", "params"), [(0.5, 1365792), (1.0, 2278760), (1.5, 3506720), (2.0, 7402600)]
)
def test_v2_released_code(width_mult, params):
    assert _count(_meta(shufflenet_v2, width_mult=width_mult, form="megvii")) == params


def test_v1_only_the_first_convolution_has_no_groups():
    network = _meta(shufflenet_v1, groups=4)
    groups = [
        layer.groups
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)
    ]
    assert groups == [1, *[4] * 31]


@pytest.mark.parametrize("name", ["shufflenet_v1", "shufflenet_v2"])
@pytest.mark.parametrize(("stem_stride", "reductions"), [(2, [2, 4, 8, 16, 32]), (1, [1, 2, 4, 8])])
def test_feature_strides(name, stem_stride, reductions):
    network = create_model(name, width_mult=0.5, features_only=True, stem_stride=stem_stride)
    assert [info.reduction for info in network.feature_info] == reductions
    maps = network.eval()(torch.zeros(2, 3, 64, 32))
    assert [tuple(y.shape[2:]) for y in maps] == [(64 // r, 32 // r) for r in reductions]
    assert [y.shape[1] for y in maps] == [info.channels for info in network.feature_info]


def test_v2_shuffles_as_torchvision_does():
    """Channel k of a half goes to 2k and 2k + 1."""
    network = create_model("shufflenet_v2", width_mult=0.5).eval()
    unit = network.stages["stage2"][1]
    x = torch.rand(1, 48, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(unit(x)[:, 0::2], x[:, :24])


def test_cifar_form_ends_at_4x4():
    network = _meta(shufflenet_v1_cifar, groups=1)
    x = torch.empty(1, 3, 32, 32, device="meta")
    for stage in network.stages.values():
        x = stage(x)
    assert x.shape == (1, 576, 4, 4)


@pytest.mark.parametrize(
    ("build", "config", "message"),
    [
        (shufflenet_v1, {"groups": 5}, "groups 5"),
        (shufflenet_v1, {"width_mult": 0.3, "groups": 8}, "multiple of 32"),
        (shufflenet_v1, {"width_mult": -1.0}, "width_mult -1.0"),
        (shufflenet_v1, {"form": "caffe"}, "form 'caffe'"),
        (shufflenet_v1, {"stem_stride": 3}, "stem_stride 3"),
        (shufflenet_v1_cifar, {"groups": 4}, "groups 4"),
        (shufflenet_v2, {"width_mult": 0.75}, "width_mult 0.75"),
        (shufflenet_v2, {"form": "tf"}, "form 'tf'"),
    ],
)
def test_bad_input(build, config, message):
    with pytest.raises(InputError, match=message):
        _meta(build, **config)
