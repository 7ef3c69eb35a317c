"""One split of a data set, as tensors or as a stream, in batches that can be repeated."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nassuite.data.augment import Augment
from nassuite.data.preprocess import Preprocess, preprocess_image
from nassuite.data.source import Source
from nassuite.data.stratify import stratified_subset
from nassuite.errors import InputError
from nassuite.resources import usable_cores

READ_TOGETHER = 256


@dataclass(frozen=True, eq=False)
class Stream:
    """Images that are read again each time, by worker processes."""

    source: Source
    indices: np.ndarray
    rule: Preprocess

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, rows: Sequence[int]) -> np.ndarray | InputError:
        """uint8 (len(rows), C, H, W), or what is wrong: an exception loses its form between processes."""
        pixels = []
        for index in self.indices[np.asarray(rows)]:
            try:
                pixels.append(preprocess_image(self.source.read(index), self.rule))
            except (OSError, ValueError) as error:
                return InputError(f"{self.source.name(index)} can no longer be read: {error}")
        return np.stack(pixels)


@dataclass(frozen=True, eq=False)
class Split:
    """``labels`` is int64 (N,), ``images`` uint8 (N, C, H, W) or a stream of the same."""

    labels: Tensor
    images: Tensor | Stream
    classes: int

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"Split({len(self)} images, {'held' if self.held_bytes else 'streamed'})"

    @property
    def held_bytes(self) -> int:
        """Memory that the images take; 0 for a stream."""
        return self.images.numel() if isinstance(self.images, Tensor) else 0

    def class_counts(self) -> Tensor:
        """int64 (classes,)."""
        return torch.bincount(self.labels.cpu(), minlength=self.classes)

    def to(self, device: torch.device | str) -> Split:
        """The split on ``device``, so that its batches need no transfer; a stream stays where it is."""
        if isinstance(self.images, Stream):
            return self
        return replace(self, labels=self.labels.to(device), images=self.images.to(device))

    def held(self) -> Split:
        """The split with its images in memory: a stream is read, once, as uint8."""
        if isinstance(self.images, Tensor):
            return self
        chunks = rows_of_batches(len(self), READ_TOGETHER, generator=None, drop_last=False)
        return replace(self, images=torch.cat(list(self._pixels(chunks))))

    def subset(self, n: int, seed: int) -> Split:
        """A stratified subset of ``n`` images, in the split's order; the whole split if it has no more.

        With fewer images than classes it cannot be stratified, and is drawn from all alike.
        """
        if n >= len(self):
            return self
        labels = self.labels.cpu().numpy()
        if n < len(np.unique(labels)):
            labels = np.zeros_like(labels)
        rows = torch.from_numpy(stratified_subset(labels, n, seed))
        if isinstance(self.images, Stream):
            images: Tensor | Stream = replace(self.images, indices=self.images.indices[rows.numpy()])
        else:
            images = self.images[rows.to(self.images.device)]
        return replace(self, labels=self.labels[rows.to(self.labels.device)], images=images)

    def batches(
        self,
        batch_size: int,
        *,
        generator: torch.Generator | None = None,
        augment: Augment | None = None,
        drop_last: bool = False,
        device: torch.device | str | None = None,
        channels_last: bool = True,
        share: tuple[int, int] = (0, 1),
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Images float32 (N, C, H, W) in 0..1 and labels int64 (N,), on ``device`` (None: where they are).

        A generator (on the CPU) shuffles and augments: the same state gives the same batches, held or
        streamed, on every device. Without one, images come in order and ``augment`` is a ValueError.
        ``drop_last`` drops a short last batch unless it is the only one. ``share`` (k, n) gives of every batch the
        part k of n, counted from 0, and reads no other images: together the n parts are the batch.
        """
        if augment is not None and generator is None:
            raise ValueError("augment needs a generator")
        chunks = rows_of_batches(len(self), batch_size, generator=generator, drop_last=drop_last)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        parts = [share_of(len(chunk), share) for chunk in chunks]
        wanted = [rows[part] for rows, part in zip(chunks, parts, strict=True)]
        for chunk, part, rows, read in zip(chunks, parts, wanted, self._pixels(wanted), strict=True):
            target = read.device if device is None else torch.device(device)
            pixels = read.to(target)
            if augment is not None and generator is not None:
                pixels = augment(pixels, generator, rows=part, of=len(chunk))
            # A tensor: CUDA would multiply by a plain number's reciprocal, other bits than as_float's.
            scale = torch.full((), 255.0, device=target)
            images = pixels.to(torch.float32, memory_format=layout).div_(scale)
            yield images, self.labels[rows.to(self.labels.device)].to(target)

    def _pixels(self, chunks: list[Tensor]) -> Iterable[Tensor]:
        held = self.images
        if isinstance(held, Tensor):
            return (held[rows.to(held.device)] for rows in chunks)
        return _streamed(held, chunks)


def rows_of_batches(
    count: int, batch_size: int, *, generator: torch.Generator | None, drop_last: bool
) -> list[Tensor]:
    """Of each batch of ``count`` images the rows (n,): in order, or as ``generator`` shuffles them."""
    order = torch.arange(count) if generator is None else torch.randperm(count, generator=generator)
    chunks = list(order.split(batch_size))
    if drop_last and len(chunks) > 1 and len(chunks[-1]) < batch_size:
        chunks.pop()
    return chunks


def share_of(count: int, share: tuple[int, int]) -> slice:
    """Rows of part k of n, for a ``share`` (k, n); parts differ by one row at the most."""
    part, parts = share
    return slice(count * part // parts, count * (part + 1) // parts)


def _streamed(stream: Stream, chunks: list[Tensor]) -> Iterator[Tensor]:
    loader: Any = torch.utils.data.DataLoader(
        stream,  # type: ignore[arg-type]
        sampler=[rows.tolist() for rows in chunks],
        batch_size=None,
        num_workers=min(usable_cores(), len(chunks)),
        worker_init_fn=_quiet,
        collate_fn=_unchanged,  # type: ignore[arg-type]
        generator=torch.Generator(),  # its own: a loader draws a seed, by default from the global generator
    )
    for pixels in loader:
        if isinstance(pixels, InputError):
            raise pixels
        yield torch.from_numpy(pixels)


def _quiet(_worker: int) -> None:
    """Pillow's warnings of odd metadata were due when the file was first read, not in each epoch."""
    warnings.simplefilter("ignore")


def _unchanged(pixels: np.ndarray) -> np.ndarray:
    """Arrays go through a pipe; tensors would need shared memory, which containers are short of."""
    return pixels
