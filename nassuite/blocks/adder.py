"""The adder layer (AdderNet, Chen et al. 2020, arXiv 1912.13200): a convolution that measures distances.

What it costs: there is no fast kernel for distances, as there is for products. Measured on one thread of an AVX-512
CPU with 16 to 256 channels, in processor time, the forward pass takes 15 to 35 times as long as ``nn.Conv2d``'s and a training
step 15 to 30 times (1.6 to 2 billion distances a second). Memory is bounded: kept for the backward pass are
the input and the weights only, and the work is done in pieces of ``PATCH_NUMBERS`` (or one image's patches), not on
the out_channels times more differences of the definition.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from nassuite.blocks.layers import activation
from nassuite.spec import Activation

PATCH_NUMBERS = 2**24
"""Numbers in the patches of the images that are worked on at once."""
DIFFERENCE_NUMBERS = {"cpu": 2**18, "cuda": 2**26}
"""Numbers in a block of differences: on a CPU a block must stay in the cache, a GPU needs large ones."""
TRACED_NUMBERS = 2**22
"""Numbers in a block of differences of one image in an exported graph."""


class AdderConv2d(nn.Module):
    """Minus the L1 distance of each patch to each filter (equation 2), zero-padded, without bias.

    (N, in_channels, H, W) to (N, out_channels, H', W') with the sizes of ``nn.Conv2d``. Backward, the weights
    get the full-precision gradient (equation 5) and the input the difference clipped to -1..1 (equation
    6), instead of the signs that differentiation gives. Training needs ``scale_adder_gradients`` besides.

    In an exported graph it is plain operations without these gradients, on the patches of all images and
    in blocks of at most ``TRACED_NUMBERS`` differences of each image: memory grows with the batch.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__()
        self.stride = stride
        self.padding = padding
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        self.draw_weights()

    @torch.no_grad()
    def draw_weights(self, generator: torch.Generator | None = None) -> None:
        """Standard normal, as the authors'; the scale of fan-out rules is for products."""
        self.weight.normal_(generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        if torch.jit.is_tracing() or torch.compiler.is_exporting():
            return _traced(x, self.weight, self.stride, self.padding)
        # Sums of hundreds of distances do not fit half precision, which autocast may hand over.
        return _Distance.apply(x.to(self.weight.dtype), self.weight, self.stride, self.padding)


class AdderBN(nn.Module):
    """Adder layer that keeps the size at stride 1, batch norm, and an activation unless ``act`` is None."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        act: Activation | None = None,
    ) -> None:
        super().__init__()
        self.conv = AdderConv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2)
        self.bn = nn.BatchNorm2d(out_channels)
        self.act = activation(act) if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


@torch.no_grad()
def scale_adder_gradients(network: nn.Module, *, eta: float = 0.2) -> None:
    """The adaptive local learning rate (section 3.3, equations 12 and 13), to be called between backward and step.

    Each adder layer's gradient gets the norm eta * sqrt(number of its weights): adder layers' own norms differ
    by orders of magnitude with depth. ``eta`` is the value in the authors' code. Other layers are left alone.
    """
    for layer in network.modules():
        if isinstance(layer, AdderConv2d) and layer.weight.grad is not None:
            gradient = layer.weight.grad
            gradient.mul_(eta * math.sqrt(gradient.numel()) / gradient.norm().clamp_min(1e-12))


class _Distance(torch.autograd.Function):
    """``AdderConv2d`` on (N, C, H, W) and weights (O, C, k, k). Patches are (positions, C * k * k)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        filters = weight.flatten(1)
        size = _output_size(x, weight, stride, padding)
        out = x.new_empty(len(x), len(weight), *size)
        for images in _pieces(x, weight, size):
            patches = _patches(x[images], weight.shape[-1], stride, padding)
            distances = torch.cdist(patches, filters, p=1.0)  # (positions, O)
            out[images] = -distances.unflatten(0, (-1, size[0] * size[1])).mT.unflatten(2, size)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        for_x, for_weight = ctx.needs_input_grad[:2]
        filters = weight.flatten(1)
        kernel, size = weight.shape[-1], (grad.shape[2], grad.shape[3])
        grad_x = torch.empty_like(x) if for_x else None
        # Summed over positions, grad * (patch - filter) is a matrix product and a sum.
        grad_filters = -filters * grad.sum((0, 2, 3))[:, None] if for_weight else None
        for images in _pieces(x, weight, size):
            patches = _patches(x[images], kernel, ctx.stride, ctx.padding)
            here = grad[images].flatten(2).mT.flatten(0, 1)  # (positions, O)
            if grad_filters is not None:
                grad_filters.addmm_(here.t(), patches)
            if grad_x is not None:
                columns = _clipped_gradient(here, patches, filters).unflatten(0, (-1, size[0] * size[1])).mT
                grad_x[images] = F.fold(
                    columns, (x.shape[2], x.shape[3]), kernel, padding=ctx.padding, stride=ctx.stride
                )
        return grad_x, None if grad_filters is None else grad_filters.view_as(weight), None, None


def _clipped_gradient(grad: Tensor, patches: Tensor, filters: Tensor) -> Tensor:
    """(positions, C * k * k): the sum over filters of grad * clip(filter - patch, -1, 1)."""
    result = torch.empty_like(patches)
    limit = DIFFERENCE_NUMBERS.get(patches.device.type, DIFFERENCE_NUMBERS["cpu"])
    rows = max(1, limit // filters.numel())
    for start in range(0, len(patches), rows):
        block = slice(start, start + rows)
        clipped = (filters - patches[block, None]).clamp_(-1, 1)  # (rows, O, C * k * k)
        result[block] = torch.bmm(grad[block, None], clipped)[:, 0]
    return result


def _patches(x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    return F.unfold(x, kernel, padding=padding, stride=stride).mT.flatten(0, 1).contiguous()


def _pieces(x: Tensor, weight: Tensor, size: tuple[int, int]) -> Iterator[slice]:
    """Slices of the batch whose patches are at most ``PATCH_NUMBERS``, or one image."""
    images = max(1, PATCH_NUMBERS // (weight[0].numel() * size[0] * size[1]))
    return (slice(start, start + images) for start in range(0, len(x), images))


def _output_size(x: Tensor, weight: Tensor, stride: int, padding: int) -> tuple[int, int]:
    margin = 2 * padding - weight.shape[-1]
    return (int(x.shape[2]) + margin) // stride + 1, (int(x.shape[3]) + margin) // stride + 1


def _traced(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """The same distances from plain operations, a sum over blocks of the patches' numbers."""
    out_channels, kernel = int(weight.shape[0]), int(weight.shape[-1])
    height, width = _output_size(x, weight, stride, padding)
    rows = [slice(i, i + stride * (height - 1) + 1, stride) for i in range(kernel)]
    columns = [slice(j, j + stride * (width - 1) + 1, stride) for j in range(kernel)]
    x = F.pad(x, (padding,) * 4)
    windows = torch.stack([x[:, :, row, column] for row in rows for column in columns], dim=2)
    patches = windows.flatten(1, 2).flatten(2)  # (N, C * k * k, H' * W')
    numbers = int(weight.shape[1]) * kernel**2
    step = max(1, TRACED_NUMBERS // (out_channels * height * width))
    # All sizes in full: the tracing exporter gets a smaller last piece wrong.
    sizes = [min(step, numbers - start) for start in range(0, numbers, step)]
    total: Tensor | None = None
    for block, filters in zip(patches.split(sizes, 1), weight.flatten(1).split(sizes, 1), strict=True):
        part = (block[:, None] - filters[..., None]).abs().sum(2)  # (N, O, H' * W')
        total = part if total is None else total + part
    assert total is not None
    return -total.unflatten(2, (height, width))
