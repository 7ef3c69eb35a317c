"""Images and their masks as files: which belong together, and what they hold at one size."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from nassuite.data.folder import SPLIT_FOLDERS
from nassuite.data.preprocess import EXTENSIONS, FORMATS, MAX_PIXELS
from nassuite.data.source import listed, readable
from nassuite.errors import InputError
from nassuite.progress import Progress
from nassuite.resources import usable_cores

IGNORE = 255
"""The label of a pixel that neither trains nor counts."""

MASK_EXTENSIONS = (".png", ".bmp")  # lossless: JPEG would invent classes along the edges

Pairs = list[tuple[str, str]]
"""Image and mask, relative to the folder of all, in sorted order."""


@dataclass(frozen=True, eq=False)
class PairReading:
    """What reading pairs gave; those of which a file cannot be read are not among them but in ``skipped``.

    ``pixels`` is uint8 (N, C, H, W) and ``labels`` uint8 (N, H, W); ``present`` bool (N, 256): the values in each
    mask before it was resized. ``masks`` are the masks' names, ``hashes`` those of both files' contents.
    """

    pixels: np.ndarray
    labels: np.ndarray
    present: np.ndarray
    masks: list[str]
    hashes: list[bytes]
    skipped: list[tuple[str, str]]


def find_pairs(root: Path, progress: Progress) -> dict[str, Pairs]:
    """Pairs by split; only train for ``DIR/images`` with ``DIR/masks``."""
    if (root / "images").is_dir():
        return {"train": _pairs(root, root, progress)}
    found = {}
    for split, folders in SPLIT_FOLDERS.items():
        there = [root / folder for folder in folders if (root / folder).is_dir()]
        if len(there) > 1:
            raise InputError(f"both {there[0]} and {there[1]}: keep one of them")
        if there:
            found[split] = _pairs(root, there[0], progress)
    if "train" not in found:
        raise InputError(
            f"{root}: expected images/ and masks/ in it, or train/images and train/masks (val and test alike)"
        )
    return found


def _pairs(root: Path, folder: Path, progress: Progress) -> Pairs:
    images = _by_stem(root, folder / "images", EXTENSIONS)
    masks = _by_stem(root, folder / "masks", MASK_EXTENSIONS)
    lacking = sorted(set(images) - set(masks))
    if lacking:
        raise InputError(
            f"{len(lacking)} of {len(images)} images in {folder / 'images'} have no mask: "
            f"{listed([images[stem] for stem in lacking])}; "
            f"expected {folder / 'masks' / readable(lacking[0])}{' or '.join(MASK_EXTENSIONS)}"
        )
    over = sorted(set(masks) - set(images))
    if over:
        named = listed([masks[stem] for stem in over])
        progress.say(f"note: {len(over)} masks have no image and are left out: {named}")
    return [(images[stem], masks[stem]) for stem in sorted(images)]


def _by_stem(root: Path, folder: Path, extensions: tuple[str, ...]) -> dict[str, str]:
    """Files at any depth, relative to ``root``, by their path in ``folder`` without the extension."""
    if not folder.is_dir():
        raise InputError(f"no folder {folder}: images/ and masks/ must stand side by side")
    files: dict[str, str] = {}
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(where, name)
            if not name.lower().endswith(extensions) or name.startswith("."):
                continue
            stem = path.relative_to(folder).with_suffix("").as_posix()
            file = path.relative_to(root).as_posix()
            if stem in files:
                raise InputError(
                    f"both {readable(files[stem])} and {readable(file)} in {root}: keep one of them"
                )
            files[stem] = file
    if not files:
        raise InputError(f"no files in {folder}: expected {', '.join(extensions)}")
    return files


def read_pairs(
    root: Path, pairs: Pairs, size: tuple[int, int], in_chans: int, *, what: str, progress: Progress
) -> PairReading:
    """Every pair at ``size`` (H, W). Raises InputError for a mask that does not fit its image, or is none."""
    pixels = np.empty((len(pairs), in_chans, *size), np.uint8)
    labels = np.empty((len(pairs), *size), np.uint8)
    present = np.zeros((len(pairs), 256), bool)
    good = np.ones(len(pairs), bool)
    hashes: list[bytes] = []
    skipped: list[tuple[str, str]] = []

    def read(row: int) -> bytes | tuple[str, str]:
        opened, content = [], b""
        for file, load in zip(pairs[row], (_picture, _upright), strict=True):
            try:
                content += (data := (root / file).read_bytes())
                opened.append(load(data, in_chans))
            except UnidentifiedImageError:
                return readable(file), "not a JPEG, PNG, WebP or BMP image"
            except Exception as error:  # a damaged file makes Pillow raise nearly anything
                reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                return readable(file), " ".join(reason.split()) or type(error).__name__
        image, mask = opened
        values = _class_numbers(image, mask, pairs[row])
        present[row] = np.bincount(values.ravel(), minlength=256) > 0
        pixels[row] = _fitted(image, size, Image.Resampling.BILINEAR).reshape(*size, -1).transpose(2, 0, 1)
        labels[row] = _fitted(Image.fromarray(values), size, Image.Resampling.NEAREST)
        return hashlib.blake2b(content, digest_size=16).digest()

    with warnings.catch_warnings(), ThreadPoolExecutor(usable_cores()) as pool:
        warnings.simplefilter("ignore")  # Pillow's, of odd metadata and large images
        outcomes = progress.track(
            pool.map(read, range(len(pairs))), f"reading {what}", total=len(pairs), unit="pairs"
        )
        for row, outcome in enumerate(outcomes):
            if isinstance(outcome, bytes):
                hashes.append(outcome)
            else:
                skipped.append(outcome)
                good[row] = False
    if skipped:
        pixels, labels, present = pixels[good], labels[good], present[good]
    masks = [readable(mask) for (_, mask), kept in zip(pairs, good, strict=True) if kept]
    return PairReading(pixels, labels, present, masks, hashes, skipped)


def _picture(content: bytes, in_chans: int) -> Image.Image:
    image = _upright(content, in_chans)
    if image.mode.startswith("I"):
        raise ValueError("an image of 16 bits: save it with 8")
    return image.convert("RGB" if in_chans == 3 else "L")


def _upright(content: bytes, _in_chans: int) -> Image.Image:
    """Decoded, and rotated as EXIF says."""
    if not content:
        raise ValueError("empty file")
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels are too many (a decompression bomb?)")
    image.load()
    return ImageOps.exif_transpose(image)


def _class_numbers(image: Image.Image, mask: Image.Image, pair: tuple[str, str]) -> np.ndarray:
    """The mask as uint8 (H, W); of a palette the indices, which is how VOC writes classes."""
    file = readable(pair[1])
    if image.size != mask.size:
        raise InputError(
            f"{readable(pair[0])} is {image.width} x {image.height} pixels, "
            f"its mask {file} {mask.width} x {mask.height}"
        )
    values = np.asarray(mask)
    if values.ndim != 2:
        raise InputError(
            f"mask {file} has colours ({mask.mode}): expected one channel with the number of each "
            f"pixel's class, {IGNORE} to ignore it"
        )
    if values.max() > IGNORE:
        raise InputError(f"mask {file} has the value {values.max()}: expected 0 to {IGNORE}")
    return values.astype(np.uint8)


def _fitted(image: Image.Image, size: tuple[int, int], method: Image.Resampling) -> np.ndarray:
    """Scaled until it covers ``size`` (H, W), and cropped to its centre: the same place for image and mask."""
    return np.asarray(ImageOps.fit(image, (size[1], size[0]), method))
