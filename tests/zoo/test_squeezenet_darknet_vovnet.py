import pytest
import torch
from torch import nn

from nassuite.errors import InputError
from nassuite.zoo.create import create_model
from nassuite.zoo.darknet import DarkBlock, darknet53
from nassuite.zoo.squeezenet import squeezenet1_0, squeezenet1_1
from nassuite.zoo.vovnet import OneShotAggregation, vovnet39, vovnet57


def _shapes(build, size: int, **config) -> list[tuple[int, ...]]:
    with torch.device("meta"):
        network = build(num_classes=7, in_chans=3, **config)
        x = torch.empty(2, 3, size, size)
        assert network(x).shape == (2, 7)
        shapes = []
        for stage in network.stages.values():
            x = stage(x)
            shapes.append((x.shape[1], x.shape[2]))
    return shapes


def test_squeezenet_stages():
    assert _shapes(squeezenet1_0, 224) == [(96, 109), (256, 54), (512, 27), (512, 13)]
    assert _shapes(squeezenet1_1, 224) == [(64, 111), (128, 55), (256, 27), (512, 13)]
    assert _shapes(squeezenet1_0, 32, stem_stride=1) == [(96, 32), (256, 32), (512, 16), (512, 8)]


def test_squeezenet_logits_are_means_of_a_map():
    network = create_model("squeezenet1_1", num_classes=3).eval()
    maps = torch.rand(2, 512, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network.head(maps), network.head[1](maps).clamp(min=0).mean((2, 3)))


def test_darknet_stages():
    assert _shapes(darknet53, 64) == [(32, 64), (64, 32), (128, 16), (256, 8), (512, 4), (1024, 2)]
    assert _shapes(darknet53, 32, stem_stride=1)[-1] == (1024, 4)


def test_darknet_adds_behind_the_activation():
    block = DarkBlock(4, leak=0.1).eval()
    nn.init.zeros_(block.last_batch_norms()[0].weight)
    nn.init.constant_(block.last_batch_norms()[0].bias, -1.0)
    x = torch.rand(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(block(x), x - 0.1)


def test_vovnet_stages():
    stages = [(64, 32), (256, 16), (512, 8), (768, 4), (1024, 2)]
    assert _shapes(vovnet39, 64) == stages
    assert _shapes(vovnet57, 64) == stages
    assert _shapes(vovnet39, 32, stem_stride=1) == [(64, 32), (256, 32), (512, 16), (768, 8), (1024, 4)]


def test_vovnet57_has_3_more_modules():
    def modules(build) -> list[bool]:
        with torch.device("meta"):
            network = build(num_classes=7, in_chans=3, residual=True)
        return [m.residual for m in network.modules() if isinstance(m, OneShotAggregation)]

    assert modules(vovnet39) == [False, False, False, True, False, True]
    assert modules(vovnet57) == [False, False, False, True, True, True, False, True, True]


def test_aggregation_concatenates_input_and_every_layer_once():
    block = OneShotAggregation(4, 3, 4, residual=True).eval()
    assert block.aggregate.conv.in_channels == 4 + 5 * 3
    x = torch.rand(2, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    maps, y = [x], x
    for layer in block.layers:
        y = layer(y)
        maps.append(y)
    torch.testing.assert_close(block(x), x + block.aggregate(torch.cat(maps, 1)))
    assert OneShotAggregation(4, 3, 4).last_batch_norms() == ()


def test_bad_input():
    with pytest.raises(InputError, match="leak 2"):
        darknet53(num_classes=2, in_chans=3, leak=2)
    with pytest.raises(InputError, match="stem_stride 4"):
        vovnet39(num_classes=2, in_chans=3, stem_stride=4)
    with pytest.raises(InputError, match="stem_stride 0"):
        squeezenet1_0(num_classes=2, in_chans=3, stem_stride=0)
