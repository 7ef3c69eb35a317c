"""Where an ONNX file's time goes: ONNX Runtime's own profile, led back to the layers of the file.

The runtime fuses operators, renames them, and converts tensors to and from its blocked layout. A kernel is
led back by its name: that of a node, or of the tensor that it makes; conversions belong to the
kernel that they are made for.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import trim_mean

from nassuite.errors import InputError
from nassuite.latency.onnx_cost import CONVOLUTIONS, PRODUCTS, Operator, feed
from nassuite.latency.protocol import allowed_cores, least_busy_cores
from nassuite.latency.target import Target

WARMUP = 10
RUNS = (20, 400)
"""The fewest and the most runs that are profiled; as many as ``SECONDS`` allow."""

SECONDS = 3.0
TRIM = 0.25
SUFFIX = re.compile(r"_kernel_time$")
DECORATIONS = re.compile(r"^fused |(_nchwc|_quant|_token_\d+|/MatMulAddFusion)+$")
REORDERS = ("ReorderInput", "ReorderOutput")
WORKING = {*CONVOLUTIONS, *PRODUCTS, "FusedConv", "FusedGemm", "FusedMatMul"}
"""Kernels that a convolution or a product became, alone or with what was fused to it."""


@dataclass(frozen=True)
class Kernel:
    """What the runtime executed as one. ``operator`` is the number of the operator that it was made of, in
    ``GraphCost.operators``, the main one where several were fused; None where nothing tells.

    ``ms`` is the mean over the middle half of all runs: the runtime counts whole microseconds, of which a
    median would be one.
    """

    name: str
    kind: str
    operator: int | None
    ms: float


@dataclass(frozen=True)
class Profile:
    """``total_ms`` are all kernels; a run takes more by what the runtime does between them."""

    kernels: tuple[Kernel, ...]
    runs: int

    @property
    def total_ms(self) -> float:
        return sum(kernel.ms for kernel in self.kernels)


def profile(
    path: Path, operators: Sequence[Operator], target: Target, *, seconds: float = SECONDS
) -> Profile:
    """Runs the file in this process, on a core of its own where the system allows.

    ``operators`` are those of ``graph_cost`` of the same file. Raises InputError for a file that cannot be run.
    """
    with tempfile.TemporaryDirectory() as folder:
        events, runs = _events(path, target, seconds, Path(folder) / "profile")
    durations: dict[tuple[str, str], list[float]] = {}
    kinds: dict[tuple[str, str], str] = {}
    for event in events:
        if event.get("cat") == "Node" and SUFFIX.search(event["name"]):
            key = (str(event["args"].get("node_index", "")), SUFFIX.sub("", event["name"]))
            durations.setdefault(key, []).append(event["dur"] / 1000)
            kinds[key] = event["args"]["op_name"]
    names = [name for _, name in durations]
    places = trace(names, list(kinds.values()), operators)
    kernels = [
        Kernel(key[1], kinds[key], place, float(trim_mean(spent[-runs:], TRIM)))
        for (key, spent), place in zip(durations.items(), places, strict=True)
    ]
    return Profile(tuple(kernels), runs)


def trace(names: Sequence[str], kinds: Sequence[str], operators: Sequence[Operator]) -> list[int | None]:
    """For each kernel, in the order in which they run, the number of the operator that it was made of."""
    by_name = {operator.name: number for number, operator in enumerate(operators)}
    by_output = {output: number for number, operator in enumerate(operators) for output in operator.outputs}
    places: list[int | None] = []
    for name, kind in zip(names, kinds, strict=True):
        plain = DECORATIONS.sub("", DECORATIONS.sub("", name))
        number = by_name.get(plain, by_output.get(plain))
        if number is None and kind not in REORDERS:
            # Operators that were expanded carry the name of what they were inside a longer one.
            inside = [known for known in by_name if known in name]
            number = by_name[max(inside, key=len)] if inside else None
        if number is not None and kind in WORKING:
            number = _main(number, operators, by_output)
        places.append(number)
    return _with_conversions(places, kinds)


def _main(number: int, operators: Sequence[Operator], by_output: dict[str, int]) -> int:
    """The convolution or product behind what it was fused with: an activation, a sum, or both."""
    seen = [number]
    for at in seen:
        if operators[at].op in CONVOLUTIONS or operators[at].op in PRODUCTS:
            return at
        if len(seen) < 8:
            before = [by_output[i] for i in operators[at].inputs if i in by_output]
            seen += sorted(before, reverse=True)  # of two summands the one that was made last
    return number


def _with_conversions(places: list[int | None], kinds: Sequence[str]) -> list[int | None]:
    """Conversions into the blocked layout go to the next kernel, those out of it to the one before."""
    found = list(places)
    for i, kind in enumerate(kinds):
        if kind == "ReorderInput":
            found[i] = next((place for place in places[i:] if place is not None), None)
        elif kind == "ReorderOutput":
            found[i] = next((place for place in reversed(places[:i]) if place is not None), None)
    return found


def _events(path: Path, target: Target, seconds: float, prefix: Path) -> tuple[list[dict[str, Any]], int]:
    """The profile's events, and how many of the last runs count."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = target.threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    options.enable_profiling = True
    options.profile_file_prefix = str(prefix)
    before = allowed_cores()
    try:
        if before:
            os.sched_setaffinity(0, least_busy_cores(target.threads))
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        images = feed(session.get_inputs(), path)
        fastest = float("inf")
        for _ in range(WARMUP):
            started = time.perf_counter()
            session.run(None, images)
            fastest = min(fastest, time.perf_counter() - started)
        runs = int(np.clip(seconds / fastest, *RUNS))
        for _ in range(runs):
            session.run(None, images)
        return json.loads(Path(session.end_profiling()).read_text()), runs
    except InputError:
        raise
    except Exception as error:  # onnxruntime's exceptions share no public base class
        raise InputError(f"{path}: onnxruntime cannot run it: {' '.join(str(error).split())[:300]}") from None
    finally:
        if before:
            os.sched_setaffinity(0, before)
