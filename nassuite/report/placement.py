"""Where the labels of a chart stand, so that they cover neither marks nor each other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nassuite.report.drawing import Anchor, Point

Box = tuple[float, float, float, float]  # left, top, right, bottom; y grows downwards
Segment = tuple[Point, Point]

MARK = 8.0  # half the size of a mark, pixels
LETTER = 0.62  # em: the mean width of a letter
ASCENT, DESCENT = 1.0, 1 / 3  # em: what a line of text takes above and below its baseline
GAP = 3.0  # pixels between a label and its mark or its leader
AWAY = (24.0, 36.0, 50.0, 66.0, 85.0, 110.0, 140.0)  # pixels from a mark to labels that a leader leads to
DIRECTIONS = 24
CLEARLY = 6.0  # pixels by which a label is to be nearer to its own mark than to any other
MISLEADING, CROSSED, LED_ASTRAY, ON_A_CURVE = 40.0, 40.0, 10.0, 9.0
"""What costs as much as so many pixels away: being as near to another mark, a line across, the former with a leader, and
a part of a curve hidden."""


@dataclass(frozen=True)
class Place:
    """The point at which a text's baseline starts, is centred or ends, as ``anchor`` says; ``box`` is what it covers.

    A ``leader`` leads to a label from a mark that it stands away from.
    """

    x: float
    y: float
    anchor: Anchor
    box: Box
    leader: Segment | None = None


def place_labels(
    marks: Sequence[Point],
    labels: Sequence[str],
    *,
    frame: Box,
    em: float,
    texts: Sequence[Box] = (),
    lines: Sequence[Box] = (),
    curves: Sequence[Box] = (),
) -> list[Place | None]:
    """A place for each label, in pixels, for the mark of the same index; None for an empty one, and where none is free.

    ``em`` is the size of the letters. A place is free where it covers no other mark, no label, none of ``texts`` and
    nothing outside ``frame``, and where its leader runs through none of them. Labels take the best of the free ones,
    those before others first: beside the mark, not as near to another, not across one of ``lines``, and if it can be not
    on one of ``curves``.
    """

    def options_of(number: int) -> list[Place]:
        """The free places, the best first."""
        own, others = marks[number], [mark for n, mark in enumerate(marks) if n != number]
        taken = [*texts, *map(mark_box, others)]
        free = [place for place in candidates(own, labels[number], em) if is_free(place, taken, frame)]
        # No place can tell apart what stands in one.
        apart = [mark for mark in others if math.dist(mark, own) > MARK]
        return sorted(free, key=lambda place: _cost(place, own, apart, lines, curves))

    options = [options_of(number) if label else [] for number, label in enumerate(labels)]
    places: dict[int, Place] = {}
    while _settle(places, options) or _make_room(places, options):
        pass
    return [places.get(number) for number in range(len(labels))]


def place_names(
    lines: Sequence[float], names: Sequence[str], *, marks: Sequence[Point], frame: Box, em: float
) -> list[Place]:
    """A place for the name of each upright line, read from below, at one of its ends: where it covers least."""
    taken = [*map(mark_box, marks), *line_boxes(lines, frame)]
    places: list[Place] = []
    for x, name in zip(lines, names, strict=True):
        options = _along(x, LETTER * em * len(name), frame, em)
        place = min(options, key=lambda option: _covered(option.box, taken, frame))
        taken.append(place.box)
        places.append(place)
    return places


def curve_boxes(corners: Sequence[Point]) -> list[Box]:
    """What a curve of level and upright pieces takes."""
    return [
        (min(x, x2) - 1, min(y, y2) - 1, max(x, x2) + 1, max(y, y2) + 1)
        for (x, y), (x2, y2) in itertools.pairwise(corners)
    ]


def line_boxes(lines: Iterable[float], frame: Box) -> list[Box]:
    """What upright lines at these x take of ``frame``."""
    return [(x - 1, frame[1], x + 1, frame[3]) for x in lines]


def mark_box(mark: Point) -> Box:
    return (mark[0] - MARK, mark[1] - MARK, mark[0] + MARK, mark[1] + MARK)


def candidates(mark: Point, label: str, em: float) -> list[Place]:
    """All places that a label can take, the nearest first."""
    width = LETTER * em * len(label)
    return [*_beside(mark, width, em), *_away(mark, width, em)]


def is_free(place: Place, taken: Iterable[Box], frame: Box) -> bool:
    """Whether it is within ``frame`` and neither covers what is ``taken`` nor has its leader run through that."""
    return _within(place.box, frame) and not any(_hits(place, box) for box in taken)


def collide(first: Place, second: Place) -> bool:
    """Whether one label covers the other, or what leads to it, or both their leaders cross."""
    crossed = first.leader and second.leader and _cross(first.leader, second.leader)
    return bool(crossed) or _hits(first, second.box) or _hits(second, first.box)


def _settle(places: dict[int, Place], options: Sequence[Sequence[Place]]) -> bool:
    """Moves each label to the best place that the others leave; whether any moved."""
    before = dict(places)
    for number, own in enumerate(options):
        if found := next((place for place in own if not _in_its_way(place, number, places)), None):
            places[number] = found
    return places != before


def _make_room(places: dict[int, Place], options: Sequence[Sequence[Place]]) -> bool:
    """Places a label that has no place where a single other one can make way; whether there was one."""
    for number, own in enumerate(options):
        for place in own if number not in places else ():
            blocking = _in_its_way(place, number, places)
            if len(blocking) == 1:
                (other,) = blocking
                tried = {**places, number: place}
                if found := next((p for p in options[other] if not _in_its_way(p, other, tried)), None):
                    places |= {number: place, other: found}
                    return True
    return False


def _in_its_way(place: Place, number: int, places: dict[int, Place]) -> list[int]:
    return [other for other, taken in places.items() if other != number and collide(place, taken)]


def _cost(
    place: Place, own: Point, others: Sequence[Point], lines: Sequence[Box], curves: Sequence[Box]
) -> float:
    """How unwelcome a place is, in pixels."""
    away = _distance(own, place.box)
    astray = any(_distance(mark, place.box) < away + CLEARLY for mark in others)
    cost = CROSSED * any(_overlap(place.box, line) for line in lines)
    cost += ON_A_CURVE * any(_overlap(place.box, curve) for curve in curves)
    return cost + (MISLEADING * astray if place.leader is None else LED_ASTRAY * astray + away)


def _beside(mark: Point, width: float, em: float) -> list[Place]:
    (x, y), gap = mark, MARK + GAP
    middle, above, below = y + em / 3, y - MARK - DESCENT * em, y + MARK + ASCENT * em
    corners: list[tuple[float, float, Anchor]] = [
        (x + gap, middle, "start"), (x - gap, middle, "end"), (x, above, "middle"), (x, below, "middle"),
        (x + MARK - 2, above, "start"), (x - MARK + 2, above, "end"),
        (x + MARK - 2, below, "start"), (x - MARK + 2, below, "end"),
    ]  # fmt: skip
    return [Place(*corner, _box(*corner, width, em)) for corner in corners]


def _away(mark: Point, width: float, em: float) -> list[Place]:
    """Around the mark, at the end of a leader."""
    places = []
    for distance in AWAY:
        for turn in range(DIRECTIONS):
            right, down = (f(2 * math.pi * turn / DIRECTIONS) for f in (math.cos, math.sin))
            end = (mark[0] + distance * right, mark[1] + distance * down)
            start = (mark[0] + (MARK + GAP) * right, mark[1] + (MARK + GAP) * down)
            places.append(_at_end(start, end, width, em))
    return places


def _at_end(start: Point, end: Point, width: float, em: float) -> Place:
    """On from where a leader ends, beside it or, where the leader is upright, above or below."""
    x, y = end
    anchor: Anchor
    if abs(x - start[0]) < 1e-6:
        anchor, baseline = "middle", y - GAP - DESCENT * em if y < start[1] else y + GAP + ASCENT * em
    else:
        side = math.copysign(GAP, x - start[0])
        anchor, x, baseline = ("start" if side > 0 else "end"), x + side, y + em / 3
    return Place(x, baseline, anchor, _box(x, baseline, anchor, width, em), (start, end))


def _along(x: float, length: float, frame: Box, em: float) -> list[Place]:
    """Left of an upright line and right of it, at its top and at its bottom."""
    _, top, _, bottom = frame
    places = []
    for baseline in (x - 5, x + 5 + 0.8 * em):
        left, right = baseline - 0.8 * em, baseline + DESCENT * em / 2
        places.append(Place(baseline, top + 2, "end", (left, top + 2, right, top + 2 + length)))
        places.append(Place(baseline, bottom - 6, "start", (left, bottom - 6 - length, right, bottom - 6)))
    return places


def _box(x: float, y: float, anchor: Anchor, width: float, em: float) -> Box:
    left = x - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
    return (left, y - ASCENT * em, left + width, y + DESCENT * em)


def _hits(place: Place, box: Box) -> bool:
    left, top, right, bottom = place.box
    if left < box[2] and box[0] < right and top < box[3] and box[1] < bottom:
        return True
    return place.leader is not None and _enters(place.leader, box)


def _within(box: Box, frame: Box) -> bool:
    return box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]


def _covered(box: Box, taken: Sequence[Box], frame: Box) -> float:
    """Square pixels of ``box`` that are taken, or outside the frame."""
    outside = (box[2] - box[0]) * (box[3] - box[1]) - _overlap(box, frame)
    return outside + sum(_overlap(box, other) for other in taken)


def _overlap(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, width) * max(0.0, height)


def _distance(point: Point, box: Box) -> float:
    x, y = point
    return math.hypot(max(box[0] - x, 0.0, x - box[2]), max(box[1] - y, 0.0, y - box[3]))


def _cross(a: Segment, b: Segment) -> bool:
    def apart(line: Segment, points: Segment) -> bool:
        (x, y), (x2, y2) = line
        first, second = ((x2 - x) * (v - y) - (y2 - y) * (u - x) for u, v in points)
        return first * second > 0

    return not apart(a, b) and not apart(b, a)


def _enters(line: Segment, box: Box) -> bool:
    """Whether a part of the line is inside, by Liang and Barsky's clipping."""
    first, last = 0.0, 1.0
    for axis in (0, 1):
        start, low, high = line[0][axis], box[axis], box[axis + 2]
        if not (step := line[1][axis] - start):
            if not low < start < high:
                return False
            continue
        enters, leaves = sorted(((low - start) / step, (high - start) / step))
        first, last = max(first, enters), min(last, leaves)
    return first < last
