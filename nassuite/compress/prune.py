"""Structured pruning: which channels to remove, proven exact before any is.

A group of channels is used only if cutting it on a scrambled copy of the network passes the
mask gate (``verify``), whatever the family: channel shuffles, norms over channels and the other traps of a
dependency graph show themselves there, and the record says which layers were left alone and why.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from nassuite.compress.importance import Importance, group_scores, saliencies
from nassuite.compress.surgery import Cut, Group, cut, find_groups
from nassuite.compress.verify import TOLERANCE, gate, mask_difference, scrambled
from nassuite.errors import InputError

Scope = Literal["global", "local"]


@dataclass(frozen=True)
class PruneConfig:
    """``ratio`` is the fraction of the prunable channels to remove, 0 <= ratio < 1.

    ``scope``: "local" removes it from every group, "global" wherever importance is least. Widths
    become multiples of ``align``, the nearest, at least one (ONNX Runtime is slow on others).
    """

    ratio: float
    importance: Importance = "magnitude"
    scope: Scope = "local"
    align: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.ratio < 1.0:
            raise InputError(f"pruning ratio {self.ratio}: expected 0 <= ratio < 1")
        if self.align < 1:
            raise InputError(f"alignment {self.align}: expected a number of channels, 1 or more")
        for value, known in ((self.importance, get_args(Importance)), (self.scope, get_args(Scope))):
            if value not in known:
                raise InputError(f"{value!r} is none of {', '.join(known)}")


@dataclass(frozen=True)
class PrunedLayer:
    """A group's root layer, and its output channels before and after."""

    layer: str
    before: int
    after: int


@dataclass(frozen=True)
class KeptLayer:
    """A group's root layer that kept all of its output channels, and the reason."""

    layer: str
    width: int
    reason: str


@dataclass(frozen=True)
class PruneRecord:
    """What was cut: with the unpruned architecture, ``replay`` makes the pruned one of it.

    ``input_shape`` is (C, H, W), ``gate_difference`` the mask gate's, relative to the outputs' scale.
    """

    input_shape: tuple[int, int, int]
    history: tuple[Cut, ...]
    pruned: tuple[PrunedLayer, ...]
    kept: tuple[KeptLayer, ...]
    gate_difference: float
    config: PruneConfig

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> PruneRecord:
        channels, height, width = value["input_shape"]
        return cls(
            input_shape=(channels, height, width),
            history=tuple((name, is_out, tuple(cut)) for name, is_out, cut in value["history"]),
            pruned=tuple(PrunedLayer(**layer) for layer in value["pruned"]),
            kept=tuple(KeptLayer(**layer) for layer in value["kept"]),
            gate_difference=value["gate_difference"],
            config=PruneConfig(**value["config"]),
        )


@dataclass(frozen=True, eq=False)
class Proven:
    """What of a network can be cut exactly: found once, for any number of ratios.

    ``dense`` is a copy on the CPU in float32, ``images`` those of the gate, ``left`` the layers that keep their
    width, with it and the reason.
    """

    dense: nn.Module
    images: Tensor
    groups: tuple[Group, ...]
    left: dict[str, tuple[int, str]]


def prove(model: nn.Module, config: PruneConfig, *, example: Tensor, keep: Sequence[str] = ()) -> Proven:
    """Finds the groups of channels that pass the mask gate on random weights; ``config.ratio`` plays no part.

    Arguments and errors are those of ``prune``.
    """
    modules = dict(model.named_modules())
    if unknown := [name for name in keep if name not in modules]:
        raise InputError(f"{unknown[0]!r} is to be kept, but the model has no module of that name")
    # On the CPU in float32: the gate's tolerance is below what TF32 and half precision resolve.
    dense = copy.deepcopy(model).cpu().float()
    images = _gate_images(example, config.seed)
    groups, untraced = find_groups(dense, images)
    left = {name: (_width(dense, name), reason) for name, reason in untraced.items()}
    candidates = []
    for group in groups:
        if reason := _reason_to_keep(group, config.align, keep):
            left[group.root] = (group.width, reason)
        else:
            candidates.append(group)
    exact, reasons = _prove(dense, candidates, images, config)
    left |= {g.root: (g.width, reasons[g.root]) for g in candidates if g.root in reasons}
    return Proven(dense, images, tuple(exact), left)


def prune(
    model: nn.Module,
    config: PruneConfig,
    *,
    example: Tensor,
    batches: Iterable[tuple[Tensor, Tensor]] | None = None,
    keep: Sequence[str] = (),
) -> tuple[nn.Module, PruneRecord]:
    """A smaller copy of ``model``, equal to the model with the removed channels zeroed.

    ``example``: images (N, C, H, W) in 0..1 on which the result is verified; ``batches`` of (images,
    labels) for the Taylor importance; ``keep`` names modules whose outputs stay as wide as they
    are. The network's output is never cut. Raises ``MaskEquivalenceError`` if the gate fails,
    ``InputError`` if the importance lacks its batches.
    """
    proven = prove(model, config, example=example, keep=keep)
    pruned, record = prune_proven(proven, config, batches=batches)
    parameter = next(iter(model.parameters()), None)
    return pruned if parameter is None else pruned.to(parameter.device, parameter.dtype), record


def prune_proven(
    proven: Proven, config: PruneConfig, *, batches: Iterable[tuple[Tensor, Tensor]] | None = None
) -> tuple[nn.Module, PruneRecord]:
    """``prune`` at one ratio, the groups known; on the CPU. ``config`` is that of ``prove`` but for the ratio."""
    dense, images, left = proven.dense, proven.images, dict(proven.left)
    # Proven on random channels, now on the chosen ones and other weights, then on the model's own.
    chosen = _choose(dense, proven.groups, config, batches)
    template = scrambled(dense, images, torch.Generator().manual_seed(config.seed + 1))
    history, reasons = _exact_cuts(template, chosen, images)
    cuts = {name: len(channels) for name, _, channels in history}
    for group in proven.groups:
        if group.root not in cuts:
            left[group.root] = (group.width, reasons.get(group.root, "nothing to remove at this ratio"))
    pruned, kept = cut(dense, history, images)
    difference = gate(dense, pruned, kept, images)
    record = PruneRecord(
        input_shape=tuple(images.shape[1:]),  # type: ignore[arg-type]
        history=tuple(history),
        pruned=tuple(
            PrunedLayer(g.root, g.width, g.width - cuts[g.root]) for g in proven.groups if g.root in cuts
        ),
        kept=tuple(KeptLayer(name, width, reason) for name, (width, reason) in left.items()),
        gate_difference=difference,
        config=config,
    )
    return pruned, record


def replay(model: nn.Module, record: PruneRecord) -> nn.Module:
    """The pruned copy of the unpruned ``model``; a plain state dict of a pruned model fits into it."""
    parameter = next(iter(model.parameters()), torch.empty(0))
    return cut(model, record.history, torch.zeros(1, *record.input_shape).to(parameter))[0]


def _gate_images(example: Tensor, seed: int) -> Tensor:
    noise = torch.rand(4, *example.shape[1:], generator=torch.Generator().manual_seed(seed))
    return torch.cat([example[:4].detach().cpu().float(), noise])


def _width(model: nn.Module, name: str) -> int:
    layer = model.get_submodule(name)
    return int(getattr(layer, "out_channels", getattr(layer, "out_features", 0)))


def _reason_to_keep(group: Group, align: int, keep: Sequence[str]) -> str:
    outputs = [member.module for member in group.members if member.side == "out"]
    if group.reaches_output:
        return "the network's output"
    for name in keep:
        if any(module == name or module.startswith(f"{name}.") for module in outputs):
            return f"{name} is to be kept"
    step = math.lcm(align, group.period)
    return f"no wider than {step} channels, one aligned step" if group.width <= step else ""


def _prove(
    dense: nn.Module, groups: Sequence[Group], images: Tensor, config: PruneConfig
) -> tuple[list[Group], dict[str, str]]:
    """The groups that can be cut exactly, all of them together, and why each other one cannot."""
    generator = torch.Generator().manual_seed(config.seed)
    template = scrambled(dense, images, generator)
    trial: list[Cut] = []
    # Groups that run through many layers are the ones in doubt; side by side they are found sooner.
    for group in sorted(groups, key=lambda group: len(group.members)):
        score = torch.rand(group.width, generator=generator)
        keep = _aligned(0.5 * group.width, group, config.align)
        trial.append((group.root, True, _least(score, group, keep=keep)))
    exact, reasons = _exact_cuts(template, trial, images)
    roots = {name for name, _, _ in exact}
    return [group for group in groups if group.root in roots], reasons


def _exact_cuts(
    template: nn.Module, history: Sequence[Cut], images: Tensor
) -> tuple[list[Cut], dict[str, str]]:
    """The cuts that pass the mask gate together on ``template``, and why each other one does not.

    All are tried at once, then halves of what fails, always on top of those accepted before: most
    are exact, and k that are not among n cost about k log n trials.
    """
    reasons: dict[str, str] = {}

    def extend(accepted: list[Cut], tried: Sequence[Cut]) -> list[Cut]:
        reason = _reason_against(template, [*accepted, *tried], images)
        if not reason:
            return [*accepted, *tried]
        if len(tried) == 1:
            reasons[tried[0][0]] = reason
            return accepted
        middle = len(tried) // 2
        return extend(extend(accepted, tried[:middle]), tried[middle:])

    return (extend([], history) if history else []), reasons


def _reason_against(template: nn.Module, history: Sequence[Cut], images: Tensor) -> str:
    """Why these cuts are not exact together; empty if they are."""
    try:
        pruned, kept = cut(template, history, images)
        difference = mask_difference(template, pruned, kept, images)
    except Exception as error:  # surgery or forward pass: torch-pruning took the wrong channels
        return f"not exact: {type(error).__name__}: {error}"
    if difference <= TOLERANCE:
        return ""
    return f"not exact: the mask gate finds a relative difference of {difference:.2g}"


def _choose(
    dense: nn.Module,
    groups: Sequence[Group],
    config: PruneConfig,
    batches: Iterable[tuple[Tensor, Tensor]] | None,
) -> list[Cut]:
    saliency = saliencies(dense, config.importance, batches=batches, seed=config.seed)
    scores = {group.root: group_scores(dense, group, saliency, config.importance) for group in groups}
    wanted = _WIDTHS[config.scope](groups, scores, config.ratio)
    history: list[Cut] = []
    for group in groups:
        keep = _aligned(wanted[group.root], group, config.align)
        if wanted[group.root] < group.width and keep < group.width:
            history.append((group.root, True, _least(scores[group.root], group, keep=keep)))
    return history


def _local_widths(groups: Sequence[Group], scores: dict[str, Tensor], ratio: float) -> dict[str, float]:
    return {group.root: (1.0 - ratio) * group.width for group in groups}


def _global_widths(groups: Sequence[Group], scores: dict[str, Tensor], ratio: float) -> dict[str, float]:
    if not groups:
        return {}
    flat = torch.cat([scores[group.root] for group in groups])
    removed = torch.zeros(len(flat), dtype=torch.bool)
    removed[flat.argsort(stable=True)[: int(ratio * len(flat))]] = True
    parts = removed.split([group.width for group in groups])
    return {group.root: float((~part).sum()) for group, part in zip(groups, parts, strict=True)}


_WIDTHS: dict[Scope, Callable[[Sequence[Group], dict[str, Tensor], float], dict[str, float]]] = {
    "local": _local_widths,
    "global": _global_widths,
}


def _aligned(wanted: float, group: Group, align: int) -> int:
    step = math.lcm(align, group.period)
    return min(group.width, step * max(1, math.floor(wanted / step + 0.5)))


def _least(scores: Tensor, group: Group, *, keep: int) -> tuple[int, ...]:
    """The least important channels, all but ``keep``, the same ones in each of the group's equal parts."""
    units = group.width // group.period
    folded = scores.view(group.period, units).sum(0)
    least = folded.argsort(stable=True)[: units - keep // group.period].tolist()
    return tuple(sorted(part * units + unit for part in range(group.period) for unit in least))
