"""Measures architectures of a space on a target, for the predictor to learn from."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nassuite.latency.meter import CALIBRATION, Meter
from nassuite.latency.target import Target
from nassuite.progress import SILENT, Progress
from nassuite.spec import Arch

BATCH = 16
"""Architectures chosen, measured and recorded together: what a killed run loses at most."""


@dataclass(frozen=True)
class Sample:
    """One measured architecture; ``ratio`` is to the reference network measured in the same rounds.

    ``noisy`` marks one that the meter could not measure quietly: the predictor does not learn from it.
    ``drawn`` marks one that was drawn at random: only such ones tell what error to expect of the next.
    """

    arch: Arch
    ratio: float
    reference_ms: float
    noisy: bool
    drawn: bool = True

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "arch": self.arch.to_json()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Sample:
        return cls(**{**value, "arch": Arch.from_json(value["arch"])})


def measure_archs(
    archs: Sequence[Arch],
    export: Callable[[Arch, Path], None],
    meter: Meter,
    target: Target,
    *,
    known: Iterable[Sample] = (),
    save: Callable[[Sample], None] = lambda sample: None,
    progress: Progress = SILENT,
    seed: int = 0,
) -> list[Sample]:
    """Exports and measures those that are not ``known``; ``save`` is called for each new sample."""
    samples = {sample.arch: sample for sample in known}
    missing = [arch for arch in archs if arch not in samples]
    chunks = [missing[i : i + BATCH] for i in range(0, len(missing), BATCH)]
    total = -(-len(archs) // BATCH)
    for chunk in progress.track(
        chunks, "latency samples", total=total, done=total - len(chunks), unit="batches"
    ):
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{arch.digest}.onnx" for arch in chunk]
            for arch, path in zip(chunk, paths, strict=True):
                export(arch, path)
            measurements = meter(paths, target, sampling=CALIBRATION, seed=seed + len(samples))
        for arch, measurement in zip(chunk, measurements, strict=True):
            sample = Sample(arch, measurement.ratio, measurement.reference_ms, measurement.noisy)
            samples[arch] = sample
            save(sample)
    return [samples[arch] for arch in archs]
