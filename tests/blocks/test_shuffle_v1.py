import onnx
import pytest
import torch
from torch.nn import functional as F

from nassuite.blocks.attention import CoordinateAttention, EfficientChannelAttention
from nassuite.blocks.layers import initialise
from nassuite.blocks.shuffle import DealtShuffleUnit, ShuffleUnit, channel_shuffle
from nassuite.blocks.shuffle_v1 import GroupShuffleUnit
from nassuite.onnx_export import onnx_bytes


def _ready(unit):
    """In eval mode, with batch norms that do something."""
    generator = torch.Generator().manual_seed(1)
    initialise(unit, generator, zero_residuals=False)
    for layer in unit.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(generator=generator)
            layer.running_var.uniform_(0.5, 2.0, generator=generator)
    return unit.double().eval()


def _input(channels: int) -> torch.Tensor:
    return torch.rand(2, channels, 6, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def _grouped(layer, x, groups):
    """Pointwise group convolution and batch norm, one output at a time."""
    weight, bn = layer.conv.weight, layer.bn
    outputs = []
    for o in range(len(weight)):
        group = o * groups // len(weight)
        inputs = x[:, group * weight.shape[1] : (group + 1) * weight.shape[1]]
        y = (inputs * weight[o]).sum(1)
        y = (y - bn.running_mean[o]) / (bn.running_var[o] + bn.eps).sqrt() * bn.weight[o] + bn.bias[o]
        outputs.append(y)
    return torch.stack(outputs, 1)


@pytest.mark.parametrize("form", ["paper", "megvii"])
@pytest.mark.parametrize(("groups", "stride"), [(3, 1), (3, 2), (2, 1)])
def test_unit_equals_the_slow_obvious_one(form, groups, stride):
    inputs, outputs, middle = 12, 12 * stride, 6
    unit = _ready(GroupShuffleUnit(inputs, outputs, middle, groups=groups, stride=stride, form=form))
    x = _input(inputs)

    per_group = middle // groups
    y = _grouped(unit.reduce, x, groups).clamp(min=0)
    if form == "paper":
        y = y[:, [g * per_group + k for k in range(per_group) for g in range(groups)]]
        y = unit.depthwise(y)
    else:
        y = unit.depthwise(y)
        y = y[:, [k * groups + g for g in range(groups) for k in range(per_group)]]
    y = _grouped(unit.project, y, groups)
    if stride == 1:
        expected = (x + y).clamp(min=0)
    else:
        pooled = F.avg_pool2d(x, 3, stride=2, padding=1)
        expected = torch.cat((y.clamp(min=0), pooled) if form == "paper" else (pooled, y.clamp(min=0)), 1)

    torch.testing.assert_close(unit(x), expected)


def test_only_a_sum_has_a_last_batch_norm():
    unit = GroupShuffleUnit(8, 8, 4, groups=2)
    assert unit.last_batch_norms() == (unit.project.bn,)
    assert GroupShuffleUnit(8, 16, 4, groups=2, stride=2).last_batch_norms() == ()


def test_first_convolution_and_shuffle_can_have_groups_of_their_own():
    unit = GroupShuffleUnit(
        6, 18, 6, groups=3, stride=2, first_groups=1, shuffle_groups=1, depthwise_relu=True
    )
    assert unit.reduce.conv.groups == 1
    assert unit.project.conv.groups == 3
    _ready(unit)
    x = _input(6)
    branch = unit.project(unit.depthwise(unit.reduce(x)))  # a shuffle in one group moves nothing
    torch.testing.assert_close(unit(x)[:, :12], branch.clamp(min=0))
    assert (unit.depthwise(unit.reduce(x)) >= 0).all()


def test_dealing_undoes_a_shuffle():
    x = _input(12)
    torch.testing.assert_close(channel_shuffle(channel_shuffle(x, 3), 4), x)


def test_dealt_unit_keeps_even_channels_and_transforms_odd_ones():
    unit = _ready(DealtShuffleUnit(8, 8))
    x = _input(8)
    y = unit(x)
    torch.testing.assert_close(y[:, :4], x[:, [0, 2, 4, 6]])
    torch.testing.assert_close(y[:, 4:], unit.project(unit.depthwise(unit.expand(x[:, [1, 3, 5, 7]]))))


def test_dealt_downsampling_splits_unevenly():
    unit = _ready(DealtShuffleUnit(6, 20, downsamples=True))
    x = _input(6)
    assert unit(x).shape == (2, 20, 3, 2)
    torch.testing.assert_close(unit(x)[:, :6], unit.other(x))
    assert unit.project.conv.out_channels == 14
    assert unit.expand.conv.out_channels == 10


@pytest.mark.parametrize(
    "unit",
    [
        ShuffleUnit(16, 16),
        ShuffleUnit(16, 16, transformed=(0, 2)),
        ShuffleUnit(16, 32, stride=2, downsamples=True),
        GroupShuffleUnit(16, 16, 8, groups=2),
        CoordinateAttention(16),
        EfficientChannelAttention(),
    ],
    ids=lambda unit: type(unit).__name__,
)
def test_the_exported_file_computes_no_shapes(unit):
    graph = onnx.load_from_string(onnx_bytes(unit, (16, 8, 8))).graph
    assert not {"Shape", "Div", "Cast"} & {node.op_type for node in graph.node}
    assert {dimension.dim_param for dimension in graph.input[0].type.tensor_type.shape.dim} == {"N", ""}
