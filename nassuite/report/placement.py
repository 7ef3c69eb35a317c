"""Where the labels of a chart stand, so that they cover neither marks nor each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nassuite.report.drawing import Anchor

Box = tuple[float, float, float, float]  # left, top, right, bottom; y grows downwards

LINE = 16.0  # height of a label, pixels
MARK = 8.0  # half the size of a mark, pixels


@dataclass(frozen=True)
class Place:
    """The point at which a label's baseline starts, is centred or ends, as ``anchor`` says."""

    x: float
    y: float
    anchor: Anchor


def place_labels(
    marks: Sequence[tuple[float, float]],
    labels: Sequence[str],
    *,
    frame: Box,
    letter: float,
    obstacles: Sequence[Box] = (),
) -> list[Place | None]:
    """A place for each label, in pixels, beside the mark of the same index; None for an empty label.

    ``letter`` is the mean width of a letter. Each label in turn takes the place, of eight around
    its mark, that covers least of the marks, the ``obstacles``, the labels before it and what is
    outside ``frame``.
    """
    taken: list[Box] = [(x - MARK, y - MARK, x + MARK, y + MARK) for x, y in marks]
    taken += obstacles
    places: list[Place | None] = []
    for (x, y), label in zip(marks, labels, strict=True):
        if not label:
            places.append(None)
            continue
        width = letter * len(label)
        options = [(place, _box(place, width)) for place in _around(x, y)]
        place, box = min(options, key=lambda option: _covered(option[1], taken, frame))
        taken.append(box)
        places.append(place)
    return places


def budget_boxes(budgets: Iterable[float], frame: Box) -> list[Box]:
    """The obstacles that upright lines at these x make, each with its name at its upper left."""
    return [
        box
        for x in budgets
        for box in ((x - 3, frame[1], x + 3, frame[3]), (x - 18, frame[1], x, frame[1] + 90))
    ]


def _around(x: float, y: float) -> list[Place]:
    middle, above, below = y + 4, y - MARK - 3, y + MARK + 11
    return [
        Place(x + MARK + 3, middle, "start"), Place(x - MARK - 3, middle, "end"),
        Place(x, above, "middle"), Place(x, below, "middle"),
        Place(x + MARK - 2, above, "start"), Place(x - MARK + 2, above, "end"),
        Place(x + MARK - 2, below, "start"), Place(x - MARK + 2, below, "end"),
    ]  # fmt: skip


def _box(place: Place, width: float) -> Box:
    left = place.x - {"start": 0.0, "middle": width / 2, "end": width}[place.anchor]
    return (left, place.y - LINE + 4, left + width, place.y + 4)


def _covered(box: Box, taken: Sequence[Box], frame: Box) -> float:
    """Square pixels of ``box`` that are taken, or outside the frame, which counts twice."""
    outside = (box[2] - box[0]) * (box[3] - box[1]) - _overlap(box, frame)
    return 2 * outside + sum(_overlap(box, other) for other in taken)


def _overlap(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, width) * max(0.0, height)
