"""Runtimes beside ONNX Runtime, for the worker alone: it loads this file by its path where one is asked for.

Each opener takes a model and gives its inputs and what binds them (``worker.Bind``). torch runs networks,
not ONNX files: its models are folders of a training (``nassuite.models``).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

CAPABILITIES = {"bf16": "BF16", "f16": "FP16"}
OPENVINO_KINDS = {
    "f32": "tensor(float)", "f16": "tensor(float16)", "f64": "tensor(double)",
    "u8": "tensor(uint8)", "i8": "tensor(int8)", "i64": "tensor(int64)",
}  # fmt: skip


def open_openvino(path: str, settings: dict[str, Any]) -> tuple[list[Any], Any]:
    """An ONNX file in OpenVINO. Raises RuntimeError where the CPU has not the precision that is asked for."""
    import openvino

    precision = settings["precision"]
    core = openvino.Core()
    needed = CAPABILITIES.get(precision)
    if needed and needed not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise RuntimeError(f"this CPU has no {precision}")
    # Without the hint a CPU that has bf16 would take that for f32.
    config = {
        "INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": settings["threads"], "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False,
    }  # fmt: skip
    model = core.read_model(path)
    shapes = {node.any_name: node.partial_shape for node in model.inputs}
    for shape in shapes.values():
        if shape.rank.is_static and len(shape) and shape[0].is_dynamic:
            shape[0] = settings["batch"]  # a graph of fixed shapes is compiled for them
    model.reshape(shapes)
    compiled = core.compile_model(model, "CPU", config)
    inputs = [
        SimpleNamespace(
            name=node.any_name,
            kind=OPENVINO_KINDS.get(node.element_type.get_type_name(), node.element_type.get_type_name()),
            shape=tuple(n.get_length() if n.is_static else str(n) for n in node.partial_shape),
        )
        for node in compiled.inputs
    ]

    def bind(feed: dict[str, np.ndarray]) -> Callable[[], list[np.ndarray]]:
        request = compiled.create_infer_request()
        outputs = range(len(compiled.outputs))

        def infer() -> list[np.ndarray]:
            found = request.infer(feed, share_inputs=True, share_outputs=True)
            return [found[i] for i in outputs]

        return infer

    return inputs, bind


def open_torch(path: str, settings: dict[str, Any], *, compiled: bool = False) -> tuple[list[Any], Any]:
    """The network in the folder of a training, in eager mode or ``compiled`` by torch.compile."""
    # The worker starts with nothing of nassuite on its path; last, so that nothing is hidden by it.
    sys.path.append(str(Path(__file__).resolve().parents[2]))
    import torch

    torch.set_num_threads(settings["threads"])
    # By name: a process of its own stands outside the order of rooms, in which models come after latency.
    models = importlib.import_module("nassuite.models")
    about = models.read_description(Path(path))
    network: Any = models.load_model(path)
    if compiled:
        network = torch.compile(network)
    shape = (None, about.in_chans, about.size, about.size)

    def bind(feed: dict[str, np.ndarray]) -> Callable[[], list[np.ndarray]]:
        images = torch.from_numpy(feed["image"])

        def infer() -> list[np.ndarray]:
            with torch.inference_mode():
                return [network(images).numpy()]

        return infer

    return [SimpleNamespace(name="image", kind="tensor(float)", shape=shape)], bind


OPENERS = {
    "openvino": open_openvino,
    "torch": open_torch,
    "torch-compile": partial(open_torch, compiled=True),
}
