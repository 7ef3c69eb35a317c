"""An exponential moving average of a network's weights (Polyak and Juditsky 1992), as used for evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Averages of every floating-point tensor of a module's state, those of batch norms too.

    The decay grows with the steps, (1 + step) / (10 + step), up to ``decay``: the start weights are then
    soon forgotten in a short training.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = module
        self.decay = decay
        self.averages = {k: v.clone() for k, v in module.state_dict().items() if v.is_floating_point()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        state = self.module.state_dict()
        for name, average in self.averages.items():
            average.lerp_(state[name], weight)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module has the averages inside, its own weights again afterwards."""
        own = {name: self.module.state_dict()[name].clone() for name in self.averages}
        self.module.load_state_dict(self.averages, strict=False)
        try:
            yield
        finally:
            self.module.load_state_dict(own, strict=False)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        for name, average in self.averages.items():
            average.copy_(state[name])
