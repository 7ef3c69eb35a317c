"""How many images a network is best given at once: on a CPU as many as its caches have room for.

Layer by layer a large batch goes through memory, a small one through the caches: given 64 images of 224 pixels
MobileNetV2 takes 1.8 times as long to evaluate them as with 4 at once, and 2.6 times as long to train with them as with 16
(``reports/training_speed``).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from nassuite.data.split import share_of

CACHED = 2**24
"""Bytes that the largest activation of all images together may have, for what is measured to be fastest."""
EVALUATED = (4, 512)
TRAINED = (16, 2**20)
"""Fewest and most images at once. Of fewer than 16 a batch norm's own statistics would be too noisy to train with."""


def evaluated_at_once(network: nn.Module, image: Tensor) -> int:
    """Images like ``image`` (1, C, H, W) that ``network`` is best evaluated on at once."""
    return _at_once(network, image, CACHED, EVALUATED)


def trained_at_once(network: nn.Module, image: Tensor) -> int:
    """Likewise for training, where smaller parts gain less, for every layer reads and writes more than an activation."""
    return _at_once(network, image, 4 * CACHED, TRAINED)


def _at_once(network: nn.Module, image: Tensor, room: int, bounds: tuple[int, int]) -> int:
    least, most = bounds
    if image.device.type != "cpu":
        return 2**20
    return min(max(room // largest_activation(network, image), least), most)


@torch.no_grad()
def largest_activation(network: nn.Module, image: Tensor) -> int:
    """Bytes of the largest tensor that a layer of ``network`` gives for ``image`` (1, C, H, W)."""
    found = [image.nbytes]

    def seen(_layer: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            found.append(output.nbytes)

    before = {layer: (layer.training, layer._forward_hooks) for layer in network.modules()}
    try:
        for layer in before:
            # In place of others' hooks, who are told of what the network is asked, and not of this.
            layer._forward_hooks = OrderedDict() if list(layer.children()) else OrderedDict({-1: seen})
        network.eval()(image)
    finally:
        for layer, (mode, hooks) in before.items():
            layer.training, layer._forward_hooks = mode, hooks
    return max(found)


def parts(count: int, together: int) -> list[slice]:
    """Rows of a batch of ``count`` images, about ``together`` in a part; parts differ by one at the most."""
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
