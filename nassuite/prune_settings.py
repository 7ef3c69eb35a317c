"""Every setting of ``nassuite prune`` in one value; imports no torch, for ``--help``."""

from __future__ import annotations

from dataclasses import dataclass

from nassuite.errors import InputError
from nassuite.settings import (
    ONNX_RUNTIMES,
    PRECISIONS,
    check_choices,
    check_least,
    check_seed,
    check_target,
    flag,
    option,
)

TARGETS = ("target_ms", "speedup", "target_macs", "target_params", "ratio")


@dataclass(frozen=True)
class PruneSettings:
    """Settings of ``nassuite prune``. Exactly one of ``TARGETS`` is given."""

    model: str = option("", "folder of a trained model (nassuite train)")
    data: str = option("", "images, as for nassuite train (default: those it was trained on)")
    target_ms: float | None = option(None, "measured latency to reach, in milliseconds")
    speedup: float | None = option(None, "measured speed-up over the dense model to reach, for instance 2")
    target_macs: float | None = option(None, "fraction of the MACs to keep at most")
    target_params: float | None = option(None, "fraction of the parameters to keep at most")
    ratio: float | None = option(None, "fraction of the channels to remove, whatever it brings")
    importance: str = option(
        "magnitude", "which channels go", choices=("magnitude", "bn-scale", "taylor", "random")
    )
    scope: str = option(
        "local", "from every layer alike, or where it costs least", choices=("local", "global")
    )
    align: int = option(16, "widths become multiples of this")
    finetune_epochs: int = option(3, "epochs of distillation from the dense model, 0 for none")
    batch_size: int = option(128, "images in a step")
    lr: float = option(0.02, "peak learning rate")
    runtime: str = option(
        "onnxruntime",
        "what the exported file runs on; auto: the fastest here",
        choices=("auto", *ONNX_RUNTIMES),
    )
    precision: str | None = option(
        None, "what it calculates in (default: f32; with auto: the fastest that is right)", choices=PRECISIONS
    )
    threads: int = option(1, "threads of the runtime")
    target: str | None = option(
        None, "where latencies are: an imported device, or ssh:user@host (default: this machine)"
    )
    percentile: int = option(50, "the latency percentile that has to keep --target-ms", choices=(50, 90))
    device: str = option("auto", "where to train", choices=("auto", "cpu", "cuda"))
    seed: int = option(0, "seed of everything random")

    def __post_init__(self) -> None:
        check_choices(self)
        check_target(self)
        check_seed(self.seed)
        check_least(self, {"align": 1, "finetune_epochs": 0, "batch_size": 2, "threads": 1})
        given = [name for name in TARGETS if getattr(self, name) is not None]
        if len(given) != 1:
            names = ", ".join(flag(name) for name in TARGETS)
            raise InputError(f"give one target: one of {names}" + (f" (got {len(given)})" if given else ""))
        (name,) = given
        value = getattr(self, name)
        limits = {"speedup": (1.0, 1000.0), "target_ms": (0.0, float("inf"))}.get(name, (0.0, 1.0))
        if not limits[0] < value < limits[1]:
            raise InputError(
                f"{flag(name)} {value:g}: expected more than {limits[0]:g} and less than {limits[1]:g}"
            )
        if not 0 < self.lr < float("inf"):
            raise InputError(f"--lr {self.lr:g}: expected a positive number")

    @property
    def goal(self) -> tuple[str, float]:
        """Which of ``TARGETS`` was given, and its value."""
        return next((name, getattr(self, name)) for name in TARGETS if getattr(self, name) is not None)
