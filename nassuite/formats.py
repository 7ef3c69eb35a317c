"""The formats in which a network leaves: how each is written, and run again to prove that it agrees with PyTorch."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import io
import os
import tempfile
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from nassuite.errors import InputError
from nassuite.onnx_export import (
    Parity,
    ParityError,
    compare,
    export_torch,
    exported_program,
    onnx_bytes,
    parity_images,
    run_onnx,
)
from nassuite.records import write_bytes

if TYPE_CHECKING:
    import numpy as np

Shape = tuple[int, int, int]
EXECUTORCH_BATCH = 8
"""Its memory is planned when the file is written: for batches of up to so many images. (Lowering narrows a bound
of 64 to 15 without a word.)"""


@dataclass(frozen=True)
class Format:
    """``files`` are written by ``write(model, folder, shape)``; ``run(folder, images)`` gives logits.

    ``batch`` is the larger of the two numbers of images at which outputs are compared, the other is one.
    ``package`` is what must be installed for it, and ``extra`` what installs it; empty where nothing more is needed.
    ``takes`` says where it takes its images in another way than the others, of ``channels``, ``height`` and ``width``.
    """

    files: tuple[str, ...]
    write: Callable[[nn.Module, Path, Shape], None]
    run: Callable[[Path, np.ndarray], np.ndarray]
    package: str = ""
    extra: str = ""
    batch: int = 3
    takes: str = ""


def write_format(name: str, model: nn.Module, folder: Path, shape: Shape) -> Parity:
    """Writes ``model`` (images in 0..1 to logits) into ``folder`` and proves it, batches of one and of several.

    Raises InputError for a model that the format cannot hold, or holds wrongly; then nothing of it is left.
    """
    form = FORMATS[name]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        form.write(model, folder, shape)
        size = sum((folder / file).stat().st_size for file in form.files)
        return compare(
            model, lambda images: form.run(folder, images), size_bytes=size,
            images=parity_images(shape, 1 + form.batch),
        )  # fmt: skip
    except BaseException as error:
        for file in form.files:
            (folder / file).unlink(missing_ok=True)
        if isinstance(error, ImportError):
            raise InputError(
                f"--format {name}: {form.package} does not work here ({error}): pip install 'nassuite[{form.extra}]'"
            ) from error
        if isinstance(error, ParityError):
            raise InputError(f"--format {name}: {error}") from error
        raise


def check_formats(names: tuple[str, ...]) -> None:
    """Raises InputError for a format that is not known, or whose converter is not installed here."""
    for name in names:
        if name not in FORMATS:
            raise InputError(f"--format {name}: expected one of {', '.join(FORMATS)}")
        form = FORMATS[name]
        if form.package and importlib.util.find_spec(form.package) is None:
            raise InputError(
                f"--format {name}: {form.package} is not installed here: pip install 'nassuite[{form.extra}]'"
            )


def _write_onnx(model: nn.Module, folder: Path, shape: Shape) -> None:
    write_bytes(folder / "model.onnx", onnx_bytes(model, shape))


def _write_torch(model: nn.Module, folder: Path, shape: Shape) -> None:
    export_torch(model, folder / "model.pt2", input_shape=shape)


def _run_torch(folder: Path, images: np.ndarray) -> np.ndarray:
    import torch

    # Written a moment ago by this process, so what it holds is known.
    program: Any = torch.export.load(folder / "model.pt2").module()
    with torch.no_grad():
        return program(torch.from_numpy(images)).numpy()


def _write_openvino(model: nn.Module, folder: Path, shape: Shape) -> None:
    """By way of the ONNX graph, in which batch norms are folded and the normalisation is inside."""
    openvino: Any = importlib.import_module("openvino")
    with tempfile.TemporaryDirectory(prefix="nassuite-openvino-") as scratch:
        graph, converted = Path(scratch) / "model.onnx", Path(scratch) / "model.xml"
        graph.write_bytes(onnx_bytes(model, shape))
        try:
            openvino.save_model(openvino.Core().read_model(graph), converted, compress_to_fp16=False)
        except RuntimeError as error:
            reason = next((line for line in str(error).splitlines() if "not support" in line), str(error))
            raise InputError(f"--format openvino: {reason.strip().splitlines()[0]}") from error
        # The weights first: a description without them is no model.
        for file in ("model.bin", "model.xml"):
            write_bytes(folder / file, (Path(scratch) / file).read_bytes())


def _run_openvino(folder: Path, images: np.ndarray) -> np.ndarray:
    """In float32: a CPU with bfloat16 would take that unless told otherwise."""
    openvino: Any = importlib.import_module("openvino")
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": os.cpu_count() or 1}
    compiled = openvino.Core().compile_model(folder / "model.xml", "CPU", settings)
    return compiled(images)[0]


def _write_executorch(model: nn.Module, folder: Path, shape: Shape) -> None:
    """Lowered to XNNPACK, ExecuTorch's backend for the CPUs of phones; what that lacks runs on portable kernels."""
    partitioners: Any = importlib.import_module("executorch.backends.xnnpack.partition.xnnpack_partitioner")
    exir: Any = importlib.import_module("executorch.exir")
    program = exported_program(model, shape, most=EXECUTORCH_BATCH)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            edge = exir.to_edge_transform_and_lower(program, partitioner=[partitioners.XnnpackPartitioner()])
            lowered = edge.to_executorch().buffer
        except Exception as error:  # each operator and each pass has its own
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(f"--format executorch: {reason}") from error
    write_bytes(folder / "model.pte", lowered)


def _run_executorch(folder: Path, images: np.ndarray) -> np.ndarray:
    import torch

    runtime: Any = importlib.import_module("executorch.runtime")
    method = runtime.Runtime.get().load_program(folder / "model.pte").load_method("forward")
    batches = torch.from_numpy(images).split(EXECUTORCH_BATCH)
    return torch.cat([method.execute([batch])[0].clone() for batch in batches]).numpy()


class _ChannelsLast(nn.Module):
    """A network for images (N, H, W, C)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image.permute(0, 3, 1, 2))


def _write_tflite(model: nn.Module, folder: Path, shape: Shape) -> None:
    """By LiteRT's converter: one image at a time, channels last, which is how phones hold them."""
    import torch

    litert: Any = importlib.import_module("litert_torch")
    channels, height, width = shape
    plain = _ChannelsLast(copy.deepcopy(model).cpu()).eval()
    with tempfile.TemporaryDirectory(prefix="nassuite-tflite-") as scratch:
        converted = Path(scratch) / "model.tflite"
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):  # it prints each of its steps
            warnings.simplefilter("ignore")
            try:
                litert.convert(plain, (torch.zeros(1, height, width, channels),)).export(str(converted))
            except Exception as error:  # each operator and each pass has its own
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise InputError(f"--format tflite: {reason}") from error
        write_bytes(folder / "model.tflite", converted.read_bytes())


def _run_tflite(folder: Path, images: np.ndarray) -> np.ndarray:
    import numpy as np

    litert: Any = importlib.import_module("ai_edge_litert.interpreter")
    interpreter = litert.Interpreter(model_path=str(folder / "model.tflite"), num_threads=os.cpu_count() or 1)
    interpreter.allocate_tensors()
    (image,), (logits,) = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for one in images.transpose(0, 2, 3, 1):
        interpreter.set_tensor(image["index"], np.ascontiguousarray(one[None]))
        interpreter.invoke()
        rows.append(interpreter.get_tensor(logits["index"]))
    return np.concatenate(rows)


FORMATS: dict[str, Format] = {
    "onnx": Format(
        ("model.onnx",), _write_onnx, lambda folder, images: run_onnx(folder / "model.onnx", images)
    ),
    "pt2": Format(("model.pt2",), _write_torch, _run_torch),
    "openvino": Format(
        ("model.bin", "model.xml"), _write_openvino, _run_openvino, package="openvino", extra="openvino"
    ),
    "executorch": Format(
        ("model.pte",),
        _write_executorch,
        _run_executorch,
        package="executorch",
        extra="executorch",
        batch=EXECUTORCH_BATCH,
        takes=f"model.pte takes batches of 1 to {EXECUTORCH_BATCH} images",
    ),
    "tflite": Format(
        ("model.tflite",),
        _write_tflite,
        _run_tflite,
        package="litert_torch",
        extra="tflite",
        takes="model.tflite takes one image at a time, channels last: float32 [1, {height}, {width}, {channels}], 0..1",
    ),
}
