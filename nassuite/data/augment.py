"""Random flip, shift and cutout of whole batches, drawn from a generator that is passed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Draw = Callable[[int], Tensor]
EVERY = slice(None)


@dataclass(frozen=True)
class Augment:
    """``flip`` left-right with probability 1/2; shift by up to ``shift_px`` pixels each way, the border
    mirrored; grey out a square of ``cutout_px`` (DeVries and Taylor 2017). Zero is off."""

    flip: bool = False
    shift_px: int = 0
    cutout_px: int = 0

    def __post_init__(self) -> None:
        if self.shift_px < 0 or self.cutout_px < 0:
            raise ValueError(f"pixels cannot be negative: {self}")

    def __call__(
        self, images: Tensor, generator: torch.Generator, *, rows: slice = EVERY, of: int | None = None
    ) -> Tensor:
        """(N, C, H, W) of any dtype to the same shape, on the images' device.

        Everything random is drawn on the CPU, so the same generator state gives the same batch on
        every device. ``images`` may be some ``rows`` of a batch ``of`` more: they become what they would within it.
        """

        def draw(high: int) -> Tensor:
            """(N, 1)"""
            return torch.randint(high, (of or len(images), 1), generator=generator)[rows]

        if self.flip or self.shift_px:
            images = self._moved(images, draw)
        if self.cutout_px:
            images = self._cut(images, draw)
        return images

    def _moved(self, images: Tensor, draw: Draw) -> Tensor:
        n, channels, height, width = images.shape
        rows, columns = torch.arange(height).repeat(n, 1), torch.arange(width).repeat(n, 1)  # (N, H), (N, W)
        if self.shift_px:
            reach = 2 * self.shift_px + 1
            rows = _mirrored(rows + draw(reach) - self.shift_px, height)
            columns = _mirrored(columns + draw(reach) - self.shift_px, width)
        if self.flip:
            columns = torch.where(draw(2) == 1, width - 1 - columns, columns)
        places = (rows[:, :, None] * width + columns[:, None, :]).view(n, 1, -1)  # (N, 1, H * W)
        places = places.to(images.device).expand(n, channels, -1)
        return images.flatten(2).gather(2, places).view(images.shape)

    def _cut(self, images: Tensor, draw: Draw) -> Tensor:
        height, width = images.shape[2:]
        # The centre may lie anywhere, so that a square at the border is cut off there.
        top = draw(height) - self.cutout_px // 2  # (N, 1)
        left = draw(width) - self.cutout_px // 2
        rows, columns = torch.arange(height), torch.arange(width)
        inside_rows = (rows >= top) & (rows < top + self.cutout_px)  # (N, H)
        inside_columns = (columns >= left) & (columns < left + self.cutout_px)
        hidden = (inside_rows[:, None, :, None] & inside_columns[:, None, None, :]).to(images.device)
        # Each image's own mean says least about its class, and needs no data set's statistics here.
        grey = images.float().mean((2, 3), keepdim=True).to(images.dtype)  # (N, C, 1, 1)
        return torch.where(hidden, grey, images)


def _mirrored(index: Tensor, length: int) -> Tensor:
    """Indices outside 0..length-1 reflected back inside, the edge not repeated."""
    index = index.abs()
    return (length - 1 - (length - 1 - index).abs()).clamp_(min=0)
