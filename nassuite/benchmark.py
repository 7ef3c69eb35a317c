"""Networks against each other on this machine: exported, then measured in the same rounds."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from nassuite.latency.cost import cost
from nassuite.latency.meter import Meter, measure
from nassuite.latency.target import Target
from nassuite.onnx_export import export_onnx
from nassuite.progress import SILENT, Progress


@dataclass(frozen=True)
class Timed:
    """One network: what it costs, and what its ONNX file took. ``noisy`` says that no process was quiet."""

    name: str
    params: int
    macs: int
    p50_ms: float
    p90_ms: float
    size_bytes: int
    noisy: bool

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def time_networks(
    networks: Mapping[str, nn.Module],
    input_shape: tuple[int, int, int],
    *,
    target: Target,
    meter: Meter = measure,
    progress: Progress = SILENT,
    seed: int = 0,
) -> list[Timed]:
    """Measures every network at one input shape (C, H, W); in the order in which they were given."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, network in enumerate(
            progress.track(list(networks.values()), "exporting", unit="networks")
        ):
            paths.append(Path(folder) / f"{number}.onnx")
            export_onnx(network, paths[-1], input_shape=input_shape, check=False)
        measurements = meter(paths, target, progress=progress, seed=seed)
        sizes = [path.stat().st_size for path in paths]
    timed = []
    for (name, network), measurement, size_bytes in zip(networks.items(), measurements, sizes, strict=True):
        counted = cost(network, input_shape)
        timed.append(
            Timed(
                name,
                counted.params,
                counted.macs,
                measurement.p50_ms,
                measurement.p90_ms,
                size_bytes,
                measurement.noisy,
            )
        )
    return timed
