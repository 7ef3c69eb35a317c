"""CIFAR-10, CIFAR-100 and Fashion-MNIST from their official files, fetched once if need be.

Formats: https://www.cs.toronto.edu/~kriz/cifar.html ("binary version", never the pickled one) and
https://github.com/zalandoresearch/fashion-mnist (IDX). Archives are read member by member and
never unpacked onto the disk.
"""

from __future__ import annotations

import gzip
import os
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nassuite.data.source import Source
from nassuite.data.stratify import stratified_split
from nassuite.errors import InputError
from nassuite.progress import Progress

VAL_FRACTION = 0.1  # of the official training images
LARGEST_MEMBER = 200_000_000  # bytes; the official ones are at most 154 MB


@dataclass(frozen=True)
class Cifar:
    """``label_byte`` is the label's place in a record of ``label_bytes`` + 3072 bytes."""

    archive: str
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    names: str
    label_bytes: int
    label_byte: int


CIFAR = {
    "cifar10": Cifar(
        archive="cifar-10-binary.tar.gz",
        folder="cifar-10-batches-bin",
        train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        test=("test_batch.bin",),
        names="batches.meta.txt",
        label_bytes=1,
        label_byte=0,
    ),
    "cifar100": Cifar(
        archive="cifar-100-binary.tar.gz",
        folder="cifar-100-binary",
        train=("train.bin",),
        test=("test.bin",),
        names="fine_label_names.txt",
        label_bytes=2,  # coarse, fine
        label_byte=1,
    ),
}
FASHION_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
BASE_URL = {
    "cifar10": "https://www.cs.toronto.edu/~kriz",
    "cifar100": "https://www.cs.toronto.edu/~kriz",
    "fashion-mnist": "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
}
MD5 = {
    "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
    "cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8",
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}


def official_source(
    name: str,
    directory: str,
    *,
    seed: int,
    val_fraction: float | None,
    progress: Progress,
    base_url: str | None = None,
) -> Source:
    """The data set ``name`` from ``directory``, or from the cache if that is empty text.

    The official test set is test; val is a stratified part of the official training set. Raises
    InputError for files that are missing, damaged or cannot be fetched.
    """
    folder = Path(directory).expanduser()
    if directory and not folder.is_dir():
        raise InputError(f"no folder {directory!r} for --data {name}:DIR")
    if name == "fashion-mnist":
        files = _fashion_files(folder if directory else None, progress, base_url)
        images, labels, train_n = _parse_fashion(files)
        classes: tuple[str, ...] = FASHION_CLASSES
    else:
        contents = _cifar_contents(name, folder if directory else None, progress, base_url)
        images, labels, train_n, classes = _parse_cifar(CIFAR[name], contents)
    present = np.bincount(labels[:train_n], minlength=len(classes))
    if len(present) > len(classes) or present.min() < 2:
        raise InputError(
            f"{name}: training labels do not match its {len(classes)} classes: get the files again"
        )
    train, val = stratified_split(labels[:train_n], [val_fraction or VAL_FRACTION], seed)
    return Source(
        images=images,
        labels=labels,
        classes=classes,
        in_chans=1 if images.ndim == 3 else 3,
        default_size=32,
        splits={"train": train, "val": val, "test": np.arange(train_n, len(labels))},
    )


def _cifar_contents(
    name: str, folder: Path | None, progress: Progress, base_url: str | None
) -> dict[str, bytes]:
    """The wanted files' bytes by name, from a folder of them or from the archive."""
    cifar = CIFAR[name]
    wanted = (*cifar.train, *cifar.test, cifar.names)
    if folder is None:
        return _members(_fetched(name, cifar.archive, progress, base_url), wanted)
    for place in (folder, folder / cifar.folder):
        if (place / wanted[0]).exists():
            missing = [file for file in wanted if not (place / file).is_file()]
            if missing:
                raise InputError(f"{place} lacks {', '.join(missing)} of {name}'s binary version")
            return {file: _read(place / file) for file in wanted}
    if (folder / cifar.archive).exists():
        return _members(folder / cifar.archive, wanted)
    raise InputError(f"{folder} has neither {cifar.archive} nor {wanted[0]} ({name}'s binary version)")


def _members(archive: Path, wanted: Sequence[str]) -> dict[str, bytes]:
    contents = {}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                file = os.path.basename(member.name)
                if member.isfile() and file in wanted and member.size <= LARGEST_MEMBER:
                    contents[file] = tar.extractfile(member).read()  # type: ignore[union-attr]
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise InputError(f"{archive} is damaged ({error}): get it again") from error
    missing = [file for file in wanted if file not in contents]
    if missing:
        raise InputError(f"{archive} lacks {', '.join(missing)}: is it the binary version?")
    return contents


def _parse_cifar(
    cifar: Cifar, contents: dict[str, bytes]
) -> tuple[np.ndarray, np.ndarray, int, tuple[str, ...]]:
    """Images uint8 (N, 32, 32, 3), training ones first; labels (N,); the number of those; class names."""
    lines = contents[cifar.names].decode("utf-8", "replace").splitlines()
    classes = tuple(line.strip() for line in lines if line.strip())
    record = cifar.label_bytes + 3 * 32 * 32
    parts = []
    for file in (*cifar.train, *cifar.test):
        content = contents[file]
        if not content or len(content) % record:
            raise InputError(
                f"{file}: {len(content)} bytes are not whole records of {record} bytes: get it again"
            )
        parts.append(np.frombuffer(content, np.uint8).reshape(-1, record))
    records = np.concatenate(parts)
    train_n = sum(len(part) for part in parts[: len(cifar.train)])
    labels = records[:, cifar.label_byte].astype(np.int64)
    if labels.max() >= len(classes):
        raise InputError(
            f"{cifar.names} names {len(classes)} classes, but there are labels up to {labels.max()}"
        )
    images = records[:, cifar.label_bytes :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels, train_n, classes


def _fashion_files(folder: Path | None, progress: Progress, base_url: str | None) -> list[Path]:
    if folder is None:
        return [_fetched("fashion-mnist", file, progress, base_url) for file in FASHION_FILES]
    files = []
    for file in FASHION_FILES:
        there = [path for path in (folder / file, folder / file.removesuffix(".gz")) if path.is_file()]
        if not there:
            raise InputError(f"{folder} lacks {file} of fashion-mnist")
        files.append(there[0])
    return files


def _parse_fashion(files: Sequence[Path]) -> tuple[np.ndarray, np.ndarray, int]:
    train_images, train_labels, test_images, test_labels = (
        _idx(path, dims) for path, dims in zip(files, (3, 1, 3, 1), strict=True)
    )
    for images, labels, path in (
        (train_images, train_labels, files[0]),
        (test_images, test_labels, files[2]),
    ):
        if len(images) != len(labels):
            raise InputError(f"{path}: {len(images)} images but {len(labels)} labels: get the files again")
        if labels.max() >= len(FASHION_CLASSES) or images.shape[1:] != (28, 28):
            raise InputError(
                f"{path}: images {images.shape[1:]}, labels up to {labels.max()}: not fashion-mnist"
            )
    labels = np.concatenate([train_labels, test_labels]).astype(np.int64)
    return np.concatenate([train_images, test_images]), labels, len(train_labels)


def _idx(path: Path, dims: int) -> np.ndarray:
    """An IDX file of unsigned bytes: magic 0, 0, 8, dims; each size as a big-endian int32; the bytes."""
    content = _read(path)
    try:
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is damaged ({error}): get it again") from error
    header = 4 + 4 * dims
    shape = (
        tuple(int(side) for side in np.frombuffer(content[4:header], ">i4")) if len(content) >= header else ()
    )
    if content[:4] != bytes([0, 0, 8, dims]) or len(content) - header != np.prod(shape) or 0 in shape:
        raise InputError(f"{path}: not a whole IDX file of {dims} dimensions: get it again")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def _fetched(name: str, file: str, progress: Progress, base_url: str | None) -> Path:
    """The cached file, downloaded and checked if it is not there or not whole."""
    import pooch
    import requests

    base = base_url or os.environ.get("NASSUITE_DATA_URL") or BASE_URL[name]
    url = f"{base.rstrip('/')}/{file}"

    def download(url: str, output_file: str, _pooch: object) -> None:
        with requests.get(url, stream=True, timeout=30) as reply, open(output_file, "wb") as target:
            reply.raise_for_status()
            megabytes = -(-int(reply.headers.get("content-length", 0)) // 2**20) or None
            for part in progress.track(reply.iter_content(2**20), file, total=megabytes, unit="MB"):
                target.write(part)

    pooch.get_logger().setLevel("WARNING")
    try:
        path = pooch.retrieve(
            url,
            known_hash=f"md5:{MD5[file]}",
            fname=file,
            path=pooch.os_cache("nassuite"),
            downloader=download,
        )
    except (OSError, ValueError, requests.RequestException) as error:
        network = isinstance(error, requests.RequestException) or not isinstance(error, ValueError)
        reason = type(error).__name__ if network else "its checksum does not match"
        if isinstance(error, requests.HTTPError) and error.response is not None:
            reason = f"HTTP status {error.response.status_code}"
        raise InputError(
            f"cannot fetch {url} ({reason}): download it by hand into DIR and use --data {name}:DIR"
        ) from error
    return Path(path)
