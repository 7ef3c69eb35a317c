"""Structured pruning: which channels to remove, proven exact before any is.

A group of channels is used only if cutting it on a scrambled copy of the network passes the
mask gate (``verify``), whatever the family: channel shuffles, norms over channels and the other traps of a
dependency graph show themselves there, and the record says which layers were left alone and why.
"""

from __future__ import annotations

import copy
import math
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nassuite.compress.importance import group_scores, saliencies, taylor_scores
from nassuite.compress.surgery import Cut, Group, cut, find_groups
from nassuite.compress.verify import TOLERANCE, gate, mask_difference, scrambled
from nassuite.compress.widths import PruneConfig, cuts_to, least, lower_widths, widths_at, widths_below
from nassuite.errors import InputError, typed_line


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
    scores = channel_scores(proven, config, batches=batches)
    return prune_to(proven, config, scores, widths_at(proven.dense, proven.groups, scores, config))


def channel_scores(
    proven: Proven, config: PruneConfig, *, batches: Iterable[tuple[Tensor, Tensor]] | None = None
) -> dict[str, Tensor]:
    """By the root of each group, (width,) scores of its channels, higher is more important.

    Raises ``InputError`` if the importance lacks its ``batches`` of (images, labels).
    """
    if config.importance == "taylor":
        return taylor_scores(proven.dense, proven.groups, batches)
    saliency = saliencies(proven.dense, config.importance, batches=batches, seed=config.seed)
    return {
        group.root: group_scores(proven.dense, group, saliency, config.importance) for group in proven.groups
    }


def prune_to(
    proven: Proven, config: PruneConfig, scores: Mapping[str, Tensor], widths: Mapping[str, int]
) -> tuple[nn.Module, PruneRecord]:
    """Cuts every group to its width in ``widths`` (root to channels), the least important channels going.

    Raises ``MaskEquivalenceError`` if the gate fails.
    """
    dense, images, left = proven.dense, proven.images, dict(proven.left)
    # Proven on random channels, now on the chosen ones and other weights, then on the model's own.
    chosen = cuts_to(proven.groups, scores, widths)
    template = scrambled(dense, images, torch.Generator().manual_seed(config.seed + 1))
    history, reasons = _exact_cuts(template, chosen, images)
    cuts = {name: len(channels) for name, _, channels in history}
    for group in proven.groups:
        if group.root not in cuts:
            left[group.root] = (group.width, reasons.get(group.root, "nothing of it had to go"))
    pruned, kept, history = cut(dense, history, images)
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


def merged(first: PruneRecord | None, second: PruneRecord) -> PruneRecord:
    """One record of two prunings, ``second`` that of what ``first`` had left: replayed, both are made.

    Indices in a history are those at the time of the cut, so one history follows the other.
    """
    if first is None:
        return second
    layers = {layer.layer: layer for layer in first.pruned}
    for layer in second.pruned:
        before = layers[layer.layer].before if layer.layer in layers else layer.before
        layers[layer.layer] = PrunedLayer(layer.layer, before, layer.after)
    return PruneRecord(
        input_shape=second.input_shape,
        history=first.history + second.history,
        pruned=tuple(layers.values()),
        kept=tuple(layer for layer in second.kept if layer.layer not in layers),
        gate_difference=max(first.gate_difference, second.gate_difference),
        config=second.config,
    )


def replay(model: nn.Module, record: PruneRecord) -> nn.Module:
    """The pruned copy of the unpruned ``model``; a plain state dict of a pruned model fits into it."""
    parameter = next(iter(model.parameters()), torch.empty(0))
    return cut(model, record.history, torch.zeros(1, *record.input_shape).to(parameter))[0]


def _gate_images(example: Tensor, seed: int) -> Tensor:
    noise = torch.rand(4, *example.shape[1:], generator=torch.Generator().manual_seed(seed))
    return torch.cat([example[:4].detach().cpu().float(), noise])


def _width(model: nn.Module, name: str) -> int:
    layer = model.get_submodule(name)
    weight = next(parameter for parameter in layer.parameters(recurse=False) if parameter.ndim > 1)
    return int(getattr(layer, "out_channels", getattr(layer, "out_features", len(weight))))


def _reason_to_keep(group: Group, align: int, keep: Sequence[str]) -> str:
    outputs = [member.module for member in group.members if member.side == "out"]
    if group.reaches_output:
        return "the network's output"
    for name in keep:
        if any(module == name or module.startswith(f"{name}.") for module in outputs):
            return f"{name} is to be kept"
    if widths_below(group, align):
        return ""
    size = math.lcm(align, group.unit)
    if group.width <= size:
        return f"no wider than {size} channels, one aligned step"
    return f"of its {group.width} channels {group.unit} go at a time, which leaves no multiple of {align}"


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
        (keep,) = lower_widths(group, config.align, (0.5,))
        trial.append((group.root, True, least(score, group, keep=keep)))
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
        pruned, kept, _ = cut(template, history, images)
        difference = mask_difference(template, pruned, kept, images)
    except Exception as error:  # surgery or forward pass: torch-pruning took the wrong channels
        return f"not exact: {_stopped(error)}{typed_line(error)}"
    if difference <= TOLERANCE:
        return ""
    return f"not exact: the mask gate finds a relative difference of {difference:.2g}"


def _stopped(error: Exception) -> str:
    """In which part of a network, as words that ``error`` follows; empty where none was running.

    The innermost that is not torch's own says more than a convolution in it.
    """
    running = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    modules = [module for module in running if isinstance(module, nn.Module)]
    if not modules:
        return ""
    names = {module: name for name, module in modules[0].named_modules()}
    own = [module for module in modules if not type(module).__module__.startswith("torch.")]
    part = (own[1:] or modules)[-1]
    return f"with this cut {names.get(part, '')} ({type(part).__name__}) does not run: "
