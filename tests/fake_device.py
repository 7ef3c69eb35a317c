"""A device for tests: answers a bundle at once, with latencies that are a function of each file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from deterministic_meter import MACS_PER_MS, NODE_MS, REFERENCE_MS, onnx_macs

from nassuite.latency import protocol

MACHINE = {
    "runtime_version": "1.20.0",
    "host": "raspberrypi",
    "system": "Linux aarch64",
    "cpuinfo": "processor\t: 0\nFeatures\t: fp asimd evtstrm\nmodel name\t: Cortex-A76\n",
    "processor": "aarch64",
}


def answer(bundle: Path, **machine: str) -> Path:
    """Writes ``results.json`` as measure.py would on such a machine."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    sampling = manifest["sampling"]
    took = [_milliseconds(bundle / entry["file"]) for entry in manifest["models"]]
    runs = []
    for group in protocol.schedule(len(took), sampling):
        times = [REFERENCE_MS, *(took[i] for i in group), REFERENCE_MS]
        shape = (len(times), sampling["rounds"], sampling["repeats"])
        nanoseconds = (1e6 * np.array(times)[:, None, None] * np.ones(shape)).round().astype(int)
        runs.append(
            {
                "samples_ns": nanoseconds.tolist(), "cpu_ns": None, "cores": [3], "rejected": 0, "models": group,
                "machine": {**MACHINE, **machine}, "conditions": {"time": "2026-11-22T00:00:00Z"},
            }
        )  # fmt: skip
    text = (bundle / "manifest.json").read_bytes()
    return write(bundle, {"schema": 1, "manifest": hashlib.sha256(text).hexdigest(), "runs": runs})


def write(bundle: Path, results: dict[str, Any]) -> Path:
    """Writes results under the digest that belongs to them."""
    path = bundle / "results.json"
    path.write_text(json.dumps({**results, "digest": protocol.digest(results)}))
    return path


def _milliseconds(path: Path) -> float:
    model = onnx.load(path)
    return NODE_MS * len(model.graph.node) + onnx_macs(model) / MACS_PER_MS
