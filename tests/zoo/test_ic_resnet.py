"""IC-ResNet-50: patterns of both forms, their mistakes, and several networks in one process."""

import json

import pytest
import torch
from torch import nn

from nassuite.blocks.inception_conv import InceptionConv2d
from nassuite.errors import InputError
from nassuite.zoo import ic_resnet
from nassuite.zoo.ic_resnet import WIDTHS, ic_resnet50
from nassuite.zoo.resnet import resnet50_v1b

PLAIN = [[[1, 1]] * width for width in WIDTHS]


def build(pattern=None, **options):
    with torch.device("meta"):
        return ic_resnet50(num_classes=10, in_chans=3, pattern=pattern, **options).eval()


def layers(network):
    """The dilations of each inception convolution's branches and how many channels they have."""
    return [
        [(branch.dilation, branch.out_channels) for branch in layer.branches]
        for layer in network.modules()
        if isinstance(layer, InceptionConv2d)
    ]


def written(path, value):
    path.write_text(json.dumps(value))
    return path


def test_a_pattern_file_sets_every_layer(tmp_path):
    value = json.loads(json.dumps(PLAIN))
    value[0][5] = [2, 3]
    value[15][:2] = [[4, 4], [4, 4]]
    found = layers(build(written(tmp_path / "p.json", value)))
    assert found[0] == [((1, 1), 63), ((2, 3), 1)]
    assert found[15] == [((4, 4), 2), ((1, 1), 510)]
    assert found[1:15] == [[((1, 1), width)] for width in WIDTHS[1:15]]


def test_the_authors_files_count_from_zero_and_keep_their_order(tmp_path):
    value = [{"(0, 0)": width - 5, "(0, 3)": 2, "(1, 2)": 0, "(3, 1)": 3} for width in WIDTHS]
    found = layers(build(str(written(tmp_path / "p.json", value))))
    assert found == [[((1, 1), width - 5), ((1, 4), 2), ((4, 2), 3)] for width in WIDTHS]


def test_networks_of_different_patterns_side_by_side():
    first, second = build(PLAIN), build()
    assert layers(first) == [[((1, 1), width)] for width in WIDTHS]
    assert layers(build(PLAIN)) == layers(first) != layers(second) == layers(build())


def test_any_pattern_has_the_parameters_and_strides_of_resnet50():
    with torch.device("meta"):
        plain = resnet50_v1b(num_classes=10, in_chans=3).eval()
    advised = build()
    counts = [sum(p.numel() for p in network.parameters()) for network in (plain, advised)]
    assert counts[0] == counts[1]
    with torch.no_grad():
        x = torch.empty(1, 3, 32, 32, device="meta")
        for name, stage in plain.stages.items():
            y = advised.stages[name](x)
            x = stage(x)
            assert x.shape == y.shape


def test_without_a_pattern_it_is_the_authors_advice():
    found = [dict(layer) for layer in layers(build())]
    assert [sum(layer.values()) for layer in found] == list(WIDTHS)
    assert all(len(layer) == 16 for layer in found)
    assert found[0][1, 1] == 34  # half of 64, and what 15 others cannot share evenly
    assert found[-1][1, 1] / 512 == pytest.approx(0.7, abs=0.03)


def test_large_kernels_are_the_network_to_search():
    network = build(large_kernel=9)
    sizes = [c.kernel_size for c in network.modules() if isinstance(c, nn.Conv2d) if c.kernel_size != (1, 1)]
    assert sizes == [(7, 7)] + [(9, 9)] * 16
    assert layers(network) == []
    x = torch.empty(1, 3, 32, 32, device="meta")
    assert network(x).shape == (1, 10)


def changed(index, layer):
    return [*PLAIN[:index], layer, *PLAIN[index + 1 :]]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"layers": []}, "a list with one entry for each of 16 layers, not dict"),
        (PLAIN[:-1], "it has 15 layers, this network has 16"),
        (changed(1, [[1, 1]] * 63), "layer 2: it has 63 channels, this network's layer has 64"),
        (changed(3, {"(0, 0)": 65}), "layer 4: it has 65 channels, this network's layer has 128"),
        (changed(0, "dense"), "layer 1: a list of .* dilations, not str"),
        (changed(0, [[1, 1]] * 63 + [[0, 1]]), r"layer 1: \[0, 1\]: a dilation is two whole numbers"),
        (changed(0, [[1, 1]] * 63 + [[1]]), r"layer 1: \[1\]: a dilation is two"),
        (changed(0, [[1, 1]] * 63 + [[True, 1]]), r"layer 1: \[True, 1\]"),
        (changed(0, [[1, 1]] * 63 + [[1.5, 1]]), r"layer 1: \[1.5, 1\]"),
        (changed(0, {"0,0": 64}), "layer 1: '0,0': counts are named like"),
        (changed(0, {"(0, 0)": 65, "(0, 1)": -1}), r"layer 1: '\(0, 1\)': a count of channels"),
    ],
)
def test_a_pattern_that_does_not_fit(tmp_path, value, message):
    path = written(tmp_path / "p.json", value)
    with pytest.raises(InputError, match=message) as error:
        build(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_pattern_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"gone\.json: No such file"):
        build(tmp_path / "gone.json")
    (tmp_path / "p.json").write_bytes(b"\xff[")
    with pytest.raises(InputError, match="no JSON file"):
        build(tmp_path / "p.json")


def test_large_kernels_have_no_pattern_and_few_sizes():
    with pytest.raises(InputError, match="give one of them"):
        build(PLAIN, large_kernel=5)
    with pytest.raises(InputError, match="large_kernel 4: 5, 7 or 9"):
        build(large_kernel=4)


def test_patterns_are_json_of_what_is_built():
    assert ic_resnet.parse_pattern(json.loads(json.dumps(PLAIN)), WIDTHS) == [
        [(1, 1)] * width for width in WIDTHS
    ]
