"""From an image file to pixels, by one rule, in training and beside a deployed model.

Needs Pillow and numpy only, and nothing else of this package: a stand-alone ``predict.py``
carries this very file.
"""

from __future__ import annotations

import contextlib
import io
import os
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

RULE = (
    "rotate as EXIF says; composite transparency on white; 16-bit greys to 8 bits; convert to RGB (or L); "
    "resize the shorter side to size (Pillow, bilinear with antialiasing); crop the centre size x size; "
    "divide by 255: float32, channels first, 0..1"
)
# Importing a plugin registers it, which Pillow otherwise does late: Image.open(formats=) then misses it.
FORMATS = tuple(plugin.format for plugin in (JpegImageFile, PngImageFile, WebPImageFile, BmpImageFile))
EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
MAX_PIXELS = 89_478_485  # beyond this Pillow suspects a decompression bomb
MAX_ASPECT = 100  # a 1 x 60000 strip would be resized to gigabytes before the crop


@dataclass(frozen=True)
class Preprocess:
    """How a file becomes a tensor: what ``card.json`` tells, and ``preprocess_image`` does."""

    size: int
    in_chans: int = 3

    def __post_init__(self) -> None:
        if self.size < 1 or self.in_chans not in (1, 3):
            raise ValueError(
                f"size must be positive and in_chans 1 or 3, not {self.size} and {self.in_chans}"
            )

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "rule": RULE}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Preprocess:
        """The inverse of ``to_json``; raises ValueError for a rule that this version does not apply."""
        if value.get("rule", RULE) != RULE:
            raise ValueError(
                f"the card asks for other preprocessing than this version does: {value['rule']!r}"
            )
        return cls(size=int(value["size"]), in_chans=int(value["in_chans"]))


def preprocess_image(
    image: Image.Image | np.ndarray | bytes | str | os.PathLike[str], preprocess: Preprocess
) -> np.ndarray:
    """Applies ``RULE``; gives uint8 (in_chans, size, size), still to be divided (``as_float``).

    An array is uint8 (H, W) or (H, W, 3). Raises ValueError with one line that says why an
    image cannot be used: unreadable, truncated, of another format, too large or too elongated.
    """
    try:
        return _apply(_opened(image), preprocess)
    except UnidentifiedImageError:
        raise ValueError("not a JPEG, PNG, WebP or BMP image") from None
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        said = getattr(error, "strerror", None) or str(error)
        reason = " ".join(said.split()) or type(error).__name__
        raise ValueError(reason) from error


def as_float(pixels: np.ndarray) -> np.ndarray:
    """uint8 of any shape to float32 in 0..1, the last step of ``RULE``."""
    return pixels.astype(np.float32) / np.float32(255.0)


def _opened(image: Image.Image | np.ndarray | bytes | str | os.PathLike[str]) -> Image.Image:
    if isinstance(image, Image.Image):
        return image.copy()
    if isinstance(image, np.ndarray):
        return Image.fromarray(image)
    if isinstance(image, bytes):
        content = image
    else:
        with open(image, "rb") as file:
            content = file.read()
    if not content:
        raise ValueError("empty file")
    return Image.open(io.BytesIO(content), formats=FORMATS)


def _apply(image: Image.Image, preprocess: Preprocess) -> np.ndarray:
    short, long = sorted(image.size)
    if short * long > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels are too many (a decompression bomb?)")
    if long > MAX_ASPECT * short:
        raise ValueError(f"{image.width} x {image.height} is too elongated to crop a square")
    image.load()
    with contextlib.suppress(Exception):  # broken metadata must not cost a picture that can be read
        ImageOps.exif_transpose(image, in_place=True)
    image = _converted(image, "RGB" if preprocess.in_chans == 3 else "L")
    size = preprocess.size
    width, height = (max(size, round(side * size / short)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    pixels = np.asarray(image.crop((left, top, left + size, top + size)))
    if pixels.ndim == 2:
        return pixels[None]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))  # (H, W, C) -> (C, H, W)


def _converted(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.int64).clip(0, 65535)
        image = Image.fromarray(((wide + 128) // 257).astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == mode else image.convert(mode)
