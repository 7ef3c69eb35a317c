"""A float32 ONNX classifier and the images that it is for, from whatever holds one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nassuite.data import Data, DataConfig, load_data
from nassuite.errors import InputError
from nassuite.folders import check_no_weights, no_model
from nassuite.onnx_export import onnx_bytes
from nassuite.progress import Progress
from nassuite.pruning_source import bring_model

INT8 = {"int8": "fp32", "pruned-int8": "pruned"}
"""Variants of a deploy folder that are quantised already, and what they were made of."""


@dataclass(frozen=True, eq=False)
class OnnxSource:
    """``content`` is the file, image (N, C, H, W) in 0..1 to logits (N, classes); ``data`` has its size."""

    content: bytes
    data: Data


def open_onnx(model: Path, data: str, *, seed: int, progress: Progress) -> OnnxSource:
    """The folder of a training, a deploy folder, or an .onnx file, with ``data`` (empty: what it was trained on).

    Raises InputError for what is no float32 classifier, or for images of other classes.
    """
    if (model / "model.json").is_file():
        brought = bring_model(str(model), data=data, seed=seed, command="quantize", progress=progress)
        return OnnxSource(onnx_bytes(brought.model, brought.shape), brought.data)
    check_no_weights(model)
    labels: list[str] = []
    path = model
    if model.is_dir():
        path, labels = _float_file(model)
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # the latter for a name that no file can have
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{model}: expected the folder of a training, a deploy folder, or an .onnx file ({reason})"
        ) from None
    if not data:
        raise InputError(f"{model} does not say what it was trained on: give --data")
    channels, side, classes = _interface(content, path)
    images = load_data(DataConfig(data, size=side, seed=seed), progress=progress)
    if images.in_chans != channels or len(images.labels) != classes:
        raise InputError(
            f"{path} takes {channels} channel(s) and knows {classes} classes, {images.name} has {images.in_chans} and "
            f"{len(images.labels)}"
        )
    if labels and tuple(labels) != images.labels:
        raise InputError(f"{model} was trained for other classes than {images.name} has")
    return OnnxSource(content, images)


def _float_file(folder: Path) -> tuple[Path, list[str]]:
    """The float32 file that the model of a deploy folder is, or was quantised from, and its labels."""
    try:
        card = json.loads((folder / "card.json").read_text())
        labels = [str(label) for label in card["labels"]]
        rows: list[dict[str, Any]] = card.get("variants", [])
        files = {row["name"]: row["file"] for row in rows}
        chosen = next((row["name"] for row in rows if row.get("chosen")), card.get("chosen", ""))
    except FileNotFoundError:
        raise no_model(folder, "card.json") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder / 'card.json'} is damaged ({error})") from None
    name = INT8.get(chosen, chosen if chosen in ("fp32", "pruned") else "fp32")
    return folder / files.get(name, "model.onnx"), labels


def _interface(content: bytes, path: Path) -> tuple[int, int, int]:
    """Channels, side and classes. Raises InputError for a file of another kind."""
    import onnx

    try:
        graph = onnx.load_from_string(content).graph
        (image,), (logits,) = graph.input, graph.output
        dims = [dim.dim_value for dim in image.type.tensor_type.shape.dim]
        outputs = [dim.dim_value for dim in logits.type.tensor_type.shape.dim]
    except Exception as error:  # protobuf's own, and graphs of other inputs
        raise InputError(f"{path}: no ONNX model of one input and one output ({error})") from None
    if image.type.tensor_type.elem_type != onnx.TensorProto.FLOAT or len(dims) != 4 or len(outputs) != 2:
        raise InputError(
            f"{path}: takes {dims} and gives {outputs}, expected float32 [N, C, H, W] to [N, classes]"
        )
    if dims[0] or min(dims[1:]) < 1 or dims[2] != dims[3] or outputs[1] < 1:
        raise InputError(
            f"{path}: takes {dims} and gives {outputs}, expected a free batch and square images of a fixed size"
        )
    if any(node.op_type == "QuantizeLinear" for node in graph.node):
        raise InputError(f"{path} is quantised already: give the float32 file that it was made of")
    return dims[1], dims[2], outputs[1]
