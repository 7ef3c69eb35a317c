"""A plot's frame: scales, grid, axes, and where on it a point lies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from nassuite.report.drawing import Area, Drawing, Line, Marker, Point, Shape, Text
from nassuite.report.scale import Scale


@dataclass(frozen=True)
class Axis:
    """``scale`` in data units, ``write`` makes a tick's text, ticks outside ``within`` are left
    out, and where it is ``whole``, fractions."""

    title: str
    scale: Scale
    write: Callable[[float], str] = "{:g}".format
    within: tuple[float, float] = (float("-inf"), float("inf"))
    whole: bool = False

    def ticks(self, about: int) -> list[float]:
        return [
            tick
            for tick in self.scale.ticks(about)
            if self.within[0] <= tick <= self.within[1] and not (self.whole and tick % 1)
        ]


@dataclass(frozen=True)
class Plot:
    """``width`` and ``height`` of the whole drawing in its own pixels; the y title stands on top."""

    width: int
    height: int
    x_axis: Axis
    y_axis: Axis
    left: int = 46
    right: int = 14
    top: int = 28
    bottom: int = 40

    def x(self, value: float) -> float:
        return self.left + self.x_axis.scale.place(value) * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        return self._height(self.y_axis.scale.place(value))

    def at(self, point: Point) -> Point:
        return self.x(point[0]), self.y(point[1])

    def _height(self, place: float) -> float:
        return self.height - self.bottom - place * (self.height - self.top - self.bottom)

    def frame(self) -> list[Shape]:
        floor, edge = self.height - self.bottom, self.width - self.right
        parts: list[Shape] = []
        for tick in self.y_axis.ticks(max(3, (floor - self.top) // 48)):
            y = self.y(tick)
            parts.append(Line(((self.left, y), (edge, y)), "grid"))
            parts.append(Text(self.y_axis.write(tick), (self.left - 7, y + 4), "tick", "end"))
        for tick in self.x_axis.ticks(max(3, (edge - self.left) // 62)):
            x = self.x(tick)
            parts.append(Line(((x, floor), (x, floor + 4)), "grid"))
            parts.append(Text(self.x_axis.write(tick), (x, floor + 17), "tick", "middle"))
        parts.append(Line(((self.left, floor), (edge, floor)), "axis"))
        parts += [self._break(self._height(place)) for place in self.y_axis.scale.gap or ()]
        parts.append(Text(self.y_axis.title, (2, 14), "title"))
        parts.append(Text(self.x_axis.title, (edge, floor + 35), "title", "end"))
        return parts

    def _break(self, y: float) -> Line:
        """A zigzag across the drawing: the axis goes on elsewhere."""
        corners = range((self.width - self.right - self.left) // 12 * 2 + 1)
        return Line(tuple((self.left + 6 * n, y - 4 * (n % 2)) for n in corners), "break")

    def line(self, points: Iterable[Point], class_: str) -> Line:
        return Line(tuple(map(self.at, points)), class_)

    def steps(self, points: Sequence[Point], class_: str) -> Line:
        """A staircase: each y holds until the next x."""
        corners: list[Point] = []
        for x, y in points:
            if corners:
                corners.append((x, corners[-1][1]))
            corners.append((x, y))
        return self.line(corners, class_)

    def area(self, points: Iterable[Point], class_: str) -> Area:
        return Area(tuple(map(self.at, points)), class_)

    def marker(
        self, name: str, point: Point, *, class_: str, detail: str = "", reach: bool = False
    ) -> Marker:
        return Marker(name, self.at(point), class_, detail, reach)

    def drawing(self, shapes: Iterable[Shape], *, label: str, title: str = "") -> Drawing:
        return Drawing(self.width, self.height, tuple(shapes), label, title)
