"""How many images a network is best given at once: on a CPU as many as its caches have room for.

Layer by layer a large batch goes through memory, a small one through the caches: given 64 images of 224 pixels
MobileNetV2 evaluates each in three times the time that it takes with 4, and trains in more than twice the time that it
takes with 16 (``studies/training_speed.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from nassuite.data.split import share_of

PIXELS = 2**18
EVALUATED = (4, 64)
TRAINED = (16, 256)
"""Fewest and most images at once. Of fewer than 16 a batch norm's own statistics would be too noisy to train with."""


def parts(images: Tensor, bounds: tuple[int, int]) -> list[slice]:
    """Rows of ``images`` (N, C, H, W) that go together: parts that differ by one at the most, and no fewer than needed.

    On other devices than a CPU they all do.
    """
    count = len(images)
    if images.device.type != "cpu":
        return [slice(0, count)]
    least, most = bounds
    together = min(max(PIXELS // (images.shape[-1] * images.shape[-2]), least), most)
    number = max(1, round(count / together))
    return [share_of(count, (part, number)) for part in range(number)]


@contextmanager
def statistics_over(module: nn.Module, number: int) -> Iterator[None]:
    """Within it ``number`` forward passes move running statistics as far as one does without."""
    before = {
        layer: layer.momentum
        for layer in module.modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.momentum is not None
    }
    for layer, momentum in before.items():
        layer.momentum = 1 - (1 - momentum) ** (1 / number)
    try:
        yield
    finally:
        for layer, momentum in before.items():
            layer.momentum = momentum
