"""Models leave here: ONNX under the deploy contract, torch.export, and the proof that they agree.

The contract: one file, input ``image`` float32 (N, C, H, W) in 0..1 with the normalisation inside the
graph, output ``logits``, N free. The older, tracing exporter is used on purpose: it takes a tenth
of the time of the newer one, and a latency predictor needs hundreds of files.
"""

from __future__ import annotations

import copy
import io
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from torch import Tensor, nn

from nassuite import records
from nassuite.blocks.layers import initialise
from nassuite.errors import InputError, first_line
from nassuite.nn.network import Interface, build
from nassuite.spec import Arch

if TYPE_CHECKING:
    import numpy as np

OPSET = 17
TOLERANCE = 1e-3
PARITY_SEED = 0
"""Also that of the weights of networks that are exported to be timed."""


@dataclass(frozen=True)
class Parity:
    """How far an exported file is from the PyTorch model in eval mode, over ``images`` images.

    ``max_abs_diff`` and ``scale`` (the largest absolute logit of PyTorch) are in logits;
    ``top1_agreement`` is the fraction of images (pixels, for maps) with the same arg max.
    """

    images: int
    max_abs_diff: float
    scale: float
    top1_agreement: float
    size_bytes: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class ParityError(RuntimeError):
    """The exported file does not compute what the model computes."""


@overload
def export_onnx(
    model: nn.Module, path: str | os.PathLike[str], *, input_shape: tuple[int, int, int],
    images: Tensor | None = None, check: Literal[True] = True,
) -> Parity: ...  # fmt: skip


@overload
def export_onnx(
    model: nn.Module, path: str | os.PathLike[str], *, input_shape: tuple[int, int, int],
    images: Tensor | None = None, check: Literal[False],
) -> None: ...  # fmt: skip


def export_onnx(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    input_shape: tuple[int, int, int],
    images: Tensor | None = None,
    check: bool = True,
) -> Parity | None:
    """Writes ``model`` as one ONNX file; the model itself is left as it was.

    ``input_shape`` is (C, H, W). Parity is checked on ``images`` (N, C, H, W) in 0..1, seeded noise
    without them, before the file is written. Raises ``ParityError`` if the logits differ by more
    than 1e-3 of their scale, ``InputError`` if the model cannot be exported.
    """
    data = onnx_bytes(model, input_shape)
    parity = onnx_parity(model, data, input_shape=input_shape, images=images) if check else None
    records.write_bytes(path, data)
    return parity


def export_arch(arch: Arch, interface: Interface, path: str | os.PathLike[str]) -> None:
    """The network of an architecture with fresh weights, unchecked: time does not depend on their values.

    The weights are the same each time, so that a file measured elsewhere is known again by its digest.
    """
    network = build(arch, interface)
    initialise(network, torch.Generator().manual_seed(PARITY_SEED), zero_residuals=False)
    shape = (interface.in_chans, arch.resolution, arch.resolution)
    export_onnx(network, path, input_shape=shape, check=False)


def onnx_bytes(model: nn.Module, input_shape: tuple[int, int, int]) -> bytes:
    """The ONNX file of ``model`` in memory, unchecked; batch norm is folded into the convolutions."""
    buffer = io.BytesIO()
    # A batch of two: nothing of size one can be taken for a constant.
    example = torch.zeros(2, *input_shape, device=_device(model))
    with in_eval_mode(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                model,
                (example,),
                buffer,  # type: ignore[arg-type]  # this exporter takes a buffer too
                dynamo=False,
                opset_version=OPSET,
                input_names=["image"],
                output_names=["logits"],
                dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
            )
        except Exception as error:  # the exporter's own, and whatever tracing meets in other people's code
            raise InputError(
                f"this model cannot be written as ONNX (opset {OPSET}): {first_line(error)}"
            ) from error
    return buffer.getvalue()


def onnx_parity(
    model: nn.Module,
    file: bytes | str | os.PathLike[str],
    *,
    input_shape: tuple[int, int, int],
    images: Tensor | None = None,
    tolerance: float = TOLERANCE,
) -> Parity:
    """Compares an ONNX file with the model on ``images``, in one batch of one and one of the rest.

    Two batch sizes, because a traced graph may have swallowed the one that it was traced with.
    Raises ``ParityError`` beyond ``tolerance`` times the scale of the logits; an int8 file, which
    cannot agree that closely, is compared with ``tolerance=float("inf")``.
    """
    size = len(file) if isinstance(file, bytes) else Path(file).stat().st_size
    return compare(
        model, lambda part: run_onnx(file, part), size_bytes=size,
        images=parity_images(input_shape) if images is None else images, tolerance=tolerance,
    )  # fmt: skip


def parity_images(input_shape: tuple[int, int, int], count: int = 4) -> Tensor:
    """(count, C, H, W) in 0..1, noise that is the same every time."""
    return torch.rand(count, *input_shape, generator=torch.Generator().manual_seed(PARITY_SEED))


def compare(
    model: nn.Module,
    run: Callable[[np.ndarray], np.ndarray],
    *,
    size_bytes: int,
    images: Tensor,
    tolerance: float = TOLERANCE,
) -> Parity:
    """``onnx_parity`` for whatever ``run`` runs: float32 images (N, C, H, W) to logits."""
    parts = [part for part in (images[:1], images[1:]) if len(part)]
    with in_eval_mode(model), torch.no_grad():
        batches = [batch for part in parts for batch in part.split(256)]
        expected = torch.cat([model(batch.to(_device(model))).float().cpu() for batch in batches])
    try:
        found = torch.cat([torch.from_numpy(run(part.cpu().numpy())) for part in parts])
    except InputError:
        raise
    except Exception as error:  # the runtimes' exceptions share no public base class
        raise ParityError(f"the exported file does not run at every batch size: {error}") from error
    parity = _compare(expected, found, size_bytes=size_bytes)
    if not parity.max_abs_diff <= tolerance * max(1.0, parity.scale):
        raise ParityError(
            f"the exported file differs from PyTorch by {parity.max_abs_diff:.2g} at logits up to "
            f"{parity.scale:.2g}, more than {tolerance:g} of that"
        )
    return parity


def run_onnx(
    file: bytes | str | os.PathLike[str], images: np.ndarray, *, batch: int = 256, threads: int = 0
) -> np.ndarray:
    """Logits (N, classes) of an ONNX file for float32 images (N, C, H, W) in 0..1, on the CPU.

    ``threads`` = 0 leaves the number to ONNX Runtime. Raises ``InputError`` for a file that is not
    there or is no model.
    """
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = file if isinstance(file, bytes) else os.fspath(file)
    try:
        session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        name = "these bytes" if isinstance(file, bytes) else os.fspath(file)
        raise InputError(f"{name}: no ONNX model that can be run ({first_line(error)})") from error
    (image,) = session.get_inputs()
    chunks = [
        session.run(None, {image.name: np.ascontiguousarray(images[i : i + batch], dtype=np.float32)})[0]
        for i in range(0, len(images), batch)
    ]
    return np.concatenate(chunks)


def export_torch(
    model: nn.Module, path: str | os.PathLike[str], *, input_shape: tuple[int, int, int]
) -> None:
    """Writes ``model`` in eval mode as a torch.export archive (.pt2), (N, C, H, W) with N free.

    Raises InputError with what torch.export says of a model that it cannot take.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(exported_program(model, input_shape), buffer)
    records.write_bytes(path, buffer.getvalue())


def exported_program(
    model: nn.Module, input_shape: tuple[int, int, int], *, most: int | None = None
) -> torch.export.ExportedProgram:
    """``model`` in eval mode as torch.export sees it, for batches of 1 to ``most`` images; without it, of any number.

    Raises InputError with what torch.export says of a model that it cannot take.
    """
    plain = copy.deepcopy(model).cpu().eval()
    batch = torch.export.Dim("N", min=1, max=most)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.export.export(plain, (torch.zeros(2, *input_shape),), dynamic_shapes=({0: batch},))
        except Exception as error:  # each operator and each guard has its own
            raise InputError(f"this model cannot be written by torch.export: {first_line(error)}") from error


def _compare(expected: Tensor, found: Tensor, *, size_bytes: int) -> Parity:
    if expected.shape != found.shape:
        raise ParityError(f"the exported file gives {tuple(found.shape)}, PyTorch {tuple(expected.shape)}")
    return Parity(
        images=len(expected),
        max_abs_diff=float((expected - found).abs().max()),
        scale=float(expected.abs().max()),
        top1_agreement=float((expected.argmax(1) == found.argmax(1)).float().mean()),
        size_bytes=size_bytes,
    )


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Every module in eval mode, and afterwards in the one that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _device(model: nn.Module) -> torch.device:
    tensor = next((t for group in (model.parameters(), model.buffers()) for t in group), None)
    return tensor.device if tensor is not None else torch.device("cpu")
