"""How much a channel matters: a saliency for each weight, summed over all that falls with the channel."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nassuite.compress.selections import ChannelSelection
from nassuite.compress.surgery import BATCH_NORMS, CONVOLUTIONS, TRANSPOSED, Group, Member
from nassuite.errors import InputError

Importance = Literal["magnitude", "taylor", "bn-scale", "lamp", "fpgm", "hessian", "random"]
OF_THE_LOSS = ("taylor", "hessian")
"""Scores that estimate by how much the loss grows: they need images, and are added and compared as they are."""
HESSIAN_IMAGES = 128
"""Each has a backward pass of its own."""

Batches = Iterable[tuple[Tensor, Tensor]]


def saliencies(
    model: nn.Module, importance: Importance, *, batches: Batches | None = None, seed: int = 0
) -> dict[str, Tensor]:
    """Parameter name to a tensor of its shape.

    "magnitude", "bn-scale", "lamp" and "fpgm": the square of each weight. "hessian": half the weight's square times
    the diagonal of the empirical Fisher matrix, which stands for the Hessian (optimal brain damage, LeCun et al.
    1989; Theis et al. 2018, arXiv 1801.05787), over the first ``HESSIAN_IMAGES`` images. "random": uniform
    noise. Raises ``InputError`` where images are needed and there are none, and ValueError for "taylor", which is
    of whole channels (``taylor_scores``).
    """
    if importance == "taylor":
        raise ValueError("'taylor' has no score of a single weight: taylor_scores")
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    if importance == "random":
        generator = torch.Generator().manual_seed(seed)
        return {name: torch.rand(p.shape, generator=generator) for name, p in parameters.items()}
    if importance == "hessian":
        single = _single_images(batches or (), HESSIAN_IMAGES)
        total = {name: torch.zeros_like(p) for name, p in parameters.items()}
        for products in _products(model, single, importance):
            for name, product in products.items():
                total[name] += 0.5 * product.square()
        return total
    return {name: p.square() for name, p in parameters.items()}


def taylor_scores(model: nn.Module, groups: Sequence[Group], batches: Batches | None) -> dict[str, Tensor]:
    """By the root of each group, (width,) by how much the loss changes without a channel, to first order.

    What is lost with a channel is what the layers behind it take from it: the sum of weight * gradient over all of
    their weights for that input, with its sign, for what one of them loses another may win. Of each of the
    ``batches`` of (images, labels) the absolute value, averaged (Molchanov et al. 2019, arXiv 1906.10771,
    section 3.1, for gates in front of those layers). Raises InputError where there are no batches.
    """
    total = {group.root: torch.zeros(group.width) for group in groups}
    takers = {group.root: _takers(model, group) for group in groups}
    count = 0
    for products in _products(model, batches or (), "taylor"):
        count += 1
        for root, members in takers.items():
            change = torch.zeros_like(total[root])
            for member in members:
                sums = _channel_sums(model.get_submodule(member.module), member, products)
                if sums is not None:
                    change.index_add_(0, torch.tensor(member.roots), sums[list(member.channels)])
            total[root] += change.abs()
    return {root: summed / count for root, summed in total.items()}


def _takers(model: nn.Module, group: Group) -> list[Member]:
    """The members that mix what the group's channels hold into other channels; all of them where none does."""
    found = [
        member
        for member in group.members
        if member.side == "in" and _mixes(model.get_submodule(member.module))
    ]
    return found or list(group.members)


def _mixes(module: nn.Module) -> bool:
    if isinstance(module, (*CONVOLUTIONS, *TRANSPOSED)):
        return module.groups == 1 or module.groups < module.in_channels
    return isinstance(module, nn.Linear)


def _products(model: nn.Module, batches: Batches, importance: str) -> Iterator[dict[str, Tensor]]:
    """For each batch weight * gradient of the cross-entropy in eval mode, by the parameters' names."""
    model = copy.deepcopy(model).eval().requires_grad_(True)
    parameters = dict(model.named_parameters())
    batch = None
    for batch in batches:
        images, labels = batch
        loss = F.cross_entropy(model(images.cpu().float()), labels.cpu())
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        yield {
            name: parameter.detach() * gradient
            for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True)
            if gradient is not None
        }
    if batch is None:
        raise InputError(f"importance {importance!r} needs batches of images and labels, there are none")


def _single_images(batches: Batches, most: int) -> Batches:
    for images, labels in batches:
        for row in range(min(most, len(images))):
            yield images[row : row + 1], labels[row : row + 1]
        most -= len(images)
        if most <= 0:
            return


def group_scores(
    model: nn.Module, group: Group, saliency: dict[str, Tensor], importance: Importance
) -> Tensor:
    """(width,) scores of the group's root channels, higher is more important.

    Norms have another scale in every layer: each member's are divided by their mean, and so is the
    sum, which makes groups comparable. LAMP divides the sum's squares by those of all channels that matter no
    less (Lee et al. 2021, arXiv 2010.07611, equation 1), which makes them comparable by itself. FPGM takes the
    distances of each filter to all others instead of its norm (He et al. 2019, arXiv 1811.00250, section 3.3).
    Scores of ``OF_THE_LOSS`` are added as they are.
    """
    total = torch.zeros(group.width)
    for member in group.members:
        module = model.get_submodule(member.module)
        sums = _member_scores(module, member, saliency, importance)
        if sums is None:
            continue
        if importance not in OF_THE_LOSS:
            sums = sums / sums.mean().clamp_min(1e-12)
        total.index_add_(0, torch.tensor(member.roots), sums[list(member.channels)])
    if importance == "bn-scale" and not total.any():  # no batch norm in this group
        return group_scores(model, group, saliency, "magnitude")
    if importance == "lamp":
        return _lamp(total)
    return total if importance in OF_THE_LOSS else total / total.mean().clamp_min(1e-12)


def _member_scores(
    module: nn.Module, member: Member, saliency: dict[str, Tensor], importance: Importance
) -> Tensor | None:
    """(channels,) scores of the module's channels on the member's side; None if it has no say."""
    if isinstance(module, ChannelSelection) or (
        importance == "bn-scale" and not isinstance(module, BATCH_NORMS)
    ):
        return None
    if importance == "fpgm":
        return _distances(module, member)
    sums = _channel_sums(module, member, saliency)
    return sums if sums is None or importance in OF_THE_LOSS else sums.sqrt()


def _distances(module: nn.Module, member: Member) -> Tensor | None:
    """(channels,) sum of the distances of each filter to all filters of its layer."""
    if member.side != "out" or not isinstance(module, (*CONVOLUTIONS, *TRANSPOSED, nn.Linear)):
        return None
    weight = module.weight.detach()
    if isinstance(module, TRANSPOSED):
        if module.groups > 1:
            return None
        weight = weight.transpose(0, 1)
    filters = weight.flatten(1)
    return torch.cdist(filters, filters).sum(1)


def _lamp(scores: Tensor) -> Tensor:
    squares, order = scores.square().sort(descending=True, stable=True)
    return torch.zeros_like(scores).index_copy_(0, order, squares / squares.cumsum(0).clamp_min(1e-12))


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
