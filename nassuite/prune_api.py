"""``nassuite.prune``: what ``nassuite prune`` does, from Python, for a name, a folder, or a module in memory."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from nassuite.compress.importance import OF_THE_LOSS
from nassuite.compress.prune import PruneRecord
from nassuite.compress.steps import prepare, prune_in_steps
from nassuite.errors import InputError
from nassuite.latency.meter import Meter, measure
from nassuite.latency.target import Target
from nassuite.models import load_model
from nassuite.progress import SILENT, Progress
from nassuite.prune_settings import PruneSettings
from nassuite.pruning import plan_of, prune_model, resolved
from nassuite.pruning_result import Pruned
from nassuite.run_directory import dated_folder, file_name

OF_A_MODULE = (
    "target_ms", "speedup", "target_macs", "target_params", "ratio", "strategy", "importance", "scope", "align",
    "steps", "threads", "percentile", "seed",
)  # fmt: skip
"""Settings that a module in memory takes; the others are about images and training, which its owner has."""


@dataclass(frozen=True, eq=False)
class PrunedModel:
    """``model`` is a plain module, on the CPU in eval mode, for inputs and outputs of the shapes of the dense one.

    ``record`` says what was cut, what was left alone and why; ``nassuite.compress.prune.replay`` repeats it on
    the dense network. ``result`` has the folder, accuracies and latencies of a model pruned by name or folder
    (``nassuite.load(result.folder)`` gives ``model`` again, difference 0.0); None for a module in memory.
    """

    model: nn.Module
    record: PruneRecord
    result: Pruned | None = None

    @property
    def met(self) -> bool:
        """Whether the target holds, as measured at the end."""
        return self.result.met if self.result else True


def prune(
    model: nn.Module | str | Path,
    *,
    out: str | Path | None = None,
    example: Tensor | None = None,
    batches: Iterable[tuple[Tensor, Tensor]] | None = None,
    tune: Callable[[nn.Module], Any] | None = None,
    accuracy: Callable[[nn.Module], float] | None = None,
    meter: Meter = measure,
    progress: Progress = SILENT,
    **settings: Any,
) -> PrunedModel:
    """Removes channels until a target is met, each cut proven equal to the masked original (1e-4 relative).

    ``settings`` are the flags of ``nassuite prune`` with underscores (``PruneSettings``): exactly one of target_ms
    (milliseconds of the exported file, one image at a time), speedup, target_macs, target_params and ratio
    (fractions), and strategy, importance, scope, align, steps, ...

    A ``model`` by name ("mobilenet_v2", with ``data`` and ``weights``) or folder is pruned, distilled and measured
    into the folder ``out`` (default: runs/prune-<name>-<date>). A module in memory takes ``example``, float32
    (N, C, H, W) as the module expects them, 2 images or more; ``batches`` of such images with int64 labels (N,),
    a list that can be read again, for the importances "taylor" and "hessian"; ``tune``, which trains
    the network that it is given in place, after every step; and ``accuracy`` (higher is better), which
    "netadapt" chooses by. The module itself is left as it was.

    Raises ``InputError`` for anything wrong with these, and where the target cannot be reached. Sources:
    NetAdapt (Yang et al. 2018, Algorithm 1), HALP (Shen et al. 2022), isomorphic pruning (Fang et al. 2024).
    """
    known = {field.name for field in dataclasses.fields(PruneSettings)} - {"model"}
    for name in settings:
        if name not in known:
            raise InputError(f"prune has no setting {name!r}: expected one of {', '.join(sorted(known))}")
    if "align" in settings:
        settings["align"] = str(settings["align"])
    if isinstance(model, nn.Module):
        return _prune_module(
            model,
            settings,
            example,
            batches=batches,
            tune=tune,
            accuracy=accuracy,
            meter=meter,
            progress=progress,
        )
    for value, name in ((example, "example"), (batches, "batches"), (tune, "tune"), (accuracy, "accuracy")):
        if value is not None:
            raise InputError(f"{name} is for a module in memory: {model} takes its images from data=")
    folder = Path(out) if out else dated_folder("prune", file_name(str(model)))
    found = prune_model(
        PruneSettings(model=str(model), **settings), out=folder, meter=meter, progress=progress
    )
    return PrunedModel(load_model(folder), found.record, found)


def _prune_module(
    model: nn.Module,
    given: dict[str, Any],
    example: Tensor | None,
    *,
    batches: Iterable[tuple[Tensor, Tensor]] | None,
    tune: Callable[[nn.Module], Any] | None,
    accuracy: Callable[[nn.Module], float] | None,
    meter: Meter,
    progress: Progress,
) -> PrunedModel:
    if others := [name for name in given if name not in OF_A_MODULE]:
        raise InputError(
            f"a module in memory takes no {others[0]}: its owner trains it (tune=) and has its images"
        )
    if example is None or example.ndim != 4 or len(example) < 2:
        raise InputError("a module in memory is pruned with example=, two images or more, (N, C, H, W)")
    settings, _ = resolved(PruneSettings(model="the module", **given), progress)
    if settings.importance in OF_THE_LOSS and batches is None:
        raise InputError(f"importance {settings.importance!r} needs batches= of images and labels")
    if settings.strategy == "netadapt" and accuracy is None:
        raise InputError("strategy 'netadapt' chooses by accuracy: give accuracy=, a function of a network")
    dense = copy.deepcopy(model).cpu().float().eval()
    plan = plan_of(
        settings, dense, example.detach().cpu(), target=Target(threads=settings.threads), meter=meter,
        progress=progress,
    )  # fmt: skip

    def tuned(network: nn.Module, *_: Any) -> None:
        if tune is not None:
            tune(network)

    plan = dataclasses.replace(plan, batches=lambda: batches, tune=tuned, short_tune=tuned)
    if accuracy is not None:
        plan = dataclasses.replace(plan, accuracy=accuracy)
    return PrunedModel(*prune_in_steps(dense, plan, prepare(dense, plan, name="the module")))
