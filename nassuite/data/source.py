"""Images as they lie on disk or in memory, before any preprocessing, with labels and splits."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class Source:
    """``images`` are files relative to ``root``, or one uint8 array (N, H, W) or (N, H, W, 3).

    ``labels`` is int64 (N,), an index into ``classes``; ``splits`` gives sorted, disjoint indices for
    train, val and test.
    """

    images: Sequence[str] | np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    in_chans: int
    default_size: int
    splits: Mapping[str, np.ndarray]
    root: str = ""

    def name(self, index: int) -> str:
        """What to call an image in a message, also where a file's name is not valid text."""
        image = self.images[index]
        return readable(image) if isinstance(image, str) else f"image {index}"

    def read(self, index: int) -> bytes | np.ndarray:
        """A file's content, or an image of the array; raises OSError."""
        image = self.images[index]
        if not isinstance(image, str):
            return image
        with open(os.path.join(self.root, image), "rb") as file:
            return file.read()


def readable(name: str) -> str:
    """A name of a file as text that can be printed, whatever its bytes are."""
    return os.fsencode(name).decode("utf-8", "replace")


def listed(names: Sequence[str]) -> str:
    """The first five of some files or classes, and how many more there are."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(readable(name) for name in names[:5]) + more


def skipped_words(skipped: Sequence[tuple[str, str]], what: str) -> str:
    """A line that names the first of those that were left out, (file, reason) each; ``what`` they are."""
    named = "; ".join(f"{file}: {reason}" for file, reason in skipped[:5])
    return f"skipped {len(skipped)} unreadable {what}: {named}" + ("; ..." if len(skipped) > 5 else "")
