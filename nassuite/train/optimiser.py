"""SGD that leaves alone what a step did not use; torch's optimisers behind the same interface."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

OptimiserName = Literal["sgd", "rmsprop", "adamw"]


class Optimiser(Protocol):
    """What the training loop asks of one; ``state`` is all that a resume needs."""

    def step(self, lr: float) -> None: ...

    def zero_grad(self) -> None: ...

    def state(self) -> dict[str, Tensor]: ...

    def load_state(self, state: Mapping[str, Tensor]) -> None: ...


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


class TorchOptimiser:
    """One of torch's optimisers, with a learning rate that is given to each step."""

    def __init__(
        self, kind: OptimiserName, parameters: Iterable[nn.Parameter], *, weight_decay: float
    ) -> None:
        parameters = list(parameters)
        decayed = [p for p in parameters if p.dim() > 1]
        kept = [p for p in parameters if p.dim() <= 1]
        groups = [
            {"params": decayed, "weight_decay": weight_decay},
            {"params": kept, "weight_decay": 0.0},
        ]
        self.parameters = [*decayed, *kept]
        self.inner: torch.optim.Optimizer = (
            # MobileNetV3's and EfficientNet's: alpha 0.9, momentum 0.9, eps 1e-3 (Howard et al. 2019, section 6.1).
            torch.optim.RMSprop(groups, lr=0.0, alpha=0.9, momentum=0.9, eps=1e-3)
            if kind == "rmsprop"
            else torch.optim.AdamW(groups, lr=0.0)
        )

    def step(self, lr: float) -> None:
        for group in self.inner.param_groups:
            group["lr"] = lr
        self.inner.step()

    def zero_grad(self) -> None:
        self.inner.zero_grad()

    def state(self) -> dict[str, Tensor]:
        return {
            f"{n}.{key}": value
            for n, parameter in enumerate(self.parameters)
            for key, value in self.inner.state[parameter].items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        for name, value in state.items():
            n, _, key = name.partition(".")
            parameter = self.parameters[int(n)]
            # The step counter stays where AdamW keeps it, on the CPU.
            self.inner.state[parameter][key] = value if value.dim() == 0 else value.to(parameter.device)


def make_optimiser(
    kind: OptimiserName, parameters: Iterable[nn.Parameter], *, weight_decay: float
) -> Optimiser:
    """Neither of them decays what has one dimension: biases, batch norms, layer scales."""
    if kind == "sgd":
        return MaskedSGD(parameters, weight_decay=weight_decay)
    return TorchOptimiser(kind, parameters, weight_decay=weight_decay)
