"""Images with a class for each pixel: ``DIR/images`` with ``DIR/masks``, or both in ``DIR/train``, val, test."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nassuite.data.augment import Augment
from nassuite.data.dataset import MEMORY_BYTES
from nassuite.data.folder import FLAT_FRACTION, TAKEN_FRACTION
from nassuite.data.pairs import IGNORE, PairReading, Pairs, find_pairs, read_pairs
from nassuite.data.source import SPLITS, skipped_words
from nassuite.data.split import Split, rows_of_batches, share_of
from nassuite.data.stratify import stratified_split
from nassuite.errors import InputError
from nassuite.progress import SILENT, Progress

SIDES = (8, 4096)  # smallest and largest height and width in pixels


@dataclass(frozen=True, eq=False)
class MaskSplit(Split):
    """``labels`` is uint8 (N, H, W), a class or 255; ``images`` uint8 (N, C, H, W), always held."""

    images: Tensor

    @property
    def held_bytes(self) -> int:
        return self.images.numel() + self.labels.numel()

    def class_counts(self) -> Tensor:
        """int64 (classes,): pixels of each class."""
        return _histogram(self.labels.cpu())[: self.classes]

    def subset(self, n: int, seed: int) -> MaskSplit:
        """``n`` images drawn at random, in the split's order; the whole split if it has no more."""
        if n >= len(self):
            return self
        drawn = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:n].sort().values
        rows = drawn.to(self.labels.device)
        return replace(self, labels=self.labels[rows], images=self.images[rows])

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
        """Images float32 (N, C, H, W) in 0..1 and labels int64 (N, H, W): otherwise as ``Split.batches``.

        Labels are flipped and shifted with their images. What is cut out of an image keeps its labels.
        """
        if augment is not None and generator is None:
            raise ValueError("augment needs a generator")
        chunks = rows_of_batches(len(self), batch_size, generator=generator, drop_last=drop_last)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        for chunk in chunks:
            part = share_of(len(chunk), share)
            rows = chunk[part].to(self.images.device)
            target = rows.device if device is None else torch.device(device)
            pixels, labels = self.images[rows].to(target), self.labels[rows].to(target)
            if augment is not None and generator is not None:
                pixels, labels = _augmented(
                    pixels, labels, augment, generator=generator, rows=part, of=len(chunk)
                )
            scale = torch.full((), 255.0, device=target)  # a tensor, as in Split.batches
            yield pixels.to(torch.float32, memory_format=layout).div_(scale), labels.long()


@dataclass(frozen=True, eq=False)
class MaskData:
    """Three splits at one ``size`` (H, W): weights learn on train, choices look at val, test is read once.

    ``mean`` and ``std`` are those of the training images in 0..1, per channel. ``skipped`` are
    (file, reason). ``digest`` tells what the files and splits are, whatever the size.
    """

    name: str
    classes: int
    in_chans: int
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train: MaskSplit
    val: MaskSplit
    test: MaskSplit
    skipped: tuple[tuple[str, str], ...]
    digest: str


def load_masks(
    directory: str,
    *,
    size: tuple[int, int],
    seed: int = 0,
    val_fraction: float | None = None,
    in_chans: int = 3,
    classes: int | None = None,
    memory_bytes: int = MEMORY_BYTES,
    progress: Progress = SILENT,
) -> MaskData:
    """Reads every pair, scaled to cover ``size`` (H, W) and cropped to its centre (masks: nearest pixel).

    ``images/a/b.jpg`` belongs to ``masks/a/b.png``: one channel (or a palette's indices) with class numbers
    from 0 up, 255 where a pixel is to be ignored. ``classes`` is found from the masks if not given. A split
    without a folder is taken from train at random. Files that cannot be read are skipped and named.

    Raises InputError for anything wrong with the arguments or the files: no images, an image without a mask,
    a mask of another size or with other values, more than ``memory_bytes`` of pixels.
    """
    _check(size, seed, val_fraction, in_chans, classes)
    root = Path(directory).expanduser()
    if not directory or not root.is_dir():
        raise InputError(f"no folder {directory!r}: --data masks:DIR needs one with images/ and masks/")
    pairs = _splits(root, find_pairs(root, progress), seed, val_fraction, progress)
    count = sum(map(len, pairs.values()))
    needed = count * (in_chans + 1) * size[0] * size[1]
    if needed > memory_bytes:
        raise InputError(
            f"{count} images and masks of {size[0]} x {size[1]} take {needed / 2**30:.1f} GiB, more than the "
            f"{memory_bytes / 2**30:.1f} GiB for data: choose a smaller size"
        )
    read = {
        split: read_pairs(
            root, pairs[split], size, in_chans, what=f"{split} images and masks", progress=progress
        )
        for split in SPLITS
    }
    skipped = tuple(entry for reading in read.values() for entry in reading.skipped)
    if skipped:
        progress.say(skipped_words(skipped, "images or masks"))
    found = _class_count(read, classes)
    splits = {split: _split(split, reading, found) for split, reading in read.items()}
    _tell_absent(splits["train"], progress)
    mean, std = _moments(splits["train"].images)
    return MaskData(
        name=f"masks:{directory}",
        classes=found,
        in_chans=in_chans,
        size=size,
        mean=mean,
        std=std,
        skipped=skipped,
        digest=_digest(read),
        **splits,
    )


def _check(
    size: tuple[int, int], seed: int, val_fraction: float | None, in_chans: int, classes: int | None
) -> None:
    if len(size) != 2 or not all(SIDES[0] <= side <= SIDES[1] for side in size):
        raise InputError(f"image size {size}: expected height and width of {SIDES[0]} to {SIDES[1]} pixels")
    if seed < 0:
        raise InputError(f"seed {seed}: expected 0 or more")
    if val_fraction is not None and not 0 < val_fraction < 0.5:
        raise InputError(f"val fraction {val_fraction}: expected more than 0 and less than 0.5")
    if in_chans not in (1, 3):
        raise InputError(f"in_chans {in_chans}: expected 1 or 3")
    if classes is not None and not 2 <= classes <= IGNORE:
        raise InputError(f"{classes} classes: expected 2 to {IGNORE}")


def _splits(
    root: Path, found: dict[str, Pairs], seed: int, val_fraction: float | None, progress: Progress
) -> dict[str, Pairs]:
    """All three splits; those that have no folder are drawn from train."""
    taken = [split for split in SPLITS if split not in found]
    if not taken:
        return found
    fraction = FLAT_FRACTION if len(found) == 1 and (root / "images").is_dir() else TAKEN_FRACTION
    fractions = [val_fraction if split == "val" and val_fraction else fraction for split in taken]
    pairs = found["train"]
    if len(pairs) <= len(taken):
        raise InputError(
            f"{root}: {len(pairs)} images in train are too few to take {' and '.join(taken)} from them"
        )
    parts = stratified_split(np.zeros(len(pairs), np.int64), fractions, seed)
    shares = " and ".join(f"{share:.0%} for {split}" for split, share in zip(taken, fractions, strict=True))
    progress.say(f"{root}: taken from train at random: {shares}")
    drawn = zip(["train", *taken], parts, strict=True)
    return found | {split: [pairs[index] for index in part] for split, part in drawn}


def _class_count(read: dict[str, PairReading], classes: int | None) -> int:
    if classes is None:
        present = np.concatenate([reading.present for reading in read.values()]).max(0)
        found = int(present[:IGNORE].nonzero()[0].max(initial=-1)) + 1
        if found < 2:
            hint = f"; {IGNORE} means ignored, so foreground should be 1" if present[IGNORE] else ""
            raise InputError(f"the masks have no class but 0{hint}")
        return found
    for reading in read.values():
        strange = reading.present[:, classes:IGNORE]
        if strange.any():
            row, value = np.argwhere(strange)[0]
            raise InputError(
                f"mask {reading.masks[row]} has the value {classes + value}: expected 0 to {classes - 1} "
                f"for {classes} classes, or {IGNORE} to ignore a pixel"
            )
    return classes


def _split(name: str, reading: PairReading, classes: int) -> MaskSplit:
    if not len(reading.labels):
        raise InputError(
            f"{name} has no image that can be read with its mask ({len(reading.skipped)} cannot)"
        )
    if (reading.labels == IGNORE).all():
        raise InputError(f"every pixel in {name} is ignored ({IGNORE})")
    return MaskSplit(torch.from_numpy(reading.labels), torch.from_numpy(reading.pixels), classes)


def _tell_absent(train: MaskSplit, progress: Progress) -> None:
    """A class that cannot be learned is said, and left to the user: the draw of a split may cause it."""
    absent = (train.class_counts() == 0).nonzero().flatten().tolist()
    if absent:
        progress.say(f"note: no pixel in train is of class {', '.join(map(str, absent))}")


def _moments(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, of images in 0..1."""
    values = torch.arange(256, dtype=torch.float64)
    mean, std = [], []
    for channel in images.unbind(1):
        counts = _histogram(channel).double()
        average = (counts * values).sum() / counts.sum()
        variance = (counts * (values - average) ** 2).sum() / counts.sum()
        mean.append(float(average) / 255)
        std.append(max(float(variance), 1.0) ** 0.5 / 255)  # constant images must not divide by zero
    return tuple(mean), tuple(std)


def _histogram(maps: Tensor) -> Tensor:
    """int64 (256,): how often each value is in uint8 (N, H, W); map by map, as counting makes them int64."""
    counts = torch.zeros(256, dtype=torch.int64)
    for values in maps:
        counts += torch.bincount(values.flatten(), minlength=256)
    return counts


def _digest(read: dict[str, PairReading]) -> str:
    digest = hashlib.sha256()
    for split, reading in read.items():
        digest.update(split.encode())
        for mask, content in zip(reading.masks, reading.hashes, strict=True):
            digest.update(f"{mask}\0".encode() + content)
    return digest.hexdigest()[:16]


def _augmented(
    pixels: Tensor, labels: Tensor, augment: Augment, *, generator: torch.Generator, rows: slice, of: int
) -> tuple[Tensor, Tensor]:
    together = torch.cat([pixels, labels[:, None]], 1)
    together = replace(augment, cutout_px=0)(together, generator, rows=rows, of=of)
    pixels, labels = together[:, :-1], together[:, -1]
    return Augment(cutout_px=augment.cutout_px)(pixels, generator, rows=rows, of=of), labels
