"""Small image folders and official files that the data tests make for themselves."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, *, side: int | tuple[int, int] = 12, channels: int = 3) -> np.ndarray:
    """uint8 (height, width, 3), or (height, width) for one channel."""
    height, width = (side, side) if isinstance(side, int) else side
    shape = (height, width, 3) if channels == 3 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_class(folder: Path, count: int, *, seed: int = 0, ext: str = ".png", channels: int = 3) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        image = Image.fromarray(picture(1000 * seed + number, channels=channels))
        image.save(folder / f"{number:03d}{ext}")


def write_cifar(folder: Path, *, hundred: bool = False, per_batch: int = 40) -> None:
    """The official binary files' form, with few images."""
    folder.mkdir(parents=True, exist_ok=True)
    train = ["train.bin"] if hundred else [f"data_batch_{number}.bin" for number in range(1, 6)]
    names = [f"fine{n}" for n in range(100)] if hundred else [f"class{n}" for n in range(10)]
    per_batch = 300 if hundred else per_batch
    for seed, file in enumerate([*train, "test.bin" if hundred else "test_batch.bin"]):
        labels = (np.arange(per_batch) % len(names)).astype(np.uint8)[:, None]
        pixels = np.random.default_rng(seed).integers(0, 256, (per_batch, 3072), dtype=np.uint8)
        columns = [labels // 5, labels, pixels] if hundred else [labels, pixels]
        (folder / file).write_bytes(np.concatenate(columns, axis=1).tobytes())
    # the official file of names ends in empty lines
    (folder / ("fine_label_names.txt" if hundred else "batches.meta.txt")).write_text(
        "\n".join(names) + "\n\n"
    )


def tar_of(folder: Path, target: Path) -> None:
    with tarfile.open(target, "w:gz") as tar:
        tar.add(folder, arcname=folder.name)


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(side.to_bytes(4, "big") for side in array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes())


def write_fashion(folder: Path, *, train: int = 60, test: int = 20) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("t10k", test)):
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(rng.integers(0, 256, (count, 28, 28))))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(np.arange(count) % 10))


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()
