"""A drawing as a value: shapes in pixels of its own, from the upper left corner; pages and files draw the same ones.

What a shape looks like is said by its class, which ``report.paints`` knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

Point = tuple[float, float]
Anchor = Literal["start", "middle", "end"]

MARKERS: dict[str, float | tuple[tuple[Point, ...], ...]] = {
    "dot": 2.6,
    "circle": 4.0,
    "ring": 5.5,
    "square": (((-5.5, -5.5), (5.5, -5.5), (5.5, 5.5), (-5.5, 5.5)),),
    "triangle": (((0, -7), (7, 5.5), (-7, 5.5)),),
    "diamond": (((0, -7.5), (7.5, 0), (0, 7.5), (-7.5, 0)),),
    "pentagon": (((0, -7), (6.7, -2.2), (4.1, 5.7), (-4.1, 5.7), (-6.7, -2.2)),),
    "cross": (((-5, -5), (5, 5)), ((-5, 5), (5, -5))),
}
"""The radius of a disc; or strokes from corner to corner, closed where they have more than two."""

MARGIN, HEADING, BETWEEN = 16, 26, 40  # pixels


@dataclass(frozen=True)
class Line:
    corners: tuple[Point, ...]
    class_: str


@dataclass(frozen=True)
class Area:
    corners: tuple[Point, ...]
    class_: str


@dataclass(frozen=True)
class Rectangle:
    """``rounding`` is the radius of its corners, ``detail`` its tool tip."""

    left: float
    top: float
    width: float
    height: float
    class_: str
    detail: str = ""
    rounding: float = 0.0


@dataclass(frozen=True)
class Marker:
    """One of ``MARKERS`` around ``at``. ``reach`` puts it into the order of the tabulator key."""

    name: str
    at: Point
    class_: str
    detail: str = ""
    reach: bool = False


@dataclass(frozen=True)
class Text:
    """Its baseline starts, is centred or ends at ``at``; what is ``upright`` is read from below."""

    words: str
    at: Point
    class_: str
    anchor: Anchor = "start"
    upright: bool = False


@dataclass(frozen=True)
class Group:
    """Shapes moved ``by`` so many pixels, with one tool tip."""

    shapes: tuple[Shape, ...]
    detail: str = ""
    by: Point = (0.0, 0.0)


Single = Line | Area | Rectangle | Marker | Text
Shape = Single | Group


@dataclass(frozen=True)
class Drawing:
    """``label`` is for those who do not see it; ``title`` stands above it where it stands alone."""

    width: int
    height: int
    shapes: tuple[Shape, ...]
    label: str
    title: str = ""


def flat(shapes: Iterable[Shape], by: Point = (0.0, 0.0)) -> Iterator[tuple[Single, Point]]:
    """Each shape that is no group, and by how much its groups move it."""
    for shape in shapes:
        if isinstance(shape, Group):
            yield from flat(shape.shapes, (by[0] + shape.by[0], by[1] + shape.by[1]))
        else:
            yield shape, by


def beside(*drawings: Drawing, title: str) -> Drawing:
    """All as one, from left to right."""
    lefts = [sum(one.width + BETWEEN for one in drawings[:number]) for number in range(len(drawings))]
    return Drawing(
        lefts[-1] + drawings[-1].width,
        max(one.height for one in drawings),
        tuple(Group(one.shapes, by=(left, 0.0)) for one, left in zip(drawings, lefts, strict=True)),
        " ".join(one.label for one in drawings),
        title,
    )


def framed(drawing: Drawing) -> Drawing:
    """As it stands alone: with margins, its title on top."""
    top = MARGIN + (HEADING if drawing.title else 0)
    heading = (Text(drawing.title, (MARGIN, MARGIN + 12), "heading"),) if drawing.title else ()
    return Drawing(
        drawing.width + 2 * MARGIN,
        top + drawing.height + MARGIN,
        (*heading, Group(drawing.shapes, by=(MARGIN, top))),
        drawing.label,
        drawing.title,
    )
