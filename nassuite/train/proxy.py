"""A zero-cost proxy of accuracy, as a baseline that a trained supernet has to beat."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn


def synflow(network: nn.Module, shape: tuple[int, int, int]) -> float:
    """The logarithm of SynFlow (Tanaka et al. 2020, section 4; as a proxy Abdelfattah et al. 2021, section 3.1).

    The sum over all weights of weight * gradient, where every weight is made positive, the image (C, H, W) is all ones
    and the loss is the sum of the outputs, in double precision. ``network`` is freshly initialised and is
    left as it is; batch norms do nothing. The larger, the better.
    """
    copied = copy.deepcopy(network).cpu().double().eval()
    with torch.no_grad():
        for module in copied.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
                module.weight.fill_(1.0)
                module.bias.fill_(0.0)
        for parameter in copied.parameters():
            parameter.abs_()
    output = copied(torch.ones(1, *shape, dtype=torch.float64)).sum()
    weights = [p for p in copied.parameters() if p.dim() > 1]
    gradients = torch.autograd.grad(output, weights, allow_unused=True)
    total = sum(
        float((w.detach() * g).sum()) for w, g in zip(weights, gradients, strict=True) if g is not None
    )
    return math.log(max(total, 1e-300))
