"""Every setting of ``nassuite prune`` in one value; imports no torch, for ``--help``."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from nassuite import options
from nassuite.errors import InputError
from nassuite.options import AUTO, option
from nassuite.settings import (
    check_choices,
    check_least,
    check_positive,
    check_seed,
    check_target,
    flag,
)

TARGETS = ("target_ms", "speedup", "target_macs", "target_params", "ratio")
OF_LATENCY = ("target_ms", "speedup")
IMPORTANCES = ("magnitude", "taylor", "bn-scale", "lamp", "fpgm", "hessian", "random")
SCOPES = {
    "uniform": ("local",),
    "global": ("global", "isomorphic"),
    "latency": ("global",),
    "netadapt": ("global",),
}
"""What --scope goes with each strategy, its own choice first."""
STEPS = {"uniform": 1, "global": 1, "latency": 4, "netadapt": 8}


@dataclass(frozen=True)
class PruneSettings:
    """Settings of ``nassuite prune``. Exactly one of ``TARGETS`` is given; ``resolved`` fills in a None."""

    model: str = option(
        "",
        "folder of a training, a pruning or a search's deployed model; or NAME, 'NAME(option=value)', timm:NAME, "
        "torchvision:NAME, package.module:factory",
    )
    weights: str | None = option(None, "weights of a network given by name: safetensors or a state dict")
    data: str = option("", "images, as for nassuite train (default: those the model was trained on)")
    size: int | None = option(
        None, "side of the images in pixels, for a network by name (default: fits the data)"
    )
    train_images: int | None = option(None, "fine-tune on a stratified subset of this many images")
    target_ms: float | None = option(None, "measured latency to reach, in milliseconds")
    speedup: float | None = option(None, "measured speed-up over the dense model to reach, for instance 2")
    target_macs: float | None = option(None, "fraction of the MACs to keep at most")
    target_params: float | None = option(None, "fraction of the parameters to keep at most")
    ratio: float | None = option(None, "fraction of the channels to remove, whatever it brings")
    strategy: str | None = option(
        None,
        "how channel counts are chosen: the same share everywhere, wherever importance is least, by importance lost "
        "per millisecond won, or one layer at a time by accuracy (default: latency for --target-ms and --speedup)",
        choices=tuple(SCOPES),
    )
    importance: str | None = option(
        None,
        "which channels go (default: taylor for --strategy latency, else magnitude)",
        choices=IMPORTANCES,
    )
    scope: str | None = option(
        None,
        "which layers' channels are compared: each layer's own, all, or those of layers of the same structure",
        choices=("local", "global", "isomorphic"),
    )
    align: str = option(AUTO, "widths become multiples of this; auto: what this CPU's runtime is fast at")
    steps: int | None = option(
        None, "times of pruning and fine-tuning (default: 4 for latency, 8 for netadapt, else 1)"
    )
    finetune_epochs: int = option(3, "epochs of distillation from the dense model, 0 for none")
    short_images: int = option(1024, "training images that a candidate of netadapt is fine-tuned on")
    batch_size: int = option(128, "images in a step")
    lr: float = option(0.02, "peak learning rate")
    runtime: str = option(**options.RUNTIME)
    precision: str | None = option(**options.PRECISION)
    threads: int = option(**options.THREADS)
    target: str | None = option(**options.TARGET)
    percentile: int = option(50, "the latency percentile that has to keep --target-ms", choices=(50, 90))
    device: str = option(**options.DEVICE)
    seed: int = option(**options.SEED)

    def __post_init__(self) -> None:
        check_choices(self)
        check_target(self)
        check_seed(self.seed)
        least = {
            "size": 8, "train_images": 1, "steps": 1, "finetune_epochs": 0, "short_images": 1, "batch_size": 2,
            "threads": 1,
        }  # fmt: skip
        check_least(self, least)
        if self.align != AUTO and not (self.align.isdecimal() and int(self.align) >= 1):
            raise InputError(f"--align {self.align}: expected auto, or a number of channels from 1 up")
        _check_target(self)
        check_positive(self, "lr")

    @property
    def goal(self) -> tuple[str, float]:
        """Which of ``TARGETS`` was given, and its value."""
        return next((name, getattr(self, name)) for name in TARGETS if getattr(self, name) is not None)

    @property
    def by_hand(self) -> bool:
        """Whether somebody has to carry what is to be measured to a device."""
        return self.target is not None and not self.target.startswith("ssh:")

    def resolved(self, *, vector_channels: int) -> PruneSettings:
        """Fills in what is None or "auto"; ``vector_channels`` are those that the runtime takes at a time."""
        strategy = self.strategy
        if strategy is None and self.scope is not None:
            strategy = "uniform" if self.scope == "local" else "global"
        if strategy is None:
            strategy = "latency" if self.goal[0] in OF_LATENCY and not self.by_hand else "uniform"
        return dataclasses.replace(
            self,
            strategy=strategy,
            scope=self.scope or SCOPES[strategy][0],
            importance=self.importance or ("taylor" if strategy == "latency" else "magnitude"),
            steps=self.steps or STEPS[strategy],
            align=str(vector_channels) if self.align == AUTO else self.align,
        )


def _check_target(settings: PruneSettings) -> None:
    given = [name for name in TARGETS if getattr(settings, name) is not None]
    if len(given) != 1:
        names = ", ".join(flag(name) for name in TARGETS)
        raise InputError(f"give one target: one of {names}" + (f" (got {len(given)})" if given else ""))
    (name,) = given
    value = getattr(settings, name)
    limits = {"speedup": (1.0, 1000.0), "target_ms": (0.0, float("inf"))}.get(name, (0.0, 1.0))
    if not limits[0] < value < limits[1]:
        raise InputError(
            f"{flag(name)} {value:g}: expected more than {limits[0]:g} and less than {limits[1]:g}"
        )
    strategy, scope = settings.strategy, settings.scope
    if settings.by_hand and (strategy in ("latency", "netadapt") or (settings.steps or 1) > 1):
        raise InputError(
            f"--target {settings.target} is measured by hand, which goes with --strategy uniform or global in one step; "
            "--target ssh:user@host goes with all"
        )
    if name == "ratio" and strategy in ("latency", "netadapt"):
        raise InputError(
            f"--ratio says how much goes, --strategy {strategy} finds it out: give another target"
        )
    if strategy and scope and scope not in SCOPES[strategy]:
        fitting = next(other for other, scopes in SCOPES.items() if scope in scopes)
        raise InputError(f"--scope {scope} goes with --strategy {fitting}, not {strategy}")


@dataclass(frozen=True)
class SensitivitySettings:
    """Settings of ``nassuite prune --sensitivity``, of the same meaning as for pruning."""

    model: str = ""
    weights: str | None = None
    data: str = ""
    size: int | None = None
    train_images: int | None = None
    importance: str = "magnitude"
    align: str = AUTO
    seed: int = 0

    def __post_init__(self) -> None:
        # The same checks: a pruning of some ratio, with these settings.
        PruneSettings(**dataclasses.asdict(self), ratio=0.5)
