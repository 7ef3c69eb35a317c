"""Flags that several commands share, said once; imports nothing of nassuite, for ``--help``."""

from __future__ import annotations

import dataclasses
from typing import Any

AUTO = "auto"
"""What is decided on the machine, or by the images."""
ONNX_RUNTIMES = ("onnxruntime", "onnxruntime-cuda", "openvino")
TORCH_RUNTIMES = ("torch", "torch-compile")
PRECISIONS = ("f32", "tf32", "bf16", "f16")

Shared = dict[str, Any]
"""What ``option`` takes."""

SIZE: Shared = {"default": None, "help": "side of the images in pixels (default: fits the data)"}
TRAIN_IMAGES: Shared = {"default": None, "help": "train on a stratified subset of this many images"}
METRIC: Shared = {"default": "top1", "help": "what accuracy means", "choices": ("top1", "balanced", "f1")}
CLASS_WEIGHTS: Shared = {"default": "none", "help": "auto weighs rare classes up", "choices": ("none", AUTO)}
RUNTIME: Shared = {
    "default": ONNX_RUNTIMES[0],
    "help": "what the exported file runs on; auto: the fastest here",
    "choices": (AUTO, *ONNX_RUNTIMES),
}
PRECISION: Shared = {
    "default": None,
    "help": "what it calculates in (default: f32; with auto: the fastest that is right)",
    "choices": PRECISIONS,
}
THREADS: Shared = {"default": 1, "help": "threads of the runtime"}
TARGET: Shared = {
    "default": None,
    "help": "where latencies are: an imported device, or ssh:user@host (default: this machine)",
}
DEVICE: Shared = {"default": AUTO, "help": "where to train", "choices": (AUTO, "cpu", "cuda")}
SEED: Shared = {"default": 0, "help": "seed of everything random"}


def option(default: Any, help: str, **more: Any) -> Any:
    """A field of a settings dataclass: ``help`` is what its flag says, ``more`` what else is known of it (choices)."""
    return dataclasses.field(default=default, metadata={"help": help, **more})
