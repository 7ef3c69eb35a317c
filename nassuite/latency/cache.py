"""Latencies of earlier runs on the same target, kept in the user's cache folder.

They serve the predictor, which learns from ratios to the reference and knows its own error. A certificate
is never read from here: what it says of a file was measured on that file, that time.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from nassuite.latency import protocol
from nassuite.latency.meter import CALIBRATION, CERTIFICATE, Measurement, Meter, Sampling
from nassuite.latency.target import Target
from nassuite.progress import SILENT, Progress
from nassuite.records import read_json, write_json
from nassuite.resources import user_folder

VERSION = 1
"""Another one makes everything in the cache old: for changes of the protocol or of the worker."""


@dataclass
class CachedMeter:
    """A ``Meter`` that remembers calibration samples, one file for each target and graph.

    Files are written whole, so runs may share the folder; one that is damaged is measured again.
    Noisy measurements are not kept.
    """

    meter: Meter
    folder: Path = field(default_factory=lambda: user_folder("cache") / "latency")
    progress: Progress = SILENT
    hits: int = 0

    def __call__(
        self,
        paths: Sequence[Path],
        target: Target,
        *,
        sampling: Sampling = CERTIFICATE,
        progress: Progress = SILENT,
        seed: int = 0,
    ) -> list[Measurement]:
        if sampling != CALIBRATION:
            return self.meter(paths, target, sampling=sampling, progress=progress, seed=seed)
        key = json.dumps([VERSION, protocol.SCHEMA, asdict(sampling), target.describe()], sort_keys=True)
        place = self.folder / hashlib.sha256(key.encode()).hexdigest()[:16]
        files = [place / f"{graph_digest(path)}.json" for path in paths]
        found = [_read(file, key) for file in files]
        missing = [i for i, measurement in enumerate(found) if measurement is None]
        if len(missing) < len(paths) and not self.hits:
            self.progress.say(
                "latencies of earlier runs here are used again (--no-latency-cache measures anew)"
            )
        self.hits += len(paths) - len(missing)
        new = self.meter([paths[i] for i in missing], target, sampling=sampling, progress=progress, seed=seed)
        for i, measurement in zip(missing, new, strict=True):
            found[i] = measurement
            if not measurement.noisy:
                with suppress(OSError):  # a cache that cannot be written is no reason to stop
                    write_json(files[i], {"key": key, "measurement": measurement.to_json()})
        return [measurement for measurement in found if measurement is not None]


def _read(file: Path, key: str) -> Measurement | None:
    try:
        value = read_json(file)
        return Measurement.from_json(value["measurement"]) if value["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def graph_digest(path: Path) -> str:
    """Of an ONNX file without its weights' values: what its time depends on.

    Single numbers stay (bounds of a clamp, scales of a quantised layer), and so do integers (shapes).
    """
    import onnx

    model = onnx.load(path)
    model.ClearField("producer_version")
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)
    for tensor in model.graph.initializer:
        if tensor.data_type in floats and math.prod(tensor.dims) > 1:
            for values in ("raw_data", "float_data", "double_data", "int32_data"):
                tensor.ClearField(values)
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
