"""What a latency is measured on: runtime, threads and batch, on this host."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from nassuite.errors import InputError
from nassuite.records import cpu_info

RUNTIMES = {"onnxruntime": "onnxruntime"}
"""Name of a runtime to the distribution whose version is recorded."""


@dataclass(frozen=True)
class Target:
    """Raises InputError for an unknown runtime, or threads and batch that this machine cannot give."""

    runtime: str = "onnxruntime"
    threads: int = 1
    batch: int = 1

    def __post_init__(self) -> None:
        if self.runtime not in RUNTIMES:
            known = ", ".join(sorted(RUNTIMES))
            raise InputError(f"unknown runtime {self.runtime!r}: --runtime takes {known}")
        cores = len(allowed_cores()) or os.cpu_count() or 1
        if not 1 <= self.threads <= cores:
            raise InputError(f"--threads {self.threads}: this process may use 1 to {cores} cores")
        if self.batch < 1:
            raise InputError(f"batch {self.batch}: expected at least 1")

    def describe(self) -> dict[str, Any]:
        """JSON with all that two measurements must share to be compared."""
        return {
            "runtime": self.runtime,
            "runtime_version": metadata.version(RUNTIMES[self.runtime]),
            "threads": self.threads,
            "batch": self.batch,
            "host": platform.node(),
            "cpu": cpu_info(),
            "system": f"{platform.system()} {platform.machine()}",
        }

    @property
    def key(self) -> str:
        return target_key(self.describe())


def target_key(description: dict[str, Any]) -> str:
    """Equal for two records (``Target.describe``, here or elsewhere) that may be compared or mixed."""
    fields = ("runtime", "runtime_version", "threads", "batch", "host")
    return " | ".join([*(str(description[field]) for field in fields), description["cpu"]["name"]])


def vector_channels(cpu: dict[str, Any]) -> tuple[int, str]:
    """Channels that ONNX Runtime's blocked convolutions take at a time on a CPU (``cpu_info``), and why.

    Its NCHWc kernels have blocks of 16 floats with AVX-512 and of 8 without; other widths leave them.
    """
    if "avx512f" in cpu["flags"]:
        return 16, "this CPU has AVX-512"
    return 8, f"{cpu['name']} has no AVX-512"


def allowed_cores() -> list[int]:
    """The cores that this process may run on; empty where the system does not tell."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
