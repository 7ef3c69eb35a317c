"""SqueezeNet's fire module (Iandola et al. 2016, section 3.2)."""

from __future__ import annotations

import torch
from torch import nn


class Fire(nn.Module):
    """A pointwise convolution to ``squeezed`` channels, then 1x1 and 3x3 side by side, ``expanded`` each.

    (N, in_channels, H, W) to (N, 2 * expanded, H, W). No batch norm; a ReLU behind each convolution.
    """

    def __init__(self, in_channels: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(in_channels, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.squeeze(x))
        return torch.cat((self.relu(self.expand1x1(x)), self.relu(self.expand3x3(x))), 1)
