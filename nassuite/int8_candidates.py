"""The int8 files that ``nassuite quantize`` sets against float32, each made once and kept with its accuracy.

A format with its best calibration; where that loses too much, the same with layers in float32, and with weights
fine-tuned with their rounding. What is made is written down at once, so that a run that was killed makes nothing twice.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nassuite.checkpoints import FileCheckpoints
from nassuite.compress.fine_tune import fine_tuned
from nassuite.compress.graph_module import NoTrainingForm
from nassuite.compress.quantize import (
    Activation,
    QuantizeConfig,
    Quantizer,
    keep_sensitive,
    quantizer,
    sensitivities,
)
from nassuite.data import Data
from nassuite.deploy import evaluation_images
from nassuite.metrics import score
from nassuite.onnx_export import run_onnx
from nassuite.onnx_source import OnnxSource
from nassuite.progress import Progress
from nassuite.quantize_settings import QuantizeSettings
from nassuite.records import write_bytes

FORMATS: dict[str, Activation] = {"u8s8": "uint8", "s8s8": "int8"}
"""Activations and weights, as the kernels are called."""

Accuracy = Callable[[bytes], float]
"""Of an ONNX file on validation images."""


@dataclass(frozen=True)
class Candidate:
    """A file in ``folder``, before it is measured; ``kept`` are layers in float32, ``val`` its validation accuracy."""

    folder: Path
    name: str
    val: float
    calibration: str = ""
    kept: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        return self.folder / f"model.{self.name}.onnx"


@dataclass(frozen=True)
class Made:
    """What the making of a candidate comes to."""

    content: bytes
    val: float
    calibration: str = ""
    kept: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Work:
    """What every candidate is made from, and ``folder``, which receives it; ``remember`` as that of a pruning."""

    settings: QuantizeSettings
    source: OnnxSource
    accuracy: Accuracy
    folder: Path
    remember: Callable[[str, Callable[[], Any]], Any]
    progress: Progress


def val_accuracy(data: Data, metric: str) -> Accuracy:
    images, labels = evaluation_images(data.val), data.val.labels.numpy()
    return lambda file: score(run_onnx(file, images), labels, metric=metric)


def points_lost(val: float, dense: float) -> float:
    """In points; what rounding adds to a difference of two fractions is taken off."""
    return round(100 * (dense - val), 9)


def int8_candidates(work: Work, dense_val: float | None = None) -> list[Candidate]:
    """Float32, each format with its best calibration, and where that loses too much what helps.

    ``dense_val`` is float32's accuracy where that is known.
    """
    settings, content = work.settings, work.source.content
    dense = _candidate(
        work, "fp32", lambda: Made(content, work.accuracy(content) if dense_val is None else dense_val)
    )
    assert dense is not None
    found = [dense]
    calibration = evaluation_images(work.source.data.train.subset(settings.calibration_images, settings.seed))
    with tempfile.TemporaryDirectory(prefix="nassuite-quantize-") as scratch:
        path = Path(scratch) / "model.onnx"
        path.write_bytes(content)
        with quantizer(path, calibration) as made:
            for name in work.progress.track(FORMATS, "quantising", unit="formats"):
                found += _of_format(work, name, made, dense)
    return found


def _of_format(work: Work, name: str, made: Quantizer, dense: Candidate) -> list[Candidate]:
    best = _candidate(work, name, partial(_best_calibration, FORMATS[name], made, work.accuracy))
    assert best is not None
    lost = points_lost(best.val, dense.val)
    if lost <= work.settings.max_drop:
        return [best]
    work.progress.say(f"{name} loses {lost:.2g} points: looking for the layers that lose most")
    config = QuantizeConfig(best.calibration, best.kept, activation=FORMATS[name])  # type: ignore[arg-type]
    more = (
        _candidate(work, f"{name}-mixed", partial(_mixed, work, name, config, made, dense)),
        _candidate(work, f"{name}-tuned", partial(_tuned, work, best))
        if work.settings.finetune_epochs
        else None,
    )
    return [best, *(candidate for candidate in more if candidate is not None)]


def _candidate(work: Work, name: str, make: Callable[[], Made | None]) -> Candidate | None:
    """The candidate of that name: found in the folder, or made and written down; None if it cannot be."""

    def make_row() -> dict[str, Any] | None:
        made = make()
        if made is None:
            return None
        write_bytes(Candidate(work.folder, name, made.val).path, made.content)
        return {"val": made.val, "calibration": made.calibration, "kept": list(made.kept)}

    row = work.remember(name, make_row)
    if row is None:
        return None
    return Candidate(work.folder, name, row["val"], row["calibration"], tuple(row["kept"]))


def _best_calibration(activation: Activation, made: Quantizer, accuracy: Accuracy) -> Made:
    configs = [
        QuantizeConfig(method, exclude, activation=activation)
        for exclude in ((), ("squeeze-excite",))
        for method in ("minmax", "percentile", "entropy")
    ]
    best: Made | None = None
    for config in made.distinct(configs):
        file = made.int8(config)
        val = accuracy(file)
        if best is None or val > best.val:
            best = Made(file, val, config.method, config.exclude)
    assert best is not None
    return best


def _mixed(work: Work, name: str, config: QuantizeConfig, made: Quantizer, dense: Candidate) -> Made:
    def logits(file: bytes) -> np.ndarray:
        return run_onnx(file, made.calibration)

    def by_sensitivity() -> list[str]:
        errors = sensitivities(made, config, logits, logits(work.source.content))
        return sorted(errors, key=errors.__getitem__)

    mixed, file = keep_sensitive(
        made, config, work.remember(f"{name}: layers, the most sensitive first", by_sensitivity),
        lambda file: points_lost(work.accuracy(file), dense.val) <= work.settings.max_drop,
    )  # fmt: skip
    return Made(file, work.accuracy(file), mixed.method, mixed.exclude)


def _tuned(work: Work, static: Candidate) -> Made | None:
    """The format after quantisation-aware fine-tuning; None where that cannot be done."""
    settings = work.settings
    try:
        file = fine_tuned(
            static.path.read_bytes(), work.source.content, work.source.data, epochs=settings.finetune_epochs,
            batch_size=settings.batch_size, lr=settings.lr, seed=settings.seed, device=settings.device,
            checkpoints=FileCheckpoints(work.folder / "training" / f"{static.name}.safetensors"),
            progress=work.progress,
        )  # fmt: skip
    except NoTrainingForm as error:
        work.progress.say(f"{static.name} {error}")
        return None
    return Made(file, work.accuracy(file), static.calibration, static.kept)
