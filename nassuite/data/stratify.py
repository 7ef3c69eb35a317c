"""Splits and subsets that keep each class's share. Pure functions of labels and a seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def stratified_split(labels: np.ndarray, fractions: Sequence[float], seed: int) -> list[np.ndarray]:
    """Indices of the remainder first, then of one part for each fraction; together all of them, each once.

    ``labels`` is (N,). Of every class each part gets its fraction, rounded, and at least one image;
    a class must have more images than there are fractions. Indices are sorted.
    """
    rng = np.random.default_rng(seed)
    parts: list[list[np.ndarray]] = [[] for _ in range(len(fractions) + 1)]
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        if len(members) <= len(fractions):
            raise ValueError(f"class {label}: {len(members)} images do not make {len(fractions) + 1} parts")
        room = len(members) - len(parts)  # what is left when every part has its one image
        start = 0
        for number, fraction in enumerate(fractions, start=1):
            extra = min(room, max(0, round(fraction * len(members)) - 1))
            parts[number].append(members[start : start + 1 + extra])
            start, room = start + 1 + extra, room - extra
        parts[0].append(members[start:])
    return [np.sort(np.concatenate(part)) if part else np.empty(0, np.int64) for part in parts]


def stratified_subset(labels: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Sorted indices of ``n`` of the (N,) labels, each class by its share and at least once.

    Raises ValueError if ``n`` is more than N or less than the number of classes present.
    """
    classes, counts = np.unique(labels, return_counts=True)
    if not len(classes) <= n <= len(labels):
        raise ValueError(f"cannot take {n} of {len(labels)} images of {len(classes)} classes")
    share = counts * n / len(labels)
    take = np.maximum(1, np.floor(share).astype(np.int64))
    while take.sum() != n:  # largest remainder; a class held at one image may have to be paid for
        step = 1 if take.sum() < n else -1
        gap = (share - take) * step
        gap[(take == counts) if step > 0 else (take == 1)] = -np.inf
        take[np.argmax(gap)] += step
    rng = np.random.default_rng(seed)
    chosen = [
        rng.permutation(np.flatnonzero(labels == label))[:count]
        for label, count in zip(classes, take, strict=True)
    ]
    return np.sort(np.concatenate(chosen))
