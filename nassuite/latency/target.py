"""What a latency is measured on: runtime, precision, threads and batch, on this host."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

from nassuite.errors import InputError
from nassuite.records import cpu_info
from nassuite.resources import usable_cores

FULL_PRECISION = "f32"
CUDA = "onnxruntime-cuda"


@dataclass(frozen=True)
class Runtime:
    """``distributions``: what brings it, one of them; ``precisions``: what it can be told to calculate in,
    the full one first; ``takes``: the form of model that it runs.
    """

    distributions: tuple[str, ...]
    precisions: tuple[str, ...] = (FULL_PRECISION,)
    takes: str = "onnx"


RUNTIMES = {
    "onnxruntime": Runtime(("onnxruntime", "onnxruntime-gpu")),
    CUDA: Runtime(("onnxruntime-gpu",), (FULL_PRECISION, "tf32")),
    "openvino": Runtime(("openvino",), (FULL_PRECISION, "bf16", "f16")),
    "torch": Runtime(("torch",), takes="torch"),
    "torch-compile": Runtime(("torch",), takes="torch"),
}


@dataclass(frozen=True)
class Target:
    """Raises InputError for a runtime or precision that is not here, or threads and batch that this
    machine cannot give.

    ``device`` is empty for this machine, else the description (JSON) of another one.
    """

    runtime: str = "onnxruntime"
    threads: int = 1
    batch: int = 1
    precision: str = FULL_PRECISION
    device: str = ""

    @classmethod
    def elsewhere(cls, description: dict[str, Any]) -> Target:
        """The target of a ``describe()`` of another machine."""
        fields = {name: description[name] for name in ("runtime", "threads", "batch", "precision")}
        return cls(**fields, device=json.dumps(description, sort_keys=True))

    def __post_init__(self) -> None:
        if self.device:
            return
        if self.runtime not in RUNTIMES:
            known = ", ".join(sorted(RUNTIMES))
            raise InputError(f"unknown runtime {self.runtime!r}: --runtime takes {known}")
        about = RUNTIMES[self.runtime]
        if installed_version(self.runtime) is None:
            raise InputError(
                f"--runtime {self.runtime} is not installed here: pip install {about.distributions[0]}"
            )
        if self.precision not in about.precisions:
            raise InputError(
                f"--precision {self.precision}: {self.runtime} takes {', '.join(about.precisions)} (int8 is in the file)"
            )
        cores = usable_cores()
        if not 1 <= self.threads <= cores:
            raise InputError(f"--threads {self.threads}: this process may use 1 to {cores} cores")
        if self.batch < 1:
            raise InputError(f"batch {self.batch}: expected at least 1")

    def describe(self) -> dict[str, Any]:
        """JSON with all that two measurements must share to be compared."""
        if self.device:
            return json.loads(self.device)
        gpu = {"gpu": gpu_name()} if self.runtime == CUDA else {}
        return {
            **gpu,
            "runtime": self.runtime,
            "runtime_version": installed_version(self.runtime),
            "precision": self.precision,
            "threads": self.threads,
            "batch": self.batch,
            "host": platform.node(),
            "cpu": cpu_info(),
            "system": f"{platform.system()} {platform.machine()}",
        }

    @property
    def key(self) -> str:
        return target_key(self.describe())

    @property
    def computes_as_onnxruntime(self) -> bool:
        """Whether outputs are those of ONNX Runtime on the CPU, in full precision, on any machine."""
        return self.runtime == "onnxruntime" and self.precision == FULL_PRECISION

    def __str__(self) -> str:
        return self.runtime if self.precision == FULL_PRECISION else f"{self.runtime} {self.precision}"


def target_key(description: dict[str, Any]) -> str:
    """Equal for two records (``Target.describe``, here or elsewhere) that may be compared or mixed."""
    fields = ("runtime", "runtime_version", "threads", "batch", "host")
    values = [*(str(description[field]) for field in fields), description["cpu"]["name"]]
    values += [description["gpu"]] if "gpu" in description else []
    precision = description.get("precision", FULL_PRECISION)
    # Full precision goes without saying: records from before there was another are of it.
    return " | ".join(values if precision == FULL_PRECISION else [*values, precision])


@cache
def gpu_name() -> str:
    """Of the first NVIDIA GPU and its driver; empty where nvidia-smi tells none."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader", "--id=0"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return told.stdout.strip() if told.returncode == 0 else ""


def vector_channels(cpu: dict[str, Any]) -> tuple[int, str]:
    """Channels that ONNX Runtime's blocked convolutions take at a time on a CPU (``cpu_info``), and why.

    Its NCHWc kernels have blocks of 16 floats with AVX-512 and of 8 without; other widths leave them.
    """
    if "avx512f" in cpu["flags"]:
        return 16, "this CPU has AVX-512"
    return 8, f"{cpu['name']} has no AVX-512"


def installed_version(runtime: str) -> str | None:
    """The version of what brings a runtime here, None where nothing does."""
    for distribution in RUNTIMES[runtime].distributions:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None


def installed_targets(
    *, threads: int, batch: int, takes: Sequence[str], precision: str | None = None
) -> list[Target]:
    """Every runtime that is installed here and takes such models, in every precision or the one given."""
    return [
        Target(name, threads, batch, each)
        for name, about in RUNTIMES.items()
        if about.takes in takes and installed_version(name) is not None
        for each in about.precisions
        if precision in (None, each)
    ]
