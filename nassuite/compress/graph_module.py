"""An ONNX graph as a PyTorch module that can be trained: what quantisation-aware fine-tuning works on.

A graph with QuantizeLinear and DequantizeLinear nodes becomes a fake-quantised network: quantised values are held
as the real numbers that they stand for, rounding lets gradients through (the straight-through estimator, Bengio et
al. 2013, section 4; for quantised networks Jacob et al. 2018, section 3) and clipping stops them. Weights are kept in
full precision and rounded in every pass, scales stay as calibration found them. ``to_onnx`` rounds them for good.
So the file is the very graph that was trained; the batch norms were folded before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from nassuite.errors import InputError

Attributes = Mapping[str, Any]
INTEGERS = {"uint8": (0, 255), "int8": (-128, 127), "int32": (-(2**31), 2**31 - 1)}


class NoTrainingForm(InputError):
    """An operator of a graph cannot be trained through."""


class GraphModule(nn.Module):
    """Images (N, C, H, W) to the first output of ``model``; integers that DequantizeLinear reads are parameters.

    Raises NoTrainingForm for an operator that is none of ``OPERATORS``.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        graph = model.graph
        unknown = sorted({node.op_type for node in graph.node} - set(OPERATORS) - {"Constant"})
        if unknown:
            raise NoTrainingForm(
                f"cannot be fine-tuned in int8: no training form of the operator {unknown[0]}"
            )
        self.model = model
        self.input, self.output = graph.input[0].name, graph.output[0].name
        arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant":
                arrays[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        self.nodes = [node for node in graph.node if node.op_type != "Constant"]
        self.attributes = [_attributes(node) for node in self.nodes]
        self.ranges = {
            node.output[0]: INTEGERS[str(arrays[node.input[2]].dtype)]
            for node in self.nodes
            if node.op_type == "QuantizeLinear"
        }
        self.learned = {
            node.input[0]: node
            for node in self.nodes
            if node.op_type == "DequantizeLinear" and node.input[0] in arrays
        }
        self.weights = nn.ParameterDict()
        for name, array in arrays.items():
            tensor = torch.from_numpy(array.copy())
            if name in self.learned:
                scale, zero = _scale_and_zero(self.learned[name], arrays, tensor.dim())
                self.weights[_key(name)] = nn.Parameter((tensor.double() - zero).mul(scale).float())
            else:
                self.register_buffer(_key(name), tensor)
        self.integers = {name: INTEGERS[str(arrays[name].dtype)] for name in self.learned}

    def forward(self, images: Tensor) -> Tensor:
        values: dict[str, Any] = {self.input: images, "": None}
        for node, attributes in zip(self.nodes, self.attributes, strict=True):
            given = [self._value(name, values) for name in node.input]
            if node.op_type == "QuantizeLinear":
                results: Any = _fake_quantise(given, attributes, self.ranges[node.output[0]])
            elif node.op_type == "DequantizeLinear":
                known = self.integers.get(node.input[0])
                results = _fake_quantise(given, attributes, known) if known else given[0]
            else:
                results = OPERATORS[node.op_type](attributes, *given)
            values.update(
                zip(node.output, results if isinstance(results, tuple | list) else [results], strict=False)
            )
        return values[self.output]

    def _value(self, name: str, values: Mapping[str, Any]) -> Any:
        if name in values:
            return values[name]
        return self.weights[_key(name)] if name in self.learned else getattr(self, _key(name))

    def to_onnx(self) -> bytes:
        """The graph with the weights that were learned, rounded as ``forward`` rounds them."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        for tensor in model.graph.initializer:
            if tensor.name not in self.learned:
                continue
            real = self.weights[_key(tensor.name)].detach().cpu()
            scale, zero = _scale_and_zero(self.learned[tensor.name], arrays, real.dim())
            low, high = self.integers[tensor.name]
            # In float32, as in training: the integer must be the one that was trained with.
            rounded = (torch.round(real / scale.float()).double() + zero).clamp(low, high)
            kind = arrays[tensor.name].dtype
            tensor.CopyFrom(numpy_helper.from_array(rounded.numpy().astype(kind), tensor.name))
        return model.SerializeToString()


def _key(name: str) -> str:
    return "t_" + name.replace(".", "_dot_")


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def _scale_and_zero(
    node: onnx.NodeProto, arrays: Mapping[str, np.ndarray], dims: int
) -> tuple[Tensor, Tensor]:
    """Of a DequantizeLinear of a constant, in float64, in a shape that fits its tensor."""
    axis = _attributes(node).get("axis", 1)
    scale = torch.from_numpy(arrays[node.input[1]].astype(np.float64))
    zero = arrays[node.input[2]].astype(np.float64) if len(node.input) > 2 and node.input[2] else np.zeros(())
    return _along(scale, axis, dims), _along(torch.from_numpy(np.asarray(zero)), axis, dims)


def _along(values: Tensor, axis: int, dims: int) -> Tensor:
    if values.numel() == 1:
        return values.reshape(())
    shape = [1] * dims
    shape[axis] = -1
    return values.reshape(shape)


def _fake_quantise(given: Sequence[Any], attributes: Attributes, limits: tuple[int, int]) -> Tensor:
    """The real number that stands for a value after rounding; half goes to the even integer, as in ONNX."""
    x, scale = given[0], given[1]
    zero = given[2] if len(given) > 2 and given[2] is not None else torch.zeros((), device=x.device)
    axis = attributes.get("axis", 1)
    scale, zero = _along(scale, axis, x.dim()), _along(zero, axis, x.dim()).to(x.dtype)
    low, high = limits
    with torch.no_grad():
        rounded = ((torch.round(x / scale) + zero).clamp(low, high) - zero) * scale
    clipped = torch.minimum(torch.maximum(x, (low - zero) * scale), (high - zero) * scale)
    return clipped + (rounded - clipped).detach()


def _conv(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    pads, spatial = a.get("pads", [0] * 2 * (x.dim() - 2)), x.dim() - 2
    return torch.conv2d(
        _padded(x, pads, 0.0), weight, bias, stride=a.get("strides", [1] * spatial),
        dilation=a.get("dilations", [1] * spatial), groups=a.get("group", 1),
    )  # fmt: skip


def _padded(x: Tensor, pads: Sequence[int], value: float) -> Tensor:
    """ONNX names all beginnings, then all ends; PyTorch pairs, the last axis first."""
    half = len(pads) // 2
    pairs = [side for axis in reversed(range(half)) for side in (pads[axis], pads[half + axis])]
    return F.pad(x, pairs, value=value) if any(pairs) else x


def _gemm(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    x, weight = (x.T if a.get("transA") else x), (weight.T if a.get("transB") else weight)
    product = a.get("alpha", 1.0) * (x @ weight)
    return product if bias is None else product + a.get("beta", 1.0) * bias


def _max_pool(a: Attributes, x: Tensor) -> Tensor:
    x = _padded(x, a.get("pads", [0, 0, 0, 0]), float("-inf"))
    return F.max_pool2d(x, a["kernel_shape"], a.get("strides", [1, 1]), ceil_mode=bool(a.get("ceil_mode", 0)))


def _average_pool(a: Attributes, x: Tensor) -> Tensor:
    pads = a.get("pads", [0, 0, 0, 0])
    if pads[:2] != pads[2:]:
        raise NoTrainingForm(
            "cannot be fine-tuned in int8: no training form of AveragePool with uneven padding"
        )
    return F.avg_pool2d(
        x, a["kernel_shape"], a.get("strides", [1, 1]), padding=pads[:2], ceil_mode=bool(a.get("ceil_mode", 0)),
        count_include_pad=bool(a.get("count_include_pad", 0)),
    )  # fmt: skip


def _reshape(a: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    sides = [int(side) for side in shape]
    return x.reshape([x.shape[n] if side == 0 else side for n, side in enumerate(sides)])


def _reduce_mean(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    over = a.get("axes") if axes is None else axes.tolist()
    return x.mean(dim=over, keepdim=bool(a.get("keepdims", 1)))


def _clip(a: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    x = x if low is None else torch.maximum(x, low)
    return x if high is None else torch.minimum(x, high)


def _slice(a: Attributes, x: Tensor, starts: Tensor, ends: Tensor, *more: Tensor | None) -> Tensor:
    """``more`` are axes and steps, where they are given."""
    axes, steps = [*more, None, None][:2]
    axes_ = range(len(starts)) if axes is None else axes.tolist()
    steps_ = [1] * len(starts) if steps is None else steps.tolist()
    index = [slice(None)] * x.dim()
    for axis, start, end, step in zip(axes_, starts.tolist(), ends.tolist(), steps_, strict=True):
        index[axis] = slice(start, end, step)
    return x[tuple(index)]


def _split(a: Attributes, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    axis = a.get("axis", 0)
    if sizes is None:
        return x.chunk(a["num_outputs"], axis)
    return x.split(sizes.tolist(), axis)


OPERATORS: dict[str, Callable[..., Any]] = {
    "QuantizeLinear": _fake_quantise,
    "DequantizeLinear": _fake_quantise,
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": lambda a, x, y: x @ y,
    "Relu": lambda a, x: F.relu(x),
    "LeakyRelu": lambda a, x: F.leaky_relu(x, a.get("alpha", 0.01)),
    "PRelu": lambda a, x, slope: torch.where(x >= 0, x, x * slope),
    "Clip": _clip,
    "Sigmoid": lambda a, x: torch.sigmoid(x),
    "Tanh": lambda a, x: torch.tanh(x),
    "HardSigmoid": lambda a, x: (x * a.get("alpha", 0.2) + a.get("beta", 0.5)).clamp(0, 1),
    "HardSwish": lambda a, x: x * (x / 6 + 0.5).clamp(0, 1),
    "Erf": lambda a, x: torch.erf(x),
    "Softmax": lambda a, x: F.softmax(x, a.get("axis", -1)),
    "Add": lambda a, x, y: x + y,
    "Sub": lambda a, x, y: x - y,
    "Mul": lambda a, x, y: x * y,
    "Div": lambda a, x, y: x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc"),
    "Sqrt": lambda a, x: torch.sqrt(x),
    "GlobalAveragePool": lambda a, x: x.mean((2, 3), keepdim=True),
    "ReduceMean": _reduce_mean,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "Pad": lambda a, x, pads, value=None: _padded(x, pads.tolist(), 0.0 if value is None else float(value)),
    "Concat": lambda a, *parts: torch.cat(parts, a["axis"]),
    "Split": _split,
    "Slice": _slice,
    "Reshape": _reshape,
    "Flatten": lambda a, x: x.flatten(a.get("axis", 1)),
    "Transpose": lambda a, x: x.permute(a["perm"]),
    "Identity": lambda a, x: x,
    "Shape": lambda a, x: torch.tensor(x.shape),
    "Gather": lambda a, x, index: torch.as_tensor(x).select(a.get("axis", 0), int(index))
    if index.dim() == 0 else x.index_select(a.get("axis", 0), index),
    "Unsqueeze": lambda a, x, axes: x.reshape([1]) if x.dim() == 0 else x.unsqueeze(int(axes)),
    "Squeeze": lambda a, x, axes: x.squeeze(tuple(axes.tolist())),
    "Cast": lambda a, x: x,
}  # fmt: skip
"""ONNX operators as functions of (attributes, inputs...)."""
