"""What an ONNX file costs, counted from its graph: multiply-accumulates, parameters, memory.

Shapes are those of one run of the file with every tensor as an output, so they hold whatever the
graph computes them from. Multiply-accumulates are those of convolutions and of products with constant
weights, as ``cost.cost`` counts them in a module; batch norm, activations and pooling do not count.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from nassuite.errors import InputError
from nassuite.records import write_bytes

CONVOLUTIONS = {"Conv": 1, "ConvTranspose": 1, "ConvInteger": 1, "QLinearConv": 3}
PRODUCTS = {"Gemm": 1, "MatMul": 1, "MatMulInteger": 1, "QLinearMatMul": 3}
"""Operator to the position of its weights among its inputs."""

VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout")
"""These name a tensor anew and move nothing."""

IN_PLACE = ("Relu", "Clip", "HardSwish", "HardSigmoid", "Sigmoid", "LeakyRelu", "Elu")
"""These may write over their input if nobody reads it after them."""

DATA = (np.float32, np.float16, np.float64, np.uint8, np.int8)
"""Types of activations and weights; whole numbers of 32 and 64 bits are shapes and indices."""


@dataclass(frozen=True)
class Convolution:
    """Channels of input and output, kernel, strides, groups."""

    in_channels: int
    out_channels: int
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    groups: int

    @property
    def pointwise(self) -> bool:
        return set(self.kernel) == {1}

    @property
    def depthwise(self) -> bool:
        return 1 < self.groups == self.in_channels


@dataclass(frozen=True)
class Operator:
    """One node of the graph. ``layer`` is the module that it came from, as far as the exporter kept names.

    Shapes are of the first input and output, without the batch. ``params`` are elements of its constant inputs;
    ``memory_access_bytes`` what it reads and writes: inputs, constants, outputs; nothing for a view.
    """

    name: str
    layer: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    macs: int
    params: int
    memory_access_bytes: int
    convolution: Convolution | None


@dataclass(frozen=True)
class GraphCost:
    """Of one image. ``params`` are all constants of the file that are data, not shapes.

    ``activation_bytes`` are all tensors that operators make, views left out. ``peak_bytes`` is the most that
    is alive at once when nodes run in the file's order: a tensor lives from the node that makes
    it to the last that reads it; views share their input's memory, and activations write over it where nothing else
    reads it. Weights are not in it. ``peak_at`` names the node.
    """

    macs: int
    params: int
    activation_bytes: int
    peak_bytes: int
    peak_at: str
    memory_access_bytes: int
    operators: tuple[Operator, ...]


@dataclass(frozen=True)
class Tensor:
    """``bytes`` is 0 for what is no data."""

    shape: tuple[int, ...]
    bytes: int


@dataclass(frozen=True)
class Graph:
    """A model with its tensors; ``weights`` are constants and what is computed of constants alone."""

    model: Any
    tensors: Mapping[str, Tensor]
    constants: Mapping[str, Tensor]
    weights: frozenset[str]

    @property
    def nodes(self) -> list[Any]:
        """Those that run for an image."""
        return [n for n in self.model.graph.node if not set(n.output) <= self.weights]

    def size(self, names: Iterable[str]) -> int:
        return sum(self.tensors[name].bytes for name in names if name in self.tensors)


def with_size(path: Path, size: int, copy: Path) -> Path:
    """The file itself, or, where it leaves the side of its images open, a ``copy`` of it for ``size`` pixels."""
    model = _load(path)
    dims = [dim for i in model.graph.input for dim in i.type.tensor_type.shape.dim[2:]]
    open_dims = [dim for dim in dims if not dim.HasField("dim_value")]
    if not open_dims:
        return path
    for dim in open_dims:
        dim.dim_value = size
    write_bytes(copy, model.SerializeToString())
    return copy


def read_graph(path: Path) -> Graph:
    """The file's graph for a batch of one.

    Raises InputError for a file that is no model, an input of unknown shape, or a graph that does not run.
    """
    model = _load(path)
    constants = dict(_constants(model))
    tensors = {**constants, **_run(model, path)}
    return Graph(model, tensors, constants, frozenset(_weights(model, constants)))


def graph_cost(graph: Graph) -> GraphCost:
    """Counted from the graph alone; nothing is measured."""
    operators = tuple(_operator(node, number, graph) for number, node in enumerate(graph.nodes))
    peak_bytes, peak_at = _peak(graph)
    return GraphCost(
        macs=sum(operator.macs for operator in operators),
        params=sum(math.prod(tensor.shape) for tensor in graph.constants.values() if tensor.bytes),
        activation_bytes=sum(graph.size(o.outputs) for o in operators if o.op not in VIEWS),
        peak_bytes=peak_bytes,
        peak_at=peak_at,
        memory_access_bytes=sum(operator.memory_access_bytes for operator in operators),
        operators=operators,
    )


def feed(inputs: Any, path: Path) -> dict[str, np.ndarray]:
    """Noise for the inputs of a session (``get_inputs()``): one image."""
    from nassuite.latency.worker import DTYPES

    rng, found = np.random.default_rng(0), {}
    for node in inputs:
        shape = [1 if i == 0 and not isinstance(n, int) else n for i, n in enumerate(node.shape)]
        if not all(isinstance(n, int) and n > 0 for n in shape):
            raise InputError(f"{path}: input {node.name} has an open shape {node.shape}: give --size")
        if node.type not in DTYPES:
            raise InputError(f"{path}: input {node.name} is a {node.type}, expected images")
        found[node.name] = rng.random(shape).astype(DTYPES[node.type])
    return found


def _load(path: Path) -> Any:
    try:
        return onnx.load(str(path))
    except Exception as error:  # protobuf's errors share no public base class
        raise InputError(f"{path}: not an ONNX file ({' '.join(str(error).split())[:200]})") from None


def layer_name(node: str) -> str:
    """The module of a node that torch's exporter named: "/stem/blocks/blocks.0/conv/Conv" is "stem.blocks.0.conv".

    Another name is left as it is.
    """
    if not node.startswith("/"):
        return node
    parts: list[str] = []
    for part in node.split("/")[1:-1]:
        if parts and part.startswith(f"{parts[-1]}."):
            parts[-1] = part  # a child of a Sequential repeats its parent's name
        else:
            parts.append(part)
    return ".".join(parts) or node


def _constants(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Initialisers and the values of Constant nodes."""
    found = [(tensor.name, tensor) for tensor in model.graph.initializer]
    for node in model.graph.node:
        if node.op_type == "Constant":
            found += [(node.output[0], a.t) for a in node.attribute if a.name == "value"]
    for name, tensor in found:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        yield name, Tensor(tuple(tensor.dims), _bytes(tuple(tensor.dims), dtype))


def _weights(model: Any, constants: Mapping[str, Tensor]) -> set[str]:
    """Constants, and what is computed of constants alone: weights that are stored as int8, say."""
    found = set(constants)
    for node in model.graph.node:
        if node.op_type == "Constant" or (node.input and all(i in found for i in node.input if i)):
            found |= set(node.output)
    return found


def _run(model: Any, path: Path) -> dict[str, Tensor]:
    """Every tensor of one run, inputs among them."""
    import onnxruntime

    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    given = {output.name for output in extended.graph.output}
    names = [name for node in extended.graph.node for name in node.output if name]
    extended.graph.output.extend([onnx.ValueInfoProto(name=name) for name in names if name not in given])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(
            extended.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        inputs = feed(session.get_inputs(), path)
        values = session.run(None, inputs)
    except InputError:
        raise
    except Exception as error:  # onnxruntime's exceptions share no public base class
        raise InputError(f"{path}: onnxruntime cannot run it: {' '.join(str(error).split())[:300]}") from None
    outputs = {node.name: value for node, value in zip(session.get_outputs(), values, strict=True)}
    return {
        name: Tensor(value.shape, _bytes(value.shape, value.dtype))
        for name, value in [*inputs.items(), *outputs.items()]
        if isinstance(value, np.ndarray)
    }


def _operator(node: Any, number: int, graph: Graph) -> Operator:
    name = node.name or f"{node.op_type}_{number}"
    tensors = graph.tensors
    own = [i for i in node.input if i in graph.weights and i in tensors]
    data = [i for i in node.input if i and i not in graph.weights]
    made = [o for o in node.output if o]
    return Operator(
        name=name,
        layer=layer_name(name),
        op=node.op_type,
        inputs=tuple(data),
        outputs=tuple(made),
        in_shape=tensors[data[0]].shape[1:] if data and data[0] in tensors else (),
        out_shape=tensors[made[0]].shape[1:] if made[0] in tensors else (),
        macs=_macs(node, graph),
        params=sum(math.prod(tensors[i].shape) for i in own if tensors[i].bytes),
        memory_access_bytes=0 if node.op_type in VIEWS else graph.size([*data, *own, *made]),
        convolution=_convolution(node, tensors),
    )


def _macs(node: Any, graph: Graph) -> int:
    position = CONVOLUTIONS.get(node.op_type, PRODUCTS.get(node.op_type))
    if position is None:
        return 0
    weight, out = node.input[position], graph.tensors[node.output[0]].shape
    elements = math.prod(graph.tensors[weight].shape)
    if node.op_type == "ConvTranspose":
        return elements * math.prod(graph.tensors[node.input[0]].shape[2:])
    if node.op_type in CONVOLUTIONS:
        return elements * math.prod(out[2:])
    # A product of two activations, as in attention, has no weights.
    return elements * math.prod(out[1:-1]) if weight in graph.weights else 0


def _convolution(node: Any, tensors: Mapping[str, Tensor]) -> Convolution | None:
    if node.op_type not in CONVOLUTIONS or node.op_type == "ConvTranspose":
        return None
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    shape = tensors[node.input[CONVOLUTIONS[node.op_type]]].shape
    groups = attributes.get("group", 1)
    return Convolution(
        in_channels=shape[1] * groups,
        out_channels=shape[0],
        kernel=tuple(shape[2:]),
        strides=tuple(attributes.get("strides", (1,) * len(shape[2:]))),
        groups=groups,
    )


def _peak(graph: Graph) -> tuple[int, str]:
    """The most bytes alive at once, and the node at which they are."""
    nodes = graph.nodes
    last_read = {i: at for at, node in enumerate(nodes) for i in node.input}
    last_read |= {output.name: len(nodes) for output in graph.model.graph.output}
    # Each tensor's memory goes by the name of the tensor that was there first.
    place = {i.name: i.name for i in graph.model.graph.input if i.name not in graph.constants}
    born, dies = dict.fromkeys(place, 0), {name: last_read.get(name, 0) for name in place}
    for at, node in enumerate(nodes):
        there = place.get(node.input[0]) if node.input else None
        over = there is not None and node.op_type in IN_PLACE and dies[there] <= at
        for output in (o for o in node.output if o):
            mine = there if there is not None and (node.op_type in VIEWS or over) else output
            place[output] = mine
            born.setdefault(mine, at)
            dies[mine] = max(dies.get(mine, at), last_read.get(output, at))
    change = np.zeros(len(nodes) + 2, dtype=np.int64)
    for name, begin in born.items():
        change[begin] += graph.size([name])
        change[dies[name] + 1] -= graph.size([name])
    alive = np.cumsum(change)[: max(1, len(nodes))]
    at = int(alive.argmax())
    return int(alive[at]), (nodes[at].name or nodes[at].op_type) if nodes else ""


def _bytes(shape: tuple[int, ...], dtype: Any) -> int:
    return math.prod(shape) * np.dtype(dtype).itemsize if dtype in DATA else 0
