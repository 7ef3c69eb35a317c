"""Profiles and guidelines: what kernels are led back to, what breaks which guideline, what that costs."""

import onnx
import pytest
from torch import nn

from nassuite.latency.alternatives import convolutions, measure_findings
from nassuite.latency.guidelines import equal_width, findings
from nassuite.latency.meter import Measurement
from nassuite.latency.onnx_cost import Convolution, graph_cost, read_graph
from nassuite.latency.profiling import Kernel, profile, trace
from nassuite.latency.target import Target
from nassuite.onnx_export import export_onnx

TARGET = Target()


class Block(nn.Module):
    """Breaks all four: widths 16 to 48, a grouped convolution, two branches, an activation that is not fused."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Conv2d(16, 48, 1)
        self.grouped = nn.Conv2d(48, 48, 3, padding=1, groups=3)
        self.left, self.right = nn.Conv2d(48, 48, 1), nn.Conv2d(48, 48, 3, padding=1, groups=48)
        self.act = nn.Hardswish()

    def forward(self, x):
        x = self.grouped(self.wide(x))
        return self.act(self.left(x) + self.right(x)).mean((2, 3))


@pytest.fixture(scope="module")
def block(tmp_path_factory):
    path = tmp_path_factory.mktemp("block") / "model.onnx"
    export_onnx(Block(), path, input_shape=(16, 8, 8), check=False)
    graph = read_graph(path)
    return path, graph, graph_cost(graph).operators


def number(operators, layer):
    return next(i for i, operator in enumerate(operators) if operator.layer == layer)


def kernels_of(operators):
    """One of a millisecond for each operator."""
    return [Kernel(o.name, o.op, i, 1.0) for i, o in enumerate(operators)]


def test_each_guideline_finds_its_layer(block):
    _, _, operators = block
    found = findings(operators, kernels_of(operators))
    layers = {name: [f.layer for f in found if f.guideline == name] for name in ("G1", "G2", "G3", "G4")}
    assert layers["G1"] == ["wide"]
    assert layers["G2"] == ["grouped"]
    assert {"right", "act"} <= set(layers["G4"])
    (branches,) = [f for f in found if f.guideline == "G3"]
    assert {operators[i].layer for i in branches.operators} >= {"left", "right"}
    assert "wide" not in {operators[i].layer for i in branches.operators}
    assert branches.ms == len(branches.operators)
    assert branches.fork == operators[number(operators, "grouped")].outputs[0]
    assert [f.ms for f in found] == sorted((f.ms for f in found), reverse=True)
    widths = next(f for f in found if f.guideline == "G1")
    assert widths.what == "1x1, 16 to 48 channels at 8x8"
    assert widths.extra_ms is None


def test_an_activation_that_is_fused_costs_nothing(block):
    _, _, operators = block
    fused = [k for k in kernels_of(operators) if operators[k.operator].layer != "act"]
    assert "act" not in {f.layer for f in findings(operators, fused)}


def test_what_breaks_a_guideline_is_measured_beside_what_keeps_it(block):
    _, graph, operators = block
    seen = []

    def meter(paths, target, **more):
        models = [onnx.load(path) for path in paths]
        for model in models:
            onnx.checker.check_model(model)
        seen.append(models)
        return [
            Measurement(p.name, "", {}, ((1.0,),), ratio, ratio, ratio, 0.5, (1.0,), 0, {})
            for p, ratio in zip(paths, (3.0, 1.0), strict=True)
        ]

    found = findings(operators, kernels_of(operators))
    told = measure_findings(found, graph, operators, meter, TARGET, most=4)
    assert len(seen) == 3  # one pair each of G1, G2, G3
    by_name = {f.guideline: f for f in told if f.guideline != "G4"}
    # 16 to 48 channels are 768 weights, 32 to 32 are 1024: the alternative's time counts three quarters.
    assert by_name["G1"].extra_ms == pytest.approx((3.0 - 1.0 * 768 / 1024) * 0.5)
    assert all(f.extra_ms is not None for f in told)
    assert [f.extra_ms for f in measure_findings(found, graph, operators, meter, TARGET, most=0)] == [
        f.extra_ms for f in found
    ]


def test_a_layer_that_is_there_twice_is_measured_once(tmp_path):
    path = tmp_path / "model.onnx"
    chain = [Convolution(16, 48, (1, 1), (1, 1), 1), Convolution(48, 16, (1, 1), (1, 1), 1)] * 2
    path.write_bytes(convolutions(chain, (4, 4)))
    graph = read_graph(path)
    operators = graph_cost(graph).operators
    calls = []

    def meter(paths, target, **more):
        calls.append(paths)
        return [Measurement(p.name, "", {}, ((1.0,),), 2.0, 2.0, 2.0, 0.5, (1.0,), 0, {}) for p in paths]

    told = measure_findings(
        findings(operators, kernels_of(operators)), graph, operators, meter, TARGET, most=9
    )
    assert len(calls) == 2
    assert sum(f.guideline == "G1" and f.extra_ms is not None for f in told) == 4


@pytest.mark.parametrize(
    ("widths", "equal"), [((16, 48), 32), ((24, 144), 64), ((8, 8), 16), ((960, 160), 384)]
)
def test_equal_widths_are_multiples_of_16_of_about_as_many_macs(widths, equal):
    assert equal_width(*widths) == equal


def test_kernels_are_led_back_by_names_of_nodes_and_of_tensors(block):
    _, _, operators = block
    tensors = {operator.layer: operator.outputs[0] for operator in operators}
    nodes = {operator.layer: operator.name for operator in operators}
    total = next(o for o in operators if o.op == "Add")
    names = [
        "ReorderInput_token_1",
        f"{tensors['wide']}_nchwc",
        nodes["grouped"],
        f"{total.outputs[0]}_nchwc",
        "odd",
        "x",
    ]
    kinds = ["ReorderInput", "Conv", "Conv", "Conv", "ReorderOutput", "Mystery"]
    places = trace(names, kinds, operators)
    wide, grouped, right = (number(operators, layer) for layer in ("wide", "grouped", "right"))
    # A convolution that was fused with the sum goes by the name of the sum's tensor.
    assert places == [wide, wide, grouped, right, right, None]


def test_a_profile_of_a_real_file_finds_its_layers(block):
    path, _, operators = block
    found = profile(path, operators, TARGET, seconds=0.01)
    assert found.runs >= 20
    assert found.total_ms > 0
    known = {operators[kernel.operator].layer for kernel in found.kernels if kernel.operator is not None}
    assert {"wide", "grouped", "left", "right"} <= known
    assert sum(kernel.ms for kernel in found.kernels if kernel.operator is None) < 0.2 * found.total_ms
