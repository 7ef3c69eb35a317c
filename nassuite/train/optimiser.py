"""SGD that leaves alone what a step did not use, and its learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn


class MaskedSGD:
    """Nesterov SGD in which an element with a gradient of exactly zero does not move.

    A step of a supernet uses slices of the shared tensors. Plain SGD would go on moving the rest, by
    weight decay and by the momentum of earlier steps. Here such an element keeps both its
    value and its momentum until it is used again. In a plain network the rule changes next to
    nothing: gradients there are zero only where a unit was dead for the whole batch.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, momentum: float = 0.9, weight_decay: float = 5e-4
    ) -> None:
        self.parameters = list(parameters)
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.velocities = [torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Moves the parameters. Biases, batch norms and layer scales (one dimension) are not decayed."""
        for parameter, velocity in zip(self.parameters, self.velocities, strict=True):
            gradient = parameter.grad
            if gradient is None:
                continue
            used = gradient != 0
            if parameter.dim() > 1:
                gradient = gradient.add(parameter, alpha=self.weight_decay)
            torch.where(used, velocity * self.momentum + gradient, velocity, out=velocity)
            parameter.sub_(torch.where(used, gradient + self.momentum * velocity, 0.0), alpha=lr)

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        return {str(n): velocity for n, velocity in enumerate(self.velocities)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        for n, velocity in enumerate(self.velocities):
            velocity.copy_(state[str(n)])


def one_cycle(step: int, steps: int, peak: float, *, warmup: float = 0.2) -> float:
    """Learning rate: linear rise over the first ``warmup`` of the steps, cosine fall to zero."""
    rise = max(1, round(steps * warmup))
    if step < rise:
        return peak * (step + 1) / rise
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))
