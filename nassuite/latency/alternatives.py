"""What breaking a guideline costs: a layer beside one of as many multiply-accumulates that keeps it, measured.

Both are files of that layer alone, measured in the same rounds; the alternative's time is scaled to
the layer's multiply-accumulates, as widths come in multiples of 16.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from nassuite.latency.guidelines import Finding, equal_width
from nassuite.latency.meter import Meter, Sampling
from nassuite.latency.onnx_cost import Convolution, Graph, Operator
from nassuite.latency.target import Target
from nassuite.progress import SILENT, Progress

SAMPLING = Sampling(processes=2, rounds=60, repeats=4, least_rounds=20, seconds=0.4)
OPSET = 17


@dataclass(frozen=True)
class Pair:
    """Two models: a layer and an alternative that takes ``share`` times its multiply-accumulates."""

    layer: bytes
    alternative: bytes
    share: float


def measure_findings(
    findings: Sequence[Finding],
    graph: Graph,
    operators: Sequence[Operator],
    meter: Meter,
    target: Target,
    *,
    most: int,
    progress: Progress = SILENT,
    seed: int = 0,
) -> list[Finding]:
    """Those findings with ``extra_ms`` for the ``most`` slowest of each of G1, G2 and G3; layers alike are measured once."""
    chosen: dict[Any, Pair] = {}
    for guideline in ("G1", "G2", "G3"):
        pairs: dict[Any, Pair] = {}
        for finding in (f for f in findings if f.guideline == guideline):
            key = _key(finding, operators)
            if key not in pairs and len(pairs) < most:
                pair = _pair(finding, graph, operators)
                if pair is not None:
                    pairs[key] = pair
        chosen |= pairs
    extra = _measure(chosen, meter, target, progress, seed)
    return [replace(f, extra_ms=extra[key]) if (key := _key(f, operators)) in extra else f for f in findings]


def _key(finding: Finding, operators: Sequence[Operator]) -> Any:
    """Equal for layers of one shape."""
    return finding.guideline, tuple(
        (operators[i].op, operators[i].convolution, operators[i].in_shape, operators[i].out_shape)
        for i in finding.operators
    )


def _measure(
    pairs: dict[Any, Pair], meter: Meter, target: Target, progress: Progress, seed: int
) -> dict[Any, float]:
    """Milliseconds of each layer above its alternative."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, (key, pair) in enumerate(
            progress.track(list(pairs.items()), "measuring alternatives", unit="pairs")
        ):
            paths = [Path(folder) / f"{number}-{name}.onnx" for name in ("layer", "alternative")]
            for path, model in zip(paths, (pair.layer, pair.alternative), strict=True):
                path.write_bytes(model)
            layer, other = meter(paths, target, sampling=SAMPLING, seed=seed + number)
            found[key] = (layer.ratio - other.ratio / pair.share) * layer.reference_ms
    return found


def _pair(finding: Finding, graph: Graph, operators: Sequence[Operator]) -> Pair | None:
    """None where the layer cannot be taken out of its graph."""
    if finding.guideline == "G3":
        return _branches(finding, graph, operators)
    operator = operators[finding.operators[0]]
    c = operator.convolution
    assert c is not None
    if finding.guideline == "G1":
        width = equal_width(c.in_channels, c.out_channels)
        other = replace(c, in_channels=width, out_channels=width)
    else:
        narrower = math.sqrt(c.groups)
        other = replace(
            c, in_channels=_multiple(c.in_channels / narrower), out_channels=_multiple(c.out_channels / narrower), groups=1
        )  # fmt: skip
    pixels = operator.in_shape[1:]
    share = _weights(other) / _weights(c)
    return Pair(convolutions([c], pixels), convolutions([other], pixels), share)


def _branches(finding: Finding, graph: Graph, operators: Sequence[Operator]) -> Pair | None:
    """The branches cut out, beside two pointwise convolutions in a row of as many multiply-accumulates."""
    merge = operators[finding.operators[-1]]
    if not finding.fork or len(merge.out_shape) != 3:
        return None
    into = graph.tensors[finding.fork].shape
    layer = _cut_out(finding, graph, operators, into)
    if layer is None or len(into) != 4:
        return None
    macs = sum(operators[i].macs for i in finding.operators)
    channels, (out, height, width) = into[1], merge.out_shape
    stride = max(1, round(into[2] / height))
    middle = _multiple(macs / (height * width * (channels + out)))
    pair = [
        Convolution(channels, middle, (1, 1), (stride, stride), 1),
        Convolution(middle, out, (1, 1), (1, 1), 1),
    ]
    share = height * width * sum(map(_weights, pair)) / macs
    return Pair(layer, convolutions(pair, into[2:]), share)


def _cut_out(
    finding: Finding, graph: Graph, operators: Sequence[Operator], into: tuple[int, ...]
) -> bytes | None:
    """The model of these operators alone; None where they read something that is not made among them."""
    running = graph.nodes
    nodes = [running[i] for i in finding.operators]
    made = {finding.fork, *graph.weights, *(o for node in nodes for o in node.output)}
    if not all(i in made for node in nodes for i in node.input if i):
        return None
    makers = [n for n in graph.model.graph.node if set(n.output) <= graph.weights]
    output, out_shape = nodes[-1].output[0], operators[finding.operators[-1]].out_shape
    read = {i for node in [*makers, *nodes] for i in node.input}
    model = helper.make_model(
        helper.make_graph(
            [*makers, *nodes],
            "branches",
            [helper.make_tensor_value_info(finding.fork, TensorProto.FLOAT, list(into))],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, *out_shape])],
            [tensor for tensor in graph.model.graph.initializer if tensor.name in read],
        ),
        opset_imports=list(graph.model.opset_import),
        ir_version=graph.model.ir_version,
    )
    return model.SerializeToString()


def convolutions(chain: Sequence[Convolution], pixels: Sequence[int]) -> bytes:
    """An ONNX model of these convolutions in a row, each with a ReLU, for one image of ``pixels`` (H, W)."""
    rng = np.random.default_rng(0)
    nodes, weights, tensor = [], [], "image"
    for number, c in enumerate(chain):
        shape = (c.out_channels, c.in_channels // c.groups, *c.kernel)
        values = rng.standard_normal(shape).astype(np.float32) / math.sqrt(math.prod(shape[1:]))
        weights.append(numpy_helper.from_array(values, f"weight{number}"))
        pads = [k // 2 for k in c.kernel] * 2
        nodes += [
            helper.make_node(
                "Conv", [tensor, f"weight{number}"], [f"conv{number}"],
                kernel_shape=list(c.kernel), strides=list(c.strides), pads=pads, group=c.groups,
            ),
            helper.make_node("Relu", [f"conv{number}"], [f"relu{number}"]),
        ]  # fmt: skip
        tensor = f"relu{number}"
    image = [1, chain[0].in_channels, *pixels]
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info(tensor, TensorProto.FLOAT, [None] * 4)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    return model.SerializeToString()


def _weights(c: Convolution) -> int:
    return c.out_channels * (c.in_channels // c.groups) * math.prod(c.kernel)


def _multiple(value: float) -> int:
    return max(16, round(value / 16) * 16)
