"""Labels and probabilities for images: ``nassuite predict``, and the program beside a deployed model.

Needs onnxruntime, numpy and Pillow only, as ``data/preprocess.py`` does: ``predict.py`` in a deploy folder is that
file followed by this one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nassuite.data.preprocess import EXTENSIONS, Preprocess, as_float, preprocess_image

STDIN = "-"
CHUNK = 65536


@dataclass(frozen=True)
class Prediction:
    """``ranked`` has labels and probabilities, the most probable first."""

    name: str
    ranked: tuple[tuple[str, float], ...]

    def line(self) -> str:
        return "\t".join([self.name, *(f"{label} {probability:.4f}" for label, probability in self.ranked)])

    def to_json(self) -> dict[str, Any]:
        return {"image": self.name, "labels": [{"label": name, "probability": p} for name, p in self.ranked]}


class Classifier:
    """The model of a deploy folder: model.onnx, with what card.json says of it.

    Raises ValueError with one line for a folder that is none, or that this version cannot serve.
    """

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        try:
            card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
            self.preprocess = Preprocess.from_json(card["preprocess"])
            self.labels = [str(label) for label in card["labels"]]
        except FileNotFoundError:
            raise ValueError(f"{folder}: no deployed model (no card.json)") from None
        except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{folder / 'card.json'} does not say how images are prepared: {error}"
            ) from None
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        try:
            self.session = onnxruntime.InferenceSession(
                str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's exceptions share no public base class
            reason = str(error).splitlines()[0]
            raise ValueError(f"{folder / 'model.onnx'} is not there or is no model ({reason})") from None

    def predict(self, name: str, image: Path | bytes, *, top: int) -> Prediction:
        """Raises ValueError for an image that cannot be read."""
        pixels = as_float(preprocess_image(image, self.preprocess))
        logits = self.session.run(None, {self.session.get_inputs()[0].name: pixels[None]})[0][0]
        shifted = np.exp(logits - logits.max())
        probabilities = shifted / shifted.sum()
        best = np.argsort(-probabilities, kind="stable")[:top]
        return Prediction(name, tuple((self.labels[i], float(probabilities[i])) for i in best))


def predict(folder: Path, images: Sequence[str], *, top: int, as_json: bool) -> int:
    """Prints one line for each image (a file, a folder's files, ``-`` for JPEG images on stdin).

    An image that cannot be read is named on stderr and left out; the exit code is 2 if none could be read.
    """
    classifier, read = Classifier(folder), 0
    for name, image in _images(images):
        try:
            prediction = classifier.predict(name, image, top=top)
        except (OSError, ValueError) as error:
            gone = isinstance(error.__cause__, FileNotFoundError)
            print(f"{name} is not there" if gone else f"skipped {name}: {error}", file=sys.stderr)
            continue
        read += 1
        line = json.dumps(prediction.to_json()) if as_json else prediction.line()
        print(line, flush=True)  # who sends frames waits for their answers
    return 0 if read else 2


def _images(names: Sequence[str]) -> Iterator[tuple[str, Path | bytes]]:
    for name in names:
        if name == STDIN:
            for number, frame in enumerate(jpeg_images(sys.stdin.buffer)):
                yield f"frame {number}", frame
        elif Path(name).is_dir():
            files = sorted(path for path in Path(name).rglob("*") if path.suffix.lower() in EXTENSIONS)
            if not files:
                print(f"{name} holds no images", file=sys.stderr)
            yield from ((str(path), path) for path in files)
        else:
            yield name, Path(name)


def jpeg_images(stream: BinaryIO) -> Iterator[bytes]:
    """The JPEG images that follow each other in a stream; a thumbnail inside one does not end it.

    Raises ValueError where something else follows. What was cut short at the end is left out.
    """
    source = _Buffered(stream)
    while start := source.take(2):
        if start != b"\xff\xd8":
            raise ValueError("stdin: expected JPEG images, one after the other")
        image = bytearray(start)
        while (marker := source.take(2)) and marker[1] != 0xD9:
            size = source.take(2)
            image += marker + size + source.take(int.from_bytes(size, "big") - 2)
            if marker[1] == 0xDA:  # start of scan: compressed data up to the next marker
                image += source.compressed()
        if not marker:
            return
        yield bytes(image + marker)


class _Buffered:
    """Bytes of a stream as they come in: a frame is used when it is there, not when the next one is."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.held = b""

    def more(self) -> bool:
        chunk = self.stream.read1(CHUNK) if hasattr(self.stream, "read1") else self.stream.read(CHUNK)
        self.held += chunk
        return bool(chunk)

    def take(self, count: int) -> bytes:
        """``count`` bytes, none if the stream ends before."""
        while len(self.held) < count:
            if not self.more():
                return b""
        taken, self.held = self.held[:count], self.held[count:]
        return taken

    def compressed(self) -> bytes:
        """Up to the next marker that is neither a stuffed byte (FF 00) nor a restart (FF D0 to FF D7)."""
        place = 0
        while True:
            place = self.held.find(b"\xff", place)
            if 0 <= place < len(self.held) - 1:
                following = self.held[place + 1]
                if following != 0 and not 0xD0 <= following <= 0xD7:
                    return self.take(place)
                place += 2
                continue
            place = len(self.held) if place < 0 else place
            if not self.more():
                return self.take(len(self.held))


def main(folder: Path, arguments: Sequence[str] | None = None) -> int:
    """The program ``predict.py``."""
    parser = argparse.ArgumentParser(description="Labels and probabilities for images.")
    parser.add_argument(
        "images", metavar="IMAGE", nargs="+", help="a file, a folder, or - for JPEG images on stdin"
    )
    parser.add_argument("--top", type=int, default=3, help="labels to print (default: 3)")
    parser.add_argument("--json", action="store_true", help="print a JSON object for each image")
    given = parser.parse_args(arguments)
    try:
        return predict(folder, given.images, top=given.top, as_json=given.json)
    except ValueError as error:
        print(f"predict.py: {error}", file=sys.stderr)
        return 2
