"""Mixup (Zhang et al. 2018, section 2) and CutMix (Yun et al. 2019, section 3) of a batch with itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Mixed:
    """``images`` hold ``share`` of themselves and 1 - ``share`` of the image at ``partner``, an index (N,).

    A loss that is linear in its targets is ``share`` of that of the own targets and the rest of the partners'.
    """

    images: Tensor
    partner: Tensor
    share: float


def mix(images: Tensor, *, mixup: float, cutmix: float, rng: np.random.Generator) -> Mixed | None:
    """Mixes (N, C, H, W) by one of the two, in turn at random where both are on; None where neither is.

    ``mixup`` and ``cutmix`` are the alpha of their Beta distributions, 0 is off.
    """
    kinds = [(name, alpha) for name, alpha in (("mixup", mixup), ("cutmix", cutmix)) if alpha > 0]
    if not kinds:
        return None
    kind, alpha = kinds[rng.integers(len(kinds))]
    share = float(rng.beta(alpha, alpha))
    partner = torch.from_numpy(rng.permutation(len(images))).to(images.device)
    if kind == "mixup":
        return Mixed(images * share + images[partner] * (1 - share), partner, share)
    height, width = images.shape[-2:]
    side = (1 - share) ** 0.5
    top, bottom = _span(height, side, rng)
    left, right = _span(width, side, rng)
    pasted = images.clone()
    pasted[:, :, top:bottom, left:right] = images[partner, :, top:bottom, left:right]
    # The border cuts boxes off, so the share is that of the pixels.
    return Mixed(pasted, partner, 1 - (bottom - top) * (right - left) / (height * width))


def _span(length: int, side: float, rng: np.random.Generator) -> tuple[int, int]:
    centre, half = int(rng.integers(length)), round(length * side / 2)
    return max(0, centre - half), min(length, centre + half)
