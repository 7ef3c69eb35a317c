"""The flags that say what a latency is measured on."""

from __future__ import annotations

import argparse
from typing import Any

from nassuite.options import AUTO, ONNX_RUNTIMES, PRECISIONS


def add_target(
    parser: argparse.ArgumentParser,
    runtimes: tuple[str, ...] = ONNX_RUNTIMES,
    *,
    auto: bool = False,
    precision: bool = True,
    batch: bool = False,
) -> None:
    """``--runtime`` and ``--threads``, and those of the others that a command has a use for."""
    fastest = "; auto: the fastest that is installed and right" if auto else ""
    choices = (AUTO, *runtimes) if auto else runtimes
    parser.add_argument(
        "--runtime", default=ONNX_RUNTIMES[0], choices=choices, metavar="NAME",
        help=f"{', '.join(choices)} (default: %(default)s){fastest}",
    )  # fmt: skip
    if precision:
        every = "; with auto: all it has" if auto else ""
        parser.add_argument(
            "--precision", choices=PRECISIONS, help=f"what it calculates in (default: f32{every})"
        )
    parser.add_argument("--threads", type=int, default=1, help="threads of the runtime (default: 1)")
    if batch:
        parser.add_argument("--batch", type=int, default=1, help="images in one inference (default: 1)")


def target_of(arguments: argparse.Namespace) -> Any:
    """The target that the flags name; for ``auto`` None. Raises InputError for what this machine cannot give."""
    from nassuite.latency.target import FULL_PRECISION, Target

    batch = getattr(arguments, "batch", 1)
    if arguments.runtime == AUTO:
        Target(threads=arguments.threads, batch=batch)
        return None
    precision = getattr(arguments, "precision", None) or FULL_PRECISION
    return Target(arguments.runtime, arguments.threads, batch, precision)
