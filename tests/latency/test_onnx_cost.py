import math

import pytest
import torch
import torch_pruning
from torch import nn

from nassuite.errors import InputError
from nassuite.latency.alternatives import convolutions
from nassuite.latency.cost import cost
from nassuite.latency.onnx_cost import Convolution, graph_cost, layer_name, read_graph, with_size
from nassuite.onnx_export import export_onnx
from nassuite.zoo.create import create_model


def counted(network, shape, folder):
    path = folder / "model.onnx"
    export_onnx(network, path, input_shape=shape, check=False)
    return graph_cost(read_graph(path))


class Everything(nn.Module):
    """A convolution of each kind, a residual sum, a product over positions and a classifier."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
        self.wide = nn.Conv2d(8, 16, 1)
        self.deep = nn.Conv2d(16, 16, 5, padding=2, groups=16)
        self.grouped = nn.Conv2d(16, 8, 3, padding=1, groups=4)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.positions = nn.Linear(4, 6)
        self.head = nn.Linear(6, 10)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.grouped(self.deep(self.wide(x)))
        x = self.positions(self.up(x).flatten(2).transpose(1, 2))
        return self.head(x.mean(1))


def test_it_counts_what_the_module_counts(tmp_path):
    network = Everything()
    found, expected = counted(network, (3, 12, 12), tmp_path), cost(network, (3, 12, 12))
    assert found.macs == expected.macs
    assert found.params == expected.params
    by_layer = {operator.layer: operator.macs for operator in found.operators if operator.macs}
    assert by_layer == {layer.name: layer.macs for layer in expected.layers}


@pytest.mark.parametrize("model", ["shufflenet_v2", "mobilenet_v3_small"])
def test_networks_with_shuffles_and_squeezes_too(model, tmp_path):
    network = create_model(model, num_classes=10)
    assert counted(network, (3, 64, 64), tmp_path).macs == cost(network, (3, 64, 64)).macs


def test_torch_pruning_counts_the_same_where_it_counts_the_same_thing():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.Conv2d(8, 8, 5, padding=2, groups=8, bias=False),
        nn.Conv2d(8, 16, 1, stride=2, bias=False),
        nn.Flatten(),
        nn.Linear(16 * 36, 10, bias=False),
    )
    ours = cost(network, (3, 12, 12))
    macs, params = torch_pruning.utils.count_ops_and_params(network, torch.zeros(1, 3, 12, 12))
    assert (ours.macs, ours.params) == (int(macs), int(params))


def test_memory_by_hand(tmp_path):
    path = tmp_path / "two.onnx"
    chain = [Convolution(3, 8, (3, 3), (1, 1), 1), Convolution(8, 2, (1, 1), (1, 1), 1)]
    path.write_bytes(convolutions(chain, (4, 5)))
    found = graph_cost(read_graph(path))
    image, middle, out, first, second = 3 * 20, 8 * 20, 2 * 20, 8 * 27, 16
    assert found.macs == 20 * (first + second)
    assert found.params == first + second
    # Each convolution and its ReLU makes a tensor; the ReLU writes over what the convolution made.
    assert found.activation_bytes == 4 * 2 * (middle + out)
    moved = (image + first + middle) + 2 * middle + (middle + second + out) + 2 * out
    assert found.memory_access_bytes == 4 * moved
    assert found.peak_bytes == 4 * (image + middle)
    assert [operator.in_shape for operator in found.operators] == [(3, 4, 5), (8, 4, 5), (8, 4, 5), (2, 4, 5)]


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        x = self.first(x)
        return (x + self.second(x)).flatten(1)


def test_a_residual_keeps_its_input_alive(tmp_path):
    found = counted(Residual(), (4, 3, 3), tmp_path)
    tensor = 4 * 4 * 9
    # At the sum: what it adds and what it makes; the image is no longer needed.
    assert found.peak_bytes == 3 * tensor
    assert found.peak_at.endswith("Add")
    assert found.activation_bytes == 3 * tensor  # flattening makes no tensor


@pytest.mark.parametrize(
    ("node", "layer"),
    [
        ("/stem/conv/Conv", "stem.conv"),
        ("/network/blocks/blocks.0/blocks.0.1/conv/Conv", "network.blocks.0.1.conv"),
        ("/network/blocks/blocks.3/Add_1", "network.blocks.3"),
        ("/Flatten", "/Flatten"),
        ("Conv_12", "Conv_12"),
    ],
)
def test_layers_are_named_as_in_the_module(node, layer):
    assert layer_name(node) == layer


def test_what_cannot_be_counted_is_refused(tmp_path):
    text = tmp_path / "text.onnx"
    text.write_text("no model")
    with pytest.raises(InputError, match=r"not an ONNX file|cannot run it"):
        read_graph(text)
    network, path = nn.Conv2d(3, 4, 3), tmp_path / "open.onnx"
    torch.onnx.export(
        network, (torch.zeros(1, 3, 8, 8),), str(path), dynamo=False, input_names=["image"],
        dynamic_axes={"image": {0: "n", 2: "h", 3: "w"}},
    )  # fmt: skip
    with pytest.raises(InputError, match="give --size"):
        read_graph(path)
    sized = with_size(path, 8, tmp_path / "sized.onnx")
    assert graph_cost(read_graph(sized)).macs == math.prod((4, 3, 3, 3)) * 36
    assert with_size(sized, 16, tmp_path / "unused.onnx") == sized
