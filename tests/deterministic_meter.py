"""A meter for tests: the same latency for the same file on every machine, a function of its MACs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import onnx

from nassuite.latency.meter import CERTIFICATE, Measurement, Sampling
from nassuite.latency.target import Target
from nassuite.progress import SILENT, Progress
from nassuite.records import sha256_file

MACS_PER_MS = 50e6
NODE_MS = 0.002
REFERENCE_MS = 0.2


def deterministic_meter(
    paths: Sequence[Path],
    target: Target,
    *,
    sampling: Sampling = CERTIFICATE,
    progress: Progress = SILENT,
    seed: int = 0,
) -> list[Measurement]:
    """A ``Meter``; p50 is 0.002 ms a node plus 1 ms for 50 million MACs, samples are within 1 % of it."""
    return [_measurement(Path(path), target, sampling) for path in paths]


def _measurement(path: Path, target: Target, sampling: Sampling) -> Measurement:
    model = onnx.load(path)
    latency_ms = NODE_MS * len(model.graph.node) + onnx_macs(model) / MACS_PER_MS
    count = sampling.rounds * sampling.repeats
    process = tuple(latency_ms * (1 + 0.01 * math.sin(i - count // 2)) for i in range(count))
    ratio = latency_ms / REFERENCE_MS
    return Measurement(
        file=path.name,
        sha256=sha256_file(path),
        target=target.describe(),
        samples_ms=(process,) * sampling.processes,
        ratio=ratio,
        ratio_low=ratio * 0.99,
        ratio_high=ratio * 1.01,
        reference_ms=REFERENCE_MS,
        aa_ratios=(1.0,) * sampling.processes,
        rejected=0,
        conditions={},
    )


def onnx_macs(model: onnx.ModelProto) -> int:
    """Multiply-accumulates of convolutions and matrix products, for one image."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for value in [*graph.input, *graph.value_info, *graph.output]:
        dims = value.type.tensor_type.shape.dim
        shapes[value.name] = [dim.dim_value or 1 for dim in dims]
    total = 0
    for node in graph.node:
        if node.op_type == "Conv":
            pixels = math.prod(shapes[node.output[0]][2:])
            total += math.prod(shapes[node.input[1]]) * pixels
        elif node.op_type in ("Gemm", "MatMul"):
            total += math.prod(shapes[node.input[1]])
    return total
