"""Reads and preprocesses many images with threads (Pillow decodes outside the interpreter's lock)."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from nassuite.data.preprocess import Preprocess, preprocess_image
from nassuite.data.source import Source
from nassuite.progress import Progress
from nassuite.resources import usable_cores

CHUNK = 64  # images that one thread reads at a time


@dataclass(frozen=True, eq=False)
class Reading:
    """What reading ``indices`` of a source gave; damaged images are not among them but in ``skipped``.

    ``hashes`` are those of the contents. ``total`` and ``squares`` are int64 (C,): pixels 0..255 and their
    squares summed, exact and so in any order. ``pixels`` is uint8 (N, C, H, W), or None if not held.
    """

    indices: np.ndarray
    hashes: list[bytes]
    skipped: list[tuple[str, str]]
    total: np.ndarray
    squares: np.ndarray
    pixels: np.ndarray | None

    def moments(self, size: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel, of images in 0..1."""
        count = len(self.indices) * size**2
        mean = self.total / count
        variance = np.maximum(self.squares / count - mean**2, 1.0)  # constant images must not divide by zero
        return tuple((mean / 255).tolist()), tuple((np.sqrt(variance) / 255).tolist())


def read_images(
    source: Source, indices: np.ndarray, rule: Preprocess, *, hold: bool, what: str, progress: Progress
) -> Reading:
    """Reads every image whole, so that a damaged one is found now and not in the middle of a run."""
    shape = (rule.in_chans, rule.size, rule.size)
    pixels = np.empty((len(indices), *shape), np.uint8) if hold else None
    hashes: list[bytes] = []
    skipped: list[tuple[str, str]] = []
    total, squares = np.zeros(rule.in_chans, np.int64), np.zeros(rule.in_chans, np.int64)
    good = np.ones(len(indices), bool)

    def read_chunk(start: int) -> tuple[np.ndarray, np.ndarray, list[bytes | tuple[str, str]]]:
        chunk = indices[start : start + CHUNK]
        block = np.zeros((len(chunk), *shape), np.uint8)  # a damaged image stays black and adds nothing
        outcomes = [_read_one(source, index, rule, row) for index, row in zip(chunk, block, strict=True)]
        if pixels is not None:
            pixels[start : start + len(chunk)] = block
        wide = block.astype(np.uint16)
        return block.sum((0, 2, 3), dtype=np.int64), (wide * wide).sum((0, 2, 3), dtype=np.int64), outcomes

    def outcomes() -> Iterator[bytes | tuple[str, str]]:
        nonlocal total, squares
        with ThreadPoolExecutor(usable_cores()) as pool:
            for chunk_total, chunk_squares, chunk in pool.map(read_chunk, range(0, len(indices), CHUNK)):
                total, squares = total + chunk_total, squares + chunk_squares
                yield from chunk

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of odd metadata and large images
        tracked = progress.track(outcomes(), f"reading {what}", total=len(indices), unit="files")
        for row, outcome in enumerate(tracked):
            if isinstance(outcome, bytes):
                hashes.append(outcome)
            else:
                skipped.append(outcome)
                good[row] = False
    if pixels is not None and skipped:
        pixels = pixels[good]
    return Reading(indices[good], hashes, skipped, total, squares, pixels)


def _read_one(source: Source, index: int, rule: Preprocess, row: np.ndarray) -> bytes | tuple[str, str]:
    """Fills ``row`` (C, H, W) and gives the content's hash, or the image's name and what is wrong with it."""
    try:
        content = source.read(index)
        row[:] = preprocess_image(content, rule)
    except OSError as error:
        return source.name(index), error.strerror or type(error).__name__
    except ValueError as error:
        return source.name(index), str(error)
    return hashlib.blake2b(bytes(content), digest_size=16).digest()
