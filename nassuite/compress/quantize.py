"""Static int8 quantisation of an exported file, in the formats of ONNX Runtime's CPU kernels.

QDQ nodes and signed weights with one scale per output channel (depthwise layers need that). With unsigned
activations (U8S8) 1.6 times faster than float32 on a CPU with VNNI, where signed ones (S8S8) gain nothing;
CPUs without VNNI can saturate under U8S8, which S8S8 does not.
"""

from __future__ import annotations

import inspect
import io
import logging
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from nassuite import records
from nassuite.errors import InputError

if TYPE_CHECKING:
    import onnx

Method = Literal["minmax", "entropy", "percentile"]
Activation = Literal["uint8", "int8"]

CALIBRATION_BATCH = 16
CALIBRATION_PIXELS = 2**17  # in a batch: every activation of a batch is held at once
PERCENTILE = 99.99
POOLING = ("GlobalAveragePool", "ReduceMean")
WEIGHTED = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True)
class QuantizeConfig:
    """``method`` finds the activations' ranges. ``exclude`` names what stays in float32.

    An entry is the name of a node, an operator ("Mul"), or "squeeze-excite": all nodes of the channel
    attention blocks, from pooling to product, whose gates have a wide range and take little time.
    ``activation`` is the type of what flows between layers.
    """

    method: Method = "minmax"
    exclude: tuple[str, ...] = ()
    per_channel: bool = True
    activation: Activation = "uint8"

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise InputError(f"calibration method {self.method!r} is none of {', '.join(get_args(Method))}")
        if self.activation not in get_args(Activation):
            raise InputError(f"activations {self.activation!r} are none of {', '.join(get_args(Activation))}")


CANDIDATES = (
    QuantizeConfig("minmax"),
    QuantizeConfig("percentile"),
    QuantizeConfig("minmax", exclude=("squeeze-excite",)),
    QuantizeConfig("percentile", exclude=("squeeze-excite",)),
)


def quantize_int8(
    onnx_path: str | os.PathLike[str],
    out_path: str | os.PathLike[str],
    calibration: np.ndarray,
    *,
    method: Method = "minmax",
    per_channel: bool = True,
    exclude: Sequence[str] = (),
) -> Path:
    """Writes the int8 form of a float32 ONNX file; inputs and outputs stay float32 with their names.

    ``calibration``: images (N, C, H, W) float32 in 0..1, which should be training images. Memory does not grow
    with N. ``exclude`` is ``QuantizeConfig``'s. Raises ``InputError`` for images that do not fit the model.
    """
    config = QuantizeConfig(method, tuple(exclude), per_channel)
    records.write_bytes(out_path, int8_bytes(onnx_path, calibration, config))
    return Path(out_path)


def quantize_best(
    onnx_path: str | os.PathLike[str],
    out_path: str | os.PathLike[str],
    calibration: np.ndarray,
    *,
    score: Callable[[bytes], float],
    candidates: Sequence[QuantizeConfig] = CANDIDATES,
) -> tuple[QuantizeConfig, dict[QuantizeConfig, float]]:
    """Writes the candidate with the highest ``score`` (of the file's bytes), the first of equals.

    Returns its settings and everyone's score. ``score`` is the caller's: accuracy on validation images, or
    less whatever time costs there.
    """
    scores: dict[QuantizeConfig, float] = {}
    best, best_data = None, b""
    with quantizer(onnx_path, calibration) as made:
        for config in made.distinct(candidates):
            data = made.int8(config)
            scores[config] = score(data)
            if best is None or scores[config] > scores[best]:
                best, best_data = config, data
    if best is None:
        raise InputError("no quantisation settings to choose from")
    records.write_bytes(out_path, best_data)
    return best, scores


def int8_bytes(onnx_path: str | os.PathLike[str], calibration: np.ndarray, config: QuantizeConfig) -> bytes:
    """``quantize_int8`` in memory."""
    with quantizer(onnx_path, calibration) as made:
        return made.int8(config)


@dataclass(frozen=True, eq=False)
class Quantizer:
    """Makes int8 forms of one file, which lies prepared in a folder of its own (``quantizer`` makes that)."""

    prepared: Path
    calibration: np.ndarray

    def int8(self, config: QuantizeConfig) -> bytes:
        """The file in int8. The ranges that a method has found are kept for the next time."""
        from onnxruntime import quantization as ortq

        methods = {
            "minmax": ortq.CalibrationMethod.MinMax,
            "entropy": ortq.CalibrationMethod.Entropy,
            "percentile": ortq.CalibrationMethod.Percentile,
        }
        types = {"uint8": ortq.QuantType.QUInt8, "int8": ortq.QuantType.QInt8}
        graph = _load(self.prepared).graph
        quantized = self.prepared.with_name("int8.onnx")
        more: dict[str, Any] = {}
        if "calibration_cache_path" in inspect.signature(ortq.quantize_static).parameters:
            more["calibration_cache_path"] = self.prepared.with_name(f"{config.method}.json")
        with _quiet():
            ortq.quantize_static(
                self.prepared,
                quantized,
                _reader(graph.input[0].name, self.calibration),
                quant_format=ortq.QuantFormat.QDQ,
                per_channel=config.per_channel,
                activation_type=types[config.activation],
                weight_type=ortq.QuantType.QInt8,
                nodes_to_exclude=_excluded_nodes(graph, config.exclude),
                calibrate_method=methods[config.method],
                extra_options={
                    # One batch at a time: the other ways keep every activation of every image.
                    "CalibStridedMinMax": 1,
                    # Percentile calibration is symmetric unless told otherwise, a bit lost after every ReLU.
                    "CalibTensorRangeSymmetric": False,
                    "CalibPercentile": PERCENTILE,
                },
                **more,
            )
        return quantized.read_bytes()

    def distinct(self, candidates: Sequence[QuantizeConfig]) -> list[QuantizeConfig]:
        """Those that give different files: a network without attention has nothing to exclude."""
        graph = _load(self.prepared).graph
        first: dict[tuple[Any, ...], QuantizeConfig] = {}
        for config in candidates:
            excluded = tuple(_excluded_nodes(graph, config.exclude))
            first.setdefault((config.method, config.per_channel, config.activation, excluded), config)
        return list(first.values())

    def layers(self) -> list[str]:
        """Names of the nodes whose weights are quantised, in the graph's order."""
        graph = _load(self.prepared).graph
        weights = {tensor.name for tensor in graph.initializer}
        return [
            node.name
            for node in graph.node
            if node.op_type in WEIGHTED and node.name and weights.intersection(node.input)
        ]


@contextmanager
def quantizer(onnx_path: str | os.PathLike[str], calibration: np.ndarray) -> Iterator[Quantizer]:
    """A file prepared for any number of int8 forms. Raises ``InputError`` for images that do not fit the model."""
    from onnxruntime import quantization as ortq

    _check_images(_load(onnx_path).graph.input[0], calibration)
    with tempfile.TemporaryDirectory(prefix="nassuite-int8-") as folder:
        prepared = Path(folder) / "prepared.onnx"
        with _quiet():
            ortq.shape_inference.quant_pre_process(os.fspath(onnx_path), prepared, skip_symbolic_shape=True)
        yield Quantizer(prepared, calibration)


def sensitivities(
    made: Quantizer, config: QuantizeConfig, logits: Callable[[bytes], np.ndarray], expected: np.ndarray
) -> dict[str, float]:
    """For each layer, the mean squared error of the logits when it alone is in float32: the lower, the more it costs.

    ``logits(file)`` runs a file on images on which the float32 model gives ``expected``. Labels are not
    needed, and a mean over all logits tells layers apart where an accuracy over few images cannot.
    """
    found = {}
    for layer in made.layers():
        file = made.int8(replace(config, exclude=(*config.exclude, layer)))
        found[layer] = float(np.mean((logits(file) - expected) ** 2))
    return found


def keep_sensitive(
    made: Quantizer,
    config: QuantizeConfig,
    order: Sequence[str],
    enough: Callable[[bytes], bool],
) -> tuple[QuantizeConfig, bytes]:
    """Layers of ``order`` stay in float32, one more each time, until ``enough`` says so of the file, or none is left."""
    for count in range(1, len(order) + 1):
        mixed = replace(config, exclude=(*config.exclude, *order[:count]))
        file = made.int8(mixed)
        if enough(file):
            break
    return mixed, file


def _reader(name: str, images: np.ndarray) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    size = max(1, min(CALIBRATION_BATCH, CALIBRATION_PIXELS // math.prod(images.shape[2:])))

    class Batches(CalibrationDataReader):
        def __init__(self) -> None:
            self.pending: Iterator[int] = iter(range(len(self)))

        def __len__(self) -> int:
            return math.ceil(len(images) / size)

        def set_range(self, start_index: int, end_index: int) -> None:
            self.pending = iter(range(start_index, end_index))

        def get_next(self) -> dict[str, np.ndarray] | None:
            i = next(self.pending, None)
            if i is None:
                return None
            batch = images[i * size : (i + 1) * size]
            return {name: np.ascontiguousarray(batch, dtype=np.float32)}

    return Batches()


def _load(path: str | os.PathLike[str]) -> onnx.ModelProto:
    import onnx

    try:
        return onnx.load(os.fspath(path))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error


def _check_images(image: onnx.ValueInfoProto, images: np.ndarray) -> None:
    expected = [dim.dim_value or "N" for dim in image.type.tensor_type.shape.dim]
    if len(images) == 0 or images.ndim != len(expected) or list(images.shape[1:]) != expected[1:]:
        raise InputError(
            f"calibration images of shape {images.shape}: the model wants {expected}, N at least 1"
        )


def _excluded_nodes(graph: onnx.GraphProto, exclude: Sequence[str]) -> list[str]:
    """Names of the nodes that ``exclude`` means."""
    attention = _squeeze_excite_nodes(graph) if "squeeze-excite" in exclude else set()
    return [
        node.name
        for node in graph.node
        if node.name and (node.name in attention or node.name in exclude or node.op_type in exclude)
    ]


def _squeeze_excite_nodes(graph: onnx.GraphProto) -> set[str]:
    """Every node on a way from a global pooling to the product with the tensor that was pooled."""
    consumers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for tensor in node.input:
            consumers.setdefault(tensor, []).append(node)
    found: set[str] = set()
    for pooling in graph.node:
        if pooling.op_type not in POOLING:
            continue
        way, node = [pooling], pooling
        while len(following := consumers.get(node.output[0], [])) == 1:
            node = following[0]
            way.append(node)
            if node.op_type == "Mul" and pooling.input[0] in node.input:
                found.update(step.name for step in way)
                break
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what onnxruntime.quantization prints, and the advice that it gives on the root logger."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(previous)
