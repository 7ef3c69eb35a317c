"""What the tests of trainings share: checkpoints in memory, a small split, digits."""

import copy
from functools import cache

import torch

from nassuite.data import Data, DataConfig, Split, load_data
from nassuite.train.loop import Checkpoint


class Memory:
    """Checkpoints as files would hold them: copies that later steps do not change."""

    def __init__(self, saved: Checkpoint | None = None) -> None:
        self.saved = [saved] if saved else []

    def load(self) -> Checkpoint | None:
        return copy.deepcopy(self.saved[-1]) if self.saved else None

    def save(self, checkpoint: Checkpoint) -> None:
        self.saved.append(copy.deepcopy(checkpoint))


class Killed(Exception):
    """Raised in the middle of a training, as kill -9 would end it."""


def noise(count: int = 44, *, side: int = 16, channels: int = 3, classes: int = 5, seed: int = 0) -> Split:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, channels, side, side), generator=generator, dtype=torch.uint8)
    return Split(torch.randint(0, classes, (count,), generator=generator), pixels, classes)


@cache
def digits(side: int = 16) -> Data:
    return load_data(DataConfig("digits", size=side))
