"""Class folders of images: ``DIR/train`` with ``DIR/val`` and ``DIR/test``, or ``DIR/<class>``."""

from __future__ import annotations

import os
from pathlib import Path
from statistics import median

import numpy as np

from nassuite.data.preprocess import EXTENSIONS, FORMATS
from nassuite.data.source import SPLITS, Source, listed, readable
from nassuite.data.stratify import stratified_split
from nassuite.errors import InputError
from nassuite.progress import Progress

SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
FLAT_FRACTION = 0.15  # of DIR/<class>, for val and for test
TAKEN_FRACTION = 0.1  # of DIR/train, for a split that has no folder
SAMPLE = 256  # how many files' headers decide the number of channels and the default size

Classes = dict[str, list[str]]  # class name to sorted files, relative to DIR


def folder_source(directory: str, *, seed: int, val_fraction: float | None, progress: Progress) -> Source:
    """Lists the files of ``directory`` in sorted order, without decoding any, and splits them.

    Raises InputError for a missing or empty folder, fewer than two classes, a class too small to be
    split or one that train does not have.
    """
    root = Path(directory).expanduser()
    if not directory or not root.is_dir():
        raise InputError(f"no folder {directory!r}: --data folder:DIR needs a folder of class folders")
    try:
        found = _layout(root)
    except OSError as error:
        raise InputError(f"cannot list {error.filename}: {error.strerror}") from error
    given = {split: classes for split, classes in found.items() if classes}
    names = _class_names(root, given)
    files = [
        (split, names.index(name), file)
        for split in given
        for name in given[split]
        for file in given[split][name]
    ]
    images = tuple(file for _, _, file in files)
    labels = np.array([label for _, label, _ in files], np.int64)
    origin = np.array([split for split, _, _ in files])
    splits = {split: np.flatnonzero(origin == split) for split in SPLITS}
    taken = [split for split in SPLITS if split not in given]
    if taken:
        fraction = FLAT_FRACTION if len(found) == 1 else TAKEN_FRACTION
        fractions = [val_fraction if split == "val" and val_fraction else fraction for split in taken]
        _refuse_small(root, names, labels[splits["train"]], len(taken) + 1)
        parts = stratified_split(labels[splits["train"]], fractions, seed)
        if len(found) > 1:
            shares = " and ".join(
                f"{share:.0%} for {split}" for split, share in zip(taken, fractions, strict=True)
            )
            progress.say(
                f"{root} has no {' and no '.join(taken)} folder: taken from train, stratified: {shares}"
            )
        splits |= {split: splits["train"][part] for split, part in zip(["train", *taken], parts, strict=True)}
    in_chans, side = _looked_at(root, images)
    return Source(
        images=images,
        labels=labels,
        classes=tuple(names),
        in_chans=in_chans,
        default_size=32 if side <= 48 else 96,
        splits=splits,
        root=str(root.absolute()),
    )


def _layout(root: Path) -> dict[str, Classes]:
    """Files by split and class: three splits, some empty, or train only for ``DIR/<class>``."""
    if _subfolders(root / "train"):
        found: dict[str, Classes] = {}
        for split, folders in SPLIT_FOLDERS.items():
            there = [root / folder for folder in folders if (root / folder).is_dir()]
            if len(there) > 1:
                raise InputError(f"both {there[0]} and {there[1]}: keep one of them")
            found[split] = _classes(root, there[0]) if there else {}
        return found
    for folder in (folder for folders in SPLIT_FOLDERS.values() for folder in folders):
        if _subfolders(root / folder):
            raise InputError(
                f"{root / folder} without {root / 'train'}: there must be a train folder to learn from"
            )
    return {"train": _classes(root, root)}


def _classes(root: Path, folder: Path) -> Classes:
    """The class folders of ``folder`` that hold images, at any depth below each."""
    classes = {}
    for path in _subfolders(folder):
        files = []
        for where, folders, names in os.walk(path):  # follows path itself where it is a symlink, none below
            folders[:] = [name for name in folders if not name.startswith(".")]
            files += [
                Path(where, name).relative_to(root).as_posix()
                for name in names
                if name.lower().endswith(EXTENSIONS) and not name.startswith(".")
            ]
        if files:
            classes[path.name] = sorted(files)
    return classes


def _subfolders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _class_names(root: Path, given: dict[str, Classes]) -> list[str]:
    names = sorted(given.get("train", ()))
    if not names:
        loose = sum(path.suffix.lower() in EXTENSIONS for path in root.iterdir())
        if loose:
            raise InputError(
                f"{loose} images lie in {root} itself: put them into one folder per class, {root}/<class>/*.jpg"
            )
        raise InputError(
            f"no images in {root}: expected {root}/<class>/*.jpg or {root}/train/<class>/*.jpg "
            f"({', '.join(EXTENSIONS)})"
        )
    if len(names) == 1:
        raise InputError(
            f"only one class, {readable(names[0])!r}, in {root}: at least two class folders are needed"
        )
    for name in names:
        if not name.isprintable():  # it is to be a line of labels.txt
            raise InputError(f"class folder {readable(name)!r} of {root} is not printable text: rename it")
    for split, classes in given.items():
        strange = sorted(set(classes) - set(names))
        if strange:
            raise InputError(f"{root}: {split} has classes that train has not: {listed(strange)}")
    return names


def _refuse_small(root: Path, names: list[str], labels: np.ndarray, least: int) -> None:
    counts = np.bincount(labels, minlength=len(names))
    small = [f"{name} ({count})" for name, count in zip(names, counts, strict=True) if count < least]
    if small:
        raise InputError(f"{root}: too few images to split, at least {least} for each class: {listed(small)}")


def _looked_at(root: Path, images: tuple[str, ...]) -> tuple[int, float]:
    """Channels (1 if every sampled image is grey) and the median shorter side, from evenly spaced headers."""
    from PIL import Image

    modes, sides = set(), []
    for index in np.unique(np.linspace(0, len(images) - 1, SAMPLE).round().astype(int)):
        try:
            with Image.open(root / images[index], formats=FORMATS) as image:
                modes.add(image.mode)
                sides.append(min(image.size))
        except Exception:  # what is damaged is named when it is decoded
            continue
    grey = bool(modes) and modes <= {"1", "L", "LA", "I", "I;16", "I;16B"}
    return (1 if grey else 3), (median(sides) if sides else 0)
