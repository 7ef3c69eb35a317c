"""Every setting of a search in one value: checked once, written to ``study.toml``, read again at resume."""

from __future__ import annotations

import dataclasses
import math
import os
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nassuite import options
from nassuite.errors import InputError
from nassuite.options import ONNX_RUNTIMES, option
from nassuite.records import read_toml
from nassuite.resources import find_toml, shipped_names
from nassuite.storage_url import check_storage, without_password
from nassuite.time_shares import LEAST, parse_duration, prune_epochs_of

SUPERNET_SETTINGS = ("size", "train_images", "class_weights", "epochs", "batch_size", "lr", "seed")
"""What a supernet depends on, beside its data and space."""

QUANTITIES = ("params", "macs", "memory", "size")
LIMITS = {"max_params": ("params", 1.0), "max_size_mb": ("size", 1e6), "max_memory_mb": ("memory", 1e6)}
"""Setting to what it limits, and the unit that it is given in."""

SHARED_SETTINGS = ("calibration", "epochs", "trials", "finetune_epochs", "prune_epochs")
"""What a time limit decides, where it is not given."""

LEAST_CALIBRATION = LEAST["calibration"]
"""Measured architectures that a search takes, at least."""


@dataclass(frozen=True)
class Settings:
    """Settings of ``nassuite search``; the metadata's ``help`` is what ``--help`` prints.

    A None stands for "chosen to fit the data", and is resolved before a run begins.
    """

    budget_ms: tuple[float, ...] = option((), "latency budget in milliseconds; may be given several times")
    objective: str = option(
        "budget",
        "budget: the most accurate model under each budget; pareto: the fastest, the most accurate and the knee "
        "between them, without a budget; mnas: accuracy * (latency / budget)^-0.07, which may go over the budget",
        choices=("budget", "pareto", "mnas"),
    )
    data: str = option("digits", "digits, folder:DIR, or cifar10|cifar100|fashion-mnist[:DIR]")
    size: int | None = option(**options.SIZE)
    train_images: int | None = option(**options.TRAIN_IMAGES)
    metric: str = option(**options.METRIC)
    class_weights: str = option(**options.CLASS_WEIGHTS)
    space: str | None = option(None, "search space: a shipped name or a TOML file (default: fits the size)")
    percentile: int = option(50, "the latency percentile that has to keep the budget", choices=(50, 90))
    confidence: float = option(0.99, "confidence of the certificate")
    runtime: str = option(**options.RUNTIME)
    precision: str | None = option(**options.PRECISION)
    threads: int = option(**options.THREADS)
    target: str | None = option(**options.TARGET)
    time_limit: str | None = option(
        None,
        "how long it may take (45s, 90m, 1h30m): epochs, trials and measurements that are not given are made to fit",
    )
    epochs: int | None = option(None, "epochs of the supernet (default: fits the data)")
    batch_size: int | None = option(None, "images in a training step (default: fits the data)")
    lr: float = option(0.1, "peak learning rate of the supernet")
    calibration: int | None = option(
        None, "architectures measured to fit the latency predictor, at the most (default: 160)"
    )
    predicted_confidence: float | None = option(
        None, "search only what keeps the budget with this probability by prediction (default: as predicted)"
    )
    trials: int | None = option(
        None, "distinct architectures evaluated by the search, before what fills budgets (default: 72)"
    )  # fmt: skip
    sampler: str = option(
        "guided",
        "Optuna sampler; guided is this suite's own",
        choices=("guided", "nsga2", "tpe", "gp", "random"),
    )
    workers: int = option(1, "processes that search together")
    storage: str | None = option(
        None, "database or gRPC proxy through which several machines search (default: this machine alone)"
    )
    finetune_epochs: int | None = option(None, "epochs of distillation of a winner (default: fits the data)")
    prune: float = option(0.3, "fraction of the winner's inner channels that pruning removes")
    refine: str | None = option(
        None,
        "refine the winner's channel counts layer by layer; one more variant to choose from",
        choices=("netadapt",),
    )
    prune_epochs: int | None = option(
        None, "epochs of distillation after pruning (default: a quarter of these)"
    )
    max_params: int | None = option(None, "the most parameters that a model may have")
    max_size_mb: float | None = option(
        None, "the most megabytes (10^6 bytes) that a model's fp32 ONNX file may have"
    )
    max_memory_mb: float | None = option(
        None, "the most megabytes that a model's activations may take at once, for one image"
    )
    minimise: str | None = option(
        None,
        "a third objective; it decides between models that accuracy cannot tell apart",
        choices=QUANTITIES,
    )
    baselines: str | None = option(
        None, "folder of a zoo compare on the same images, to draw the report against"
    )
    device: str = option(**options.DEVICE)
    seed: int = option(**options.SEED)

    def __post_init__(self) -> None:
        if not isinstance(self.budget_ms, tuple):  # from Python a number or a list is as natural
            several = isinstance(self.budget_ms, list)
            object.__setattr__(self, "budget_ms", tuple(self.budget_ms) if several else (self.budget_ms,))
        _check(self)

    def resolved(self, *, images: int, size: int, device: str) -> Settings:
        """Fills in what is None, for ``images`` training images of ``size`` pixels.

        With a time limit, but for ``SHARED_SETTINGS``: those wait for this machine's speed.
        """
        found = dataclasses.replace(
            self,
            size=size,
            device=device,
            space=self.space or _space_for(images, size),
            batch_size=self.batch_size or _between(32, images / 32 // 16 * 16, 128),
        )
        if self.time_limit is not None:
            return found
        epochs = self.epochs if self.epochs is not None else _between(6, 9_000 / images, 24)
        finetune = self.finetune_epochs if self.finetune_epochs is not None else 2 * epochs
        return dataclasses.replace(
            found,
            epochs=epochs,
            calibration=160 if self.calibration is None else self.calibration,
            trials=72 if self.trials is None else self.trials,
            finetune_epochs=finetune,
            prune_epochs=prune_epochs_of(finetune) if self.prune_epochs is None else self.prune_epochs,
        )

    def to_toml(self) -> dict[str, Any]:
        """As they are written down: without a password."""
        table = to_table(self)
        return table | ({"storage": without_password(self.storage)} if self.storage else {})


def _space_for(images: int, size: int) -> str:
    if size > 48:
        return "mobile"
    return "tiny" if images >= 5_000 else "micro"


def _between(low: int, value: float, high: int) -> int:
    return int(min(max(low, value), high))


def settings_types(kind: type = Settings) -> dict[str, tuple[type, bool]]:
    """Name of each setting to the type of one value, and whether there may be several."""
    found = {}
    for name, hint in typing.get_type_hints(kind).items():
        arguments = [a for a in typing.get_args(hint) if a not in (type(None), Ellipsis)]
        found[name] = (arguments[0] if arguments else hint, typing.get_origin(hint) is tuple)
    return found


def check_choices(settings: Any) -> None:
    """Raises InputError for a value that is not among its field's choices."""
    for field in dataclasses.fields(settings):
        choices = field.metadata.get("choices")
        value = getattr(settings, field.name)
        if choices and value is not None and value not in choices:
            raise InputError(f"{flag(field.name)} {value!r}: expected one of {', '.join(map(str, choices))}")


def check_least(settings: Any, least: Mapping[str, float]) -> None:
    """Raises InputError for a value, unless it is None, under its least one."""
    for name, bound in least.items():
        value = getattr(settings, name)
        if value is not None and not value >= bound:
            raise InputError(f"{flag(name)} {value:g}: expected {bound:g} or more")


def check_positive(settings: Any, *names: str) -> None:
    """Raises InputError for a value, unless it is None, that is no finite number above 0."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"{flag(name)} {value:g}: expected a positive number")


def check_seed(seed: int) -> None:
    if not 0 <= seed < 2**31:
        raise InputError(f"--seed {seed}: expected 0 to 2147483647")


def check_target(settings: Any) -> None:
    """Raises InputError where a device is asked for another runtime than the one that bundles are measured with."""
    if settings.target is not None and (settings.runtime, settings.precision) != (ONNX_RUNTIMES[0], None):
        raise InputError("--target measures with onnxruntime in f32: leave out --runtime and --precision")


def check_budgets(settings: Settings) -> None:
    """Raises InputError where a run with these settings would not know what to aim at."""
    if not settings.budget_ms and settings.objective != "pareto":
        raise InputError(
            "no latency budget: give --budget-ms, for instance --budget-ms 20, or --objective pareto"
        )


def _check_objective(settings: Settings) -> None:
    """Raises InputError for settings that ask for two things that do not go together."""
    objective = settings.objective
    if objective == "pareto" and settings.budget_ms:
        raise InputError(
            "--objective pareto looks for the whole front: leave out --budget-ms, or --objective"
        )
    if objective != "budget" and settings.predicted_confidence is not None:
        raise InputError(
            f"--predicted-confidence is about keeping a budget, --objective {objective} does without: leave out one"
        )
    if objective == "mnas" and settings.minimise:
        raise InputError("--objective mnas weighs accuracy and latency alone: leave out it or --minimise")
    if settings.refine and settings.target is not None and not settings.target.startswith("ssh:"):
        raise InputError(
            f"--target {settings.target} is measured by hand, --refine {settings.refine} measures in many steps: leave out "
            "one of them"
        )


def _check(settings: Settings) -> None:
    check_choices(settings)
    _check_objective(settings)
    if settings.time_limit is not None:
        parse_duration(settings.time_limit)
    check_target(settings)
    for budget in settings.budget_ms:
        if not (math.isfinite(budget) and budget > 0):
            raise InputError(f"--budget-ms {budget:g}: expected a positive number of milliseconds")
    names = [f"{budget:g}" for budget in settings.budget_ms]  # also those of their folders
    if len(set(names)) != len(names):
        raise InputError(f"--budget-ms {' '.join(names)}: give every budget once (six digits count)")
    at_least = {
        "threads": 1, "epochs": 1, "batch_size": 2, "calibration": LEAST_CALIBRATION, "trials": 1, "workers": 1,
        "finetune_epochs": 0, "prune_epochs": 0, "size": 8, "train_images": 1,
    }  # fmt: skip
    check_least(settings, at_least)
    check_seed(settings.seed)
    if settings.storage is not None:
        check_storage(settings.storage)
    if not 0 < settings.prune < 1:
        raise InputError(f"--prune {settings.prune:g}: expected a fraction between 0 and 1")
    if not 0.5 <= settings.confidence < 1:
        raise InputError(f"--confidence {settings.confidence:g}: expected 0.5 or more and less than 1")
    if settings.predicted_confidence is not None and not 0.5 <= settings.predicted_confidence < 1:
        raise InputError(
            f"--predicted-confidence {settings.predicted_confidence:g}: expected 0.5 or more and less than 1"
        )
    check_positive(settings, "lr", *LIMITS)


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def from_table(table: dict[str, Any], path: str, kind: type = Settings) -> dict[str, Any]:
    """Keyword arguments for settings of a ``kind`` from a TOML table; raises InputError naming file and key."""
    types = settings_types(kind)
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in types:
            raise InputError(f"{path}: no setting {key!r}: expected one of {', '.join(types)}")
        one, several = types[key]
        items = value if several and isinstance(value, list) else [value]
        for item in items:
            numeric = one is float and isinstance(item, int) and not isinstance(item, bool)
            if not numeric and (not isinstance(item, one) or isinstance(item, bool)):
                raise InputError(f"{path}: {key} = {value!r}: expected {one.__name__}")
        values[key] = tuple(float(i) if one is float else i for i in items) if several else value
    return values


def to_table(settings: Any) -> dict[str, Any]:
    """The inverse of ``from_table``."""
    values = dataclasses.asdict(settings)
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if v is not None}


def load_study(name: str) -> dict[str, Any]:
    """Settings of a shipped study by name, or of a TOML file by path."""
    path = find_toml(name, "studies", what="study")
    return from_table(read_toml(path), str(path))


def moved(settings: Settings, folder: str) -> Settings:
    """The same settings, where relative paths in them were given in ``folder``, seen from here."""

    def seen(path: str) -> str:
        there = Path(folder) / Path(path).expanduser()
        return str(there) if there.exists() else path

    if folder == os.getcwd():
        return settings
    kind, colon, place = settings.data.partition(":")
    shipped = settings.space is None or (
        "/" not in settings.space and settings.space in shipped_names("search_spaces")
    )
    return dataclasses.replace(
        settings,
        data=f"{kind}{colon}{seen(place)}" if place else settings.data,
        space=settings.space if shipped else seen(str(settings.space)),
        baselines=seen(settings.baselines) if settings.baselines else None,
    )
