"""Which runtime: ``--runtime auto`` measures those that are installed and takes the fastest that is right.

Right means: its outputs are those of ONNX Runtime in full precision, on the same inputs. A runtime that
calculates in fewer bits is faster and a little off; how far is measured here and told.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nassuite.errors import InputError
from nassuite.latency import protocol
from nassuite.latency.meter import CERTIFICATE, Measurement, Sampling, check_model, measure_each, worker_model
from nassuite.latency.target import FULL_PRECISION, RUNTIMES, Target, installed_targets
from nassuite.options import AUTO
from nassuite.progress import SILENT, Progress

EXAMPLES = 16
FULL_TOLERANCE = 1e-3
REDUCED_TOLERANCE = 0.05
LEAST_AGREEMENT = 0.99


@dataclass(frozen=True)
class Agreement:
    """Outputs in a runtime beside those of ONNX Runtime in full precision, over ``images`` images.

    ``difference`` is the largest absolute one over the largest absolute output; ``top1`` the fraction of
    images with the same arg max. On random example inputs (``known`` is false) top-1 says little.
    """

    images: int
    difference: float
    top1: float
    known: bool

    def fits(self, precision: str) -> bool:
        """Whether that is what the precision explains; known images must also keep their class."""
        tolerance = FULL_TOLERANCE if precision == FULL_PRECISION else REDUCED_TOLERANCE
        return self.difference <= tolerance and (not self.known or self.top1 >= LEAST_AGREEMENT)

    def __str__(self) -> str:
        what = f"{self.images} images" if self.known else f"{self.images} random inputs"
        top1 = f", same class on {self.top1:.1%}" if self.known else ""
        return f"outputs within {self.difference:.1e} of ONNX Runtime's on {what}{top1}"


@dataclass(frozen=True)
class Contender:
    """A runtime that was tried; without a measurement, ``refusal`` says why it has none."""

    target: Target
    agreement: Agreement | None = None
    measurement: Measurement | None = None
    refusal: str = ""


def outputs(model: Path, target: Target, images: np.ndarray | None, *, count: int = EXAMPLES) -> np.ndarray:
    """First output (N, ...) of a model in a runtime, in a process of its own.

    ``images`` (N, ...) are taken ``target.batch`` at a time, what is left over is left out; None stands for
    ``count`` random inputs, the same for every runtime. Raises InputError if it cannot be run.
    """
    check_model(model, target)
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder) / "images.npy", Path(folder) / "outputs.npy"
        if images is not None:
            np.save(given, images)
        request = {
            "models": [worker_model(model, target)], "threads": target.threads, "batch": target.batch,
            "cores": None, "warmup": 2, "seed": 0, "examples": count,
            "inputs": None if images is None else str(given), "outputs": str(found),
        }  # fmt: skip
        try:
            protocol.run_worker(request)
        except (protocol.Unmeasurable, RuntimeError) as error:
            raise InputError(str(error)) from None
        return np.load(found)


def agreement(found: np.ndarray, expected: np.ndarray, *, known: bool) -> Agreement:
    """Of outputs (N, classes) or (N, classes, ...) with those expected. Raises InputError for other shapes."""
    if found.shape != expected.shape:
        raise InputError(f"it gives outputs {found.shape}, ONNX Runtime {expected.shape}")
    scale = float(np.abs(expected).max()) or 1.0
    difference = float(np.abs(found.astype(np.float64) - expected).max()) / scale
    same = found.reshape(len(found), -1).argmax(1) == expected.reshape(len(found), -1).argmax(1)
    return Agreement(len(found), difference, float(same.mean()), known)


def compare_targets(
    models: Mapping[str, Path],
    targets: Sequence[Target],
    *,
    images: np.ndarray | None = None,
    sampling: Sampling = CERTIFICATE,
    progress: Progress = SILENT,
    seed: int = 0,
) -> list[Contender]:
    """One network in several runtimes: who cannot run it, who is right, and how long it takes in each.

    ``models`` has the network's form for "onnx" and, where there is one, for "torch". Those that are right
    are measured in the same rounds. Raises InputError where ONNX Runtime itself cannot run it.
    """
    if not targets:
        raise InputError("no installed runtime takes this: see nassuite doctor")
    plain = Target(threads=targets[0].threads, batch=targets[0].batch)
    expected = outputs(models["onnx"], plain, images)
    tried = []
    for target in progress.track(targets, "checking outputs", unit="runtimes"):
        try:
            found = outputs(models[RUNTIMES[target.runtime].takes], target, images)
            agreed = agreement(found, expected, known=images is not None)
        except InputError as error:
            tried.append(Contender(target, refusal=str(error)))
            continue
        refusal = "" if agreed.fits(target.precision) else f"not taken: {agreed}"
        tried.append(Contender(target, agreed, refusal=refusal))
    right = [(models[RUNTIMES[c.target.runtime].takes], c.target) for c in tried if not c.refusal]
    measured = iter(measure_each(right, sampling=sampling, progress=progress, seed=seed))
    return [c if c.refusal else Contender(c.target, c.agreement, next(measured)) for c in tried]


def fastest(contenders: Sequence[Contender]) -> Contender:
    """The least ratio to the reference; a noisy measurement wins only where all are. Raises InputError if none ran."""
    measured = [c for c in contenders if c.measurement is not None]
    if not measured:
        raise InputError("; ".join(c.refusal for c in contenders))
    return min(measured, key=lambda c: (c.measurement.noisy, c.measurement.ratio))  # type: ignore[union-attr]


def chosen_target(
    runtime: str,
    precision: str | None,
    *,
    threads: int,
    export: Callable[[Path], None],
    images: np.ndarray | None = None,
    progress: Progress = SILENT,
) -> Target:
    """The target that settings name; for ``auto`` the fastest here for the ONNX file that ``export`` writes."""
    if runtime != AUTO:
        return Target(runtime, threads, precision=precision or FULL_PRECISION)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export(path)
        targets = installed_targets(threads=threads, batch=1, takes=("onnx",), precision=precision)
        best = fastest(compare_targets({"onnx": path}, targets, images=images, progress=progress))
    assert best.measurement is not None
    progress.say(
        f"runtime {best.target}: the fastest here, {best.measurement.p50_ms:.3g} ms; {best.agreement}"
    )
    return best.target


def logits_in(target: Target, path: Path, images: np.ndarray) -> np.ndarray:
    """Outputs (N, ...) of an ONNX file for ``images`` (N, C, H, W) as the target's runtime computes them."""
    from nassuite.onnx_export import run_onnx

    if target.computes_as_onnxruntime:
        return run_onnx(path, images)  # many at a time: it computes the same, sooner
    return outputs(path, replace(target, batch=1), images)
