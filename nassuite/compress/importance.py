"""How much a channel matters: a saliency for each weight, summed over all that falls with the channel."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nassuite.compress.surgery import BATCH_NORMS, CONVOLUTIONS, TRANSPOSED, Group, Member
from nassuite.errors import InputError

Importance = Literal["magnitude", "bn-scale", "taylor", "random"]


def saliencies(
    model: nn.Module,
    importance: Importance,
    *,
    batches: Iterable[tuple[Tensor, Tensor]] | None = None,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Parameter name to a tensor of its shape.

    "magnitude" and "bn-scale": the square of each weight; "taylor": abs(weight * gradient) of the cross-entropy
    in eval mode, summed over ``batches`` of (images, labels) (first order, Molchanov et al. 2019); "random":
    uniform noise. Raises ``InputError`` where "taylor" has no batches.
    """
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    if importance == "random":
        generator = torch.Generator().manual_seed(seed)
        return {name: torch.rand(p.shape, generator=generator) for name, p in parameters.items()}
    if importance == "taylor":
        return _taylor(model, batches)
    return {name: p.square() for name, p in parameters.items()}


def _taylor(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]] | None) -> dict[str, Tensor]:
    model = copy.deepcopy(model).eval().requires_grad_(True)
    parameters = dict(model.named_parameters())
    total = {name: torch.zeros_like(p) for name, p in parameters.items()}
    seen = 0
    for images, labels in batches or ():
        loss = F.cross_entropy(model(images.cpu().float()), labels.cpu())
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True):
            if gradient is not None:
                total[name] += (parameter.detach() * gradient).abs()
        seen += len(images)
    if not seen:
        raise InputError("importance 'taylor' needs batches of images and labels, there are none")
    return total


def group_scores(
    model: nn.Module, group: Group, saliency: dict[str, Tensor], importance: Importance
) -> Tensor:
    """(width,) scores of the group's root channels, higher is more important.

    Norms have another scale in every layer: each member's are divided by their mean, and so is the
    sum, which makes groups comparable. Taylor scores estimate a change of the loss and are added as they are.
    """
    total = torch.zeros(group.width)
    for member in group.members:
        module = model.get_submodule(member.module)
        if importance == "bn-scale" and not isinstance(module, BATCH_NORMS):
            continue
        sums = _channel_sums(module, member, saliency)
        if sums is None:
            continue
        if importance != "taylor":
            sums = sums.sqrt()
            sums = sums / sums.mean().clamp_min(1e-12)
        total.index_add_(0, torch.tensor(member.roots), sums[list(member.channels)])
    if importance == "bn-scale" and not total.any():  # no batch norm in this group
        return group_scores(model, group, saliency, "magnitude")
    return total if importance == "taylor" else total / total.mean().clamp_min(1e-12)


def _channel_sums(module: nn.Module, member: Member, saliency: dict[str, Tensor]) -> Tensor | None:
    """(channels,) saliency of the weights of each output (or input) channel of ``module``."""
    weight = saliency.get(f"{member.module}.weight")
    if weight is None:
        return None
    if weight.ndim == 1:
        return weight
    # (outputs, inputs / groups, …); a transposed convolution has them the other way round.
    groups = module.groups if isinstance(module, (*CONVOLUTIONS, *TRANSPOSED)) else 1
    first = (member.side == "out") != isinstance(module, TRANSPOSED)
    if first:
        return weight.flatten(1).sum(1)
    split = weight.reshape(groups, len(weight) // groups, weight.shape[1], -1)
    return split.sum((1, 3)).flatten()
