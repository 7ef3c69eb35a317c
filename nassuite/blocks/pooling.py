"""Adaptive average pooling that can be exported at any size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AdaptiveAveragePool(nn.Module):
    """Maps (N, C, H, W) of any size to (N, C, *size), as ``nn.AdaptiveAvgPool2d`` does, in an exported file too."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = (size, size)

    def forward(self, x: Tensor) -> Tensor:
        if all(int(side) % wanted == 0 for side, wanted in zip(x.shape[2:], self.size, strict=True)):
            return F.adaptive_avg_pool2d(x, self.size)
        return adaptive_average(x, self.size)


def adaptive_average(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Adaptive average pooling to ``size``; ONNX knows it only where ``size`` divides the map's."""
    if not torch.onnx.is_in_onnx_export():
        return F.adaptive_avg_pool2d(x, size)
    return average_windows(average_windows(x, -2, size[0]), -1, size[1])


def average_windows(x: Tensor, dim: int, length: int) -> Tensor:
    """Adaptive average pooling of one axis (-2 or -1) to ``length``, by gathering and adding."""
    extent = int(x.shape[dim])
    starts = [i * extent // length for i in range(length)]
    sizes = [-(-(i + 1) * extent // length) - start for i, start in enumerate(starts)]
    shape = (length, 1) if dim == -2 else (length,)
    total = torch.zeros((), dtype=x.dtype, device=x.device)
    for offset in range(max(sizes)):
        index = torch.tensor([min(start + offset, extent - 1) for start in starts], device=x.device)
        shares = [1 / size if offset < size else 0.0 for size in sizes]
        weight = torch.tensor(shares, dtype=x.dtype, device=x.device).view(shape)
        total = total + x.index_select(dim, index) * weight
    return total
