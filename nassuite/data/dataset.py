"""Data sets by name, as three splits that are kept apart: train, val and test."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from nassuite.data.augment import Augment
from nassuite.data.folder import folder_source
from nassuite.data.official import CIFAR, official_source
from nassuite.data.preprocess import Preprocess
from nassuite.data.reading import Reading, read_images
from nassuite.data.source import SPLITS, Source, skipped_words
from nassuite.data.split import Split, Stream
from nassuite.data.stratify import stratified_split, stratified_subset
from nassuite.errors import InputError, did_you_mean
from nassuite.progress import SILENT, Progress

MEMORY_BYTES = 2 * 2**30  # what is held as uint8 tensors; the rest is streamed
SIZES = (8, 1024)  # smallest and largest side in pixels
KNOWN = ("digits", "folder", *CIFAR, "fashion-mnist")
DIGITS_FRACTION = 0.2  # of the digits, for val and for test


@dataclass(frozen=True)
class DataConfig:
    """``name`` is digits, folder:DIR, or cifar10, cifar100, fashion-mnist, each with :DIR or without.

    ``size`` is in pixels (None: the data set's default), ``train_images`` the number of a stratified
    subset of train, ``val_fraction`` of what val is taken from (None: the data set's default).
    """

    name: str = "digits"
    size: int | None = None
    seed: int = 0
    train_images: int | None = None
    val_fraction: float | None = None


@dataclass(frozen=True, eq=False)
class Data:
    """Three splits at one size: weights learn on train, choices look at val, test is read once.

    ``mean`` and ``std`` are those of the training images in 0..1, per channel. ``skipped`` are
    (file, reason). ``digest`` tells what the images, labels and splits are, whatever the size.
    """

    name: str
    labels: tuple[str, ...]
    in_chans: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train: Split
    val: Split
    test: Split
    skipped: tuple[tuple[str, str], ...]
    digest: str
    _origin: _Origin = field(repr=False)

    @property
    def preprocess(self) -> Preprocess:
        return Preprocess(self.size, self.in_chans)

    def resized(self, size: int) -> Data:
        """The same images, splits, mean and std at another size, made from the files by the same rule.

        Remembered, so that asking again costs nothing; what does not fit in memory any more is streamed.
        """
        origin = self._origin
        if size not in origin.sizes:
            _check_size(size)
            rule = Preprocess(size, self.in_chans)
            hold = origin.room() >= _bytes_needed(origin.indices, rule)
            origin.sizes[size] = replace(
                self,
                size=size,
                train=origin.again("train", self.train, rule, hold),
                val=origin.again("val", self.val, rule, hold),
                test=origin.again("test", self.test, rule, hold),
            )
        return origin.sizes[size]


@dataclass(frozen=True, eq=False)
class _Origin:
    """What ``Data.resized`` needs: where the images are, and the sizes that were made already."""

    source: Source
    indices: dict[str, np.ndarray]
    memory_bytes: int
    progress: Progress
    sizes: dict[int, Data] = field(default_factory=dict)

    def room(self) -> int:
        splits = (getattr(data, split) for data in self.sizes.values() for split in SPLITS)
        return self.memory_bytes - sum(split.held_bytes for split in splits)

    def again(self, name: str, split: Split, rule: Preprocess, hold: bool) -> Split:
        indices = self.indices[name]
        if not hold:
            return replace(split, images=Stream(self.source, indices, rule))
        what = f"{name} images at {rule.size} px"
        reading = read_images(self.source, indices, rule, hold=True, what=what, progress=self.progress)
        if reading.skipped:
            file, reason = reading.skipped[0]
            raise InputError(f"{file} can no longer be read: {reason}")
        return _split(self.source, reading, rule)


def load_data(
    config: DataConfig,
    *,
    progress: Progress = SILENT,
    memory_bytes: int = MEMORY_BYTES,
    base_url: str | None = None,
) -> Data:
    """Reads every image once: finds those that are damaged, the digest, mean and std.

    ``memory_bytes`` bounds what is held as tensors, all sizes together; ``base_url`` (or the
    environment's NASSUITE_DATA_URL) replaces the official address of a data set that is fetched.
    Raises InputError for anything wrong with ``config`` or with the images.
    """
    _check(config)
    source = _source(config, progress, base_url)
    indices = _chosen(config, source, progress)
    size = config.size or source.default_size
    rule = Preprocess(size, source.in_chans)
    hold = memory_bytes >= _bytes_needed(indices, rule)
    read = {
        split: read_images(source, indices[split], rule, hold=hold, what=f"{split} images", progress=progress)
        for split in SPLITS
    }
    skipped = tuple(entry for part in read.values() for entry in part.skipped)
    if skipped:
        progress.say(skipped_words(skipped, "files"))
    _check_whole(source, read)
    _tell_copies(read, progress)
    mean, std = read["train"].moments(size)
    origin = _Origin(source, {split: part.indices for split, part in read.items()}, memory_bytes, progress)
    data = Data(
        name=config.name,
        labels=source.classes,
        in_chans=source.in_chans,
        size=size,
        mean=mean,
        std=std,
        skipped=skipped,
        digest=_digest(source, read),
        _origin=origin,
        **{split: _split(source, part, rule) for split, part in read.items()},
    )
    origin.sizes[size] = data
    return data


def default_augment(data: Data) -> Augment:
    """Flip and shift by up to an eighth; cutout of a quarter where images are so few (below 10,000) that a
    network would learn them by heart.

    Digits, which fill their picture, are not flipped, and shifted by a sixteenth only. On val, means of 4
    seeds of one small network, with cutout: 98.2 % by a sixteenth, 96.5 % by an eighth; 98.1 % without
    any augmentation, which is within the seeds' spread of the first.
    """
    digits = data.name == "digits"
    return Augment(
        flip=not digits,
        shift_px=data.size // (16 if digits else 8),
        cutout_px=data.size // 4 if len(data.train) < 10_000 else 0,
    )


def _check(config: DataConfig) -> None:
    kind, _, directory = config.name.partition(":")
    if kind not in KNOWN:
        hint = did_you_mean(kind, KNOWN)
        if Path(config.name).expanduser().is_dir():
            hint = f"did you mean folder:{config.name}?"
        expected = (
            "expected digits, folder:DIR, or cifar10, cifar100, fashion-mnist, each with :DIR or without"
        )
        raise InputError(f"unknown data {config.name!r}: {f'{hint} {expected}'.lstrip()}")
    if kind == "digits" and directory:
        raise InputError(f"digits come with scikit-learn and take no folder, not {config.name!r}")
    if config.size is not None:
        _check_size(config.size)
    if config.seed < 0:
        raise InputError(f"seed {config.seed}: expected 0 or more")
    if config.val_fraction is not None and not 0 < config.val_fraction < 0.5:
        raise InputError(f"val fraction {config.val_fraction}: expected more than 0 and less than 0.5")


def _check_size(size: int) -> None:
    if not SIZES[0] <= size <= SIZES[1]:
        raise InputError(f"image size {size}: expected {SIZES[0]} to {SIZES[1]} pixels")


def _source(config: DataConfig, progress: Progress, base_url: str | None) -> Source:
    kind, _, directory = config.name.partition(":")
    if kind == "digits":
        return _digits(config.seed, config.val_fraction)
    if kind == "folder":
        return folder_source(directory, seed=config.seed, val_fraction=config.val_fraction, progress=progress)
    return official_source(
        kind,
        directory,
        seed=config.seed,
        val_fraction=config.val_fraction,
        progress=progress,
        base_url=base_url,
    )


def _digits(seed: int, val_fraction: float | None) -> Source:
    """1,797 scanned digits of 8 x 8 pixels (UCI "Optical Recognition of Handwritten Digits")."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    labels = digits.target.astype(np.int64)
    parts = stratified_split(labels, [val_fraction or DIGITS_FRACTION, DIGITS_FRACTION], seed)
    return Source(
        images=(digits.images * 255 / 16).round().astype(np.uint8),
        labels=labels,
        classes=tuple(str(digit) for digit in range(10)),
        in_chans=1,
        default_size=32,
        splits=dict(zip(SPLITS, parts, strict=True)),
    )


def _chosen(config: DataConfig, source: Source, progress: Progress) -> dict[str, np.ndarray]:
    """The source's splits, of train the subset that was asked for."""
    indices = dict(source.splits)
    wanted, train = config.train_images, indices["train"]
    if wanted is None:
        return indices
    if wanted < len(source.classes):
        raise InputError(
            f"{wanted} training images for {len(source.classes)} classes: expected one for each or more"
        )
    if wanted > len(train):
        progress.say(f"there are only {len(train)} training images, not {wanted}: all are used")
        return indices
    return indices | {"train": train[stratified_subset(source.labels[train], wanted, config.seed)]}


def _split(source: Source, reading: Reading, rule: Preprocess) -> Split:
    labels = torch.from_numpy(source.labels[reading.indices])
    if reading.pixels is None:
        return Split(labels, Stream(source, reading.indices, rule), len(source.classes))
    return Split(labels, torch.from_numpy(reading.pixels), len(source.classes))


def _check_whole(source: Source, read: dict[str, Reading]) -> None:
    for split, part in read.items():
        if not len(part.indices):
            raise InputError(f"{split} has no image that can be read ({len(part.skipped)} cannot)")
    counts = np.bincount(source.labels[read["train"].indices], minlength=len(source.classes))
    if counts.min() == 0:
        empty = source.classes[int(counts.argmin())]
        raise InputError(f"class {empty!r} has no image in train that can be read")


def _tell_copies(read: dict[str, Reading], progress: Progress) -> None:
    """An image that is in train too flatters the figures; it is said, and left to the user."""
    known = set(read["train"].hashes)
    for split in SPLITS[1:]:
        hashes = read[split].hashes
        copies = sum(content in known for content in hashes)
        if copies:
            progress.say(f"note: {copies} of {len(hashes)} {split} images are byte for byte in train too")


def _digest(source: Source, read: dict[str, Reading]) -> str:
    digest = hashlib.sha256(repr((source.classes, source.in_chans)).encode())
    for split, part in read.items():
        digest.update(split.encode())
        for index, content in zip(part.indices, part.hashes, strict=True):
            digest.update(f"{source.name(index)}\0{source.labels[index]}\0".encode() + content)
    return digest.hexdigest()[:16]


def _bytes_needed(indices: dict[str, np.ndarray], rule: Preprocess) -> int:
    return sum(map(len, indices.values())) * rule.in_chans * rule.size**2
